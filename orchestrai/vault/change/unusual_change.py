"""Is a snapshot's change unlike the dataset's own past? While one stands that nobody acknowledged, no older snapshot is forgotten.

Each commit says what it changed. It is judged by the commits before it, those left out that are alarmed and not acknowledged, so that
an attack does not become what is usual. Three figures, one rule for each:

content    new content compresses worse than ever before, by a fifth: what was text is now ciphertext or random
rewritten  a tenth of what was there, and twice as much as ever before, is changed or gone in one snapshot; of what is gone a fortieth
creeping   a fifth of what was there is changed or gone within the last snapshots, and twice as much as in as many before
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrai.core.canonical import JsonValue
from orchestrai.core.verdict import CheckInfo, Verdict
from orchestrai.errors import IntegrityError
from orchestrai.ledger.decisions.acknowledgements import ACKNOWLEDGEMENTS, Acknowledgement
from orchestrai.vault.change.measure import SnapshotChange
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.vault import Vault

CHECK = "unusual_change"
INFO = CheckInfo(CHECK, False, "The snapshot changes no more of what was there, and to nothing else, than those before it.")
# how many snapshots before one are its past, and how many of them there must be to judge
WINDOW, LEAST = 30, 5
MARGIN, SUDDEN, REMOVED, CREEPING, TIMES = 0.2, 0.1, 0.025, 0.2, 2
# so few partitions, or blocks, are chance
FEW_PARTITIONS, FEW_BLOCKS = 4, 2


@dataclass(frozen=True)
class Alarm:
    """A snapshot whose change is unusual, why, and who said that it is well; `acknowledged` is None while nobody did."""

    commit: SnapshotCommit
    reasons: tuple[str, ...]
    acknowledged: Acknowledgement | None = None

    @property
    def message(self) -> str:
        """In words, with what to do."""
        place = f"snapshot {self.commit.seq} of {self.commit.dataset} ({self.commit.snapshot_id[:12]})"
        if self.acknowledged is not None:
            return f"{place}: {'; '.join(self.reasons)}; acknowledged by {self.acknowledged.by} ({self.acknowledged.reason})"
        return (
            f"expected {place} to change as those before it, found that {'; '.join(self.reasons)}: no older snapshot is forgotten; look at "
            "it, then restore an older one or say `orchestrai vault acknowledge`"
        )

    def as_json(self) -> dict[str, JsonValue]:
        """For `--json`."""
        return {
            "dataset": self.commit.dataset,
            "seq": self.commit.seq,
            "snapshot_id": self.commit.snapshot_id,
            "committed": self.commit.committed.isoformat(),
            "reasons": list(self.reasons),
            "acknowledged_by": self.acknowledged.by if self.acknowledged else None,
            "acknowledged_because": self.acknowledged.reason if self.acknowledged else None,
        }


def unusual(past: Sequence[SnapshotChange], change: SnapshotChange) -> tuple[str, ...]:
    """Why a change is unlike `past`, oldest first; nothing where it is not, or where too little is known.

    Twice `WINDOW` at most are looked at.
    """
    recent = past[-WINDOW:]
    if len(recent) < LEAST:
        return ()
    return (*_content(recent, change), *_rewritten(recent, change), *_creeping(past, change))


def _content(recent: Sequence[SnapshotChange], change: SnapshotChange) -> list[str]:
    reasons = []
    for role, sample in sorted(change.content.items()):
        known = [before.content[role] for before in recent if role in before.content]
        if len(known) < LEAST or sample.blocks < FEW_BLOCKS:
            continue
        ratio, flat = max(one.ratio for one in known), max(one.incompressible for one in known)
        if sample.ratio > ratio + MARGIN or sample.incompressible > flat + MARGIN:
            reasons.append(
                f"its new {role} compresses to {sample.ratio:.0%}, {sample.incompressible:.0%} of it not at all, where at most "
                f"{ratio:.0%} and {flat:.0%} were seen"
            )
    return reasons


def _rewritten(recent: Sequence[SnapshotChange], change: SnapshotChange) -> list[str]:
    most, gone = max(before.share for before in recent), max(before.removed_share for before in recent)
    much = change.rewritten + change.removed >= FEW_PARTITIONS and change.share > max(SUDDEN, TIMES * most)
    # a pipeline drops next to nothing by itself
    missing = change.removed >= FEW_PARTITIONS and change.removed_share > max(REMOVED, TIMES * gone)
    if not much and not missing:
        return []
    return [
        f"{change.rewritten} of {change.partitions} partitions that were there are rewritten and {change.removed} removed, where at most "
        f"{most:.0%} and {gone:.0%} were seen"
    ]


def _creeping(past: Sequence[SnapshotChange], change: SnapshotChange) -> list[str]:
    now, earlier = [*past[-WINDOW + 1 :], change], past[-2 * WINDOW + 1 : -WINDOW + 1]
    share, names = _crept(now)
    # what is not known of as many snapshots before is taken for nothing only where there were enough of them to tell
    most = _crept(earlier)[0] if len(earlier) >= LEAST else None
    if most is None or len(names) < FEW_PARTITIONS or not {*change.old} & names or share <= max(CREEPING, TIMES * most):
        return []
    return [
        f"{len(names)} partitions, {share:.0%} of those that were there, are changed or gone within {len(now)} snapshots, where {most:.0%} "
        "were in as many before"
    ]


def _crept(changes: Sequence[SnapshotChange]) -> tuple[float, set[str]]:
    """How many of the partitions that were there at the beginning are changed or gone since, and which of all partitions."""
    # what came meanwhile is still being filled
    names = {name for change in changes for name in change.old} - {name for change in changes for name in change.young}
    return len(names) / max(changes[0].partitions, 1) if changes else 0.0, names


def alarms(vault: Vault, dataset: str | None = None, *, last: int = 0) -> list[Alarm]:
    """The snapshots that count and are unusual, by dataset and number, acknowledged ones too.

    With `last` (the number of a record of the one dataset that is there) only the newest commits are read. Raises IntegrityError.
    """
    by_dataset: dict[str, list[SnapshotCommit]] = {}
    if dataset is not None and last:
        by_dataset[dataset] = vault.catalog.recent(dataset, 2 * WINDOW + LEAST, last)
        counts = {(one.dataset, one.seq) for one in by_dataset[dataset]}
    else:
        for commit in vault.catalog.commits(dataset):
            by_dataset.setdefault(commit.dataset, []).append(commit)
        counts = {(one.dataset, one.seq) for one in vault.snapshots(dataset)}
    said: Mapping[str, Acknowledgement] | None = None
    raised: list[Alarm] = []
    for commits in by_dataset.values():
        past: list[SnapshotChange] = []
        for commit in commits:
            change = SnapshotChange.of(commit)
            if change is None:
                continue
            reasons = unusual(past, change)
            if reasons and said is None:
                said = _said(vault)
            acknowledged = said.get(commit.snapshot_id) if reasons and said else None
            if acknowledged is not None and acknowledged.commit != commit.digest:
                acknowledged = None  # said of another commit
            if not reasons or acknowledged is not None:
                past.append(change)
            if reasons and (commit.dataset, commit.seq) in counts:
                raised.append(Alarm(commit, reasons, acknowledged))
    return raised


def _said(vault: Vault) -> dict[str, Acknowledgement]:
    """The acknowledgements of a vault by snapshot; one that does not verify says nothing, and `audit` names it."""
    said = {}
    for key in ACKNOWLEDGEMENTS.keys(vault.store):
        try:
            record = ACKNOWLEDGEMENTS.read(vault.store, vault.keyring, key)
        except (IntegrityError, ValueError, KeyError, TypeError):
            continue
        said[record.snapshot_id] = record
    return said


def standing(vault: Vault, dataset: str | None = None, *, last: int = 0) -> list[Alarm]:
    """Those that nobody acknowledged."""
    return [alarm for alarm in alarms(vault, dataset, last=last) if alarm.acknowledged is None]


def guarded(vault: Vault, snapshots: Sequence[SnapshotCommit]) -> dict[int, tuple[str, ...]]:
    """Which snapshots of one dataset stay because a later one, or they themselves, are unusual; the reason by number."""
    raised = standing(vault, snapshots[0].dataset) if snapshots else []
    if not raised:
        return {}
    newest = max(alarm.commit.seq for alarm in raised)
    named = ", ".join(str(alarm.commit.seq) for alarm in raised[:3])
    why = (f"unusual change in snapshot {named}, not acknowledged",)
    return {commit.seq: why for commit in snapshots if commit.seq <= newest}


def change_verdict(vault: Vault, dataset: str, last: int) -> Verdict:
    """The check `unusual_change` of a dataset: warned while one of its newest snapshots is unusual and nobody acknowledged it."""
    raised = standing(vault, dataset, last=last)
    if not raised:
        return Verdict(CHECK, True, "no snapshot changes more than those before it, or it was acknowledged")
    details: dict[str, JsonValue] = {"snapshots": [alarm.as_json() for alarm in raised]}
    return Verdict(CHECK, False, raised[0].message, "warn", details)
