"""The check `key_across_partitions`: a key that is unique in each partition and stands in two of them all the same."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.contract import Contract
from orchestrai.core.canonical import JsonValue, sha256_hex
from orchestrai.core.time.calendar import WHOLE, Grain
from orchestrai.core.time.partition_key import entries_alike
from orchestrai.core.verdict import CheckInfo, Severity, Verdict
from orchestrai.ingest.keys.key_hashes import hashed, hashes_of, key_batches
from orchestrai.ingest.keys.key_index import KeyIndex
from orchestrai.ingest.spec import DatasetTask
from orchestrai.ledger.dataset import Dataset
from orchestrai.stage.context import RunContext

if TYPE_CHECKING:
    import numpy as np

CHECK = "key_across_partitions"
# of so many other partitions the rows themselves are read and named; more than these are told as more
CONFIRMED = 24
_SHOWN = 3
Key = tuple[Any, ...]


def keys_to_watch(contract: Contract, grain: Grain) -> tuple[tuple[str, ...], ...]:
    """The primary key and each unique column, where nothing else keeps them apart.

    A key that holds the event time cannot stand in two partitions that are cut by it: the check `partition` sees to that.
    """
    if grain == WHOLE or contract.key_across_partitions == "off":
        return ()
    keys = dict.fromkeys([contract.primary_key, *((column.name,) for column in contract.columns if column.unique)])
    apart = contract.event_time is not None and not contract.tolerance
    return tuple(key for key in keys if key and not (apart and contract.event_time in key))


def key_check(contract: Contract, grain: Grain) -> tuple[CheckInfo, ...]:
    """The check of a contract, where it has keys to watch."""
    if not keys_to_watch(contract, grain):
        return ()
    blocking = contract.key_across_partitions == "error"
    return (CheckInfo(CHECK, blocking, "No key stands in two partitions."),)


@dataclass
class KeyAudit:
    """Judges the partitions of one run one after the other, each by what is published and by those judged open before it.

    Of a source that adds to partitions (`grows`) the new files alone are judged; what a partition held before is in the index.
    """

    contract: Contract
    grain: Grain
    dataset: Dataset | None
    folder: Path
    grows: bool = False
    judged: dict[str, tuple[str, Sequence[Path]]] = field(default_factory=dict)

    @classmethod
    def of(cls, context: RunContext, task: DatasetTask, dataset: Dataset | None) -> "KeyAudit":
        """For a run of a dataset, by what is published of it."""
        folder = context.home / "key_index" / Path(*task.asset.split("/")[:-1])
        return cls(task.contract, task.grain, dataset, folder, task.source.positioned)

    def judge(self, partition: str, root: str, files: Sequence[Path]) -> Iterator[Verdict]:
        """The verdict on a partition whose staged files have this root; none where the contract has no key to watch."""
        keys = keys_to_watch(self.contract, self.grain)
        if not keys:
            return
        found = [fault for key in keys if (fault := self._judge(key, partition, root, files)) is not None]
        severity: Severity = "error" if self.contract.key_across_partitions == "error" else "warn"
        if not found:
            yield Verdict(
                CHECK, True, f"each {', '.join('+'.join(key) for key in keys)} in one partition", severity=severity
            )
            return
        details: dict[str, JsonValue] = {"keys": [fault.as_json() for fault in found]}
        remedy = "have it sent once, make the key longer, or declare keyAcrossPartitions: off in the contract"
        yield Verdict(CHECK, False, f"{'; '.join(fault.message for fault in found)}: {remedy}", severity, details)

    def accept(self, partition: str, root: str, files: Sequence[Path]) -> None:
        """Count a partition of this run, whose gate is open, among those that the next ones are held against."""
        self.judged[partition] = (root, files)

    def _judge(self, key: tuple[str, ...], partition: str, root: str, files: Sequence[Path]) -> "_Repeated | None":
        current = {name: entry.root for name, entry in self.dataset.partitions.items()} if self.dataset else {}
        current |= {name: known for name, (known, _) in self.judged.items()}
        with KeyIndex(self.folder / sha256_hex("\0".join(key).encode())[:16], key).held() as index:
            entries = index.entries
            for name in sorted(current):
                if (name, current[name]) not in entries:
                    with self._files(name) as stored:
                        index.add((name, current[name]), hashes_of(stored, key), current)
            # of another value are other rows: a tenant's key may be another one's
            others = {name: known for name, known in current.items() if name != partition}
            hashes = hashes_of(files, key)
            matches = index.matches(hashes, entries_alike(partition, others))
            index.add((partition, root), hashes, others, self._held_before(partition))
        return self._confirmed(key, files, matches)

    def _confirmed(self, key: tuple[str, ...], files: Sequence[Path], matches: Mapping[str, Any]) -> "_Repeated | None":
        """What the rows themselves say of equal hashes, in the newest partitions that have them."""
        import numpy as np

        if not matches:
            return None
        newest = sorted(matches, reverse=True)[:CONFIRMED]
        own = _rows(files, key, np.unique(np.concatenate([matches[name] for name in newest])))
        rows: dict[str, int] = {}
        repeated: set[Key] = set()
        for name in newest:
            with self._files(name) as stored:
                theirs = _rows(stored, key, matches[name])
            same = own.keys() & theirs.keys()
            if same:
                rows[name] = sum(theirs[value] for value in same)
                repeated |= same
        if not repeated:
            return None
        personal = self.contract.person is not None or any(self.contract.column(name).personal for name in key)
        shown = () if personal else tuple(sorted("+".join(map(str, value)) for value in repeated)[:_SHOWN])
        return _Repeated(key, len(repeated), sum(own[value] for value in repeated), rows, shown, len(matches) > CONFIRMED)

    @contextmanager
    def _files(self, partition: str) -> Iterator[list[Path]]:
        """The files of another partition: of this run, or published and verified."""
        staged = list(self.judged[partition][1]) if partition in self.judged else []
        if partition in self.judged and self._held_before(partition) is None:
            yield staged
            return
        assert self.dataset is not None
        with self.dataset.fetched([partition]) as fetched:
            yield [*(file.path for file in fetched[partition]), *staged]

    def _held_before(self, partition: str) -> str | None:
        """The root of what a partition goes on from; None where it is judged as a whole."""
        there = self.dataset.partitions if self.dataset is not None and self.grows else {}
        return there[partition].root if partition in there else None


@dataclass(frozen=True)
class _Repeated:
    """Keys of a partition that other ones have: how many, in how many of its rows, and how many rows of which others."""

    key: tuple[str, ...]
    keys: int
    rows: int
    others: Mapping[str, int]
    examples: tuple[str, ...]
    more: bool

    @property
    def message(self) -> str:
        name, days = "+".join(self.key), sorted(self.others)
        listed = f"{', '.join(days[-_SHOWN:])}{f' and {len(days) - _SHOWN} others' if len(days) > _SHOWN else ''}"
        such = f", such as {', '.join(self.examples)}" if self.examples else ""
        least = "at least " if self.more else ""
        return (
            f"expected each {name} in one partition, found {least}{self.rows} rows whose {name} stands in {listed} too{such}"
        )

    def as_json(self) -> dict[str, JsonValue]:
        """For the receipt."""
        return {
            "key": list(self.key),
            "repeated_keys": self.keys,
            "rows": self.rows,
            "partitions": dict(self.others),
            "examples": list(self.examples),
            "more": self.more,
        }


def _rows(files: Sequence[Path], key: tuple[str, ...], wanted: "np.ndarray[Any, np.dtype[np.uint64]]") -> dict[Key, int]:
    """The keys with one of some hashes, and how many rows have each."""
    import numpy as np

    rows: dict[Key, int] = {}
    for batch in key_batches(files, key):
        places = np.flatnonzero(np.isin(hashed(batch), wanted))
        if len(places):
            for value in zip(*(column.to_pylist() for column in batch.take(places).columns), strict=True):
                rows[value] = rows.get(value, 0) + 1
    return rows
