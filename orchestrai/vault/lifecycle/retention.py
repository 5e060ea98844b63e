"""Retention: which snapshots to keep, a pure function of their times and tags, and of what others need them for.

Each rule keeps the newest snapshot of a bucket (hour, day, ISO week, month, year, in UTC) for its newest N buckets that have any, as
restic and borg do. A snapshot that any rule keeps is kept, and the newest of a dataset always is. What no rule keeps stays
nevertheless where it is the last to hold a partition that somebody needs, and while a later snapshot is unusual and nobody said it is well.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from orchestrai.core.time.duration_cron import format_duration
from orchestrai.errors import ApprovalNeeded
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.lifecycle.hold_records import Hold, held_by, holds
from orchestrai.vault.spec import KeepSpec

if TYPE_CHECKING:
    from orchestrai.vault.vault import Vault

# how the tombstones of retention begin, those of a person do not
REASON = "retention"
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


@dataclass(frozen=True)
class PartitionUse:
    """Who must be able to get which partitions back, each at one of these roots."""

    who: str
    roots: Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class Coverage:
    """Why snapshots that no rule keeps stay, by their number, and what no snapshot holds any more, one line per user."""

    needed: Mapping[int, tuple[str, ...]]
    missing: tuple[str, ...] = ()


def plan_retention(
    snapshots: Sequence[SnapshotCommit],
    keep: KeepSpec,
    now: datetime,
    held: Mapping[tuple[str, int], Hold] | None = None,
    needed: Mapping[int, Sequence[str]] | None = None,
) -> RetentionPlan:
    """Decide on each snapshot of one dataset; a policy without rules keeps everything.

    What is `held` stays, and so does what is `needed` (number of a snapshot to reasons), whatever the rules say.
    """
    newest_first = sorted(snapshots, key=lambda snapshot: (snapshot.committed, snapshot.seq), reverse=True)
    dataset = newest_first[0].dataset if newest_first else ""
    by_rules = reasons_by_rules([snapshot.committed for snapshot in newest_first], keep, now)
    reasons = {snapshot.seq: found for snapshot, found in zip(newest_first, by_rules, strict=True)}
    for snapshot in newest_first:
        reasons[snapshot.seq] += [f"tagged {tag}" for tag in snapshot.tags if tag in keep.tagged]
        reasons[snapshot.seq] += [
            f"legal hold: {hold.reason}" for hold in [held_by(held or {}, snapshot)] if hold is not None
        ]
        reasons[snapshot.seq] += (needed or {}).get(snapshot.seq, ())
    return RetentionPlan(dataset, tuple(Retained(snapshot, tuple(reasons[snapshot.seq])) for snapshot in newest_first))


def reasons_by_rules(moments: Sequence[datetime], keep: KeepSpec, now: datetime) -> list[list[str]]:
    """Why the rules of a policy keep what was committed at some moments, newest first; no reason where none does."""
    reasons: list[list[str]] = [["no policy"] if keep.keeps_all else [] for _ in moments]
    if moments and not keep.keeps_all:
        reasons[0].append("newest")
    for number, found in enumerate(reasons[: keep.last], 1):
        found.append(f"last {number}")
    for rule, bucket in _BUCKETS.items():
        taken: set[str] = set()
        for moment, found in zip(moments, reasons, strict=True):
            name = bucket(moment)
            if name not in taken and len(taken) < getattr(keep, rule):
                taken.add(name)
                found.append(f"{rule} {name}")
    for moment, found in zip(moments, reasons, strict=True):
        if keep.within and now - moment <= keep.within:
            found.append(f"within {format_duration(keep.within)}")
    return reasons


def cover_uses(
    plan: RetentionPlan, uses: Sequence[PartitionUse], roots_of: Callable[[SnapshotCommit], Mapping[str, str]]
) -> Coverage:
    """Which snapshots of those that would go are the newest to hold what somebody needs.

    `roots_of` gives the partition roots of a snapshot; it is asked only until all is found, for those that stay first.
    """
    wanted: dict[tuple[str, str], list[str]] = {}
    for use in uses:
        for partition, roots in use.roots.items():
            for root in roots:
                wanted.setdefault((partition, root), []).append(use.who)
    needed: dict[int, tuple[str, ...]] = {}
    for decision in sorted(plan.decisions, key=lambda decision: not decision.kept):
        if not wanted:
            break
        held = wanted.keys() & roots_of(decision.snapshot).items()
        who = {name for place in held for name in wanted.pop(place)}
        if who and not decision.kept:
            needed[decision.snapshot.seq] = tuple(sorted(who))
    lost: dict[str, list[str]] = {}
    for (partition, _), names in wanted.items():
        for name in names:
            lost.setdefault(name, []).append(partition)
    return Coverage(needed, tuple(f"{who}: {min(keys)} and {len(keys) - 1} more" for who, keys in sorted(lost.items())))


def plan_dataset(
    vault: "Vault", dataset: str, keep: KeepSpec, uses: Sequence[PartitionUse] = ()
) -> tuple[RetentionPlan, Coverage]:
    """The plan for a dataset as the vault is now, by the store's clock; changes nothing. Raises IntegrityError for damaged records."""
    from orchestrai.vault.change.unusual_change import guarded

    now, held = vault.store_time(), holds(vault.store, vault.keyring, vault.identity())
    snapshots = vault.snapshots(dataset)
    stays: dict[int, tuple[str, ...]] = guarded(vault, snapshots)
    by_rules = plan_retention(snapshots, keep, now, held, stays)
    coverage = cover_uses(by_rules, uses, lambda commit: {key: row.root for key, row in vault.partitions(commit).items()})
    needed = {seq: (*stays.get(seq, ()), *coverage.needed.get(seq, ())) for seq in {*stays, *coverage.needed}}
    return plan_retention(snapshots, keep, now, held, needed), coverage


def apply_retention(vault: "Vault", plan: RetentionPlan, *, policy: str = "") -> tuple[str, ...]:
    """Forget what the plan lets go, oldest first; returns the ids. Bytes go by prune. Idempotent; raises RetentionLocked when held.

    Where others must sign too, what goes is proposed, and forgotten by a later run.
    """
    reason = f"{REASON}: {policy}" if policy else REASON
    waiting: set[str] = set()
    for snapshot in reversed(plan.forget):
        try:
            vault.forget_record(snapshot.dataset, snapshot.seq, reason=reason)
        except ApprovalNeeded:
            waiting.add(snapshot.snapshot_id)
    return tuple(one.snapshot_id for one in plan.forget if one.snapshot_id not in waiting)
