"""Which keys each partition holds: sorted hashes on this machine, in a few runs that grow by merging.

It saves work and promises nothing: an index that is gone or is another key's is made again from the data, and no verdict rests on a
hash alone. A look-up costs what is asked for times the number of runs, which grows with the logarithm of the history.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.core.canonical import canonical_json

if TYPE_CHECKING:
    import numpy as np

    Hashes = np.ndarray[Any, np.dtype[np.uint64]]

FORMAT = 1
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
        """What is in it."""
        return frozenset(entry for run in self._runs for entry in run.entries)

    def add(self, entry: Entry, hashes: "Hashes", current: Mapping[str, str]) -> None:
        """Take in the keys of a partition; what is neither `current` nor new is left out of the runs that are merged."""
        import numpy as np

        if entry in self.entries:
            return
        self._number += 1
        ordered, owners = np.sort(hashes), np.zeros(len(hashes), np.uint32)
        entries: tuple[Entry, ...] = (entry,)
        merged: list[_Run] = []
        while self._runs and self._runs[-1].keys < _RATIO * max(len(ordered), 1):
            run = self._runs.pop()
            merged.append(run)
            ordered, owners, entries = _merged(
                self._read(run), run.entries, (ordered, owners), entries, {**current, entry[0]: entry[1]}
            )
        run = _Run(f"{self._number:08d}", entries, len(ordered))
        self._write(run, ordered, owners)
        self._runs.append(run)
        self._save()
        for old in merged:
            for kind in ("hashes", "owners"):
                (self.folder / f"{old.name}.{kind}.npy").unlink(missing_ok=True)

    def matches(self, hashes: "Hashes", current: Mapping[str, str]) -> dict[str, "Hashes"]:
        """By partition, those of some hashes that its key set has too; partitions at another root than `current` do not count."""
        import numpy as np

        wanted = np.unique(hashes)
        matched: dict[str, list[Hashes]] = {}
        for run in self._runs:
            ordered, owners = self._read(run)
            low, high = np.searchsorted(ordered, wanted, "left"), np.searchsorted(ordered, wanted, "right")
            hit = np.flatnonzero(high > low)
            if not len(hit):
                continue
            places = np.concatenate([np.arange(low[at], high[at]) for at in hit])
            for number in np.unique(owners[places]):
                partition, root = run.entries[number]
                if current.get(partition) == root:
                    matched.setdefault(partition, []).append(np.unique(ordered[places][owners[places] == number]))
        return {partition: np.concatenate(parts) for partition, parts in sorted(matched.items())}

    def _load(self) -> None:
        self._runs, self._number = [], 0
        try:
            stored = json.loads((self.folder / _INDEX).read_bytes())
        except (FileNotFoundError, ValueError):
            return
        if stored.get("format") != FORMAT or stored.get("columns") != list(self.columns):
            return
        runs = [_Run(name, tuple((part, root) for part, root in entries), keys) for name, entries, keys in stored["runs"]]
        if all(self._whole(run) for run in runs):
            self._runs, self._number = runs, stored["number"]

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
        body = canonical_json({"format": FORMAT, "columns": list(self.columns), "number": self._number, "runs": runs})
        staged = self.folder / f"{_INDEX}.{os.getpid()}.part"
        staged.write_bytes(body)
        staged.replace(self.folder / _INDEX)


def _merged(
    old: tuple[Any, Any],
    old_entries: tuple[Entry, ...],
    new: tuple[Any, Any],
    new_entries: tuple[Entry, ...],
    current: Mapping[str, str],
) -> tuple[Any, Any, tuple[Entry, ...]]:
    """Two runs as one, without the entries that no longer count."""
    import numpy as np

    stay = [number for number, (partition, root) in enumerate(old_entries) if current.get(partition) == root]
    renumbered = np.full(len(old_entries), -1, np.int64)
    renumbered[stay] = np.arange(len(stay))
    owners = renumbered[old[1]]
    kept = owners >= 0
    hashes = np.concatenate([old[0][kept], new[0]])
    joined = np.concatenate([owners[kept], np.asarray(new[1], np.int64) + len(stay)]).astype(np.uint32)
    order = np.argsort(hashes, kind="stable")
    return hashes[order], joined[order], (*(old_entries[number] for number in stay), *new_entries)
