"""What every subject that a `pipeline.yaml` declares has in common."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Protocol

from orchestrai.core.former_names import first_name
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
    def former_names(self) -> tuple[str, ...]:
        """The names that it had before, oldest first."""
        return ()

    @property
    def former_refs(self) -> tuple[str, ...]:
        """The same, as people wrote them: `<pipeline>/<name>`."""
        return tuple(f"{self.pipeline}/{name}" for name in self.former_names)

    @property
    def shown(self) -> str:
        """What people call it: `<pipeline>/<name>`."""
        return f"{self.pipeline}/{self.name}"

    @property
    def renamed(self) -> str:
        """Of what was renamed, a sentence on its name and its key."""
        if not self.former_names:
            return ""
        return f"Called `{self.shown}` now. Its assets keep the key of the name that it was given first, `{self.prefix}`."

    @property
    def prefix(self) -> str:
        """What its asset keys begin with, in ledger, vault and Dagster: `<pipeline>/<the name that it was given first>`."""
        return f"{self.pipeline}/{first_name(self.name, self.former_names)}"

    @property
    def live_asset(self) -> str:
        """The asset that its snapshots are of; empty where it may have changed since, so that the newest snapshot's age counts."""
        return ""


class Described(Protocol):
    """A declaration that says how its subject is called and what it is."""

    @property
    def name(self) -> str:
        """Its name in the pipeline."""

    @property
    def description(self) -> str:
        """What it is, for people."""


class SpecifiedSubject(DeclaredSubject):
    """A declared subject that has its name and its description in one declaration of its own."""

    spec: Described

    @property
    def name(self) -> str:
        """Its name in the pipeline."""
        return self.spec.name

    @property
    def about(self) -> str:
        """What its declaration says of it, for people."""
        return self.spec.description
