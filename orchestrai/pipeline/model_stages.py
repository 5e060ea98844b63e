"""The stages after restored data: features, training set, candidate, evaluation, champion, deployment, predictions."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrai.features.online import update_online
from orchestrai.features.run import FeatureTask, compute
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.training_set import training_set
from orchestrai.features.views.point_in_time import PointInTime
from orchestrai.ledger.report import PartitionOutcome, StageReport
from orchestrai.models.evaluation import evaluate
from orchestrai.models.inference import predict
from orchestrai.models.promotion import promote
from orchestrai.models.registry.deployment import deploy_champion
from orchestrai.models.registry.notify import told_of_rejection
from orchestrai.models.spec import ModelAssets
from orchestrai.models.training import train
from orchestrai.pipeline.engines import embedded
from orchestrai.pipeline.nodes import AssetNode, ModelNode, ViewNode
from orchestrai.pipeline.outcomes import published, with_outcomes
from orchestrai.pipeline.site import Site
from orchestrai.pipeline.table_sharing import shared
from orchestrai.pipeline.training_halt import inputs_current
from orchestrai.stage.context import RunContext


def run_view(site: Site, context: RunContext, node: ViewNode, partitions: Sequence[str]) -> StageReport:
    """Compute a feature table, then what is kept beside it: online rows and shared tables; raises OrchestraiError."""
    like = node.partitioned_like
    missing: tuple[PartitionOutcome, ...] = ()
    wanted: Sequence[str] | None = None
    if like is not None:
        wanted, missing = published(site.ledger, like.asset("restored"), like, partitions)
        if not wanted:
            return StageReport(node.asset, None, missing)
    inputs = [site.ledger.find(dataset.asset("restored")) for dataset in node.inputs.values()]
    size = sum(entry.size for found in inputs if found for entry in found.partitions.values())
    task = FeatureTask(
        node.asset,
        {table: dataset.asset("restored") for table, dataset in node.inputs.items()},
        node.grain_of_first,
        wanted,
        site.settings.home / "tails" / node.pipeline / node.view.name,
    )
    # a view in Python runs on this machine, whatever the settings choose for the others
    engine = embedded(site.settings) if node.view.python is not None else site.engine(node.view.spec.engine, size)
    report = compute(context, node.view, task, engine)
    if isinstance(node.view.spec, FeatureViewSpec):
        if node.view.spec.online and report.version is not None:
            done = update_online(site.ledger, node.view, asset=node.asset, path=site.online_path(node))
            facts = {**report.facts, "online_entities": done.entities, "online_version": done.version}
            report = replace(report, facts=facts)
        report = shared(site.ledger, report, node.view.spec.share, site.settings.home / "tables")
    return with_outcomes(report, missing)


def run_model(site: Site, node: AssetNode, model: ModelNode) -> StageReport:
    """Run a stage of a model; raises OrchestraiError."""
    spec = model.spec
    asset = {stage: model.asset(stage) for stage in ("training_set", "candidate", "evaluation", "champion", "predictions")}
    features = [view.asset for view in model.views]
    if node.stage == "training_set":
        current = inputs_current(site.ledger, model, site.clock())
        if current.closes_gate:
            return StageReport(node.asset, None, (PartitionOutcome("all", False, verdicts=(current,)),))
        return training_set(
            site.ledger,
            asset=asset["training_set"],
            features=[(view.view, view.asset) for view in model.views],
            label=spec.label,
            label_inputs={table: dataset.asset("restored") for table, dataset in model.label_inputs.items()},
            folder=model.folder,
            engine=site.engine(),
            verdicts=[current],
        )
    if node.stage == "candidate":
        return train(site.ledger, spec, training_set=asset["training_set"], asset=asset["candidate"])
    if node.stage == "evaluation":
        assets = ModelAssets(asset["training_set"], asset["candidate"], asset["evaluation"], asset["champion"])
        return evaluate(site.ledger, spec, assets)
    if node.stage == "champion":
        report = promote(
            site.ledger, spec, candidate=asset["candidate"], evaluation=asset["evaluation"], asset=asset["champion"]
        )
        return told_of_rejection(spec, report)
    if node.stage == "deployment":
        return deploy_champion(site.ledger, spec, champion=asset["champion"], asset=model.asset("deployment"))
    return predict(
        site.ledger,
        spec,
        champion=asset["champion"],
        features=features,
        known=PointInTime(site.ledger, embedded(site.settings)),
        asset=asset["predictions"],
    )
