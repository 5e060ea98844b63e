"""Retention: which snapshots to keep, a pure function of their times and tags.

Each rule keeps the newest snapshot of a bucket (hour, day, ISO week, month, year, in UTC) for its newest N buckets that have any, as
restic and borg do. A snapshot that any rule keeps is kept, and the newest of a dataset always is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from orchestrai.core.time import format_duration
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.lifecycle.hold_records import Hold, held_by
from orchestrai.vault.spec import KeepSpec

if TYPE_CHECKING:
    from orchestrai.vault.vault import Vault

_BUCKETS: dict[str, Callable[[datetime], str]] = {
    "hourly": lambda moment: moment.strftime("%Y-%m-%d %H"),
    "daily": lambda moment: moment.strftime("%Y-%m-%d"),
    "weekly": lambda moment: moment.strftime("%G-W%V"),
    "monthly": lambda moment: moment.strftime("%Y-%m"),
    "yearly": lambda moment: moment.strftime("%Y"),
}


@dataclass(frozen=True)
class Retained:
    """One snapshot and why it stays; no reason means that it goes."""

    snapshot: SnapshotCommit
    reasons: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """True when any rule keeps it."""
        return bool(self.reasons)


@dataclass(frozen=True)
class RetentionPlan:
    """What a policy does to one dataset's snapshots, newest first."""

    dataset: str
    decisions: tuple[Retained, ...]

    @property
    def forget(self) -> tuple[SnapshotCommit, ...]:
        """The snapshots that go."""
        return tuple(decision.snapshot for decision in self.decisions if not decision.kept)


def plan_retention(
    snapshots: Sequence[SnapshotCommit], keep: KeepSpec, now: datetime, held: Mapping[tuple[str, int], Hold] | None = None
) -> RetentionPlan:
    """Decide on each snapshot of one dataset; a policy without rules keeps everything, and what is `held` stays."""
    newest_first = sorted(snapshots, key=lambda found: (found.committed, found.seq), reverse=True)
    dataset = newest_first[0].dataset if newest_first else ""
    reasons: dict[int, list[str]] = {found.seq: [] for found in newest_first}
    if keep.keeps_all:
        for found in newest_first:
            reasons[found.seq].append("no policy")
    elif newest_first:
        reasons[newest_first[0].seq].append("newest")
    for number, found in enumerate(newest_first[: keep.last], 1):
        reasons[found.seq].append(f"last {number}")
    for rule, bucket in _BUCKETS.items():
        taken: set[str] = set()
        for found in newest_first:
            name = bucket(found.committed)
            if name not in taken and len(taken) < getattr(keep, rule):
                taken.add(name)
                reasons[found.seq].append(f"{rule} {name}")
    for found in newest_first:
        if keep.within and now - found.committed <= keep.within:
            reasons[found.seq].append(f"within {format_duration(keep.within)}")
        reasons[found.seq] += [f"tagged {tag}" for tag in found.tags if tag in keep.tagged]
        reasons[found.seq] += [f"legal hold: {hold.reason}" for hold in [held_by(held or {}, found)] if hold is not None]
    return RetentionPlan(dataset, tuple(Retained(found, tuple(reasons[found.seq])) for found in newest_first))


def apply_retention(vault: "Vault", plan: RetentionPlan) -> tuple[str, ...]:
    """Forget what the plan lets go; returns the ids. Bytes go by prune. Idempotent."""
    for found in plan.forget:
        vault.forget_record(found.dataset, found.seq, reason="retention")
    return tuple(found.snapshot_id for found in plan.forget)
