"""Prune: give back the bytes that no snapshot needs. No locks; writers need not know.

1. What no live snapshot refers to is written down in a mark.
2. More than WAIT (longer than the longest session) after the mark's own store time, the live snapshots are read again.
3. What is still needed by none is deleted, then the mark.

A session that began before the mark has committed by then, or never counts; content is referred to only through snapshots that
were visible, and those stay live for one longest session after they are forgotten (`Catalog.live`). So nothing is deleted that
a snapshot that counts refers to, or ever will. Each step can be repeated.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from orchestrai.errors import ObjectNotFound, RetentionLocked
from orchestrai.ledger.manifest import canonical_json
from orchestrai.storage.base import ObjectInfo
from orchestrai.storage.cloud.control import ControlPlane
from orchestrai.vault.format.layout import BYTES, MARKS, SESSIONS
from orchestrai.vault.format.records import SnapshotCommit

if TYPE_CHECKING:
    from orchestrai.vault.vault import Vault


@dataclass(frozen=True)
class PrunePlan:
    """What a prune would do at store time `now`.

    `delete` (key to size) has waited long enough; `mark` was found unneeded just now; `waiting` was marked before, and may go
    from `next_due` on. `marks` are the mark records that `delete` comes from.
    """

    now: datetime
    delete: Mapping[str, int]
    mark: Mapping[str, int]
    waiting: Mapping[str, int]
    marks: tuple[str, ...] = ()
    next_due: datetime | None = None
    dead_sessions: tuple[str, ...] = ()

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

    def __init__(self, vault: "Vault", wait: timedelta | None = None, control: ControlPlane | None = None) -> None:
        self.vault = vault
        self.control = control
        self.store = vault.store
        self.wait = wait or vault.max_session * 5 / 4
        self.id = vault.new_id()

    def plan(self) -> PrunePlan:
        """Read marks, bytes and live snapshots; change nothing but the probe that tells the store's time."""
        marks = self.open_marks()
        now = self.vault.store_time()
        present = self.present()
        live = self.needed(self.live(now))
        due = [info for info in marks if self.is_due(info, now)]
        delete: dict[str, int] = {}
        waiting: dict[str, int] = {}
        for info in marks:
            group = delete if info in due else waiting
            group |= {key: present[key].size for key in self.read_mark(info) if key in present and key not in live}
        waiting = {key: size for key, size in waiting.items() if key not in delete}
        fresh = {
            key: info.size for key, info in present.items() if key not in live and key not in delete and key not in waiting
        }
        later = [info.modified + self.wait for info in marks if info not in due] + ([now + self.wait] if fresh else [])
        dead = [info.key for info in self.store.list(SESSIONS) if now - info.modified > self.wait]
        return PrunePlan(now, delete, fresh, waiting, tuple(i.key for i in due), min(later) if later else None, tuple(dead))

    def apply(self, plan: PrunePlan) -> PruneReport:
        """Delete what the plan names and is still needed by none, then mark what is new. Idempotent."""
        deleted: list[str] = []
        deferred: dict[str, str] = {}
        if plan.delete:
            for key in self.recheck(plan.delete):
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
        for session in plan.dead_sessions:
            self.store.delete(session)
        return PruneReport(tuple(deleted), sum(plan.delete[key] for key in deleted), len(plan.mark), deferred)

    # -- steps -----------------------------------------------------------------------------------------------

    def open_marks(self) -> list[ObjectInfo]:
        """The marks of earlier prunes."""
        return list(self.store.list(MARKS))

    def is_due(self, mark: ObjectInfo, now: datetime) -> bool:
        """True when the mark, by its own store time, has waited longer than any session can last."""
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

    def live(self, now: datetime) -> list[SnapshotCommit]:
        """The snapshots whose bytes must stay."""
        return self.vault.catalog.live(now)

    def needed(self, live: Iterable[SnapshotCommit]) -> set[str]:
        """Every key that these snapshots refer to; raises MissingObject, DigestMismatch, so damage stops a prune."""
        keys: set[str] = set()
        for commit in live:
            keys.add(commit.tree)
            for entry in self.vault.catalog.tree(commit):
                if entry.key not in keys:
                    keys.add(entry.key)
                    keys.update(file.key for file in self.vault.catalog.files(entry))
        return keys

    def delete(self, key: str) -> None:
        """Remove an object, every version of it where the store keeps versions; raises RetentionLocked."""
        for version in list(self.control.versions(key)) if self.control is not None else ():
            if version.key == key and self.control is not None:
                self.control.delete_version(key, version.version)
        self.store.delete(key)

    def recheck(self, keys: Iterable[str]) -> list[str]:
        """Read the live snapshots again, by the store's present time; what none of them needs."""
        needed = self.needed(self.live(self.vault.store_time()))
        return [key for key in keys if key not in needed]


def plan_prune(vault: "Vault", *, wait: timedelta | None = None) -> PrunePlan:
    """What a prune would delete and mark now. `wait` must exceed the longest session; by default 1.25 times it."""
    return Pruning(vault, wait).plan()


def apply_prune(
    vault: "Vault", plan: PrunePlan, *, wait: timedelta | None = None, control: ControlPlane | None = None
) -> PruneReport:
    """Do what the plan says, as far as it is still right; what a lock holds is reported as deferred.

    A store that keeps versions needs `control`: without it a delete only hides the newest version.
    """
    return Pruning(vault, wait, control).apply(plan)
