"""A dataset's snapshots in an immutable cold tier; the way back from there is restore's.

Only contents (objects and packs) go to the cold class. Commits, trees and listings stay readable, so that the copy can be listed and
verified without a request for its contents. The tier and the lock are read back: what the store did not do is told, not claimed.
"""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrai.core.canonical import JsonValue
from orchestrai.core.parallel import map_calls
from orchestrai.core.progress import Progress
from orchestrai.errors import ConfigError, DigestMismatch, StorageError, TransientStorageError
from orchestrai.ledger.trust.key_log import CENSUS, KEY_LOG
from orchestrai.storage.base import Store
from orchestrai.storage.cloud.control import ControlPlane
from orchestrai.vault.format.layout import FORGOTTEN, IDENTITY, commit_key, numbered, tombstone_key
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.lifecycle.prune import Pruning
from orchestrai.vault.replica.replicate import opened_replica
from orchestrai.vault.replica.whole_copy import versions_of
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import VerifyReport, verify

CONTENTS = ("vault/objects/", "vault/packs/")
DATA_KEYS = "vault/keys/"


@dataclass(frozen=True)
class ColdCopy:
    """The record of one copy. `tier` and `locked_until` are what the store said when asked afterwards; the reasons say why not."""

    snapshot_id: str
    dataset: str
    destination: str
    objects: int
    copied: int
    bytes: int
    seconds: float
    tier: str
    tier_reason: str
    locked: bool
    locked_until: datetime | None
    lock_reason: str
    verified: VerifyReport

    def as_json(self) -> dict[str, JsonValue]:
        """Facts for receipts and for Dagster."""
        names = ("snapshot_id", "dataset", "destination", "objects", "copied", "bytes", "tier", "tier_reason", "locked")
        body: dict[str, JsonValue] = {name: getattr(self, name) for name in names}
        body |= {"seconds": round(self.seconds, 3), "lock_reason": self.lock_reason, "verified": self.verified.ok}
        return body | {"locked_until": self.locked_until.isoformat() if self.locked_until else None}


def cold_copy(
    vault: Vault,
    commit: SnapshotCommit,
    target: Store,
    control: ControlPlane | None,
    *,
    tier: str = "",
    lock: timedelta | None = None,
    progress: Progress | None = None,
) -> ColdCopy:
    """Copy a dataset's snapshots up to `commit` to `target`, contents in class `tier`, locked for `lock` from the commit on.

    Idempotent: what is there is not copied again. A snapshot that was forgotten after its copy stays readable there. Raises
    ConfigError, StorageError, DigestMismatch.
    """
    if target.url == vault.store.url:
        raise ConfigError(f"expected a cold copy in another store than the vault, found {target.url} for both: name another")
    began = time.perf_counter()
    there = {info.key: info.size for info in target.list()}
    todo = list(_wanted(vault, commit, there))
    missing = [key for key in todo if key not in there]
    commits = [snapshot for snapshot in vault.snapshots(commit.dataset) if snapshot.seq <= commit.seq]
    versions = versions_of(vault, commits, {c.digest for c in commits if commit_key(c.dataset, c.seq) in there})
    size, refused = 0, ""
    for number, key in enumerate(missing, 1):
        length, version = _copied(vault.store, target, key, versions.get(key))
        size += length
        if tier and control is not None and key.startswith(CONTENTS):
            said = _reclass(control, key, tier, version)
            refused = refused or said
        if progress is not None:
            progress("cold copy", number, len(missing))
    target.sync()
    contents = [key for key in todo if key.startswith(CONTENTS)]
    found_tier, tier_reason = _tier_of(control, contents, tier)
    if tier_reason and refused:
        tier_reason = f"{tier_reason}; {refused}"
    until, lock_reason = _locked(control, [*todo], commit.committed + lock) if lock else (None, "no lock is declared")
    verified = verify(opened_replica(vault, target), dataset=commit.dataset)
    return ColdCopy(
        commit.snapshot_id,
        commit.dataset,
        target.url,
        len(todo),
        len(missing),
        size,
        time.perf_counter() - began,
        found_tier,
        tier_reason,
        until is not None,
        until,
        lock_reason,
        verified,
    )


def _wanted(vault: Vault, commit: SnapshotCommit, there: dict[str, int]) -> Iterator[str]:
    """Contents first, then lists, commits last: the copy never shows a snapshot that it cannot restore."""
    visible = [snapshot for snapshot in vault.snapshots(commit.dataset) if snapshot.seq <= commit.seq]
    yield from sorted(Pruning(vault).needed(visible), key=lambda key: (not key.startswith(CONTENTS), key))
    yield IDENTITY
    yield from (info.key for prefix in (DATA_KEYS, CENSUS, KEY_LOG) for info in vault.store.list(prefix))
    seqs = {snapshot.seq for snapshot in visible}
    for info in vault.store.list(f"{FORGOTTEN}{commit.dataset}/"):
        place = numbered(FORGOTTEN, info.key)
        # what was forgotten before it was ever copied: its commit goes for the chain's sake, hidden by its tombstone
        if place and place[1] <= commit.seq and place[1] not in seqs and commit_key(*place) not in there:
            yield tombstone_key(*place)
    for record in vault.catalog.records(commit.dataset, strict=False):
        if record.seq <= commit.seq:
            yield commit_key(record.dataset, record.seq)


def _copied(source: Store, target: Store, key: str, version: str | None) -> tuple[int, str | None]:
    digest, back = hashlib.sha256(), hashlib.sha256()

    def passing() -> Iterator[bytes]:
        for chunk in source.stream(key, version=version):
            digest.update(chunk)
            yield chunk

    info = target.write(key, passing())
    # read back before it goes to where it cannot be read
    for chunk in target.stream(key):
        back.update(chunk)
    if back.digest() != digest.digest():
        raise DigestMismatch(
            f"expected {key} in {target.url} as it was written, found other bytes: check the store", key=key
        )
    return info.size, info.version


def _reclass(control: ControlPlane, key: str, tier: str, version: str | None) -> str:
    """Move an object to a tier; what was said where that was refused."""
    try:
        control.copy(control, key, key, storage_class=tier)
        if version is not None and control.capabilities().versions:
            # the warm first version would be paid for beside the cold one
            control.delete_version(key, version)
    except TransientStorageError:
        raise
    except StorageError as error:
        # the tier is read back; this is why it is another one
        return error.message
    return ""


def _tier_of(control: ControlPlane | None, keys: Sequence[str], wanted: str) -> tuple[str, str]:
    if control is None:
        return "", "this store has no tiers" if wanted else "no tier is declared"
    classes = sorted(set(map_calls(lambda key: control.tier(key).storage_class, keys)))
    names = ", ".join(classes)
    if not wanted or classes == [wanted] or not keys:
        return names, "" if wanted else "no tier is declared"
    return names, f"expected every content in {wanted}, found {names}: check that the store has this class"


def _locked(control: ControlPlane | None, keys: Sequence[str], until: datetime) -> tuple[datetime | None, str]:
    capability = control.capabilities().lock if control is not None else "none"
    if control is None or capability == "none":
        return None, "this store cannot lock objects"

    plane, mode = control, capability

    def extend(key: str) -> datetime:
        return plane.retain(key, until, mode).until

    earliest = min(map_calls(extend, keys), default=until)
    return (earliest, "") if earliest >= until else (None, "the store did not keep the retention it was given")
