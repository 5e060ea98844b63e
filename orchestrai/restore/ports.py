"""What restore asks of others: a dataset to restore, whatever is drilled, and how its restored files are proven."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from orchestrai.core.verdict import Verdict
from orchestrai.ingest.ports import LandedDataset
from orchestrai.ledger.report import StageReport
from orchestrai.stage.stage import Subject

if TYPE_CHECKING:
    from orchestrai.restore.drill import Prove
    from orchestrai.vault.spec import BackupSpec


class RestoredDataset(LandedDataset, Protocol):
    """A dataset and the formats in which its restored files are shared."""

    @property
    def share(self) -> tuple[Literal["delta", "iceberg"], ...]:
        """Tables for other tools."""
        ...


class Drilled(Subject, Protocol):
    """What has snapshots in the vault."""

    @property
    def kept_as(self) -> str:
        """Its dataset's name in the vault."""
        ...

    @property
    def backup(self) -> "BackupSpec | None":
        """How it is kept."""
        ...

    @property
    def backup_asset(self) -> str:
        """The asset of its snapshots."""
        ...

    @property
    def live_asset(self) -> str:
        """The asset of which nothing is lost while its version is the newest snapshot's; empty where there is none."""
        ...


@dataclass(frozen=True)
class Proofs:
    """How a drill opens what it restored, by what it is of."""

    of: Callable[[Drilled], "Prove"]


@dataclass(frozen=True)
class RecoveryPoints:
    """What of a drilled subject would be lost besides what is published of it, as the check `rpo`; None where nothing lands for it."""

    of: Callable[[Drilled], Verdict | None]


@dataclass(frozen=True)
class Sharing:
    """How restored files are registered as tables for other tools."""

    register: Callable[[StageReport, Sequence[Literal["delta", "iceberg"]]], StageReport]
