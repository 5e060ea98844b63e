"""The check `drift` of a feature view: its newest features beside the champion's training set, with pictures.

A step of its own, because it may draw while the features are long in use. It draws once for the same features and training set: what
was found and drawn of them is said again.
"""

from collections.abc import Sequence

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.platform.patience import patient
from orchestrai.defs.reporting.event_metadata import picture
from orchestrai.features.profile.drift_report import Learned, drift_limit, view_portrait
from orchestrai.models.registry.versions import serving_champion
from orchestrai.pipeline.nodes.load_node import retries_of
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.pipeline.nodes.view_node import ViewNode
from orchestrai.pipeline.runtime import Runtime

COMPARED = "compared"


def build_drift_checks(pipelines: Sequence[Pipeline]) -> list[dg.AssetChecksDefinition]:
    """A `drift` check for each view that declares one."""
    return [_drift(view, pipeline) for pipeline in pipelines for view in pipeline.views if drift_limit(view) is not None]


def _drift(node: ViewNode, pipeline: Pipeline) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset_key(node.asset),
        name="drift",
        blocking=False,
        description="The newest features look like those the champion was trained on (population stability index).",
    )
    def drift(context: dg.AssetCheckExecutionContext, orchestrai_runtime: dg.ResourceParam[Runtime]) -> dg.AssetCheckResult:
        with patient(context, retries_of(node)):
            learned = learned_from(orchestrai_runtime, node, pipeline)
            of = _compared(orchestrai_runtime, node, learned)
            before = drawn_before(context.instance, dg.AssetCheckKey(asset_key(node.asset), "drift"), of)
            if before is not None:
                return dg.AssetCheckResult(
                    passed=before.passed, severity=before.severity, metadata=before.metadata, description=before.description
                )
            portrait = view_portrait(orchestrai_runtime.ledger, node, learned)
        return dg.AssetCheckResult(
            passed=portrait.verdict.passed,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "message": portrait.verdict.message,
                "rows": portrait.rows,
                COMPARED: of,
                "features": dg.MetadataValue.md(portrait.as_markdown()),
                **{name: picture(name, png) for name, png in portrait.plots.items()},
            },
        )

    return drift


def _compared(runtime: Runtime, node: ViewNode, learned: Sequence[Learned]) -> str:
    """Which features are held against which training sets, by which limit: what decides all that is found and drawn."""
    features = runtime.ledger.find(node.asset)
    against = [f"{one.training_set}@{one.version}" for one in learned]
    return " ".join([features.version if features else "none", *against, f"limit {drift_limit(node)}"])


def drawn_before(instance: dg.DagsterInstance, check: dg.AssetCheckKey, of: str) -> dg.AssetCheckEvaluation | None:
    """The newest finished evaluation of a check, where it compared the same."""
    finished = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
    history = instance.event_log_storage.get_asset_check_execution_history(check, limit=1, status=finished)
    evaluation = history[0].evaluation if history else None
    compared = evaluation.metadata.get(COMPARED) if evaluation is not None else None
    return evaluation if compared is not None and compared.value == of else None


def learned_from(runtime: Runtime, node: ViewNode, pipeline: Pipeline) -> list[Learned]:
    """The training sets of a pipeline's champions that learn from a view."""
    learned = []
    for model in pipeline.models:
        champion = (
            serving_champion(runtime.ledger, model.asset("champion")) if node.view.name in model.spec.features else None
        )
        if champion is not None:
            source = champion.receipt("all").facts.get("training_set")
            version = str(source.get("version")) if isinstance(source, dict) else ""
            learned.append(Learned(model.spec.name, model.asset("training_set"), version))
    return learned
