"""Verified reading of heads, receipts and manifests: from a lake, or from the vault that witnesses it.

Needs a store and public keys, nothing else. Every record is checked before it is used: signature, hash, Merkle root.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrai.core.tree.paged_tree import Subtree
from orchestrai.errors import IntegrityError, MissingObject, NotCounted, NotReceipted
from orchestrai.ledger.decisions.standing import counted, standing_head
from orchestrai.ledger.format.dataset_pages import DatasetPages, is_paged
from orchestrai.ledger.heads import Head, head_key, head_numbers, read_head
from orchestrai.ledger.manifest import PartitionEntry, PartitionManifest, blob_key, decode_partition, read_blob
from orchestrai.ledger.receipt import Receipt, open_receipt
from orchestrai.ledger.signing import Keyring
from orchestrai.provenance.asset_versions import Versions
from orchestrai.provenance.verify.read_ahead import plan, reading_ahead
from orchestrai.storage.base import Store


@dataclass
class Tally:
    """How much was verified so far."""

    signatures: int = 0
    hashes: int = 0
    roots: int = 0
    heads: int = 0


class Records:
    """The records of one store, each verified when first read and then kept; not safe to share between threads."""

    def __init__(self, store: Store, keyring: Keyring) -> None:
        self.store = reading_ahead(store)
        self.keyring = keyring
        self.tally = Tally()
        # entries of logs that count for nothing, as their keys may not sign them
        self.refused: dict[str, NotCounted] = {}
        self._logs: dict[str, tuple[Head, ...]] = {}
        self._versions: dict[str, dict[str, Head]] = {}
        self._receipts: dict[str, Receipt] = {}
        self._partitions: dict[str, PartitionManifest] = {}
        self._manifests: dict[str, tuple[Versions, DatasetPages, set[Subtree[str]]]] = {}
        self._hashed: set[str] = set()

    def assets(self, prefix: str = "") -> list[str]:
        """Every asset with a head, sorted."""
        return sorted({info.key[len("heads/") :].rsplit("/", 1)[0] for info in self.store.list(f"heads/{prefix}")})

    def log(self, asset: str) -> tuple[Head, ...]:
        """All heads, oldest first: signed, numbered without a gap from 1, each naming its predecessor's hash."""
        heads = self._logs.get(asset)
        if heads is None:
            heads = self._logs[asset] = tuple(self._read_log(asset))
        return heads

    def _read_log(self, asset: str) -> Iterable[Head]:
        previous = ""
        numbers = head_numbers(self.store, asset)
        plan(self.store, [head_key(asset, seq) for seq in numbers])
        for expected, seq in enumerate(numbers, 1):
            if seq != expected:
                raise MissingObject(
                    f"expected head {expected} of {asset}, found {seq} next: restore the record", asset=asset
                )
            try:
                head = read_head(self.store, self.keyring, asset, seq)
            except NotCounted as exc:
                # it takes its number, and stands for the one before it
                self.refused[head_key(asset, seq)] = exc
                head = standing_head(self.store, self.keyring, asset, seq)
            if head.previous != previous:
                raise IntegrityError(
                    f"expected head {seq} of {asset} to follow {previous[:12] or 'nothing'}, found {head.previous[:12]}: "
                    "history was altered",
                    asset=asset,
                )
            previous = head.digest
            self.tally.heads += 1
            self.tally.signatures += 1
            yield counted(self.store, self.keyring, head)

    def at(self, asset: str, version: str | None = None) -> Head:
        """The newest head, or the newest with this version (or its first digits); raises NotReceipted."""
        log = self.log(asset)
        if version is None and log:
            return log[-1]
        wanted = version or "any version"
        if asset not in self._versions:
            self._versions[asset] = {head.version: head for head in log}
        exact = self._versions[asset].get(wanted)
        if exact is not None:
            return exact
        digits = wanted.removeprefix("sha256:")
        near = [head for known, head in self._versions[asset].items() if len(digits) >= 8 and known[7:].startswith(digits)]
        if len(near) != 1:
            raise NotReceipted(f"expected {wanted} of {asset} in its log, found none: it was never published", asset=asset)
        return near[0]

    def before(self, asset: str, version: str, moment: str) -> Head:
        """The newest head with this version that was there at a moment (ISO, UTC), else the newest with it."""
        newest = self.at(asset, version)
        if newest.time <= moment:
            return newest
        return next((h for h in reversed(self.log(asset)) if h.version == version and h.time <= moment), newest)

    def entries(self, head: Head, wanted: Iterable[str] | None = None) -> dict[str, PartitionEntry]:
        """Lines of the dataset manifest at a head (all, or those named), its Merkle root recomputed."""
        rows, version = self._rows(head)
        if version != head.version:
            raise IntegrityError(f"expected the manifest of {head.asset} to give {head.version}, found {version}")
        self.tally.roots += 1
        keys = rows if wanted is None else wanted
        missing = [key for key in keys if key not in rows]
        if missing:
            raise NotReceipted(f"expected partition {missing[0]} in {head.asset} at {head.version[:19]}, found none")
        return {key: row if isinstance(row := rows[key], PartitionEntry) else PartitionEntry(*row) for key in keys}

    def _rows(self, head: Head) -> tuple[Mapping[str, Any], str]:
        """The lines of a manifest and the version that follows from them; what versions share is read and hashed once."""
        reader, pages, seen = self._manifests.setdefault(
            head.asset,
            (Versions(head.asset), DatasetPages(head.asset, lambda digest: self.blob("manifests", digest)), set()),
        )
        data = self.blob("manifests", head.manifest)
        if not is_paged(data):
            return reader.read(data)
        tree = pages.tree(head.manifest)
        pages.require_sound(tree, seen)
        return tree, tree.version

    def receipt(self, digest: str) -> Receipt:
        """A receipt whose hash, signature and subjects were checked."""
        receipt = self._receipts.get(digest)
        if receipt is None:
            receipt = self._receipts[digest] = open_receipt(self.blob("receipts", digest), self.keyring)
            self.tally.signatures += 1
        return receipt

    def admitted(self, asset: str, entry: PartitionEntry) -> Receipt:
        """The receipt that admits a partition; raises NotReceipted unless it covers the root with an open gate."""
        receipt = self.receipt(entry.receipt)
        if receipt.asset != asset or receipt.partitions.get(entry.partition) != entry.root:
            raise NotReceipted(
                f"expected a receipt for {asset}@{entry.partition} at {entry.root[:19]}, found one for {receipt.asset} "
                f"at {str(receipt.partitions.get(entry.partition))[:19]}"
            )
        closed = receipt.closed_checks(entry.partition)
        if closed:
            raise NotReceipted(f"expected passing checks for {asset}@{entry.partition}, found failed: {', '.join(closed)}")
        return receipt

    def files(self, asset: str, entry: PartitionEntry) -> PartitionManifest:
        """The list of a partition's files, its Merkle root recomputed."""
        manifest = self._partitions.get(entry.manifest)
        if manifest is None:
            data = self.blob("manifests", entry.manifest)
            manifest = decode_partition(data)
            if manifest.encode() != data:
                raise IntegrityError(f"expected the manifest of {asset}@{entry.partition} in canonical form, found another")
            self._partitions[entry.manifest] = manifest
            self.tally.roots += 1
        if (manifest.root, manifest.partition) != (entry.root, entry.partition):
            raise IntegrityError(
                f"expected the files of {asset}@{entry.partition} to give {entry.root}, found {manifest.root}"
            )
        return manifest

    def blob(self, kind: str, digest: str) -> bytes:
        """A content-addressed record, its hash checked; raises MissingObject, DigestMismatch."""
        data, key = read_blob(self.store, kind, digest, "restore the record"), blob_key(kind, digest)
        if key not in self._hashed:
            self._hashed.add(key)
            self.tally.hashes += 1
        return data

    def require_records(self, heads: Iterable[Head]) -> None:
        """Check that the manifest and the receipt of each head are there and hash to their names."""
        named = {
            (kind, digest): None
            for head in heads
            for kind, digest in (("manifests", head.manifest), ("receipts", head.receipt))
        }
        lacking = [(kind, digest) for kind, digest in named if blob_key(kind, digest) not in self._hashed]
        plan(self.store, [blob_key(kind, digest) for kind, digest in lacking])
        for kind, digest in lacking:
            self.blob(kind, digest)

    def plan_uses(self, entries: Iterable[PartitionEntry], *, files: bool) -> None:
        """Begin to read the receipts of partitions, each with its list of files where those are wanted too."""
        keys: dict[str, None] = {}
        for entry in entries:
            if entry.receipt not in self._receipts:
                keys[blob_key("receipts", entry.receipt)] = None
            if files and entry.manifest not in self._partitions:
                keys[blob_key("manifests", entry.manifest)] = None
        plan(self.store, keys)

    def plan_receipts(self, heads: Iterable[Head]) -> None:
        """Begin to read the receipts of some heads."""
        lacking = dict.fromkeys(head.receipt for head in heads if head.receipt not in self._receipts)
        plan(self.store, [blob_key("receipts", digest) for digest in lacking])

    def plan_versions(self, heads: Iterable[Head]) -> None:
        """Begin to read the dataset manifests of some heads."""
        plan(self.store, [blob_key("manifests", head.manifest) for head in heads])
