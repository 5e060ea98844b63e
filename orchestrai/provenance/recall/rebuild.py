"""Rebuild a lake: its records from the vault's copies, then its bytes from snapshots."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrai.core.code_identity import Producer
from orchestrai.errors import ConfigError, IntegrityError, NotCounted
from orchestrai.ingest.sources.table_batch import REREAD
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.heads import Head, head_key
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import FileEntry, sha256_hex
from orchestrai.provenance.decision_log import KINDS, read_decision
from orchestrai.provenance.recall.position_recovery import REASON, positioned_format, take_back
from orchestrai.provenance.verified_records import Records
from orchestrai.storage.base import Store, exists, put_absent
from orchestrai.storage.zstd_stream import write_frame
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.vault import Vault

BLOBS = ("manifests", "receipts", "contracts")


@dataclass(frozen=True)
class Rebuilt:
    """What was copied back, by kind; `heads` counts log entries now equal in both stores."""

    assets: int
    heads: int
    copied: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**self.__dict__, "copied": dict(self.copied)}


@dataclass(frozen=True)
class Recovered:
    """Bytes put back from snapshots, and partitions whose bytes no snapshot holds: dropped, to be computed again."""

    files: int
    size: int
    dropped: Mapping[str, tuple[str, ...]]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "files": self.files,
            "size": self.size,
            "dropped": {asset: list(keys) for asset, keys in self.dropped.items()},
        }


def rebuild(ledger: Ledger) -> Rebuilt:
    """Copy heads, receipts, manifests, recalls, erasures and requests that the lake lacks from the vault; check that both agree.

    Each record is verified before it is written; heads go last and in order, so that a crash leaves no head without its records.
    Idempotent; never overwrites. Raises IntegrityError when the vault's records do not verify or the lake holds others.
    """
    vault = _vault(ledger)
    records = Records(vault, ledger.keyring)
    logs = {asset: records.log(asset) for asset in records.assets()}
    copied = {kind: _copy_blobs(ledger, records, kind) for kind in BLOBS}
    copied |= {folder.rstrip("/"): _copy_decisions(ledger, vault, folder) for folder in KINDS}
    ledger.lake.sync()
    for log in logs.values():
        records.require_records(log)
    copied["heads"] = sum(_copy_head(ledger, vault, head) for log in logs.values() for head in log)
    ledger.lake.sync()
    mine = Records(ledger.lake, ledger.keyring)
    for asset, log in logs.items():
        if mine.log(asset)[: len(log)] != log:
            raise IntegrityError(f"expected the log of {asset} to equal the vault's, found another: run `orchestrai audit`")
    return Rebuilt(len(logs), sum(map(len, logs.values())), copied)


def _copy_blobs(ledger: Ledger, records: Records, kind: str) -> int:
    there = {info.key for info in ledger.lake.list(f"{kind}/")}
    lacking = [info.key for info in records.store.list(f"{kind}/") if info.key not in there]
    for key in lacking:
        put_absent(ledger.lake, key, records.blob(kind, key.rsplit("/", 1)[-1].removesuffix(".json")))
    return len(lacking)


def _copy_decisions(ledger: Ledger, vault: Store, prefix: str) -> int:
    there = {info.key for info in ledger.lake.list(prefix)}
    lacking = [info.key for info in vault.list(prefix) if info.key not in there]
    copied = 0
    for key in lacking:
        try:
            read_decision(vault, ledger.keyring, key)
        except NotCounted:
            continue  # `audit` tells of it
        put_absent(ledger.lake, key, vault.read(key))
        copied += 1
    return copied


def _copy_head(ledger: Ledger, vault: Store, head: Head) -> bool:
    """True when the lake lacked it."""
    key = head_key(head.asset, head.seq)
    envelope = vault.read(key)
    if sha256_hex(envelope) != head.digest:
        raise IntegrityError(f"expected {key} as it was just read, found other bytes: run `orchestrai rebuild` again")
    lacked = not exists(ledger.lake, key)
    put_absent(ledger.lake, key, envelope)
    return lacked


def recover_bytes(ledger: Ledger, vault: Vault) -> Recovered:
    """Put lost lake files of current versions back under their own keys, from vault bytes, each hashed on the way.

    What no snapshot holds (training sets, what was not backed up) is dropped from its asset, so that the next run computes it again
    instead of finding it unchanged. Where a source is read on from a position, that goes back too, so that what was dropped is read again.
    Idempotent. Raises MissingObject, DigestMismatch when the vault is damaged.
    """
    recovery = _Recovery(ledger, vault)
    dropped: dict[str, tuple[str, ...]] = {}
    for asset in ledger.assets():
        dataset = ledger.find(asset)
        lost = recovery.put_back(dataset) if dataset is not None else ()
        if dataset is None or not lost:
            continue
        form = positioned_format(dataset)
        if form == "stream":
            dropped[asset] = take_back(ledger, asset, lambda version: not recovery.put_back(version))
            continue
        dropped[asset] = lost
        session = ledger.session(asset, Producer(asset.rsplit("/", 1)[-1], __name__))
        session.commit(drop=lost, parameters={REREAD: True} if form == "sql" else {}, reason=REASON)
    ledger.lake.sync()
    return Recovered(recovery.files, recovery.size, dropped)


@dataclass
class _Recovery:
    """Puts files back from the vault, whose lists are read once, when the first file is missing."""

    ledger: Ledger
    vault: Vault
    files: int = 0
    size: int = 0
    held: dict[tuple[str, int], StoredFile] | None = None

    def put_back(self, dataset: Dataset) -> tuple[str, ...]:
        """Put back what a version lacks; the partitions of which no snapshot holds all bytes."""
        lost = set()
        for partition, entry in _missing(self.ledger, dataset):
            if self.held is None:
                self.held = _held(self.vault)
            file = self.held.get((entry.sha256, entry.size))
            if file is None:
                lost.add(partition)
                continue
            # as its list says, which tells who reads it how it lies
            if entry.packed:
                write_frame(self.ledger.lake, entry.key, self.vault.stream(file))
            else:
                self.ledger.lake.write(entry.key, self.vault.stream(file))
            self.files, self.size = self.files + 1, self.size + entry.size
        return tuple(sorted(lost))


def _missing(ledger: Ledger, dataset: Dataset) -> Iterator[tuple[str, FileEntry]]:
    asset = dataset.asset
    there = {info.key for info in ledger.lake.list(f"data/{asset}/")}
    for partition, entry in sorted(dataset.partitions.items()):
        if dataset.recalls.find(asset, partition, entry.root, entry.receipt):
            continue
        for file in dataset.files(partition).files:
            if file.store == "lake" and file.key not in there and not exists(ledger.lake, file.key):
                # bytes that another asset wrote are looked up one by one: a champion's files are its candidate's
                yield partition, file


def _held(vault: Vault) -> dict[tuple[str, int], StoredFile]:
    files: dict[tuple[str, int], StoredFile] = {}
    for commit in vault.snapshots():
        for partition in vault.partitions(commit).values():
            for file in vault.catalog.files(partition):
                files[file.sha256, file.size] = file
    return files


def _vault(ledger: Ledger) -> Store:
    if ledger.vault is None:
        raise ConfigError("expected a vault to rebuild from, found none configured: set the vault's URL")
    return ledger.vault
