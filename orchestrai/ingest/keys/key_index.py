"""Which keys each partition holds: sorted hashes on this machine, in a few runs that grow by merging.

It saves work and promises nothing: an index that is gone or is another key's is made again from the data, and no verdict rests on a
hash alone. A look-up costs what is asked for times the number of runs, which grows with the logarithm of the history.

A partition that only grows (a stream, a table) is taken in by what is new in it: its entry goes on from the one before, and both count.
"""

import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.core.canonical import canonical_json

if TYPE_CHECKING:
    import numpy as np

    Hashes = np.ndarray[Any, np.dtype[np.uint64]]

FORMAT = 2
# without entries that go on from others
_WHOLE_ENTRIES = 1
# a run takes in the next newer one that is not this many times smaller
_RATIO = 4
_INDEX = "index.json"
Entry = tuple[str, str]


@dataclass(frozen=True)
class _Run:
    """Sorted hashes of some partitions, each with the number of its entry."""

    name: str
    entries: tuple[Entry, ...]
    keys: int


@dataclass
class KeyIndex:
    """The index of one key of one dataset, in a folder; an entry is a partition with the root that it was read at."""

    folder: Path
    columns: Sequence[str]
    _runs: list[_Run] = field(default_factory=list)
    _number: int = 0
    # an entry with the new keys of a partition alone -> the one that has those before
    _before: dict[Entry, Entry] = field(default_factory=dict)

    @contextmanager
    def held(self) -> Iterator["KeyIndex"]:
        """The index as it is, for one process at a time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._load()
            yield self

    @property
    def entries(self) -> frozenset[Entry]:
        """What is in it as a whole."""
        there = {entry for run in self._runs for entry in run.entries}
        return frozenset(entry for entry in there if there.issuperset(self._parts(entry)))

    def _parts(self, entry: Entry) -> Iterator[Entry]:
        """An entry and those that it goes on from."""
        part: Entry | None = entry
        while part is not None:
            yield part
            part = self._before.get(part)

    def _counting(self, current: Mapping[str, str]) -> set[Entry]:
        """The entries that make up the partitions at their present roots."""
        return {part for entry in current.items() for part in self._parts(entry)}

    def add(self, entry: Entry, hashes: "Hashes", current: Mapping[str, str], before: str | None = None) -> None:
        """Take in the keys of a partition, or with `before`, the root that it had, those that it got since.

        What is neither `current` nor new is left out of the runs that are merged.
        """
        import numpy as np

        if entry in self.entries:
            return
        self._before.pop(entry, None)
        if before is not None:
            self._before[entry] = (entry[0], before)
        counting = self._counting({**current, entry[0]: entry[1]})
        self._number += 1
        ordered, owners = np.sort(hashes), np.zeros(len(hashes), np.uint32)
        entries: tuple[Entry, ...] = (entry,)
        merged: list[_Run] = []
        while self._runs and self._runs[-1].keys < _RATIO * max(len(ordered), 1):
            run = self._runs.pop()
            merged.append(run)
            ordered, owners, entries = _merged(self._read(run), run.entries, (ordered, owners), entries, counting)
            self._absorb(run.entries, entries)
        run = _Run(f"{self._number:08d}", entries, len(ordered))
        self._write(run, ordered, owners)
        self._runs.append(run)
        self._save()
        for old in merged:
            for kind in ("hashes", "owners"):
                (self.folder / f"{old.name}.{kind}.npy").unlink(missing_ok=True)

    def _absorb(self, old: Sequence[Entry], entries: Sequence[Entry]) -> None:
        """Of what was merged, an entry goes on from what the one that it took in went on from."""
        newest = {entry[0]: entry for entry in entries}
        for entry in old:
            successor = newest.get(entry[0])
            if successor is not None and self._before.get(successor) == entry:
                earlier = self._before.pop(entry, None)
                del self._before[successor]
                if earlier is not None:
                    self._before[successor] = earlier

    def matches(self, hashes: "Hashes", current: Mapping[str, str]) -> dict[str, "Hashes"]:
        """By partition, those of some hashes that its key set has too; partitions at another root than `current` do not count."""
        import numpy as np

        wanted, counting = np.unique(hashes), self._counting(current)
        matched: dict[str, list[Hashes]] = {}
        for run in self._runs:
            ordered, owners = self._read(run)
            low, high = np.searchsorted(ordered, wanted, "left"), np.searchsorted(ordered, wanted, "right")
            hit = np.flatnonzero(high > low)
            if not len(hit):
                continue
            places = np.concatenate([np.arange(low[at], high[at]) for at in hit])
            for number in np.unique(owners[places]):
                partition, _ = entry = run.entries[number]
                if entry in counting:
                    matched.setdefault(partition, []).append(np.unique(ordered[places][owners[places] == number]))
        return {partition: np.concatenate(parts) for partition, parts in sorted(matched.items())}

    def _load(self) -> None:
        self._runs, self._number, self._before = [], 0, {}
        try:
            stored = json.loads((self.folder / _INDEX).read_bytes())
        except (FileNotFoundError, ValueError):
            return
        if stored.get("format") not in (_WHOLE_ENTRIES, FORMAT) or stored.get("columns") != list(self.columns):
            return
        runs = [_Run(name, tuple((part, root) for part, root in entries), keys) for name, entries, keys in stored["runs"]]
        if all(self._whole(run) for run in runs):
            self._runs, self._number = runs, stored["number"]
            self._before = {(part, root): (part, earlier) for part, root, earlier in stored.get("before", ())}

    def _whole(self, run: _Run) -> bool:
        """True for a run whose files have the size that its keys take."""
        import numpy as np

        try:
            ordered, owners = self._read(run)
        except (OSError, ValueError):
            return False
        return bool(len(ordered) == len(owners) == run.keys and ordered.dtype == np.uint64)

    def _read(self, run: _Run) -> tuple["Hashes", Any]:
        import numpy as np

        hashes, owners = (
            np.load(self.folder / f"{run.name}.{kind}.npy", mmap_mode="r" if run.keys else None, allow_pickle=False)
            for kind in ("hashes", "owners")
        )
        return hashes, owners

    def _write(self, run: _Run, ordered: "Hashes", owners: Any) -> None:
        import numpy as np

        for kind, values in (("hashes", ordered), ("owners", owners)):
            np.save(self.folder / f"{run.name}.{kind}.npy", values, allow_pickle=False)

    def _save(self) -> None:
        runs = [[run.name, [list(entry) for entry in run.entries], run.keys] for run in self._runs]
        there = {entry for run in self._runs for entry in run.entries}
        before = [[*entry, earlier[1]] for entry, earlier in sorted(self._before.items()) if entry in there]
        body = canonical_json(
            {"format": FORMAT, "columns": list(self.columns), "number": self._number, "runs": runs, "before": before}
        )
        staged = self.folder / f"{_INDEX}.{os.getpid()}.part"
        staged.write_bytes(body)
        staged.replace(self.folder / _INDEX)


def _merged(
    old: tuple[Any, Any],
    old_entries: tuple[Entry, ...],
    new: tuple[Any, Any],
    new_entries: tuple[Entry, ...],
    counting: Collection[Entry],
) -> tuple[Any, Any, tuple[Entry, ...]]:
    """Two runs as one, without the entries that no longer count; what an entry of a partition had before is its own then."""
    import numpy as np

    going_on = {partition: number for number, (partition, _) in enumerate(new_entries)}
    counted = [number for number, entry in enumerate(old_entries) if entry in counting]
    stay = [number for number in counted if old_entries[number][0] not in going_on]
    renumbered = np.full(len(old_entries), -1, np.int64)
    renumbered[stay] = np.arange(len(stay))
    for number in counted:
        if old_entries[number][0] in going_on:
            renumbered[number] = going_on[old_entries[number][0]] + len(stay)
    owners = renumbered[old[1]]
    kept = owners >= 0
    hashes = np.concatenate([old[0][kept], new[0]])
    joined = np.concatenate([owners[kept], np.asarray(new[1], np.int64) + len(stay)]).astype(np.uint32)
    order = np.argsort(hashes, kind="stable")
    return hashes[order], joined[order], (*(old_entries[number] for number in stay), *new_entries)
