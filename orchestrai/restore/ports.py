"""What restore asks of others: whatever is drilled, and how its restored files are proven."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from orchestrai.core.verdict import Verdict
from orchestrai.stage.stage import Subject

if TYPE_CHECKING:
    from orchestrai.restore.drill import DrillReport, Prove
    from orchestrai.stage.context import RunContext
    from orchestrai.vault.spec import BackupSpec


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
class Drills:
    """How a subject is drilled that is more than its newest snapshot; None for what the ordinary drill proves."""

    of: Callable[[Drilled], "Callable[[RunContext], DrillReport] | None"]


@dataclass(frozen=True)
class RecoveryPoints:
    """What of a drilled subject would be lost besides what is published of it, as the check `rpo`; None where nothing lands for it."""

    of: Callable[[Drilled], Verdict | None]
