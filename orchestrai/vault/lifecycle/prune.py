"""Prune: give back the bytes that no snapshot needs. No locks; a plan writes nothing.

1. What no snapshot needs is written down in a mark. It is left alone for WAIT (longer than a session is expected to last) by the mark's
   time, so that no running writer is disturbed. Nothing else hangs on a time.
2. What a mark names and still nothing needs is condemned. A fence, which names the list of it and the snapshots that are forgotten, is
   appended to every chain.
3. Every chain is read up to its fence, whole. What is condemned and named by no snapshot that the fence does not call forgotten goes,
   then the mark.

A commit that lies before the fence was read, and is spared. A writer that comes later meets the fence at the position it wants, and
refers to nothing that is condemned. docs/vault.md has the argument. Each step can be repeated.
"""

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from orchestrai.core.canonical import canonical_json, sha256_hex
from orchestrai.core.tree.paged_tree import Subtree
from orchestrai.errors import IntegrityError, ObjectNotFound, RetentionLocked
from orchestrai.storage.base import ObjectInfo
from orchestrai.storage.cloud.control import ControlPlane
from orchestrai.vault.chain.chain_head import Head, ranges
from orchestrai.vault.commit.chain_append import append_note
from orchestrai.vault.format.layout import BYTES, CONDEMNED, FORGOTTEN, MARKS, SESSIONS, SNAPSHOTS
from orchestrai.vault.format.lists import PagePlace
from orchestrai.vault.format.records import ChainNote, SnapshotCommit
from orchestrai.vault.replica.hidden_versions import hidden_under

if TYPE_CHECKING:
    from orchestrai.vault.lifecycle.anchor import Anchor
    from orchestrai.vault.vault import Vault


@dataclass(frozen=True)
class PrunePlan:
    """What a prune would do at time `now`.

    `delete` (key to size) has waited long enough; `mark` was found unneeded just now; `waiting` was marked before, and may go
    from `next_due` on. `marks` are the mark records that `delete` comes from; `leftovers` are records of work that is long over.
    """

    now: datetime
    delete: Mapping[str, int]
    mark: Mapping[str, int]
    waiting: Mapping[str, int]
    marks: tuple[str, ...] = ()
    next_due: datetime | None = None
    leftovers: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """How many bytes go now."""
        return sum(self.delete.values())


@dataclass(frozen=True)
class PruneReport:
    """What a prune did; `deferred` names what a lock still holds, with the store's reason."""

    deleted: tuple[str, ...]
    bytes: int
    marked: int
    deferred: Mapping[str, str]


