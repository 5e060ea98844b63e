"""The check `drift` of a feature view: its newest features beside the champion's training set, with pictures.

A step of its own, because it may draw while the features are long in use.
"""

from collections.abc import Sequence

import dagster as dg

from orchestrai.defs.assets import asset_key
from orchestrai.defs.reporting.event_metadata import picture
from orchestrai.errors import OrchestraiError
from orchestrai.features.profile.drift_report import Learned, drift_limit, view_portrait
from orchestrai.models.registry.versions import serving_champion
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.pipeline.nodes.view_node import ViewNode
from orchestrai.pipeline.runtime import Runtime


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
    def drift(runtime: dg.ResourceParam[Runtime]) -> dg.AssetCheckResult:
        try:
            portrait = view_portrait(runtime.ledger, node, learned_from(runtime, node, pipeline))
        except OrchestraiError as exc:
            raise dg.Failure(description=exc.message, allow_retries=False) from exc
        return dg.AssetCheckResult(
            passed=portrait.verdict.passed,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={
                "message": portrait.verdict.message,
                "rows": portrait.rows,
                "features": dg.MetadataValue.md(portrait.as_markdown()),
                **{name: picture(name, png) for name, png in portrait.plots.items()},
            },
        )

    return drift


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
