"""What of a log is no longer needed, given the base backups that stay; and which snapshots of it newer ones have made superfluous."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrai.backup.wal.log_archive import Base, LogState, read_bases, read_log
from orchestrai.backup.wal.positions import floor
from orchestrai.core.canonical import JsonValue
from orchestrai.vault.lifecycle.retention import apply_retention, plan_dataset
from orchestrai.vault.spec import KeepSpec
from orchestrai.vault.vault import Vault

# each snapshot of a log holds all of it: a few are kept against a mistake in the newest
KEPT = KeepSpec(last=10, hourly=24)


@dataclass(frozen=True)
class Trimmed:
    """What went: partitions that no base needs, and snapshots."""

    dropped: tuple[str, ...]
    forgotten: int

    @property
    def facts(self) -> dict[str, JsonValue]:
        """For a report."""
        return {"log_partitions_dropped": len(self.dropped), "log_snapshots_forgotten": self.forgotten}


def needless(state: LogState, bases: Sequence[Base], window: timedelta, now: datetime) -> list[str]:
    """The partitions of a log that lead from no base of the window to now.

    The first base that counts is the newest from before the window, else the oldest; without a base everything is needed, since the
    first one may be on its way. An older base holds the log that it needs itself.
    """
    before = [base for base in bases if base.stopped <= now - window]
    first = before[-1] if before else bases[0] if bases else None
    if first is None:
        return []
    begin = floor(first.end, first.server.segment_bytes)
    newest = max(state.partitions, default="")
    needed = {
        name
        for name, pieces in state.partitions.items()
        if any((piece.timeline, piece.end) > (first.timeline, begin) for piece in pieces) or name == newest
    }
    # hours in which nothing was written hold marks alone
    return [name for name in state.partitions if name not in needed and (state.partitions[name] or name < min(needed))]


def trim_log(vault: Vault, base_dataset: str, log_dataset: str, window: timedelta) -> Trimmed:
    """Leave out of the log what is not needed, and forget the snapshots of it that newer ones hold. Idempotent; raises IntegrityError."""
    state = read_log(vault, log_dataset)
    if state.commit is None:
        return Trimmed((), 0)
    names = needless(state, read_bases(vault, base_dataset), window, vault.store_time())
    if names:
        vault.commit(log_dataset, {}, drop=names, source={"asset": log_dataset}, after=state.commit.seq)
    plan, _ = plan_dataset(vault, log_dataset, KEPT)
    return Trimmed(tuple(names), len(apply_retention(vault, plan, policy=KEPT.describe())))
