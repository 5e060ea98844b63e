"""What a snapshot of a table says of itself, and what has to change in a table for the next one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from orchestrai.core.time.partition_key import segment
from orchestrai.errors import ConfigError, IntegrityError
from orchestrai.ledger.dataset import Dataset, as_recorded
from orchestrai.ledger.decisions.recalls import Recalls
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import FileEntry

_ASSET, _VERSION, _HEAD, _DIGEST = "orchestrai.asset", "orchestrai.version", "orchestrai.head", "orchestrai.head-digest"
_PUBLISHED, _LEFT_OUT = "orchestrai.published", "orchestrai.left-out"


@dataclass(frozen=True)
class TableVersion:
    """The version of the asset that a snapshot is: its Merkle root, and the signed head that says so.

    `left_out` are the partitions of it that did not count any more when the snapshot was made.
    """

    asset: str
    version: str
    number: int
    digest: str
    published: datetime
    left_out: frozenset[str] = frozenset()

    @classmethod
    def of(cls, dataset: Dataset) -> "TableVersion":
        """The version as it counts now."""
        head = dataset.head
        moment = datetime.fromisoformat(head.time)
        return cls(dataset.asset, dataset.version, head.seq, head.digest, moment, recalled_of(dataset, dataset.recalls))

    @classmethod
    def read(cls, properties: Mapping[str, object]) -> "TableVersion | None":
        """What the properties of a snapshot say; None of one that somebody else made."""
        try:
            return cls(
                str(properties[_ASSET]),
                str(properties[_VERSION]),
                int(str(properties[_HEAD])),
                str(properties[_DIGEST]),
                datetime.fromisoformat(str(properties[_PUBLISHED])),
                frozenset(json.loads(str(properties.get(_LEFT_OUT, "[]")))),
            )
        except (KeyError, ValueError):
            return None

    @property
    def properties(self) -> dict[str, str]:
        """The form in which a snapshot carries it."""
        left_out = {_LEFT_OUT: json.dumps(sorted(self.left_out))} if self.left_out else {}
        return {
            _ASSET: self.asset,
            _VERSION: self.version,
            _HEAD: str(self.number),
            _DIGEST: self.digest,
            _PUBLISHED: self.published.isoformat(),
            **left_out,
        }

    @property
    def tag(self) -> str:
        """What the version is called among the references of a table: `sha256-<hex>`."""
        return self.version.replace(":", "-")

    def same_content(self, other: "TableVersion | None") -> bool:
        """Whether a snapshot of the other holds the very rows."""
        return other is not None and (self.asset, self.version, self.left_out) == (
            other.asset,
            other.version,
            other.left_out,
        )


@dataclass(frozen=True)
class Change:
    """What makes a table hold a version: the files of some partitions, which replace what it holds of these.

    `touched` are the partitions of which it may hold others now; None says that nothing is known of what it holds, and that `files` are
    all of the version.
    """

    version: TableVersion
    files: Mapping[str, tuple[FileEntry, ...]]
    touched: frozenset[str] | None
    rows: int

    @property
    def folders(self) -> frozenset[str] | None:
        """The folders of the partitions that it touches; None for all."""
        return None if self.touched is None else frozenset(map(segment, self.touched))


def recalled_of(dataset: Dataset, recalls: Recalls) -> frozenset[str]:
    """The partitions of a version that are recalled; costs the recalls, not the partitions."""
    asset, partitions = dataset.asset, dataset.partitions
    named = {key for record in recalls.records for keys in record.receipts.values() for key in keys}
    named |= {key for record in recalls.records for owner, key, _ in record.roots if owner == asset}
    found = set()
    for key in named:
        entry = partitions.get(key)
        if entry is not None and recalls.find(asset, key, entry.root, entry.receipt) is not None:
            found.add(key)
    return frozenset(found)


def change_to(ledger: Ledger, dataset: Dataset, held: TableVersion | None, before: Dataset | None) -> Change:
    """What brings a table from the version that it holds to another; `before` is the held version, and None says that it is not known.

    Costs the pages of the two manifests that differ, and the files that are new: each is looked at as it lies, by its hash on this disk,
    by its size elsewhere. Raises NotReceipted for a partition that does not count, IntegrityError, ConfigError.
    """
    wanted = TableVersion.of(dataset)
    if held is None or before is None:
        changed, touched = {*dataset.partitions}, None
    else:
        mine, theirs = dataset.roots_unlike(before)
        flipped = held.left_out ^ wanted.left_out
        changed = {*mine, *(flipped & {*dataset.partitions})}
        touched = frozenset({*theirs, *(flipped & {*before.partitions})})
    files = {key: _data_files(ledger, dataset, key) for key in sorted(changed - wanted.left_out)}
    left = [dataset.partitions[key] for key in wanted.left_out]
    rows = dataset.rows - sum(entry.rows for entry in left)
    return Change(wanted, files, touched, rows)


def data_folder(asset: str) -> str:
    """The folder of an asset's data in the lake."""
    return f"data/{asset}/"


def place_of(asset: str, key: str) -> str:
    """The partition's folder in which a file of an asset lies, `<segment>/`; raises ConfigError for a file that lies elsewhere."""
    folder = data_folder(asset)
    if not key.startswith(folder):
        raise ConfigError(f"expected the files of {asset} under {folder} in the lake, found {key}: restore or make it again")
    return key[len(folder) :].split("/", 1)[0]


def _data_files(ledger: Ledger, dataset: Dataset, partition: str) -> tuple[FileEntry, ...]:
    entries = tuple(entry for entry in dataset.files(partition).files if entry.role == "data")
    for entry in entries:
        if not entry.path.endswith(".parquet"):
            raise ConfigError(
                f"expected Parquet files in {dataset.asset}, found {entry.path}: it cannot be shared as a table"
            )
        if entry.store != "lake" or place_of(dataset.asset, entry.key) != segment(partition):
            raise ConfigError(
                f"expected the files of {dataset.asset}@{partition} in its folder of the lake, found {entry.key}: restore or make it again"
            )
    if not as_recorded(ledger, entries):
        raise IntegrityError(
            f"expected the files of {dataset.asset}@{partition} as they were recorded, found them altered or gone: restore or make it again"
        )
    return entries
