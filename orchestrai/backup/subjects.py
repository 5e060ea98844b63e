"""Subjects of the graph that are kept and are no events: databases, managed resources, and what Dagster and the project are."""

from dataclasses import dataclass
from typing import Literal

from orchestrai.backup.spec import NIGHTLY, DatabaseSpec, ManagedBackupSpec
from orchestrai.vault.spec import BackupSpec

# the group of what keeps the house itself; no pipeline may be called so
HOUSE = "orchestrai"


@dataclass(frozen=True)
class DatabaseNode:
    """A declared database."""

    pipeline: str
    spec: DatabaseSpec

    @property
    def prefix(self) -> str:
        """`<pipeline>/<database>`."""
        return f"{self.pipeline}/{self.spec.name}"

    @property
    def kept_as(self) -> str:
        """The dataset's name in the vault."""
        return f"{self.prefix}/dump"

    @property
    def backup(self) -> BackupSpec:
        """How it is kept."""
        return self.spec


@dataclass(frozen=True)
class ManagedNode:
    """A resource kept by AWS Backup."""

    pipeline: str
    spec: ManagedBackupSpec

    @property
    def prefix(self) -> str:
        """`<pipeline>/<name>`."""
        return f"{self.pipeline}/{self.spec.name}"


@dataclass(frozen=True)
class HouseNode:
    """Dagster's own database (`instance`), or the deployed pipelines' files (`definitions`)."""

    kind: Literal["instance", "definitions"]
    backup: BackupSpec = NIGHTLY
    pipeline: str = HOUSE

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

    @property
    def prefix(self) -> str:
        """`orchestrai/vault`."""
        return f"{HOUSE}/vault"


INSTANCE, DEFINITIONS = HouseNode("instance"), HouseNode("definitions")
