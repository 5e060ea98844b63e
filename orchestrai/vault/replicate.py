"""A second copy of the vault in another store, region or account."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrai.contracts.verdict import JsonValue
from orchestrai.errors import DigestMismatch, ObjectNotFound
from orchestrai.ledger.manifest import canonical_json
from orchestrai.storage.base import Store
from orchestrai.vault.layout import ATTESTED, FORGOTTEN, ROOT, SNAPSHOTS, numbered
from orchestrai.vault.records import ATTESTATION_TYPE, FORMAT
from orchestrai.vault.vault import Progress, Vault
from orchestrai.vault.verify import VerifyReport, verify


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


def replicate(vault: Vault, target: Store, *, progress: Progress | None = None) -> ReplicaReport:
    """Copy what `target` lacks, read each copy back, and verify the replica as a vault of its own.

    Commits are copied after all bytes, so the replica never shows a snapshot it cannot restore. Copies have the target's times, so
    the commit times are attested there, signed. Receipts, heads and manifests that the ledger keeps in the vault go too. Idempotent.
    """
    commits = vault.snapshots()
    numbers = {(commit.dataset, commit.seq) for commit in vault.catalog.commits(strict=False)}
    there = {info.key: info.size for info in target.list()}
    todo = [info for info in _in_order(vault.store, numbers)]
    copied = size = already = 0
    for number, (key, length) in enumerate(todo, 1):
        if there.get(key) == length:
            already += 1
        elif _copy(vault.store, target, key):
            copied, size = copied + 1, size + length
        if progress is not None:
            progress("replicate", number, len(todo))
    body = {
        "format": FORMAT,
        "vault": vault.identity(),
        "committed": {commit.digest: commit.committed.isoformat() for commit in commits},
    }
    key = f"{ATTESTED}{vault.new_id()}.json"
    target.write(key, vault.signer.sign(ATTESTATION_TYPE, canonical_json(body)), create=True)
    target.sync()
    return ReplicaReport(target.url, copied, size, already, verify(opened_replica(vault, target)))


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


def _in_order(store: Store, known: set[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """Everything but work in progress: bytes first, commits of before this began next, tombstones last."""
    last: list[tuple[str, int]] = []
    for info in store.list():
        if info.key.startswith((SNAPSHOTS, FORGOTTEN)):
            prefix = SNAPSHOTS if info.key.startswith(SNAPSHOTS) else FORGOTTEN
            if numbered(prefix, info.key) in known:
                last.append((info.key, info.size))
        elif info.key.startswith((ROOT, "receipts/", "heads/", "manifests/")):
            yield info.key, info.size
    yield from sorted(last, key=lambda item: (item[0].startswith(FORGOTTEN), item[0]))


def _copy(source: Store, target: Store, key: str) -> bool:
    digest = hashlib.sha256()

    def passing() -> Iterator[bytes]:
        for chunk in source.stream(key):
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
