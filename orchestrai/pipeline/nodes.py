"""The nodes of the asset graph as plain values: declarations with what they refer to."""

from dataclasses import dataclass
from pathlib import Path

from orchestrai.backup.subjects import DatabaseNode, HouseNode, ManagedNode, VaultNode
from orchestrai.contracts.checks import CheckInfo
from orchestrai.contracts.contract import Contract
from orchestrai.core.calendar import Grain
from orchestrai.features.views.view import FeatureView
from orchestrai.pipeline.declarations import DatasetSpec, PipelineModelSpec, PipelineSpec
from orchestrai.pipeline.retry_policy import RetryPolicy
from orchestrai.pipeline.stages import Stage
from orchestrai.vault.spec import BackupSpec
from orchestrai.warehouse.spec import LoadSpec


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

    @property
    def grain_of_first(self) -> Grain:
        """How the first input is cut by time: which partitions a moment reads follows from it."""
        return next(iter(self.inputs.values())).spec.partitions.grain


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
    subject: DatasetNode | ViewNode | ModelNode | LoadNode | Pipeline | DatabaseNode | ManagedNode | HouseNode | VaultNode
    deps: tuple[str, ...] = ()
    checks: tuple[CheckInfo, ...] = ()
    grain: Grain = "all"
    source_files: tuple[Path, ...] = ()

    @property
    def executable(self) -> bool:
        """False for what is only seen: landing and dead letters."""
        return self.stage not in ("landing", "dead_letters")

    @property
    def retries(self) -> RetryPolicy:
        """How its step is tried again: as its dataset or model declares, a view as its first dataset, a load as what it loads."""
        subject = self.subject.source if isinstance(self.subject, LoadNode) else self.subject
        if isinstance(subject, ViewNode):
            subject = next(iter(subject.inputs.values()))
        return subject.spec.retries if isinstance(subject, DatasetNode | ModelNode) else RetryPolicy()
