"""A declared dataset, with its contract."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from orchestrai.contracts.contract import Contract
from orchestrai.core.time.calendar import Grain
from orchestrai.features.views.input_table import declared_table
from orchestrai.ingest.spec import SourceSpec
from orchestrai.pipeline.declarations import DatasetSpec
from orchestrai.stage.declared_subject import SpecifiedSubject
from orchestrai.stage.names import StageName, SubjectKind
from orchestrai.vault.spec import BackupSpec

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class DatasetNode(SpecifiedSubject):
    """A declared dataset with its contract loaded; `pipeline` is the one that declares it."""

    kind: ClassVar[SubjectKind] = "dataset"
    pipeline: str
    spec: DatasetSpec
    contract: Contract
    folder: Path

    @property
    def former_names(self) -> tuple[str, ...]:
        """The names that it had before, oldest first."""
        return self.spec.renamed_from

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
