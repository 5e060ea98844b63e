"""The files of a directory in the order of their keys, folder by folder, so that a long listing starts at once."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from operator import itemgetter

from orchestrai.storage.base import ObjectInfo
from orchestrai.storage.disk.posix import info, order

# so few files behind a name are looked at one by one
_FEW = 64


class _Entry:
    """A name of a folder, looked at when it is asked for; in place of what a scan of the whole folder would tell."""

    def __init__(self, folder: str, name: str) -> None:
        self.name = name
        self._path = f"{folder}{name}"

    def is_dir(self, *, follow_symlinks: bool) -> bool:
        return self._is(stat.S_ISDIR)

    def is_file(self, *, follow_symlinks: bool) -> bool:
        return self._is(stat.S_ISREG)

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        return os.lstat(self._path)

    def _is(self, kind: Callable[[int], bool]) -> bool:
        try:
            return kind(os.lstat(self._path).st_mode)
        except FileNotFoundError:
            return False


Entry = os.DirEntry[str] | _Entry
Found = tuple[bytes, str, Entry]


def walk(root: str, prefix: str, after: bytes | None, *, hidden: str) -> Iterator[ObjectInfo]:
    """Yield the regular files below `root` whose key starts with `prefix` and sorts behind `after`; never through a link.

    Folders that lie wholly before `after` or outside `prefix` are not read. `hidden` is a folder of the root to leave out.
    """
    folder = prefix.rpartition("/")[0]
    if any(segment in ("", ".", "..") or "\0" in segment for segment in folder.split("/")) and folder:
        return
    if folder and not _is_plain(root, folder):
        return
    yield from _below(root, f"{folder}/" if folder else "", prefix, after, hidden)


def _below(root: str, folder: str, prefix: str, after: bytes | None, hidden: str) -> Iterator[ObjectInfo]:
    for place, key, entry in _entries(root, folder, prefix, after, hidden):
        if key[-1] == "/":
            inside = after if after is not None and after.startswith(place) else None
            yield from _below(root, key, prefix, inside, hidden)
        else:
            # removed since the folder was read: as if it had been removed before
            with suppress(FileNotFoundError):
                yield info(key, entry.stat(follow_symlinks=False))


def _entries(root: str, folder: str, prefix: str, after: bytes | None, hidden: str) -> Iterator[Found]:
    named: list[tuple[str, Entry]] = []
    first = _first_name(folder, after)
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in _behind(f"{root}/{folder}", first):
            name = entry.name
            # a folder sorts by what its keys begin with: "a-b" comes before "a/b"
            named.append((f"{name}/" if entry.is_dir(follow_symlinks=False) else name, entry))
    # texts sort by code points as their bytes do
    named.sort(key=itemgetter(0))
    for name, entry in named:
        key = f"{folder}{name}"
        if name[-1] == "/":
            wanted = (key.startswith(prefix) or prefix.startswith(key)) and (folder != "" or entry.name != hidden)
        else:
            wanted = key.startswith(prefix) and entry.is_file(follow_symlinks=False)
        place = order(key)
        if wanted and (after is None or place > after or (key[-1] == "/" and after.startswith(place))):
            yield place, key, entry


def _behind(folder: str, first: str) -> Iterator[Entry]:
    """The entries of a folder but those that sort before a name for sure; of a long folder names alone are read, where few are left."""
    if first:
        # what is less, and does not begin the name, sorts before it whatever follows
        every = os.listdir(folder)
        names = [name for name in every if name >= first]
        if len(names) <= _FEW:
            if len(every) > len(first) * _FEW:
                # a look at each beginning of the name costs less than a look at each name
                names += [first[:end] for end in range(1, len(first)) if os.path.lexists(f"{folder}{first[:end]}")]
            else:
                names += [name for name in every if name < first and first.startswith(name)]
            yield from (_Entry(folder, name) for name in names)
            return
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if entry.name >= first or first.startswith(entry.name))


def _first_name(folder: str, after: bytes | None) -> str:
    """Where `after` lies in a folder the name it goes on with, else nothing."""
    place = order(folder)
    inside = after[len(place) :] if after is not None and after.startswith(place) else b""
    # names sort by code points as they do by bytes
    return inside.partition(b"/")[0].decode("utf-8", "surrogatepass")


def _is_plain(root: str, folder: str) -> bool:
    """Whether a folder is reached without a symbolic link."""
    path = root
    for segment in folder.split("/"):
        path = f"{path}/{segment}"
        try:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                return False
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True
