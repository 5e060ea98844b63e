"""Publish and open: the only way data becomes visible, and the only way it is read.

A stage opens a `Session`, adds files (staged where nobody reads), and commits partitions together with their verdicts.
A reader opens a `Dataset`, which hands out local files only after signature, receipt, root and every byte were checked.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrai.errors import DigestMismatch, IntegrityError, MissingObject, NotReceipted, ObjectNotFound
from orchestrai.ledger.blobs import blob_key, put_absent
from orchestrai.ledger.heads import Head, head_numbers, read_head
from orchestrai.ledger.ids import Clock, new_session_id
from orchestrai.ledger.ids import utc_now as utc_now
from orchestrai.ledger.manifest import (
    DatasetManifest,
    FileEntry,
    PartitionEntry,
    PartitionManifest,
    decode_dataset,
    decode_partition,
    sha256_hex,
)
from orchestrai.ledger.recalls import RecallRecord, Recalls, read_recall, recall_keys
from orchestrai.ledger.receipt import Receipt, open_receipt
from orchestrai.ledger.session import Session
from orchestrai.ledger.signing import Keyring, Signer
from orchestrai.ledger.skips import Skips, skips_in
from orchestrai.ledger.transactions import counted
from orchestrai.storage.base import Store

# what was read since a stage began, by ledger and asset
_READ: ContextVar[dict[tuple[int, str], Head | Recalls | None] | None] = ContextVar("_READ", default=None)
_RECALLS = "\0recalls"


@dataclass(frozen=True, slots=True)
class VerifiedFile:
    """A local file whose every byte was just hashed and found equal to the receipted entry."""

    path: Path
    entry: FileEntry


class Ledger:
    """The record of what is current in a lake, with a signed history.

    `stores` names the places file bytes may lie ("lake" always, "vault" where there is one); `witness` receives a copy
    of every receipt and head. Guarantees: commits are atomic and fenced per partition; an identical re-publish is a no-op.
    """

    def __init__(
        self,
        lake: Store,
        signer: Signer,
        keyring: Keyring | None = None,
        *,
        vault: Store | None = None,
        clock: Clock = utc_now,
        new_id: Callable[[], str] = new_session_id,
    ) -> None:
        self.lake = lake
        self.vault = vault
        self.signer = signer
        self.keyring = keyring or signer.keyring()
        self.clock = clock
        self.new_id = new_id
        self._receipts: dict[str, Receipt] = {}
        self._recalled: dict[str, RecallRecord] = {}

    # -- reading ---------------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[None]:
        """For one stage: each asset's head and the recalls are read once. Commits read anew, and what they publish is seen."""
        token = _READ.set({}) if _READ.get() is None else None
        try:
            yield
        finally:
            if token is not None:
                _READ.reset(token)

    def forget(self) -> None:
        """Read heads and recalls anew from here on."""
        (_READ.get() or {}).clear()

    def head(self, asset: str) -> Head | None:
        """The newest head of an asset, verified; None when nothing was ever published.

        Raises IntegrityError when the vault's copy of the log goes on where the lake's ends.
        """
        read, place = _READ.get(), (id(self), asset)
        if read is None:
            return self.newest(asset)
        if place not in read:
            read[place] = self.newest(asset)
        found = read[place]
        assert not isinstance(found, Recalls)
        return found

    def newest(self, asset: str) -> Head | None:
        """As `head`, from the store at each call."""
        last = max(head_numbers(self.lake, asset), default=0)
        last = self._witnessed(asset, last)
        return counted(self.lake, self.keyring, read_head(self.lake, self.keyring, asset, last)) if last else None

    def published(self, head: Head) -> None:
        """Note what a session has just published, for the rest of the stage."""
        read = _READ.get()
        if read is not None:
            read[id(self), head.asset] = head

    def _witnessed(self, asset: str, last: int) -> int:
        """The number of the newest head, if the vault knows no later one: a log that was cut off would bring back old versions."""
        if self.vault is None:
            return last
        known = max(head_numbers(self.vault, asset, last), default=0)
        if known > last:
            # the head may have been published between the two listings
            last = max(head_numbers(self.lake, asset, last), default=last)
        if known > last:
            raise IntegrityError(
                f"expected head {known} of {asset}, of which the vault has a copy, found the log in {self.lake.url} to end at "
                f"{last}: it was cut off; run `orchestrai rebuild`",
                asset=asset,
            )
        return last

    def history(self, asset: str) -> Iterator[Head]:
        """All heads, newest first, each verified, with the hash chain checked; raises IntegrityError."""
        expected = None
        for seq in reversed(head_numbers(self.lake, asset)):
            head = counted(self.lake, self.keyring, read_head(self.lake, self.keyring, asset, seq))
            if expected is not None and head.digest != expected:
                raise IntegrityError(
                    f"expected head {seq} of {asset} to hash to {expected[:12]}, found {head.digest[:12]}: history was altered"
                )
            expected = head.previous
            yield head

    def open(self, asset: str, version: str | None = None) -> "Dataset":
        """Open the current (or a named earlier) version; raises NotReceipted when there is none."""
        if version is None:
            head = self.head(asset)
        else:
            head = next((h for h in self.history(asset) if h.version == version), None)
        if head is None:
            wanted = version or "any version"
            raise NotReceipted(f"expected {wanted} of {asset}, found none published: materialize {asset} first", asset=asset)
        return self.dataset(head)

    def find(self, asset: str) -> "Dataset | None":
        """The current version, or None when nothing was published yet."""
        head = self.head(asset)
        return None if head is None else self.dataset(head)

    def dataset(self, head: Head) -> "Dataset":
        """The dataset at one head, its manifest checked against the head."""
        manifest = decode_dataset(self.blob("manifests", head.manifest))
        if (manifest.asset, manifest.version) != (head.asset, head.version):
            raise IntegrityError(f"expected the manifest of {head.asset} at {head.version}, found {manifest.version}")
        return Dataset(self, head, manifest, self.recalls())

    def recalls(self) -> Recalls:
        """Every recall in the lake, verified."""
        read, place = _READ.get(), (id(self), _RECALLS)
        found = read.get(place) if read is not None else None
        if not isinstance(found, Recalls):
            found = self.newest_recalls()
        if read is not None:
            read[place] = found
        return found

    def newest_recalls(self) -> Recalls:
        """As `recalls`, from the store at each call."""
        keys = recall_keys(self.lake)
        for key in keys:
            if key not in self._recalled:
                self._recalled[key] = read_recall(self.lake, self.keyring, key)
        return Recalls(self._recalled[key] for key in keys)

    def skips(self) -> Skips:
        """The partitions that people left out, verified."""
        return skips_in(self.lake, self.keyring)

    def receipt(self, digest: str) -> Receipt:
        """A verified receipt by digest (kept in memory after the first check)."""
        found = self._receipts.get(digest)
        if found is None:
            found = self._receipts[digest] = open_receipt(self.blob("receipts", digest), self.keyring)
        return found

    def blob(self, kind: str, digest: str) -> bytes:
        """A content-addressed record, its hash checked; raises MissingObject, DigestMismatch."""
        key = blob_key(kind, digest)
        try:
            data = self.lake.read(key)
        except ObjectNotFound as exc:
            raise MissingObject(f"expected {key} in {self.lake.url}, found nothing: run `orchestrai rebuild`") from exc
        if sha256_hex(data) != digest:
            raise DigestMismatch(f"expected {key} to hash to its name, found other bytes: run `orchestrai rebuild`", key=key)
        return data

    def store_of(self, entry: FileEntry) -> Store:
        """The store that holds a file's bytes."""
        store = self.lake if entry.store == "lake" else self.vault
        if store is None:
            raise IntegrityError(f"expected a vault to read {entry.key}, found none configured: set the vault's URL")
        return store

    def assets(self, prefix: str = "") -> list[str]:
        """Every asset with a head, sorted."""
        seen = {info.key[len("heads/") :].rsplit("/", 1)[0] for info in self.lake.list(f"heads/{prefix}")}
        return sorted(seen)

    # -- writing ---------------------------------------------------------------------------------------------

    def session(self, asset: str, stage: str) -> Session:
        """Begin to write an asset; the head seen now is the fence."""
        return Session(self, asset, stage, self.new_id(), self.head(asset))

    def put_blob(self, kind: str, data: bytes, *, witness: bool = False) -> str:
        """Keep a record under its hash (idempotent), with a copy in the vault when `witness`; returns the hex digest."""
        digest = sha256_hex(data)
        for store in (self.lake, self.vault if witness else None):
            if store is not None:
                put_absent(store, blob_key(kind, digest), data)
        return digest


