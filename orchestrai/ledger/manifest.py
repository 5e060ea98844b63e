"""Manifests: the lists behind a version, where they lie, and the notes in them of when rows first came.

Canonical JSON (sorted keys, no spaces, UTF-8) so that equal content has equal digests. Snapshots and restores carry the notes along,
so they are read from the vault wherever data is built again.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby
from typing import Any, Literal

from orchestrai.core.canonical import canonical_json, dataset_version, sha256_hex
from orchestrai.core.tree import merkle
from orchestrai.core.tree.paged_tree import PagedTree
from orchestrai.errors import DigestMismatch, IntegrityError, MissingObject, ObjectNotFound, UnknownFormatVersion
from orchestrai.storage.base import Store

__all__ = [
    "ARRIVED",
    "FORMAT",
    "UNPARTITIONED",
    "DatasetManifest",
    "FileEntry",
    "PartitionEntry",
    "PartitionManifest",
    "Run",
    "StoreName",
    "arrival_stats",
    "arrivals_of",
    "blob_key",
    "canonical_json",
    "dataset_version",
    "decode_partition",
    "make_partition",
    "read_blob",
    "sha256_hex",
]

FORMAT = 1
# a partition's list with files that lie compressed: who does not know of them would take their bytes for damaged
PACKED_FORMAT = 2
UNPARTITIONED = "all"
ARRIVED = "arrived"

StoreName = Literal["lake", "vault"]
Run = tuple[int, str]


# a partition that a stream feeds is read and written each minute, with all files that it had before; a number that only looks alike
# (1 and 1.0) has bytes of its own
@lru_cache(maxsize=1 << 14, typed=True)
def _leaf(path: str, size: int, rows: int, sha256: str) -> bytes:
    return canonical_json([path, size, rows, sha256])


@lru_cache(maxsize=1 << 10)
def _root(leaves: tuple[bytes, ...]) -> str:
    return "sha256:" + merkle.root(leaves).hex()


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a partition; `path` is its name inside the partition, `key` where its bytes lie in `store`.

    Only path, size, rows and sha256 enter the version: the same data has the same version wherever it lies.
    `role` is "data" for what engines read and "landed" for original objects kept beside it. Of one that lies compressed by zstd
    `packed` is how many bytes lie under the key, 0 of any other; size and sha256 are always those of the plain bytes.
    """

    path: str
    size: int
    rows: int
    sha256: str
    key: str
    store: StoreName = "lake"
    role: Literal["data", "landed"] = "data"
    packed: int = 0

    @property
    def stored_size(self) -> int:
        """How many bytes lie under the key."""
        return self.packed or self.size

    def leaf(self) -> bytes:
        """The bytes hashed into the partition root."""
        return _leaf(self.path, self.size, self.rows, self.sha256)

    def as_json(self) -> dict[str, Any]:
        """The form kept in a manifest."""
        return {
            "path": self.path,
            "size": self.size,
            "rows": self.rows,
            "sha256": self.sha256,
            "key": self.key,
            "store": self.store,
            "role": self.role,
            **({"packed": self.packed} if self.packed else {}),
        }


@dataclass(frozen=True, slots=True)
class PartitionManifest:
    """The files of one partition, sorted by path."""

    partition: str
    files: tuple[FileEntry, ...]
    stats: Mapping[str, Any]

    @property
    def root(self) -> str:
        """The partition's version, `sha256:<hex>`."""
        return _root(tuple(entry.leaf() for entry in self.files))

    @property
    def rows(self) -> int:
        """Rows in data files."""
        return sum(entry.rows for entry in self.files if entry.role == "data")

    @property
    def size(self) -> int:
        """Bytes in all files."""
        return sum(entry.size for entry in self.files)

    def encode(self) -> bytes:
        """Canonical bytes."""
        return canonical_json(
            {
                "format": PACKED_FORMAT if any(entry.packed for entry in self.files) else FORMAT,
                "partition": self.partition,
                "files": [entry.as_json() for entry in self.files],
                "stats": dict(self.stats),
            }
        )


