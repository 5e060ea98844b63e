"""Immutability: locks on everything a snapshot needs, extended on reuse, read back."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrai.contracts.verdict import JsonValue
from orchestrai.storage.control import ControlPlane, LockMode
from orchestrai.vault.layout import IDENTITY, commit_key
from orchestrai.vault.prune import Pruning
from orchestrai.vault.records import SnapshotCommit
from orchestrai.vault.vault import Vault

_THREADS = 8


@dataclass(frozen=True)
class LockReport:
    """Whether a snapshot is locked; `locked` is true only when every object was read back as locked until `until` or later."""

    snapshot_id: str
    locked: bool
    mode: str
    until: datetime | None
    objects: int
    extended: int
    reason: str = ""

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        body: dict[str, JsonValue] = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "until"}
        return body | {"until": self.until.isoformat() if self.until else None}


def lock_snapshot(
    vault: Vault,
    commit: SnapshotCommit,
    control: ControlPlane | None,
    duration: timedelta,
    *,
    slack: timedelta = timedelta(days=7),
    mode: LockMode = "compliance",
) -> LockReport:
    """Lock all that a snapshot needs for `duration` from its commit on. Idempotent.

    What is locked for less is extended by `slack` beyond the need, so that reuse costs one request per object and slack. A store that
    cannot lock is told of as not locked; raises nothing for it.
    """
    capability = control.capabilities().lock if control is not None else "none"
    if control is None or capability == "none":
        return LockReport(commit.snapshot_id, False, "none", None, 0, 0, "this store cannot lock objects")
    if capability == "governance":
        mode = "governance"
    until = commit.committed + duration
    keys = sorted(Pruning(vault).needed([commit]) | {commit_key(commit.dataset, commit.seq), IDENTITY})

    def extend(key: str) -> tuple[bool, bool]:
        found = control.retention(key)
        if found is not None and found.until >= until and (found.mode == mode or found.mode == "compliance"):
            return True, False
        kept = control.retain(key, until + slack, mode)
        return kept.until >= until, True

    with ThreadPoolExecutor(_THREADS) as pool:
        results = list(pool.map(extend, keys))
    held = all(locked for locked, _ in results)
    extended = sum(changed for _, changed in results)
    reason = "" if held else "the store did not keep the retention it was given"
    return LockReport(
        commit.snapshot_id, held, mode if held else "none", until if held else None, len(keys), extended, reason
    )
