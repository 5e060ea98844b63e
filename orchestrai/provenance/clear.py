"""What was kept in clear before a dataset's contract began to tokenise: an erasure does not reach it, so it is named."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.errors import MissingObject, NotReceipted
from orchestrai.ledger import Dataset, Ledger

if TYPE_CHECKING:
    from orchestrai.vault import Vault

REMEDY = (
    "ingest these partitions again, now that the contract tokenises, and take a snapshot; then `orchestrai vault forget` and "
    "`orchestrai vault prune` the snapshots named, each possible only once its lock has ended, in the replica too; and remove the "
    "files named from the lake, whose earlier versions then open no more"
)


@dataclass(frozen=True)
class ClearCopy:
    """A partition version that holds a person in clear, the snapshots that give it back, and the keys of its bytes in the lake."""

    asset: str
    partition: str
    root: str
    snapshots: tuple[str, ...]
    lake_keys: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**self.__dict__, "snapshots": list(self.snapshots), "lake_keys": list(self.lake_keys)}


def clear_copies(
    ledger: Ledger, asset: str, person: str, folder: Path, vault: "Vault | None", unchecked: list[str]
) -> Iterator[ClearCopy]:
    """Every version of a dataset's raw events that names the person in clear; nothing for a dataset that never tokenised.

    With a vault, also which of its snapshots hold it. What is left neither in the lake nor in a snapshot is no copy; what was recalled
    cannot be read, and is added to `unchecked`.
    """
    heads = [ledger.dataset(head) for head in ledger.history(asset)]
    column = next((found for dataset in heads for key in dataset.partitions if (found := _person(dataset, key))), None)
    if column is None:
        return
    holders = _holders(vault, asset)
    seen = set()
    for dataset in heads:
        for partition, entry in sorted(dataset.partitions.items()):
            if (partition, entry.root) in seen:
                continue
            seen.add((partition, entry.root))
            snapshots = holders.get((partition, entry.root), ())
            try:
                manifest = dataset.files(partition)
            except NotReceipted:
                unchecked.append(f"{asset}@{partition}")
                continue
            if "tokenised" in manifest.stats:
                continue
            place = folder / asset / f"clear-{len(seen)}"
            keys = tuple(file.key for file in manifest.files)
            try:
                paths = [file.path for file in dataset.fetch(partition, place)]
            except MissingObject:
                keys, paths = (), _kept(vault, snapshots, partition, place)
            if holds(paths, column, person):
                yield ClearCopy(asset, partition, entry.root, snapshots, keys)


def _kept(vault: "Vault | None", snapshots: Sequence[str], partition: str, folder: Path) -> list[Path]:
    """A partition's data files from a snapshot that holds them; none where no snapshot does."""
    if vault is None or not snapshots:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, file in enumerate(vault.files(vault.get(snapshots[0]), partition)):
        if file.role == "data":
            paths.append(folder / f"{number}.parquet")
            with paths[-1].open("wb") as sink:
                for chunk in vault.stream(file):
                    sink.write(chunk)
    return paths


def _person(dataset: Dataset, partition: str) -> str | None:
    """The column that names the person, where a partition was tokenised."""
    try:
        stated = dataset.files(partition).stats.get("tokenised")
    except NotReceipted:
        return None
    return str(stated["person"]) if isinstance(stated, dict) else None


def _holders(vault: "Vault | None", asset: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """The snapshots that hold each partition version, oldest first."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for commit in vault.snapshots(asset) if vault is not None else ():
        for partition, row in vault.partitions(commit).items() if vault is not None else ():
            found[partition, row.root] = (*found.get((partition, row.root), ()), commit.snapshot_id)
    return found


def holds(paths: Sequence[Path], column: str, wanted: str) -> bool:
    """True when a column of some Parquet files has a value, whatever its type."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for path in paths:
        with pq.ParquetFile(path) as file:
            if column in file.schema_arrow.names:
                values = file.read(columns=[column], use_threads=False).column(column).cast("string")
                if pc.any(pc.equal(values, wanted)).as_py():
                    return True
    return False
