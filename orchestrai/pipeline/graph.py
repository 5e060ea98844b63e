"""Declarations -> the asset graph, as plain values that any orchestrator could draw.

landing --> raw_events --> snapshot --> restored --> features --> training_set --> candidate --> evaluation --> champion --> predictions
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from orchestrai.contracts import CheckInfo, Contract, check_names
from orchestrai.contracts.calendar import Grain
from orchestrai.features import FeatureView, FeatureViewSpec
from orchestrai.ingest import LoadSpec
from orchestrai.pipeline.declarations import DatasetSpec, PipelineModelSpec, PipelineSpec
from orchestrai.pipeline.kept import DatabaseNode, HouseNode, ManagedNode
from orchestrai.vault import BackupSpec

Stage = Literal[
    "landing",
    "raw_events",
    "dead_letters",
    "snapshot",
    "restored",
    "drill",
    "features",
    "training_set",
    "candidate",
    "evaluation",
    "champion",
    "deployment",
    "predictions",
    "catalog",
    "warehouse",
    "feature_backup",
    "model_backup",
    "cold_copy",
    "dump",
    "recovery_point",
    "restore_test",
]

DESCRIPTIONS: dict[Stage, str] = {
    "landing": "Where data comes from: objects, a stream, a database or an API; orchestrai only reads here.",
    "raw_events": "Typed, contract-checked Parquet, one row per event, the original objects kept beside it. "
    "A partition that breaks its contract is never published.",
    "dead_letters": "Rows and objects that were refused, with reason and source offset; they can be replayed.",
    "snapshot": "The partition as committed to the vault: write-once, chained, signed. Its version equals the raw events'.",
    "restored": "Files written from vault bytes only, every hash checked on the way. Its version equals the snapshot's; "
    "everything downstream reads this and nothing else.",
    "drill": "The newest snapshot and a random one restored whole to scratch, every byte proven, and how long that took (RTO) and how "
    "much would be lost (RPO).",
    "features": "One row per entity and moment, computed from restored data, never from the future.",
    "training_set": "Labels joined to features as they were known at each moment.",
    "candidate": "The model just trained, with golden rows and what it learned from.",
    "evaluation": "The candidate scored on a later period it never saw, beside the champion and a plain baseline.",
    "champion": "The model that serves. It moves only when the evaluation earns it.",
    "deployment": "Where the champion is registered and served besides the lake: every declared registry and endpoint follows it.",
    "predictions": "Scores of the champion for the newest features.",
    "catalog": "What the pipeline holds: versions, snapshots, rows and bytes of every dataset, as backed up.",
    "warehouse": "The rows in a warehouse table, counted there; a table beside it names the version they are of.",
    "feature_backup": "The feature table in the vault: a snapshot of every partition, incremental, chained, signed. Its version equals "
    "the table's.",
    "model_backup": "Every version of the model in the vault, with its receipts, and which of them serves.",
    "cold_copy": "The vault's snapshots of this once more, in a cold tier and locked; tier and lock as the store itself told.",
    "dump": "A consistent dump of the database, with the rows of each table, in the vault.",
    "recovery_point": "A recovery point that AWS Backup made and copied, read back from the service.",
    "restore_test": "The newest recovery point restored to a new resource, looked at, and removed again.",
}


@dataclass(frozen=True)
class DatasetNode:
    """A declared dataset with its contract loaded; `pipeline` is the one that declares it."""

    pipeline: str
    spec: DatasetSpec
    contract: Contract
    folder: Path

    @property
    def prefix(self) -> str:
        """`<pipeline>/<dataset>`."""
        return f"{self.pipeline}/{self.spec.name}"

    def asset(self, stage: Stage) -> str:
        """The asset key of a stage."""
        return f"{self.prefix}/{stage}"


@dataclass(frozen=True)
class ViewNode:
    """A feature view, linted, with the datasets it reads (table name -> dataset)."""

    pipeline: str
    view: FeatureView
    inputs: dict[str, DatasetNode]
    backup: BackupSpec | None = None

    @property
    def prefix(self) -> str:
        """`<pipeline>/<view>`."""
        return f"{self.pipeline}/{self.view.name}"

    @property
    def asset(self) -> str:
        """The asset key of the feature table."""
        return f"{self.pipeline}/{self.view.name}/features"

    @property
    def partitioned_like(self) -> DatasetNode | None:
        """The dataset whose partitions a row-level view shares; None for an as-of view."""
        return next(iter(self.inputs.values())) if self.view.kind == "row" else None


@dataclass(frozen=True)
class ModelNode:
    """A model with the feature views and the label inputs it learns from."""

    pipeline: str
    spec: PipelineModelSpec
    views: tuple[ViewNode, ...]
    label_inputs: dict[str, DatasetNode]
    folder: Path

    @property
    def prefix(self) -> str:
        """`<pipeline>/<model>`."""
        return f"{self.pipeline}/{self.spec.name}"

    def asset(self, stage: Stage) -> str:
        """The asset key of a stage."""
        return f"{self.pipeline}/{self.spec.name}/{stage}"


@dataclass(frozen=True)
class LoadNode:
    """A warehouse table with what it is loaded from."""

    pipeline: str
    spec: LoadSpec
    source: DatasetNode | ViewNode | ModelNode

    @property
    def source_asset(self) -> str:
        """The asset whose newest version the table holds."""
        if isinstance(self.source, ViewNode):
            return self.source.asset
        return self.source.asset("restored" if isinstance(self.source, DatasetNode) else "predictions")

    @property
    def asset(self) -> str:
        """The asset key of the table."""
        return f"{self.pipeline}/{self.spec.name}/warehouse"

    @property
    def partitioned_like(self) -> DatasetNode | None:
        """The dataset whose partitions the table shares; None where it is loaded whole."""
        if isinstance(self.source, DatasetNode):
            return self.source if self.source.spec.partitions.grain != "all" else None
        return self.source.partitioned_like if isinstance(self.source, ViewNode) else None


@dataclass(frozen=True)
class Pipeline:
    """One loaded pipeline."""

    spec: PipelineSpec
    folder: Path
    datasets: tuple[DatasetNode, ...]
    views: tuple[ViewNode, ...]
    models: tuple[ModelNode, ...]
    loads: tuple[LoadNode, ...] = ()

    @property
    def name(self) -> str:
        """The pipeline's name, which is also its group in the UI."""
        return self.spec.pipeline


