"""What a format has to do to follow a dataset: one protocol behind Iceberg and Delta."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrai.warehouse.tables.table_version import Change, TableVersion


@dataclass(frozen=True)
class Snapshot:
    """One snapshot of a table and the version that it is; None of one that somebody else made."""

    number: int
    version: TableVersion | None


@dataclass(frozen=True)
class Gone:
    """The snapshots that may stay no longer: those that name what is recalled, and those that retention does not keep."""

    recalled: frozenset[int] = frozenset()
    unkept: frozenset[int] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.recalled or self.unkept)


class SharedTable(Protocol):
    """A table that versions are committed to; `open` comes first, and whoever commits after another did raises ConcurrentCommit."""

    @property
    def shown(self) -> str:
        """What it is called, or where it lies."""
        ...

    def open(self) -> Sequence[Snapshot]:
        """Its snapshots as they are now, the current one last; none where there is no table. Those before it may be left out."""
        ...

    def history(self) -> Sequence[Snapshot]:
        """All its snapshots, oldest first, the current one last."""
        ...

    def commit(self, change: Change) -> int:
        """Make a version the current snapshot; the rows that the table then has."""
        ...

    def expire(self, gone: Gone) -> int:
        """Take snapshots out, never the current one; how many went."""
        ...

    def close(self) -> None:
        """Let go what is open."""
        ...