@dataclass(frozen=True)
class Dataset:
    """One version of an asset, opened through its head."""

    ledger: Ledger
    head: Head
    manifest: DatasetManifest
    recalls: Recalls = field(default_factory=Recalls)

    @property
    def asset(self) -> str:
        """The asset's key."""
        return self.head.asset

    @property
    def version(self) -> str:
        """`sha256:<hex>`."""
        return self.head.version

    @property
    def partitions(self) -> Mapping[str, PartitionEntry]:
        """The partitions by key."""
        return self.manifest.partitions

    @property
    def rows(self) -> int:
        """Rows in all partitions."""
        return sum(entry.rows for entry in self.partitions.values())

    def roots(self, partitions: Sequence[str] | None = None) -> dict[str, str]:
        """Partition roots, for an InputRef."""
        keys = sorted(self.partitions) if partitions is None else partitions
        return {key: self.partitions[key].root for key in keys}

    def receipt(self, partition: str) -> Receipt:
        """The receipt that admits a partition; raises NotReceipted unless it covers the root with an open gate, unrecalled."""
        entry = self._entry(partition)
        recall = self.recalls.find(self.asset, partition, entry.root, entry.receipt)
        if recall is not None:
            raise NotReceipted(
                f"expected data that counts in {self.asset}@{partition}, found it recalled on {recall.time[:10]} with "
                f"{recall.target} ({recall.reason or 'no reason given'}): materialize it again from clean inputs",
                asset=self.asset,
                partition=partition,
            )
        receipt = self.ledger.receipt(entry.receipt)
        if receipt.asset != self.asset or receipt.partitions.get(partition) != entry.root:
            raise NotReceipted(
                f"expected a receipt for {self.asset}@{partition} at {entry.root}, found one for "
                f"{receipt.asset} at {receipt.partitions.get(partition)}: materialize the partition again"
            )
        closed = receipt.closed_checks(partition)
        if closed:
            raise NotReceipted(f"expected passing checks for {self.asset}@{partition}, found failed: {', '.join(closed)}")
        return receipt

    def files(self, partition: str) -> PartitionManifest:
        """The receipted list of a partition's files; no byte of them is read."""
        entry = self._entry(partition)
        self.receipt(partition)
        manifest = decode_partition(self.ledger.blob("manifests", entry.manifest))
        if manifest.root != entry.root or manifest.partition != partition:
            raise IntegrityError(
                f"expected the files of {self.asset}@{partition} to give {entry.root}, found {manifest.root}"
            )
        return manifest

    def fetch(self, partition: str, into: Path, *, role: str | None = "data") -> list[VerifiedFile]:
        """Hash every byte of a partition and return local files; raises MissingObject, DigestMismatch.

        Files on this disk are read in place; others are copied to `into`. `role=None` fetches landed originals too.
        """
        wanted = [entry for entry in self.files(partition).files if role is None or entry.role == role]
        return [self._verified(entry, into) for entry in wanted]

    @contextmanager
    def fetched(self, partitions: Sequence[str], *, role: str | None = "data") -> Iterator[dict[str, list[VerifiedFile]]]:
        """Verified local files of several partitions, for the length of a `with` block."""
        with tempfile.TemporaryDirectory(prefix="orchestrai-") as folder:
            yield {key: self.fetch(key, Path(folder) / key, role=role) for key in partitions}

    def _entry(self, partition: str) -> PartitionEntry:
        try:
            return self.partitions[partition]
        except KeyError:
            raise NotReceipted(
                f"expected partition {partition} of {self.asset}, found none published: materialize it first",
                asset=self.asset,
                partition=partition,
            ) from None

    def _verified(self, entry: FileEntry, into: Path) -> VerifiedFile:
        store = self.ledger.store_of(entry)
        local = store.local_path(entry.key)
        digest = hashlib.sha256()
        size = 0
        try:
            if local is None:
                local = into / entry.path
                local.parent.mkdir(parents=True, exist_ok=True)
                with local.open("wb") as sink:
                    for chunk in store.stream(entry.key):
                        digest.update(chunk)
                        size += sink.write(chunk)
            else:
                for chunk in store.stream(entry.key):
                    digest.update(chunk)
                    size += len(chunk)
        except ObjectNotFound as exc:
            raise MissingObject(f"expected {entry.key} in {store.url}, found nothing: restore the dataset again") from exc
        if (digest.hexdigest(), size) != (entry.sha256, entry.size):
            raise DigestMismatch(
                f"expected {entry.key} to be {entry.size} bytes of sha256 {entry.sha256[:12]}, found {size} bytes of "
                f"{digest.hexdigest()[:12]}: restore the dataset again",
                key=entry.key,
            )
        return VerifiedFile(local, entry)


def copy_verified(files: Sequence[VerifiedFile], folder: Path) -> list[Path]:
    """Copy verified files into a folder of one's own."""
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(file.path, folder / Path(file.entry.path).name)) for file in files]


def describe(value: Any) -> str:
    """A short form of a version for people: the first 12 digits."""
    text = str(value)
    return text.removeprefix("sha256:")[:12]
