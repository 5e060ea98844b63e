"""What a restore will read, and how long that should take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from orchestrai.errors import IntegrityError, RestoreError
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import FileEntry
from orchestrai.ledger.receipt import Receipt
from orchestrai.restore.open_partitions.growing_partitions import NOTHING, RestoredFiles
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.vault import Vault

# used until a restore of this asset was measured: 100 MB/s and 2 ms for each object
_BYTES_PER_SECOND = 100e6
_SECONDS_PER_OBJECT = 0.002


@dataclass(frozen=True)
class PartitionPlan:
    """One partition: the snapshot that holds it at the receipted root, its files, and the root that the snapshot was made from."""

    partition: str
    root: str
    source: str
    source_root: str
    snapshot: SnapshotCommit
    files: tuple[StoredFile, ...]
    restored: RestoredFiles = NOTHING

    @cached_property
    def standing(self) -> dict[str, FileEntry]:
        """The files that are restored already, by path."""
        found = {file.path: self.restored.of(file) for file in self.files}
        return {path: entry for path, entry in found.items() if entry is not None}

    @cached_property
    def lacking(self) -> tuple[StoredFile, ...]:
        """The files that are to be copied."""
        return tuple(file for file in self.files if file.path not in self.standing)


@dataclass(frozen=True)
class RestorePlan:
    """What a restore reads: `bytes` and `objects` are of the files that it copies; `predicted_seconds` from the last restore of the asset
    where there was one.
    """

    snapshot: str
    asset: str
    partitions: tuple[PartitionPlan, ...]
    bytes: int
    objects: int
    predicted_seconds: float


def plan_restore(
    ledger: Ledger,
    vault: Vault,
    *,
    snapshot: str,
    asset: str,
    partitions: Sequence[str],
    restored: Mapping[str, RestoredFiles] | None = None,
) -> RestorePlan:
    """Find each partition in the vault at the root its receipt names; raises NotReceipted, RestoreError, IntegrityError.

    What is `restored` already of a partition is not copied again where it has the very bytes.
    """
    published = ledger.open(snapshot)
    planned = []
    commits: dict[str, list[SnapshotCommit]] = {}
    named: dict[str, SnapshotCommit | None] = {}
    for partition in sorted(set(partitions)):
        part = _plan_partition(vault, published, partition, commits, named)
        planned.append(replace(part, restored=(restored or {}).get(partition, NOTHING)))
    lacking = [file for part in planned for file in part.lacking]
    size, objects = sum(file.size for file in lacking), len({place.key for file in lacking for place in file.places})
    return RestorePlan(snapshot, asset, tuple(planned), size, objects, _predict(ledger, asset, size, objects))


def _plan_partition(
    vault: Vault,
    published: Dataset,
    partition: str,
    commits: dict[str, list[SnapshotCommit]],
    named: dict[str, SnapshotCommit | None],
) -> PartitionPlan:
    receipt = published.receipt(partition)
    root = published.partitions[partition].root
    source = receipt.inputs[0].asset.rsplit("/", 1)[-1] if receipt.inputs else "source"
    source_root = receipt.inputs[0].partitions.get(partition) if receipt.inputs else None
    if source_root != root:
        raise IntegrityError(
            f"expected the snapshot of {partition} to equal its raw events at {source_root}, found {root}: snapshot it again"
        )
    dataset = str(receipt.facts.get("dataset", ""))
    snapshot_id = str(receipt.facts.get("snapshot_id", ""))
    if snapshot_id not in named:
        named[snapshot_id] = _receipted(vault, receipt)
    snapshot = named[snapshot_id]
    entry = vault.partitions(snapshot).get(partition) if snapshot is not None else None
    if snapshot is not None and entry is not None and entry.root == root:
        return PartitionPlan(partition, root, source, source_root, snapshot, tuple(vault.catalog.files(entry)))
    if dataset not in commits:
        commits[dataset] = vault.catalog.visible(dataset, strict=False)
    # one that retention has forgotten is as good as any other that holds the same root
    ordered = commits[dataset][::-1]
    for commit in ordered:
        entry = vault.partitions(commit).get(partition)
        if entry is not None and entry.root == root:
            return PartitionPlan(partition, root, source, source_root, commit, tuple(vault.catalog.files(entry)))
    raise RestoreError(
        f"expected a snapshot of {dataset} that holds {partition} at {root}, found none among {len(ordered)} in the vault: "
        "take a new snapshot, or mend the vault from its replica: `orchestrai vault heal --apply`",
        partition=partition,
    )


def _receipted(vault: Vault, receipt: Receipt) -> SnapshotCommit | None:
    """The snapshot that the receipt tells of, read without any other; None where it was forgotten or damaged."""
    dataset, seq = receipt.facts.get("dataset"), receipt.facts.get("snapshot_seq")
    try:
        commit = vault.catalog.at(dataset, seq) if isinstance(dataset, str) and isinstance(seq, int) else None
    except IntegrityError:
        return None
    return commit if commit is not None and commit.snapshot_id == receipt.facts.get("snapshot_id") else None


def _predict(ledger: Ledger, asset: str, size: int, objects: int) -> float:
    last = ledger.find(asset)
    if last is not None:
        facts: Mapping[str, object] = ledger.receipt(last.head.receipt).facts
        seconds, read = facts.get("rto_seconds"), facts.get("bytes")
        if isinstance(seconds, int | float) and isinstance(read, int) and seconds > 0 and read > 0:
            return round(float(seconds) * max(size, 1) / read, 3)
    return predicted_seconds(size, objects)


def predicted_seconds(size: int, objects: int) -> float:
    """How long a restore takes by rule of thumb, where none was measured yet."""
    return round(size / _BYTES_PER_SECOND + objects * _SECONDS_PER_OBJECT, 3)
