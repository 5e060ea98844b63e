"""Immutability: locks on everything a snapshot needs, extended on reuse, read back."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orchestrai.core.canonical import JsonValue, canonical_json
from orchestrai.core.parallel import map_calls
from orchestrai.errors import IntegrityError, ObjectNotFound
from orchestrai.storage.cloud.control import ControlPlane, LockMode, Retention
from orchestrai.vault.format.layout import LOCKS, numbered
from orchestrai.vault.format.records import FORMAT, LOCK_TYPE, SnapshotCommit, document
from orchestrai.vault.lifecycle.reachable import reach
from orchestrai.vault.vault import Vault

SLACK = timedelta(days=7)


@dataclass(frozen=True)
class LockReport:
    """Whether a snapshot is locked; true only when every object was read back as locked until `until` or later.

    `objects` were read back now. What an earlier snapshot needs too was read back then, as a signed record says (`relied_on`).
    """

    snapshot_id: str
    locked: bool
    mode: str
    until: datetime | None
    objects: int
    extended: int
    reason: str = ""
    relied_on: str = ""

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        body: dict[str, JsonValue] = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "until"}
        return body | {"until": self.until.isoformat() if self.until else None}


@dataclass(frozen=True)
class _Proven:
    """Until when all that a snapshot needs was read back as locked."""

    commit: SnapshotCommit
    mode: LockMode
    until: datetime


def lock_snapshot(
    vault: Vault,
    commit: SnapshotCommit,
    control: ControlPlane | None,
    duration: timedelta,
    *,
    mode: LockMode = "compliance",
    full: bool = False,
) -> LockReport:
    """Lock all that a snapshot needs for `duration` from its commit on. Idempotent.

    What is locked for less is extended by SLACK beyond the need, so that reuse costs one request per object and week. What an
    earlier snapshot was proven to have locked for long enough is not asked for again, unless `full`: the cost grows with what
    changed. A store that cannot lock is told of as not locked; raises nothing for it.
    """
    capability = control.capabilities().lock if control is not None else "none"
    if control is None or capability == "none":
        return LockReport(commit.snapshot_id, False, "none", None, 0, 0, "this store cannot lock objects")
    if capability == "governance":
        mode = "governance"
    until = commit.committed + duration
    base = None if full else _proven(vault, commit, until, mode)
    beyond = base.commit if base is not None else None
    needed = {} if beyond == commit else reach(vault, commit, beyond)

    def extend(item: tuple[str, str]) -> tuple[datetime, bool]:
        key, at, retention = _retention(control, *item)
        if retention is not None and retention.until >= until and (retention.mode == mode or retention.mode == "compliance"):
            return retention.until, False
        return control.retain(key, until + SLACK, mode, at).until, True

    results = list(map_calls(extend, sorted(needed.items())))
    proven = min([expiry for expiry, _ in results] + ([base.until] if base is not None else []))
    held = proven >= until
    if held and needed:
        _write(vault, _Proven(commit, mode, proven))
    return LockReport(
        commit.snapshot_id,
        held,
        mode if held else "none",
        until if held else None,
        len(needed),
        sum(changed for _, changed in results),
        "" if held else "the store did not keep the retention it was given",
        base.commit.snapshot_id if base is not None else "",
    )


def _retention(control: ControlPlane, key: str, version: str) -> tuple[str, str | None, Retention | None]:
    """What locks the recorded version; a copy of the vault has versions of its own, and there the newest counts."""
    if version:
        try:
            return key, version, control.retention(key, version)
        except ObjectNotFound:
            pass
    return key, None, control.retention(key)


def _proven(vault: Vault, commit: SnapshotCommit, until: datetime, mode: LockMode) -> _Proven | None:
    """The newest snapshot up to this one that is known to be locked until `until`."""
    keys = [info.key for info in vault.store.list(f"{LOCKS}{commit.dataset}/")]
    for key in reversed(keys):
        place = numbered(LOCKS, key)
        if place is None or place[0] != commit.dataset or place[1] > commit.seq:
            continue
        try:
            body = document(vault.keyring, LOCK_TYPE, vault.store.read(key))
            snapshot = vault.catalog.at(*place)
        except (IntegrityError, ObjectNotFound, json.JSONDecodeError):
            continue  # a record that proves nothing only costs the requests it would have saved
        strong = body["mode"] in (mode, "compliance")
        if (
            snapshot is None
            or snapshot.digest != body["commit"]
            or body["vault"] != vault.identity()
            or body["store"] != vault.store.url
            or not strong
        ):
            continue
        proven = _Proven(snapshot, body["mode"], datetime.fromisoformat(body["until"]).astimezone(UTC))
        return proven if proven.until >= until else None
    return None


def locked_until(vault: Vault, dataset: str) -> dict[int, datetime]:
    """Until when each snapshot's objects were read back as locked in this store, by number; damaged records tell nothing."""
    until: dict[int, datetime] = {}
    for info in vault.store.list(f"{LOCKS}{dataset}/"):
        place = numbered(LOCKS, info.key)
        try:
            body = document(vault.keyring, LOCK_TYPE, vault.store.read(info.key))
        except (IntegrityError, ObjectNotFound, json.JSONDecodeError):
            continue
        if (
            place is not None
            and place[0] == dataset
            and (body["vault"], body["store"]) == (vault.identity(), vault.store.url)
        ):
            until[place[1]] = datetime.fromisoformat(body["until"]).astimezone(UTC)
    return until


def _write(vault: Vault, proven: _Proven) -> None:
    body = {
        "format": FORMAT,
        "vault": vault.identity(),
        "store": vault.store.url,
        "commit": proven.commit.digest,
        "mode": proven.mode,
        "until": proven.until.isoformat(),
    }
    key = f"{LOCKS}{proven.commit.dataset}/{proven.commit.seq:012d}.json"
    vault.store.write(key, vault.signer.sign(LOCK_TYPE, canonical_json(body)))
