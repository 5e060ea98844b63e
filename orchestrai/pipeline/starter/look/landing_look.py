"""What lies at a place: the objects that are data, those that are passed over, and the local bytes of a few of them."""

import glob
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from orchestrai.errors import ConfigError, UnreadableObject
from orchestrai.ingest.discovery.passed_over import passed_over
from orchestrai.ingest.readers.compression import unpacked
from orchestrai.storage.base import ObjectInfo, Store
from orchestrai.storage.url import open_store

# of a landing that is larger, a spread of objects is read, and of a larger text its head
SAMPLE_BYTES = 24 * 1024 * 1024
HEAD_BYTES = 6 * 1024 * 1024
MOST_OBJECTS = 400
LISTED = 50_000
_UNPACKED = 256 * 1024 * 1024
# of what is elsewhere and can be read whole only
_CARRIED = 1024 * 1024 * 1024
# what lies beside data and is none
_BESIDE = re.compile(
    r"(^|/)(readme|licen[cs]e|copying|changelog|provenance|notice|files\.tsv|makefile|dockerfile)([._-][^/]*)?$"
    r"|\.(md|rst|pdf|docx?|html?|py|ipynb|r|sh|ya?ml|toml|ini|cfg|sql|sha256|md5|png|jpe?g|gif|log|lock)$",
    re.IGNORECASE,
)
_PACKED = (".gz", ".gzip", ".zst", ".bz2", ".xz")


@dataclass(frozen=True)
class Fetched:
    """One object on this machine, unpacked; `whole` is False where only its head is there."""

    info: ObjectInfo
    path: Path
    whole: bool


@dataclass(frozen=True)
class Look:
    """What lies at a place. `url` and `pattern` are for a source; `others` are objects of another kind, `beside` no data."""

    url: str
    pattern: str
    objects: tuple[ObjectInfo, ...]
    fetched: tuple[Fetched, ...]
    others: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """True where the sample is all there is."""
        return len(self.fetched) == len(self.objects) and all(one.whole for one in self.fetched)


def look_at(place: str, scratch: Path) -> Look:
    """List a folder, file or prefix and bring a sample of it here; raises ConfigError where there is nothing to learn from."""
    url, only = _folder_and_name(place)
    store = open_store(url)
    if "${" in url:
        raise ConfigError(
            f"expected a place without ${{, which declarations take for a variable, found {place}: name it otherwise"
        )
    data: list[ObjectInfo] = []
    beside: list[str] = []
    for info in islice(store.list(""), LISTED):
        if only and info.key != only:
            continue
        named = re.sub(r"(^|/)(\.{1,2}/)+", r"\1", info.key)
        is_data = info.size and not info.odd and (only or not (passed_over(named) or _BESIDE.search(info.key)))
        data.append(info) if is_data else beside.append(info.key)
    if not data:
        found = f"only {', '.join(beside[:3])}" if beside else "no object"
        raise ConfigError(f"expected files of data in {place}, found {found}: put one file there, or name another folder")
    kind, mine = _largest_kind(data)
    others = tuple(info.key for info in data if ending(info.key) != kind)
    pattern = _pattern(only, "") if only else _pattern("*", kind, mine) if others or beside else "*"
    return Look(url, pattern, tuple(mine), tuple(_fetched(store, mine, scratch)), others, tuple(beside))


def _folder_and_name(place: str) -> tuple[str, str]:
    """The folder that a source reads, and the name of the one file that was meant."""
    if "://" in place and not place.startswith("file:"):
        parent, _, name = place.rstrip("/").rpartition("/")
        return (parent + "/", name) if "." in name and not place.endswith("/") and parent.count("/") > 2 else (place, "")
    path = Path(place.removeprefix("file://")).expanduser().absolute()
    if not path.exists():
        raise ConfigError(f"expected a folder, file, URL or table, found nothing at {place}: check the path")
    return (str(path.parent), path.name) if path.is_file() else (str(path), "")


def _pattern(name: str, kind: str, mine: Sequence[ObjectInfo] = ()) -> str:
    """A shell pattern of one name, or of an ending in the cases that objects have it in."""
    if not kind:
        # a declaration takes ${ for a variable
        return name if name == "*" else glob.escape(name).replace("$", "[$]")
    if all(info.key.endswith(kind) for info in mine):
        return f"{name}{glob.escape(kind)}"
    return name + "".join(f"[{letter}{letter.upper()}]" if letter.isalpha() else glob.escape(letter) for letter in kind)


def ending(key: str) -> str:
    """The ending of a name, with that of its packing: `.csv.gz`."""
    name = PurePosixPath(key.lower()).name
    packed = next((end for end in _PACKED if name.endswith(end)), "")
    return PurePosixPath(name.removesuffix(packed)).suffix + packed


def _largest_kind(data: Sequence[ObjectInfo]) -> tuple[str, list[ObjectInfo]]:
    """The objects of the ending that has the most bytes."""
    sizes: Counter[str] = Counter()
    for info in data:
        sizes[ending(info.key)] += info.size
    kind = max(sorted(sizes), key=lambda name: sizes[name])
    return kind, [info for info in data if ending(info.key) == kind]


def _fetched(store: Store, objects: Sequence[ObjectInfo], scratch: Path) -> Iterable[Fetched]:
    left = SAMPLE_BYTES
    for number, info in enumerate(_spread(objects)):
        if number and (left <= 0 or number >= MOST_OBJECTS):
            return
        path = store.local_path(info.key)
        columnar = ending(info.key).startswith((".parquet", ".pq"))
        whole = info.size <= max(left, HEAD_BYTES) or columnar or info.key.lower().endswith(_PACKED)
        if path is None and whole and info.size > _CARRIED:
            # it is read whole or not at all
            if number:
                continue
            raise ConfigError(
                f"expected an object of at most {_CARRIED:,} bytes, found {info.size:,} in {info.key}: bring it here, and name it"
            )
        if path is None or not whole:
            path = scratch / f"object-{number}"
            path.write_bytes(store.read(info.key, length=None if whole else HEAD_BYTES))
        left -= info.size if whole else HEAD_BYTES
        try:
            path = unpacked(path, _UNPACKED, scratch / f"unpacked-{number}")
        except UnreadableObject as exc:
            raise ConfigError(f"{info.key}: {exc.message}") from exc
        if path.stat().st_size > 2 * SAMPLE_BYTES and not columnar:
            path, whole = _head(path, scratch / f"head-{number}"), False
        if not whole:
            _end_at_a_line(path)
        yield Fetched(info, path, whole)


def _spread(objects: Sequence[ObjectInfo]) -> list[ObjectInfo]:
    """The first, the last, the middle ones and so on: types change over time."""
    order: dict[int, None] = {}
    step = max(len(objects) - 1, 1)
    while step:
        order |= dict.fromkeys(range(0, len(objects), step))
        order |= {len(objects) - 1: None}
        step //= 2
    return [objects[place] for place in order]


def _head(path: Path, target: Path) -> Path:
    with path.open("rb") as stream:
        target.write_bytes(stream.read(HEAD_BYTES))
    return target


def _end_at_a_line(path: Path) -> None:
    """Cut what follows the last line end of a head."""
    data = path.read_bytes()
    # of UTF-16 a line end is two bytes
    wide = next((mark for mark in (b"\n\0", b"\0\n") if b"\0" in data[:1024] and mark in data), b"\n")
    path.write_bytes(data[: data.rfind(wide) + len(wide)] if wide in data else data)
