"""Legal hold: what is held is neither forgotten nor pruned, and where the store can hold, nobody can delete it there either.

A hold is placed on one snapshot, or on a dataset (all its snapshots, those to come included). Each placing and release is a signed
record of its own, created by put-if-absent, so that what was held, since when and why stays readable after the release; and it is a
note in the dataset's chain, so that removing the record lifts nothing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from orchestrai.core.canonical import JsonValue
from orchestrai.core.parallel import map_calls
from orchestrai.errors import ConcurrentCommit, ConfigError, ObjectExists, ObjectNotFound
from orchestrai.ledger.signing import rules_of
from orchestrai.storage.cloud.control import ControlPlane
from orchestrai.vault.chain.chain_head import WHOLE_DATASET, Head, ranges
from orchestrai.vault.commit.chain_append import append_note
from orchestrai.vault.format.records import FORMAT, ChainNote, SnapshotCommit
from orchestrai.vault.lifecycle.hold_records import (
    HOLD_RECORDS,
    Hold,
    chained_holds,
    held_by,
    holds,
    next_key,
    recorded_holds,
)
from orchestrai.vault.lifecycle.reachable import reach

if TYPE_CHECKING:
    from orchestrai.vault.vault import Vault


@dataclass(frozen=True)
class HoldReport:
    """What a placing or release did; `enforced` is true only when every object was read back from the store as asked.

    Where a store cannot hold, `enforced` is false and `reason` says so: forget and prune of orchestrai still respect the hold.
    """

    dataset: str
    snapshot_ids: tuple[str, ...]
    on: bool
    objects: int
    enforced: bool
    reason: str = ""

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        return {**self.__dict__, "snapshot_ids": list(self.snapshot_ids)}


def place_hold(
    vault: "Vault", dataset: str, commit: SnapshotCommit | None, control: ControlPlane | None, *, reason: str
) -> HoldReport:
    """Hold one snapshot, or the whole dataset where `commit` is None. Idempotent; raises ConfigError without a reason."""
    if not reason.strip():
        raise ConfigError("expected a reason for a legal hold, found none: give --reason")
    vault.require_may("write", "release")
    _record(vault, dataset, commit, True, reason)
    return extend_hold(vault, dataset, [commit] if commit else vault.snapshots(dataset), control)


def extend_hold(
    vault: "Vault", dataset: str, commits: Iterable[SnapshotCommit], control: ControlPlane | None, *, beyond: bool = False
) -> HoldReport:
    """Hold these snapshots in the store; with `beyond`, only what the snapshot before each does not need. Idempotent."""
    chosen = list(commits)
    before = {after.seq: commit for commit, after in pairwise(vault.snapshots(dataset))} if beyond else {}
    needed: dict[str, str] = {}
    for commit in chosen:
        needed |= reach(vault, commit, before.get(commit.seq))
    enforced, why = _apply(control, needed, True)
    return HoldReport(dataset, tuple(commit.snapshot_id for commit in chosen), True, len(needed), enforced, why)


def release_hold(
    vault: "Vault", dataset: str, commit: SnapshotCommit | None, control: ControlPlane | None, *, reason: str
) -> HoldReport:
    """Lift a hold; what another hold needs stays held. Idempotent; raises ConfigError without a reason or where no hold is.

    The record comes last: a release that dies midway is still a hold for orchestrai, and is repeated.
    """
    if not reason.strip():
        raise ConfigError("expected a reason to release a legal hold, found none: give --reason")
    vault.require_may("release")
    active = holds(vault.store, vault.keyring, vault.identity())
    seq = commit.seq if commit is not None else WHOLE_DATASET
    if (dataset, seq) not in active:
        raise ConfigError(f"expected a hold on {dataset}{f' snapshot {seq}' if seq else ''}, found none: see `vault holds`")
    if rules_of(vault.keyring) is not None:
        # the signatures are asked for before anything is lifted
        hold = _hold(vault, dataset, commit, False, reason)
        _envelope(vault, hold)
    rest = {place: hold for place, hold in active.items() if place != (dataset, seq)}
    stay: dict[str, str] = {}
    go: dict[str, str] = {}
    for snapshot in vault.snapshots():
        if held_by(rest, snapshot):
            stay |= reach(vault, snapshot)
        elif snapshot.dataset == dataset and seq in (WHOLE_DATASET, snapshot.seq):
            go |= reach(vault, snapshot)
    lifted = {key: version for key, version in go.items() if key not in stay}
    enforced, why = _apply(control, lifted, False)
    if enforced or control is None or not control.capabilities().legal_hold:
        _record(vault, dataset, commit, False, reason)
    ids = tuple(c.snapshot_id for c in vault.snapshots(dataset) if seq in (WHOLE_DATASET, c.seq))
    return HoldReport(dataset, ids, False, len(lifted), enforced, why)


def _apply(control: ControlPlane | None, needed: dict[str, str], on: bool) -> tuple[bool, str]:
    if control is None or not control.capabilities().legal_hold:
        return False, "this store cannot hold objects; forget and prune respect the hold"

    def one(item: tuple[str, str]) -> bool:
        key, version = item
        try:
            return control.hold(key, on, version or None)
        except ObjectNotFound:
            return control.hold(key, on)  # a copy of the vault has versions of its own

    states = list(map_calls(one, sorted(needed.items())))
    wrong = sum(state != on for state in states)
    return not wrong, f"the store did not keep the hold of {wrong} objects" if wrong else ""


def _hold(vault: "Vault", dataset: str, commit: SnapshotCommit | None, on: bool, reason: str) -> Hold:
    seq = commit.seq if commit is not None else WHOLE_DATASET
    key = next_key(vault.store, dataset, seq)
    placed = vault.clock().isoformat()
    return Hold(vault.identity(), dataset, seq, key, commit.snapshot_id if commit else "", on, reason, placed)


def _record(vault: "Vault", dataset: str, commit: SnapshotCommit | None, on: bool, reason: str) -> None:
    """Say it twice, in a record of its own and in the dataset's chain: it is lifted only where both say so.

    A placing goes to the chain first and a release last, so that one that dies midway is a hold.
    """
    hold = _hold(vault, dataset, commit, on, reason)
    seq = hold.seq
    chained = (dataset, seq) in chained_holds(vault.catalog, dataset)
    recorded = (dataset, seq) in recorded_holds(vault.store, vault.keyring, vault.identity())
    steps: list[Callable[[], None]] = []
    if chained != on:
        steps.append(lambda: _chain(vault, hold))
    # a release is recorded also where the record of the placing was removed
    if recorded != on or (chained and not on):
        steps.append(lambda: _keep(vault, hold))
    for step in steps if on else reversed(steps):
        step()


def _chain(vault: "Vault", hold: Hold) -> None:
    def note(head: Head, time: str) -> ChainNote:
        active = chained_holds(vault.catalog, hold.dataset)
        active.pop((hold.dataset, hold.seq), None)
        held = [*active.values(), *([hold] if hold.on else [])]
        stones = {seq for _, seq in vault.catalog.tombstones(hold.dataset)}
        before = vault.catalog.standing(hold.dataset, stones, head.holds) | vault.catalog.fenced(hold.dataset, head.fence)
        if hold.on and hold.seq in before:
            raise ConfigError(f"expected a snapshot to hold, found {hold.seq} of {hold.dataset} forgotten: see `vault list`")
        return ChainNote(
            vault.identity(),
            hold.dataset,
            head.seq + 1,
            head.digest,
            "hold",
            vault.new_id(),
            time,
            head.fence,
            head.holds,
            forgotten=ranges(before),
            held=tuple(dict(one.__dict__) for one in held),
        )

    append_note(vault, hold.dataset, note)


def _envelope(vault: "Vault", hold: Hold) -> bytes:
    if hold.on:
        return HOLD_RECORDS.sign(vault.signer, hold)
    same = ("vault", "dataset", "seq", "key", "on")
    return vault.approved(HOLD_RECORDS.payload_type, {"format": FORMAT, **hold.__dict__}, same)


def _keep(vault: "Vault", hold: Hold) -> None:
    try:
        vault.store.write(hold.key, _envelope(vault, hold), create=True)
    except ObjectExists as exc:
        raise ConcurrentCommit(
            f"expected to record a hold of {hold.dataset}, found another just made: look and run it again"
        ) from exc
