"""Subjects of the graph that are kept and are no events: databases, managed resources, and what Dagster and the project are."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from orchestrai.backup.spec import NIGHTLY, DatabaseSpec, ManagedBackupSpec
from orchestrai.stage.declared_subject import SpecifiedSubject
from orchestrai.stage.names import SubjectKind
from orchestrai.vault.spec import BackupSpec

# the group of what keeps the house itself; no pipeline may be called so
HOUSE = "orchestrai"
HOUSE_TEXT = {
    "instance": "Dagster's own database: runs, events, ticks. Restored, it is what the UI shows; lost, no lineage is.",
    "definitions": "The files of every deployed pipeline: declarations, contracts, SQL.",
}


@dataclass(frozen=True)
class DatabaseNode(SpecifiedSubject):
    """A declared database."""

    kind: ClassVar[SubjectKind] = "database"
    pipeline: str
    spec: DatabaseSpec
    folder: Path

    @property
    def follows_log(self) -> bool:
        """Whether it is kept by base backups and its write-ahead log."""
        return self.spec.method == "wal"

    @property
    def backup_asset(self) -> str:
        """The asset of its snapshots."""
        return f"{self.prefix}/{'base' if self.follows_log else 'dump'}"

    @property
    def kept_as(self) -> str:
        """The dataset's name in the vault."""
        return self.backup_asset

    @property
    def log_kept_as(self) -> str:
        """The name of its write-ahead log in the vault, and of that log's asset."""
        return f"{self.prefix}/wal"

    @property
    def reference(self) -> str:
        """Where its URL lies."""
        return f"env://{self.spec.dsn_env}"

    @property
    def backup(self) -> BackupSpec:
        """How it is kept."""
        return self.spec


@dataclass(frozen=True)
class ManagedNode(SpecifiedSubject):
    """A resource kept by AWS Backup."""

    kind: ClassVar[SubjectKind] = "managed"
    pipeline: str
    spec: ManagedBackupSpec
    folder: Path
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class HouseNode:
    """Dagster's own database (`instance`), or the deployed pipelines' files (`definitions`)."""

    kind: Literal["instance", "definitions"]
    backup: BackupSpec = NIGHTLY
    pipeline: str = HOUSE
    source_files: tuple[Path, ...] = ()

    @property
    def about(self) -> str:
        """What it is, for people."""
        return HOUSE_TEXT[self.kind]

    @property
    def backup_asset(self) -> str:
        """The asset of its snapshots."""
        return f"{self.prefix}/{'dump' if self.kind == 'instance' else 'snapshot'}"

    @property
    def live_asset(self) -> str:
        """None: it may have changed since it was kept, so the newest snapshot's age is what would be lost."""
        return ""

    @property
    def prefix(self) -> str:
        """`orchestrai/<kind>`."""
        return f"{HOUSE}/{self.kind}"

    @property
    def kept_as(self) -> str:
        """The dataset's name in the vault."""
        return f"{self.prefix}/dump" if self.kind == "instance" else f"{self.prefix}/files"


@dataclass(frozen=True)
class VaultNode:
    """The vault as a whole: what holds the bytes of everything that is kept."""

    pipeline: str = HOUSE
    after: tuple[str, ...] = ()
    backups: tuple[BackupSpec, ...] = ()
    about: str = ""
    source_files: tuple[Path, ...] = ()

    @property
    def kind(self) -> SubjectKind:
        """The vault."""
        return "vault"

    @property
    def prefix(self) -> str:
        """`orchestrai/vault`."""
        return f"{HOUSE}/vault"


INSTANCE, DEFINITIONS = HouseNode("instance"), HouseNode("definitions")