class Pruning:
    """One run of a prune; each step a method of its own."""

    def __init__(
        self,
        vault: "Vault",
        wait: timedelta | None = None,
        control: ControlPlane | None = None,
        anchor: "Anchor | None" = None,
    ) -> None:
        self.vault = vault
        self.control = control
        self.anchor = anchor
        self.store = vault.store
        self.wait = wait or vault.max_session * 5 / 4
        self.id = vault.new_id()

    def plan(self) -> PrunePlan:
        """Read marks, bytes and snapshots; writes nothing. Raises IntegrityError where a chain is not whole."""
        marks = self.open_marks()
        now = self.vault.clock()
        present = self.present()
        needed = self.needed(self.live())
        due = [info for info in marks if self.is_due(info, now)]
        delete: dict[str, int] = {}
        waiting: dict[str, int] = {}
        for info in marks:
            group = delete if info in due else waiting
            group |= {key: present[key].size for key in self.read_mark(info) if key in present and key not in needed}
        waiting = {key: size for key, size in waiting.items() if key not in delete}
        fresh = {
            key: info.size for key, info in present.items() if key not in needed and key not in delete and key not in waiting
        }
        later = [info.modified + self.wait for info in marks if info not in due] + ([now + self.wait] if fresh else [])
        leftovers = [
            info.key
            for prefix in (SESSIONS, CONDEMNED)
            for info in self.store.list(prefix)
            if now - info.modified > self.wait
        ]
        due_keys = tuple(info.key for info in due)
        return PrunePlan(now, delete, fresh, waiting, due_keys, min(later) if later else None, tuple(leftovers))

    def apply(self, plan: PrunePlan) -> PruneReport:
        """Delete what the plan names and is still needed by none, then mark what is new. Idempotent.

        Raises IntegrityError where a chain is not whole, or something lies over or is missing from it: nothing is deleted then.
        """
        deleted: list[str] = []
        deferred: dict[str, str] = {}
        if plan.delete:
            for key in self.spared(plan.delete, self.fence(plan.delete)):
                try:
                    self.delete(key)
                except RetentionLocked as exc:
                    deferred[key] = exc.message
                else:
                    deleted.append(key)
        for mark in plan.marks if not deferred else ():
            self.store.delete(mark)
        if plan.mark:
            self.write_mark(plan.mark)
        for leftover in plan.leftovers:
            self.store.delete(leftover)
        return PruneReport(tuple(deleted), sum(plan.delete[key] for key in deleted), len(plan.mark), deferred)

    # -- steps -----------------------------------------------------------------------------------------------

    def open_marks(self) -> list[ObjectInfo]:
        """The marks of earlier prunes."""
        return list(self.store.list(MARKS))

    def is_due(self, mark: ObjectInfo, now: datetime) -> bool:
        """True when the mark has waited longer than a session is expected to last."""
        return now - mark.modified > self.wait

    def read_mark(self, mark: ObjectInfo) -> list[str]:
        """The keys in a mark; none where another prune has just removed it."""
        try:
            keys = json.loads(self.store.read(mark.key))["keys"]
        except ObjectNotFound:
            return []
        return [str(key) for key in keys]

    def write_mark(self, keys: Iterable[str]) -> None:
        """Write down what was found unneeded; its store time starts the wait."""
        body = {"keys": sorted(keys)}
        self.store.write(f"{MARKS}{self.id}.json", canonical_json(body))

    def present(self) -> dict[str, ObjectInfo]:
        """Everything that holds bytes."""
        return {info.key: info for prefix in BYTES for info in self.store.list(prefix)}

    def live(self) -> list[SnapshotCommit]:
        """The snapshots that were not forgotten; raises IntegrityError where a chain is not whole."""
        catalog = self.vault.catalog
        gone = catalog.forgotten()
        records = [record for dataset in catalog.chains() for record in catalog.whole(dataset)]
        return [one for one in records if isinstance(one, SnapshotCommit) and (one.dataset, one.seq) not in gone]

    def needed(self, live: Iterable[SnapshotCommit]) -> set[str]:
        """Every key that these snapshots refer to; raises MissingObject, DigestMismatch, so damage stops a prune."""
        keys: set[str] = set()
        seen: set[Subtree[PagePlace]] = set()
        for commit in live:
            keys.add(commit.tree)
            # snapshots share pages, each of which is looked at once
            for page, content in self.vault.catalog.tree(commit).fresh(seen=seen):
                keys.add(page.place.key)
                for entry in content if page.height == 0 else ():
                    if entry.key not in keys:
                        keys.add(entry.key)
                        keys.update(place.key for file in self.vault.catalog.files(entry) for place in file.places)
        return keys

    def fence(self, keys: Iterable[str]) -> list[ChainNote]:
        """Condemn these keys, in every chain that is there: the list first, then a fence that names it in each."""
        catalog = self.vault.catalog
        self.vault.require_may("prune")
        stones = catalog.tombstones()
        data = zlib.compress(canonical_json(sorted(keys)), 1)
        key = f"{CONDEMNED}{self.id}.json"
        self.store.write(key, data)
        fences = []
        for dataset in catalog.chains():
            forgotten = {seq for name, seq in stones if name == dataset}

            def note(head: Head, time: str, name: str = dataset, seqs: frozenset[int] = frozenset(forgotten)) -> ChainNote:
                return ChainNote(
                    self.vault.identity(),
                    name,
                    head.seq + 1,
                    head.digest,
                    "fence",
                    self.id,
                    time,
                    head.fence,
                    head.holds,
                    condemned=(key, sha256_hex(data)),
                    forgotten=ranges(catalog.standing(name, {*seqs}, head.holds) | catalog.fenced(name, head.fence)),
                )

            fences.append(append_note(self.vault, dataset, note))
        return fences

    def spared(self, keys: Iterable[str], fences: Iterable[ChainNote]) -> list[str]:
        """Read every chain again, up to its fence and beyond; of the condemned keys, those that nothing needs."""
        self.require_unhidden()
        needed = self.needed(commit for fence in fences for commit in self.not_forgotten(fence))
        return [key for key in keys if key not in needed]

    def not_forgotten(self, fence: ChainNote) -> list[SnapshotCommit]:
        """The commits of a chain that its fence does not call forgotten; one forgotten since is needed by whoever read it before."""
        gone = fence.forgotten_numbers
        records = self.vault.catalog.whole(fence.dataset)
        if not any(record.session == fence.session and record.seq == fence.seq for record in records):
            raise IntegrityError(
                f"expected the fence {fence.seq} of {fence.dataset}, found it gone: somebody removes records"
            )
        return [record for record in records if isinstance(record, SnapshotCommit) and record.seq not in gone]

    def require_unhidden(self) -> None:
        """Raise IntegrityError where something lies over a record, or the anchor remembers more than there is.

        Read after the fences: a record that was hidden at a chain's end has the fence over it, and cannot come back unseen.
        """
        if self.control is not None and self.control.capabilities().versions:
            for hidden in (*hidden_under(self.control, SNAPSHOTS), *hidden_under(self.control, FORGOTTEN)):
                raise IntegrityError(
                    f"expected {hidden.key} as it was written, found something over it: run `orchestrai vault heal --apply`",
                    key=hidden.key,
                )
        checked = self.anchor.check(self.vault.catalog) if self.anchor is not None else None
        if checked is not None:
            checked.require_none()

    def delete(self, key: str) -> None:
        """Remove an object, every version of it where the store keeps versions; raises RetentionLocked."""
        for version in list(self.control.versions(key)) if self.control is not None else ():
            if version.key == key and self.control is not None:
                self.control.delete_version(key, version.version)
        self.store.delete(key)


def plan_prune(vault: "Vault", *, wait: timedelta | None = None) -> PrunePlan:
    """What a prune would delete and mark now; writes nothing. `wait` is by default 1.25 times the longest session."""
    return Pruning(vault, wait).plan()


def apply_prune(
    vault: "Vault",
    plan: PrunePlan,
    *,
    wait: timedelta | None = None,
    control: ControlPlane | None = None,
    anchor: "Anchor | None" = None,
) -> PruneReport:
    """Do what the plan says, as far as it is still right; what a lock holds is reported as deferred.

    A store that keeps versions needs `control`: without it a delete only hides the newest version. Where an `anchor` remembers more than
    the vault holds, IntegrityError is raised and nothing is deleted.
    """
    return Pruning(vault, wait, control, anchor).apply(plan)
