"""A feature view, with the datasets that it reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from orchestrai.core.time.calendar import Grain
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.view import FeatureView
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.stage.declared_subject import DeclaredSubject
from orchestrai.stage.names import SubjectKind
from orchestrai.vault.spec import BackupSpec

if TYPE_CHECKING:
    import pyarrow as pa


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
