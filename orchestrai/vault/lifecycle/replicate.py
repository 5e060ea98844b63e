"""A second copy of the vault in another store, region or account."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrai.core.canonical import JsonValue
from orchestrai.core.progress import Progress
from orchestrai.errors import DigestMismatch, IntegrityError, ObjectNotFound
from orchestrai.ledger.log_replica import RECORDS
from orchestrai.storage.base import Store
from orchestrai.vault.format.layout import FORGOTTEN, ROOT, SNAPSHOTS, VERIFIED, numbered
from orchestrai.vault.format.records import ChainRecord, SnapshotCommit
from orchestrai.vault.lifecycle.reachable import reach
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.proven import Proven, Reached
from orchestrai.vault.verify.verify import VerifyReport, verify


@dataclass(frozen=True)
class ReplicaReport:
    """What was copied, and what the replica says when it is verified by itself."""

    target: str
    copied: int
    bytes: int
    already: int
    verified: VerifyReport

    def as_json(self) -> dict[str, JsonValue]:
        """The form shown to people and programs."""
        body: dict[str, JsonValue] = {name: getattr(self, name) for name in ("target", "copied", "bytes", "already")}
        return body | {"verified": self.verified.as_json()}


def replicate(vault: Vault, target: Store, *, progress: Progress | None = None, full: bool = False) -> ReplicaReport:
    """Copy what `target` lacks, read each copy back, and verify the replica as a vault of its own.

    Chains are copied after all bytes, in order, so the replica never shows a snapshot it cannot restore. Receipts, heads and manifests
    that the ledger keeps in the vault go too. Verified are the snapshots that no earlier run has verified, or with `full` all. Idempotent.
    """
    proven = None if full else _proven(vault, target)
    numbers, commits, since = _new_records(vault, proven.chains if proven else {})
    there = {info.key: info.size for info in target.list()}
    versions = versions_of(vault, commits, since)
    todo = list(_in_order(vault.store, numbers, versions))
    copied = size = already = 0
    for number, (key, length) in enumerate(todo, 1):
        if there.get(key) == length:
            already += 1
        elif _copy(vault.store, target, key, versions.get(key, "")):
            copied, size = copied + 1, size + length
        if progress is not None:
            progress("replicate", number, len(todo))
    target.sync()
    replica = opened_replica(vault, target)
    report = verify(replica, proven=proven)
    if report.proven is not None:
        target.write(VERIFIED, report.proven.sealed(vault.signer))
    return ReplicaReport(target.url, copied, size, already, report)


def _proven(vault: Vault, target: Store) -> Proven | None:
    """How far an earlier run found the target sound; a record that proves nothing only costs time."""
    try:
        proven = Proven.opened(vault.keyring, target.read(VERIFIED))
    except ObjectNotFound:
        return None
    return proven.of(vault.identity(), target.url) if proven else None


def _new_records(
    vault: Vault, before: Mapping[str, Reached]
) -> tuple[set[tuple[str, int]], list[SnapshotCommit], frozenset[str]]:
    """The places of all records that are there; the snapshots to copy, each chain's behind the last that is proven; that one's digest.

    What was proven before is not read again.
    """
    catalog = vault.catalog
    places: set[tuple[str, int]] = set()
    records: list[ChainRecord] = []
    for info in catalog.infos(SNAPSHOTS):
        place = numbered(SNAPSHOTS, info.key)
        if place is None:
            continue
        if place[0] in before and place[1] <= before[place[0]].seq:
            places.add(place)
            continue
        try:
            records.append(catalog.record(info))
            places.add(place)
        except IntegrityError:
            if place not in catalog.tombstones(place[0], strict=False):
                raise
    ends = {name: catalog.head(name, before[name].seq if name in before else 0) for name in {name for name, _ in places}}
    gone = catalog.forgotten(heads=ends)
    fresh = [one for one in records if isinstance(one, SnapshotCommit) and (one.dataset, one.seq) not in gone]
    last = [catalog.at(name, reached.commit) for name, reached in before.items() if reached.commit]
    proven = [commit for commit in last if commit is not None]
    return places, [*proven, *fresh], frozenset(commit.digest for commit in proven)


def versions_of(vault: Vault, commits: Sequence[SnapshotCommit], since: Collection[str]) -> dict[str, str]:
    """The versions that new snapshots refer to, so that nothing put over them later is copied."""
    versions: dict[str, str] = {}
    before: dict[str, SnapshotCommit] = {}
    for commit in commits:
        if commit.digest not in since and commit.tree_version:
            versions |= {
                key: version for key, version in reach(vault, commit, before.get(commit.dataset)).items() if version
            }
        before[commit.dataset] = commit
    return versions


def opened_replica(vault: Vault, target: Store) -> Vault:
    """The replica as a vault, to list, verify and restore from when the first one is gone."""
    return Vault(
        target,
        vault.signer,
        vault.keyring,
        clock=vault.clock,
        new_id=vault.new_id,
        encryption=vault.encryption,
        max_session=vault.max_session,
        workers=vault.workers,
        codec=vault.codec,
    )


def _in_order(store: Store, known: set[tuple[str, int]], versions: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Everything but work in progress: bytes first, what the chains held before this began next, tombstones last."""
    last: list[tuple[str, int]] = []
    hidden = dict(versions)
    for info in store.list():
        hidden.pop(info.key, None)
        if info.key.startswith((SNAPSHOTS, FORGOTTEN)):
            prefix = SNAPSHOTS if info.key.startswith(SNAPSHOTS) else FORGOTTEN
            if numbered(prefix, info.key) in known:
                last.append((info.key, info.size))
        elif info.key.startswith((ROOT, *RECORDS)):
            yield info.key, info.size
    for key, version in hidden.items():
        # deleted in the vault, but its version is kept
        yield key, store.head(key, version=version).size
    yield from sorted(last, key=lambda item: (item[0].startswith(FORGOTTEN), item[0]))


def _copy(source: Store, target: Store, key: str, version: str) -> bool:
    digest = hashlib.sha256()

    def passing() -> Iterator[bytes]:
        for chunk in source.stream(key, version=version or None):
            digest.update(chunk)
            yield chunk

    try:
        target.write(key, passing())
    except ObjectNotFound:
        return False  # pruned meanwhile: no snapshot needs it
    back = hashlib.sha256()
    for chunk in target.stream(key):
        back.update(chunk)
    if back.digest() != digest.digest():
        raise DigestMismatch(
            f"expected {key} in {target.url} as it was written, found other bytes: check the store", key=key
        )
    return True
