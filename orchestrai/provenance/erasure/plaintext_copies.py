"""What was kept in clear before a dataset's contract began to tokenise: an erasure does not reach it, so it is named."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.errors import DigestMismatch, MissingObject, NotReceipted, ObjectNotFound
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import FileEntry
from orchestrai.ledger.quarantine import quarantined
from orchestrai.storage.zstd_stream import expanded_stream

if TYPE_CHECKING:
    from orchestrai.vault.vault import Vault

REMEDY = (
    "ingest these partitions again, now that the contract tokenises, and take a snapshot; then `orchestrai vault forget` and "
    "`orchestrai vault prune` the snapshots named, each possible only once its lock has ended, in the replica too; and remove the "
    "files named from the lake, whose earlier versions then open no more"
)


@dataclass(frozen=True)
class ClearCopy:
    """A partition version that holds a person in clear, the snapshots that give it back, and the keys of its bytes in the lake.

    `locked` says until when the vault's store lets nobody remove those bytes (ISO, UTC, or "legal hold"), "" where it would. Of what a
    gate refused `root` is the record's key in quarantine.
    """

    asset: str
    partition: str
    root: str
    snapshots: tuple[str, ...]
    lake_keys: tuple[str, ...]
    locked: str = ""

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**self.__dict__, "snapshots": list(self.snapshots), "lake_keys": list(self.lake_keys)}


def clear_copies(
    ledger: Ledger, asset: str, column: str, person: str, folder: Path, vault: "Vault | None", unchecked: list[str]
) -> Iterator[ClearCopy]:
    """Every version of a dataset's raw events that names the person in clear in `column`, and what gates refused of it.

    With a vault, also which of its snapshots hold it and until when they are locked. What is left neither in the lake nor in a snapshot
    is no copy; what was recalled cannot be read, and is added to `unchecked`.
    """
    heads = [ledger.dataset(head) for head in ledger.history(asset)]
    keepers = holders(vault, asset)
    seen = set()
    for dataset in heads:
        for partition, entry in sorted(dataset.partitions.items()):
            if (partition, entry.root) in seen:
                continue
            seen.add((partition, entry.root))
            snapshots = keepers.get((partition, entry.root), ())
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
                with dataset.fetched([partition]) as files:
                    named = holds([file.path for file in files[partition]], column, person)
            except MissingObject:
                keys, named = (), holds(_kept(vault, snapshots, partition, place), column, person)
            if named:
                yield ClearCopy(asset, partition, entry.root, snapshots, keys, locked_copy(vault, snapshots, partition))
    yield from _refused(ledger, asset, column, person, folder)


def _refused(ledger: Ledger, asset: str, column: str, person: str, folder: Path) -> Iterator[ClearCopy]:
    """Runs that a gate refused: their rows, and the originals of those that kept any, lie in the lake until they are removed."""
    for number, (record, partition, entries) in enumerate(quarantined(ledger.lake, asset)):
        place = folder / "refused" / f"{number}"
        files = [(entry, path) for entry in entries if (path := _downloaded(ledger, entry, place)) is not None]
        keys = [entry.key for entry, path in files if entry.role == "data" and holds([path], column, person)]
        # an original may have landed compressed: what was typed of it tells
        keys += [entry.key for entry, path in files if entry.role == "landed" and (keys or _quotes(entry, path, person))]
        if keys:
            yield ClearCopy(asset, partition, record, (), tuple(keys))


def _downloaded(ledger: Ledger, entry: FileEntry, folder: Path) -> Path | None:
    path = folder / entry.path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("wb") as sink:
            for chunk in _plain(ledger, entry):
                sink.write(chunk)
    except ObjectNotFound:
        return None
    except DigestMismatch:
        pass  # damaged: what can be opened is looked at, and its length tells
    return path


def _plain(ledger: Ledger, entry: FileEntry) -> Iterator[bytes]:
    return expanded_stream(ledger.lake, entry.key, most=entry.size) if entry.packed else ledger.lake.stream(entry.key)


def _quotes(entry: FileEntry, path: Path, person: str) -> bool:
    """Whether an original names the person; of one that does not open nobody can say that it does not."""
    if entry.packed and path.stat().st_size != entry.size:
        return True
    if not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return content.find(person.encode()) >= 0


def locked_copy(vault: "Vault | None", snapshots: Sequence[str], partition: str) -> str:
    """Until when a partition's bytes cannot be removed from the vault: ISO time, "legal hold", or "" where nothing keeps them."""
    if vault is None or not snapshots:
        return ""
    from orchestrai.storage.cloud.control import control_plane
    from orchestrai.vault.lifecycle.hold_records import held_by, holds

    commits = [vault.get(name) for name in snapshots]
    active = holds(vault.store, vault.keyring, vault.identity())
    if any(held_by(active, commit) for commit in commits):
        return "legal hold"
    control = control_plane(vault.store)
    keys = {place.key for file in vault.files(commits[-1], partition) for place in file.places}
    locks = [control.retention(key) for key in keys] if control is not None else []
    return max((lock.until.isoformat() for lock in locks if lock is not None), default="")


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


def person_column(ledger: Ledger, asset: str) -> str | None:
    """The column that names the person, of a dataset that ever tokenised; None for any other."""
    heads = (ledger.dataset(head) for head in ledger.history(asset))
    return next((column for dataset in heads for key in dataset.partitions if (column := _person(dataset, key))), None)


def _person(dataset: Dataset, partition: str) -> str | None:
    """The column that names the person, where a partition was tokenised."""
    try:
        stated = dataset.files(partition).stats.get("tokenised")
    except NotReceipted:
        return None
    return str(stated["person"]) if isinstance(stated, dict) else None


def holders(vault: "Vault | None", asset: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """The snapshots that hold each partition version, oldest first."""
    keepers: dict[tuple[str, str], tuple[str, ...]] = {}
    for commit in vault.snapshots(asset) if vault is not None else ():
        for partition, row in vault.partitions(commit).items() if vault is not None else ():
            keepers[partition, row.root] = (*keepers.get((partition, row.root), ()), commit.snapshot_id)
    return keepers


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