@dataclass(frozen=True)
class AssetNode:
    """One asset of the graph: what defs/ turns into a Dagster asset, and what the runtime runs."""

    asset: str
    stage: Stage
    pipeline: str
    owner: str
    description: str
    subject: DatasetNode | ViewNode | ModelNode | LoadNode | Pipeline | DatabaseNode | ManagedNode | HouseNode
    deps: tuple[str, ...] = ()
    checks: tuple[CheckInfo, ...] = ()
    grain: Grain = "all"
    source_files: tuple[Path, ...] = ()

    @property
    def executable(self) -> bool:
        """False for what is only seen: landing and dead letters."""
        return self.stage not in ("landing", "dead_letters")


VERSION_CHECK = CheckInfo("same_version", True, "The version equals that of the stage before, byte for byte.")
DRILL_CHECKS = (
    CheckInfo("proof", True, "Every byte and row of the drilled snapshots was restored and proven."),
    CheckInfo("rto", False, "The slowest restore took no longer than declared."),
    CheckInfo("rpo", False, "No more would be lost than declared."),
)


WAREHOUSE_CHECKS = (CheckInfo("row_count", True, "The table holds as many rows of each partition as the version has."),)


def asset_graph(pipelines: Sequence[Pipeline]) -> list[AssetNode]:
    """Every asset of every pipeline, upstream first."""
    nodes = [node for pipeline in pipelines for node in _pipeline_nodes(pipeline)]
    return nodes


def _pipeline_nodes(pipeline: Pipeline) -> Iterator[AssetNode]:
    owner = pipeline.spec.owner
    for dataset in pipeline.datasets:
        if dataset.pipeline == pipeline.name:
            yield from _dataset_nodes(dataset, owner)
    own = [dataset for dataset in pipeline.datasets if dataset.pipeline == pipeline.name]
    yield AssetNode(
        f"{pipeline.name}/catalog",
        "catalog",
        pipeline.name,
        owner,
        DESCRIPTIONS["catalog"],
        pipeline,
        deps=tuple(dataset.asset("snapshot") for dataset in own),
    )
    for view in pipeline.views:
        like = view.partitioned_like
        yield AssetNode(
            view.asset,
            "features",
            pipeline.name,
            owner,
            DESCRIPTIONS["features"],
            view,
            deps=tuple(node.asset("restored") for node in view.inputs.values()),
            checks=_feature_checks(view),
            grain=like.spec.partitions.grain if like else "all",
            source_files=(pipeline.folder / "pipeline.yaml", *_sql_files(view, pipeline.folder)),
        )
    for model in pipeline.models:
        yield from _model_nodes(model, owner)
    for load in pipeline.loads:
        like = load.partitioned_like
        yield AssetNode(
            load.asset,
            "warehouse",
            pipeline.name,
            owner,
            f"{DESCRIPTIONS['warehouse']}\n\nTable {load.spec.table}.",
            load,
            deps=(load.source_asset,),
            checks=WAREHOUSE_CHECKS,
            grain=like.spec.partitions.grain if like else "all",
            source_files=(pipeline.folder / "pipeline.yaml",),
        )


