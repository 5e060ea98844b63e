"""What every subject that a `pipeline.yaml` declares has in common."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from orchestrai.stage.names import SubjectKind


class DeclaredSubject(ABC):
    """Base of declared subjects: named in a pipeline, declared in its `pipeline.yaml`, with asset keys under both names."""

    kind: ClassVar[SubjectKind]
    pipeline: str
    folder: Path

    @property
    @abstractmethod
    def name(self) -> str:
        """Its name in the pipeline."""

    @property
    def about(self) -> str:
        """What its declaration says of it, for people."""
        return ""

    @property
    def source_files(self) -> tuple[Path, ...]:
        """The files that declare it."""
        return (self.folder / "pipeline.yaml",)

    @property
    def prefix(self) -> str:
        """What its asset keys begin with: `<pipeline>/<name>`."""
        return f"{self.pipeline}/{self.name}"

    @property
    def live_asset(self) -> str:
        """The asset that its snapshots are of; empty where it may have changed since, so that the newest snapshot's age counts."""
        return ""
