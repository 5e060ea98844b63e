"""The nodes of the asset graph as plain values: declarations with what they refer to."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from orchestrai.backup.subjects import DatabaseNode, ManagedNode
from orchestrai.contracts.contract import Contract
from orchestrai.core.time.calendar import Grain
from orchestrai.features.spec import FeatureViewSpec, IncompleteRows, LabelSpec, SpineSpec
from orchestrai.features.views.input_table import declared_table
from orchestrai.features.views.view import FeatureView
from orchestrai.ingest.spec import SourceSpec
from orchestrai.pipeline.declarations import DatasetSpec, PipelineModelSpec, PipelineSpec
from orchestrai.stage.declared_subject import DeclaredSubject
from orchestrai.stage.names import StageName, SubjectKind
from orchestrai.stage.retry_policy import RetryPolicy
from orchestrai.vault.spec import BackupSpec
from orchestrai.warehouse.spec import LoadSpec

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class DatasetNode(DeclaredSubject):
    """A declared dataset with its contract loaded; `pipeline` is the one that declares it."""

    kind: ClassVar[SubjectKind] = "dataset"
    pipeline: str
    spec: DatasetSpec
    contract: Contract
    folder: Path

    @property
    def name(self) -> str:
        """Its name in the pipeline."""
        return self.spec.name

    @property
    def former_names(self) -> tuple[str, ...]:
        """The names that it had before, oldest first."""
        return self.spec.renamed_from

    @property
    def about(self) -> str:
        """What its declaration says of it, for people."""
        return self.spec.description

    @property
    def source_files(self) -> tuple[Path, ...]:
        """The files that declare it."""
        return (self.folder / "pipeline.yaml", self.folder / self.spec.contract)

    @property
    def source(self) -> SourceSpec:
        """Where its data lands."""
        return self.spec.source

    @property
    def grain(self) -> Grain:
        """How it is cut by time."""
        return self.spec.partitions.grain

    @property
    def positioned(self) -> bool:
        """Whether one reading of its source feeds whatever partitions it finds."""
        return self.spec.source.positioned

    @property
    def backup(self) -> BackupSpec:
        """How it is kept."""
        return self.spec.backup

    @property
    def share(self) -> tuple[Literal["delta", "iceberg"], ...]:
        """Tables for other tools."""
        return self.spec.share

    @property
    def halt_training_after(self) -> timedelta | None:
        """How long ago the newest restored partition may have ended."""
        return self.spec.halt_training_after

    @property
    def halt_training_behind(self) -> timedelta | None:
        """How long other datasets of a model may go on after it."""
        return self.spec.halt_training_behind

    @property
    def table_schema(self) -> "pa.Schema":
        """Its declared columns, with what views are judged by."""
        return declared_table(self.contract, self.former_names)

    @property
    def kept_as(self) -> str:
        """Its dataset's name in the vault."""
        return self.asset("raw_events")

    @property
    def backup_asset(self) -> str:
        """The asset of its snapshots."""
        return self.asset("snapshot")

    @property
    def live_asset(self) -> str:
        """The asset that its snapshots are of; empty where there is none."""
        return self.asset("raw_events")

    @property
    def loadable(self) -> str:
        """What a warehouse loads of it."""
        return self.asset("restored")

    @property
    def partitioned_like(self) -> "DatasetNode | None":
        """Itself where it is cut by time."""
        return self if self.grain != "all" else None

    @property
    def gates(self) -> tuple[str, ...]:
        """Its assets that hold back what fails their checks."""
        from orchestrai.pipeline.stage_registry import gates  # the registry knows pipelines, for the catalog

        return tuple(f"{self.prefix}/{name}" for name in gates())

    def asset(self, stage: StageName) -> str:
        """The asset key of a stage."""
        return f"{self.prefix}/{stage}"


@dataclass(frozen=True)
class ViewNode(DeclaredSubject):
    """A feature view, linted, with the datasets it reads (table name -> dataset)."""

    kind: ClassVar[SubjectKind] = "view"
    pipeline: str
    view: FeatureView
    inputs: dict[str, DatasetNode]
    folder: Path
    backup: BackupSpec | None = None

    @property
    def name(self) -> str:
        """Its name in the pipeline."""
        return self.declared.name

    @property
    def declared(self) -> FeatureViewSpec:
        """Its declaration."""
        assert isinstance(self.view.spec, FeatureViewSpec)
        return self.view.spec

    @property
    def former_names(self) -> tuple[str, ...]:
        """The names that it had before, oldest first."""
        return self.declared.renamed_from

    @property
    def source_files(self) -> tuple[Path, ...]:
        """The files that declare it."""
        return (self.folder / "pipeline.yaml", *self._text)

    @property
    def loadable(self) -> str:
        """What a warehouse loads of it."""
        return self.asset

    @property
    def table_schema(self) -> "pa.Schema":
        """The columns of its table."""
        return self.view.schema

    @property
    def kept_as(self) -> str:
        """Its dataset's name in the vault."""
        return self.asset

    @property
    def backup_asset(self) -> str:
        """The asset of its snapshots."""
        return f"{self.prefix}/feature_backup"

    @property
    def live_asset(self) -> str:
        """The asset that its snapshots are of; empty where there is none."""
        return self.asset

    @property
    def _text(self) -> tuple[Path, ...]:
        if self.view.python is not None:
            return (self.view.python.path,)
        return (self.folder / self.view.spec.sql,) if self.view.spec.sql.endswith(".sql") else ()

    @property
    def asset(self) -> str:
        """The asset key of the feature table."""
        return f"{self.prefix}/features"

    @property
    def partitioned_like(self) -> DatasetNode | None:
        """The dataset whose partitions a row-level view shares; None for an as-of view."""
        return next(iter(self.inputs.values())) if self.view.kind == "row" else None

    @property
    def grain_of_first(self) -> Grain:
        """How the first input is cut by time: which partitions a moment reads follows from it."""
        return next(iter(self.inputs.values())).spec.partitions.grain


