"""What a partition is made from: landed objects and where their bytes are, and the names of their originals beside the raw events."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrai.ledger.dataset import verified
from orchestrai.ledger.log import Log
from orchestrai.ledger.manifest import FileEntry
from orchestrai.ledger.receipt import Material

LANDED = "landed/"


@dataclass(frozen=True)
class Arrival:
    """One object that goes into a partition: what is said of it, the name of its original and where its bytes are.

    They are in the lake as `stored`, or in a copy at `path` that this run made where the lake keeps none. `part` stands for an object
    of which only the published part is left; that is then what is `stored`, tokenised by `columns`. `original` is the kept copy of any
    other, None where none is kept.
    """

    material: Material
    name: str
    stored: FileEntry | None = None
    path: Path | None = None
    part: FileEntry | None = None
    columns: tuple[str, ...] = ()
    original: FileEntry | None = None

    @contextmanager
    def opened(self, log: Log) -> Iterator[Path]:
        """A file with its very bytes, for the length of a `with` block; raises MissingObject, DigestMismatch."""
        if self.stored is None:
            assert self.path is not None
            yield self.path
            return
        with verified(log, self.stored, "it was altered since it was taken; have the producer send it again") as file:
            yield file.path


@dataclass(frozen=True)
class Gathered:
    """What a partition is made from: its arrivals in the order of their names, and the objects that only repeat one of them."""

    arrivals: tuple[Arrival, ...] = ()
    repeats: tuple[Material, ...] = ()


def landed_key(name: str) -> str:
    """The key in the landing of an original, by its name beside the raw events."""
    return name.removeprefix(LANDED)


def clashing(present: Sequence[str], earlier: Collection[str]) -> set[str]:
    """The paths among those present that no folder can hold beside the others, as `x.csv/y.csv` beside `x.csv`.

    Object stores hold both. What was taken before stays; of two that are new the upper one is taken.
    """
    paths, above = {*present, *earlier}, {folder for path in earlier for folder in _folders(path)}
    lower = {path for path in present if any(folder in paths for folder in _folders(path))}
    return (lower | above.intersection(present)).difference(earlier)


def _folders(path: str) -> Iterator[str]:
    """The folders that a path lies in, but for the one of all originals."""
    at = path.find("/", len(LANDED))
    while at > 0:
        yield path[:at]
        at = path.find("/", at + 1)
