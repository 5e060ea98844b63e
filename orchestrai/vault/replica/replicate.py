"""A second copy of the vault in another store, region or account."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrai.core.canonical import JsonValue
from orchestrai.core.progress import Progress
from orchestrai.errors import DigestMismatch, IntegrityError, NotCounted, ObjectExists, ObjectNotFound
from orchestrai.ledger.log_replica import RECORDS
from orchestrai.ledger.signing import rules_of, without_rules
from orchestrai.ledger.trust.key_rules import governed
from orchestrai.storage.base import Store
from orchestrai.storage.cloud.control import control_plane
from orchestrai.vault.format.layout import BYTES, FORGOTTEN, ROOT, SNAPSHOTS, VERIFIED, numbered
from orchestrai.vault.format.records import ChainRecord, SnapshotCommit
from orchestrai.vault.lifecycle.reachable import reach
from orchestrai.vault.replica.copies import Copy
from orchestrai.vault.replica.own_fences import give_way
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.proven import Proven, Reached
from orchestrai.vault.verify.verification import Finding
from orchestrai.vault.verify.verify import VerifyReport, verify

# what is put if absent is held in memory
CREATED = 16 * 1024 * 1024


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
    """Copy what `target` lacks, and verify the replica as a vault of its own, every new byte by the hash that its commit names.

    Chains are copied after all bytes, in order, so the replica never shows a snapshot it cannot restore. Receipts, heads and manifests
    that the ledger keeps in the vault go too. Read back are the snapshots that no earlier run has read back, or with `full` all. What
    is there with other bytes is never written over: it is found, and `vault heal` mends it. Idempotent.
    """
    proven = None if full else _proven(vault, target)
    numbers, records, commits, since = _new_records(vault, proven.chains if proven else {})
    findings = give_way(records, vault.keyring, Copy(target, control_plane(target), False))
    there = {info.key: info.size for info in target.list()}
    versions = versions_of(vault, commits, since)
    # what these sessions wrote is read back by the hashes that their commits name
    read_later = {commit.session for commit in commits if commit.digest not in since}
    todo = list(_in_order(vault.store, numbers, versions))
    copied = size = already = 0
    for number, (key, length) in enumerate(todo, 1):
        if key in there:
            already += 1
            if there[key] != length:
                problem = f"expected {length} bytes, found {there[key]}: run `orchestrai vault heal --apply`"
                findings.append(Finding(key, problem))
        elif _copy(vault.store, target, key, versions.get(key, ""), back=not _is_of(key, read_later)):
            copied, size = copied + 1, size + length
        if progress is not None:
            progress("replicate", number, len(todo))
    target.sync()
    replica = opened_replica(vault, target)
    report = verify(replica, level="read", proven=proven, progress=progress)
    seen = {finding.key for finding in report.findings}
    report = replace(report, findings=(*report.findings, *(finding for finding in findings if finding.key not in seen)))
    if report.ok and report.proven is not None:
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
) -> tuple[set[tuple[str, int]], list[ChainRecord], list[SnapshotCommit], frozenset[str]]:
    """The places of all records that are there; those that are not proven yet; the snapshots to copy, each chain's behind the last that
    is proven; that one's digest.

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
        except NotCounted:
            continue
        except IntegrityError:
            if place not in catalog.tombstones(place[0], strict=False):
                raise
    ends = {name: catalog.head(name, before[name].seq if name in before else 0) for name in {name for name, _ in places}}
    gone = catalog.forgotten(heads=ends)
    fresh = [one for one in records if isinstance(one, SnapshotCommit) and (one.dataset, one.seq) not in gone]
    last = [catalog.at(name, reached.commit) for name, reached in before.items() if reached.commit]
    proven = [commit for commit in last if commit is not None]
    return places, records, [*proven, *fresh], frozenset(commit.digest for commit in proven)


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
        # the replica has a copy of the key log, and is judged by that
        governed(target, without_rules(vault.keyring)) if rules_of(vault.keyring) is not None else vault.keyring,
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


def _is_there(target: Store, key: str) -> bool:
    try:
        target.head(key)
    except ObjectNotFound:
        return False
    return True


def _is_of(key: str, sessions: Collection[str]) -> bool:
    """True for bytes that one of these sessions wrote."""
    return key.startswith(BYTES) and key.split("/")[2] in sessions


def _copy(source: Store, target: Store, key: str, version: str, *, back: bool) -> bool:
    digest = hashlib.sha256()

    def passing() -> Iterator[bytes]:
        for chunk in source.stream(key, version=version or None):
            digest.update(chunk)
            yield chunk

    try:
        # what another run has put meanwhile is not written over: it may be right where the source is no longer
        if source.head(key, version=version or None).size <= CREATED:
            target.write(key, b"".join(passing()), create=True)
        elif _is_there(target, key):
            return False
        else:
            target.write(key, passing())
    except (ObjectNotFound, ObjectExists):
        return False  # pruned meanwhile, so that no snapshot needs it, or there meanwhile
    kept = hashlib.sha256()
    for chunk in target.stream(key) if back else ():
        kept.update(chunk)
    if back and kept.digest() != digest.digest():
        raise DigestMismatch(
            f"expected {key} in {target.url} as it was written, found other bytes: check the store, then `orchestrai vault heal`",
            key=key,
        )
    return True