@dataclass(frozen=True)
class ModelNode(DeclaredSubject):
    """A model with the feature views and the label inputs it learns from."""

    kind: ClassVar[SubjectKind] = "model"
    pipeline: str
    spec: PipelineModelSpec
    views: tuple[ViewNode, ...]
    label_inputs: dict[str, DatasetNode]
    folder: Path

    @property
    def name(self) -> str:
        """Its name in the pipeline."""
        return self.spec.name

    @property
    def former_names(self) -> tuple[str, ...]:
        """The names that it had before, oldest first."""
        return self.spec.renamed_from

    @property
    def loadable(self) -> str:
        """What a warehouse loads of it."""
        return self.asset("predictions")

    @property
    def partitioned_like(self) -> DatasetNode | None:
        """None: its predictions are of the newest moment."""
        return None

    @property
    def label(self) -> LabelSpec | None:
        """What it learns, computed from its inputs; None where a spine brings it."""
        return self.spec.label

    @property
    def spine(self) -> SpineSpec | None:
        """The rows that somebody brings, with their label."""
        return self.spec.spine

    @property
    def incomplete(self) -> IncompleteRows:
        """What becomes of rows whose windows lack something."""
        return self.spec.incomplete

    @property
    def backup(self) -> BackupSpec | None:
        """How its versions are kept."""
        return self.spec.backup

    @property
    def kept_as(self) -> str:
        """Its dataset's name in the vault."""
        return f"{self.prefix}/registry"

    @property
    def backup_asset(self) -> str:
        """The asset of its snapshots."""
        return f"{self.prefix}/model_backup"

    def asset(self, stage: StageName) -> str:
        """The asset key of a stage."""
        return f"{self.prefix}/{stage}"


@dataclass(frozen=True)
class LoadNode(DeclaredSubject):
    """A warehouse table with what it is loaded from."""

    kind: ClassVar[SubjectKind] = "load"
    pipeline: str
    spec: LoadSpec
    source: DatasetNode | ViewNode | ModelNode
    folder: Path

    @property
    def name(self) -> str:
        """Its name in the pipeline."""
        return self.spec.name

    @property
    def about(self) -> str:
        """What its declaration says of it, for people."""
        return f"Table {self.spec.table}."

    @property
    def source_asset(self) -> str:
        """The asset whose newest version the table holds."""
        return self.source.loadable

    @property
    def contract(self) -> Contract | None:
        """The contract of the dataset that is loaded; None for what has none."""
        return self.source.contract if isinstance(self.source, DatasetNode) else None

    @property
    def asset(self) -> str:
        """The asset key of the table."""
        return f"{self.prefix}/warehouse"

    @property
    def partitioned_like(self) -> DatasetNode | None:
        """The dataset whose partitions the table shares; None where it is loaded whole."""
        return self.source.partitioned_like


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

    @property
    def kind(self) -> SubjectKind:
        """A pipeline as a whole."""
        return "pipeline"

    @property
    def pipeline(self) -> str:
        """Its own group."""
        return self.name

    @property
    def prefix(self) -> str:
        """Its name."""
        return self.name

    @property
    def about(self) -> str:
        """Nothing beyond what its catalog says."""
        return ""

    @property
    def source_files(self) -> tuple[Path, ...]:
        """None: what it holds is declared elsewhere."""
        return ()

    @property
    def subjects(self) -> tuple[DatasetNode | ViewNode | ModelNode | LoadNode | DatabaseNode | ManagedNode, ...]:
        """Everything that it declares itself, upstream first."""
        own = [dataset for dataset in self.datasets if dataset.pipeline == self.name]
        databases = [DatabaseNode(self.name, spec, self.folder) for spec in self.spec.databases]
        managed = [ManagedNode(self.name, spec, self.folder, self._after(spec.after)) for spec in self.spec.managed_backups]
        return (*own, *self.views, *self.models, *self.loads, *databases, *managed)

    def _after(self, name: str | None) -> tuple[str, ...]:
        """The asset that a managed backup comes after."""
        snapshots = [dataset.asset("snapshot") for dataset in self.datasets if dataset.spec.name == name]
        return (*snapshots, *(model.asset("champion") for model in self.models if model.spec.name == name))


def retries_of(subject: object) -> RetryPolicy:
    """How a step is tried again: as its dataset or model declares, a view as its first dataset, a load as what it loads."""
    subject = subject.source if isinstance(subject, LoadNode) else subject
    if isinstance(subject, ViewNode):
        subject = next(iter(subject.inputs.values()))
    return subject.spec.retries if isinstance(subject, DatasetNode | ModelNode) else RetryPolicy()
