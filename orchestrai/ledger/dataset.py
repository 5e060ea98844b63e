"""One version of an asset, which hands out local files only after signature, receipt, root and every byte were checked."""

import hashlib
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrai.core.time.calendar import Grain, recorded_grain
from orchestrai.core.time.partition_key import of_value, segment
from orchestrai.errors import DigestMismatch, IntegrityError, MissingObject, NotReceipted, ObjectNotFound
from orchestrai.ledger.decisions.recalls import Recalls
from orchestrai.ledger.heads import Head
from orchestrai.ledger.log import Log
from orchestrai.ledger.manifest import (
    DatasetManifest,
    FileEntry,
    PartitionEntry,
    PartitionManifest,
    decode_dataset,
    decode_partition,
)
from orchestrai.ledger.receipt import Receipt


@dataclass(frozen=True, slots=True)
class VerifiedFile:
    """A local file whose every byte was just hashed and found equal to the receipted entry."""

    path: Path
    entry: FileEntry


@dataclass(frozen=True)
class Dataset:
    """One version of an asset, opened through its head."""

    ledger: Log
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

    def of_value(self, value: str) -> "Dataset":
        """The version as partitions of a value see it: those of the value, and all where it has no dimension; itself for no value."""
        entries = {key: self.partitions[key] for key in of_value(value, self.partitions)} if value else self.partitions
        return self if entries is self.partitions else replace(self, manifest=replace(self.manifest, partitions=entries))

    def cut(self) -> Grain | None:
        """How it is cut by time, as its newest partition that can be read notes it; None where the keys tell, or there is none."""
        for key in sorted(self.partitions, reverse=True):
            try:
                return recorded_grain(self.files(key).stats)
            except IntegrityError:
                continue  # recalled or damaged: whoever opens it is told
        return None

    def fetch(
        self, partition: str, into: Path, *, role: str | None = "data", only: Collection[str] | None = None
    ) -> list[VerifiedFile]:
        """Hash every byte of a partition and return local files; raises MissingObject, DigestMismatch.

        Files on this disk are read in place; others are copied to `into`. `role=None` fetches landed originals too; `only`
        those with one of these SHA-256.
        """
        wanted = [entry for entry in self.files(partition).files if role is None or entry.role == role]
        if only is not None:
            wanted = [entry for entry in wanted if entry.sha256 in only]
        return [self._verified(entry, into) for entry in wanted]

    @contextmanager
    def fetched(
        self, partitions: Sequence[str], *, role: str | None = "data", only: Collection[str] | None = None
    ) -> Iterator[dict[str, list[VerifiedFile]]]:
        """Verified local files of several partitions, for the length of a `with` block; as `fetch`."""
        with tempfile.TemporaryDirectory(prefix="orchestrai-") as folder:
            yield {key: self.fetch(key, Path(folder) / segment(key), role=role, only=only) for key in partitions}

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


def dataset_at(log: Log, head: Head) -> Dataset:
    """The dataset at one head, its manifest checked against the head; raises IntegrityError."""
    manifest = decode_dataset(log.blob("manifests", head.manifest))
    if (manifest.asset, manifest.version) != (head.asset, head.version):
        raise IntegrityError(f"expected the manifest of {head.asset} at {head.version}, found {manifest.version}")
    return Dataset(log, head, manifest, log.recalls())