@dataclass(frozen=True, slots=True)
class PartitionEntry:
    """One partition's line in a dataset manifest; `manifest` and `receipt` are digests of stored objects."""

    partition: str
    root: str
    rows: int
    size: int
    files: int
    manifest: str
    receipt: str

    def as_json(self) -> list[Any]:
        """The compact form kept in a manifest."""
        return [self.partition, self.root, self.rows, self.size, self.files, self.manifest, self.receipt]


@dataclass(frozen=True)
class DatasetManifest:
    """All partitions of an asset, by key."""

    asset: str
    partitions: Mapping[str, PartitionEntry]

    @property
    def version(self) -> str:
        """The Merkle root over (partition, root): what Dagster shows as data version; a tree of pages has it at hand."""
        if isinstance(self.partitions, PagedTree):
            return self.partitions.version
        return dataset_version({key: entry.root for key, entry in self.partitions.items()})

    def encode(self) -> bytes:
        """Canonical bytes."""
        rows = [self.partitions[key].as_json() for key in sorted(self.partitions)]
        return canonical_json({"format": FORMAT, "asset": self.asset, "partitions": rows})


def blob_key(kind: str, digest: str) -> str:
    """Where a content-addressed record lies."""
    return f"{kind}/{digest[:2]}/{digest}.json"


def read_blob(store: Store, kind: str, digest: str, remedy: str) -> bytes:
    """A content-addressed record, its hash checked; raises MissingObject, DigestMismatch, either with the remedy."""
    key = blob_key(kind, digest)
    try:
        data = store.read(key)
    except ObjectNotFound as exc:
        raise MissingObject(f"expected {key} in {store.url}, found nothing: {remedy}") from exc
    if sha256_hex(data) != digest:
        raise DigestMismatch(f"expected {key} to hash to its name, found other bytes: {remedy}", key=key)
    return data


def make_partition(partition: str, files: Iterable[FileEntry], stats: Mapping[str, Any] | None = None) -> PartitionManifest:
    """Sort files by path and refuse two of one name."""
    ordered = tuple(sorted(files, key=lambda entry: entry.path))
    if len({entry.path for entry in ordered}) != len(ordered):
        raise IntegrityError(f"expected distinct file names in partition {partition!r}, found a name twice: rename one")
    return PartitionManifest(partition, ordered, dict(stats or {}))


def _document(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError as exc:
        raise IntegrityError(f"expected a manifest in JSON, found bytes that do not parse ({exc})") from exc
    if not isinstance(document, dict) or document.get("format") not in (FORMAT, PACKED_FORMAT):
        actual = document.get("format") if isinstance(document, dict) else type(document).__name__
        raise UnknownFormatVersion(
            f"expected manifest format {FORMAT} or {PACKED_FORMAT}, found {actual!r}: use a newer release"
        )
    return document


def decode_partition(data: bytes) -> PartitionManifest:
    """Read a partition manifest; raises IntegrityError, UnknownFormatVersion."""
    document = _document(data)
    return make_partition(document["partition"], (FileEntry(**entry) for entry in document["files"]), document["stats"])


def arrival_stats(earlier: Mapping[str, Any] | None, path: str, runs: Iterable[Run]) -> dict[str, Any]:
    """The note on one more file beside those in `earlier` stats: its rows in order, as (how many, when they came)."""
    joined = [[sum(rows for rows, _ in same), moment] for moment, same in groupby(runs, key=lambda run: run[1])]
    return {ARRIVED: {**dict(earlier or {}).get(ARRIVED, {}), path: [run for run in joined if run[0]]}}


def arrivals_of(manifest: PartitionManifest, entry: FileEntry) -> list[tuple[int, datetime]]:
    """The rows of a file in order, as (how many, when they came); raises IntegrityError where the manifest does not say."""
    runs = dict(manifest.stats.get(ARRIVED, {})).get(entry.path, [])
    if sum(rows for rows, _ in runs) != entry.rows or not all(moment for _, moment in runs):
        raise IntegrityError(
            f"expected the arrival of all {entry.rows} rows of {entry.path} in the manifest of {manifest.partition}, found "
            f"{sum(rows for rows, moment in runs if moment)}: they came before arrivals were noted; name a known_at column instead",
            partition=manifest.partition,
        )
    return [(rows, datetime.fromisoformat(moment).astimezone(UTC)) for rows, moment in runs]