def _dataset_nodes(dataset: DatasetNode, owner: str) -> Iterator[AssetNode]:
    grain = dataset.spec.partitions.grain
    gates = tuple(check_names(dataset.contract))
    files = (dataset.folder / "pipeline.yaml", dataset.folder / dataset.spec.contract)
    about = dataset.spec.description

    def node(stage: Stage, deps: tuple[str, ...], checks: tuple[CheckInfo, ...] = ()) -> AssetNode:
        text = DESCRIPTIONS[stage] + (f"\n\n{about}" if about else "")
        return AssetNode(dataset.asset(stage), stage, dataset.pipeline, owner, text, dataset, deps, checks, grain, files)

    yield node("landing", ())
    yield node("raw_events", (dataset.asset("landing"),), gates)
    yield node("dead_letters", (dataset.asset("landing"),))
    yield node("snapshot", (dataset.asset("raw_events"),), (VERSION_CHECK,))
    yield node("restored", (dataset.asset("snapshot"),), (VERSION_CHECK, *gates))
    # a drill is of the whole dataset, however it is cut
    yield replace(node("drill", (dataset.asset("snapshot"),), DRILL_CHECKS), grain="all")


def _sql_files(view: ViewNode, folder: Path) -> tuple[Path, ...]:
    if view.view.python is not None:
        return (view.view.python.path,)
    path = folder / view.view.spec.sql if view.view.spec.sql.endswith(".sql") else None
    return (path,) if path else ()


def _feature_checks(node: ViewNode) -> tuple[CheckInfo, ...]:
    found = [
        CheckInfo("entity_not_null", True, "No row without its entity."),
        CheckInfo("unique_key", True, "One row per entity and moment: no join multiplied rows."),
    ]
    spec = node.view.spec
    if isinstance(spec, FeatureViewSpec):
        if spec.checks.null_rate:
            found.append(CheckInfo("null_rate", True, "Shares of nulls within their declared limits."))
        if spec.checks.ranges:
            found.append(CheckInfo("value_range", True, "Values within their declared ranges."))
        if spec.checks.coverage is not None:
            found.append(CheckInfo("coverage", False, "Enough of the entities in the input have features."))
        if spec.checks.freshness is not None:
            found.append(CheckInfo("freshness", False, "The newest features are young enough."))
    return tuple(found)


TRAINING_CHECKS = (
    CheckInfo("not_empty", True, "At least one label whose horizon is complete."),
    CheckInfo("inputs_current", True, "Every dataset it learns from has data as new as declared (halt_training_after)."),
)
CANDIDATE_CHECKS = (CheckInfo("identifier_features", False, "No feature looks like an identifier."),)
EVALUATION_CHECKS = (
    CheckInfo("promotion", False, "Whether the candidate would be promoted."),
    CheckInfo("leak_alarm", False, "A metric too good to be true means that the label leaked into the features."),
    CheckInfo("feature_drift", False, "Features against the champion's training set."),
    CheckInfo(
        "champion_unseen", False, "The champion was trained before the held-out rows began, so the comparison is fair."
    ),
)
PREDICTION_CHECKS = (CheckInfo("feature_drift", False, "What is scored against what the champion learned from."),)
BASELINE_CHECK = CheckInfo("beats_baseline", False, "The model beats the plain baseline.")
CHAMPION_CHECKS = (
    CheckInfo("promotion", True, "The candidate meets the declared rule and beats the champion."),
    CheckInfo("evaluation_current", True, "The evaluation is of exactly this candidate and training set."),
    CheckInfo("golden_rows", True, "The model scores its golden rows as it did at training."),
)
DEPLOYMENT_CHECKS = (CheckInfo("registered", True, "Every declared registry and endpoint holds the champion."),)


def _candidate_checks(model: ModelNode) -> tuple[CheckInfo, ...]:
    found = list(CANDIDATE_CHECKS)
    if model.spec.sla is not None:
        found.append(CheckInfo("training_time", False, "Training took no longer than declared."))
    if model.spec.search is not None:
        found.append(
            CheckInfo("search_complete", False, "Every trial of the search ran, so training again chooses the same.")
        )
    return tuple(found)


def _model_nodes(model: ModelNode, owner: str) -> Iterator[AssetNode]:
    def node(stage: Stage, deps: tuple[str, ...], checks: tuple[CheckInfo, ...] = ()) -> AssetNode:
        files = (model.folder / "pipeline.yaml",)
        return AssetNode(
            model.asset(stage), stage, model.pipeline, owner, DESCRIPTIONS[stage], model, deps, checks, "all", files
        )

    features = tuple(view.asset for view in model.views)
    labels = tuple(dataset.asset("restored") for dataset in model.label_inputs.values())
    training, candidate, evaluation, champion = (
        model.asset(stage) for stage in ("training_set", "candidate", "evaluation", "champion")
    )
    yield node("training_set", (*features, *labels), TRAINING_CHECKS)
    yield node("candidate", (training,), _candidate_checks(model))
    judged = (*EVALUATION_CHECKS, BASELINE_CHECK) if model.spec.baseline else EVALUATION_CHECKS
    yield node("evaluation", (candidate, training), judged)
    yield node("champion", (candidate, evaluation), CHAMPION_CHECKS)
    if model.spec.deployed:
        yield node("deployment", (champion,), DEPLOYMENT_CHECKS)
    yield node("predictions", (champion, *features), PREDICTION_CHECKS)
