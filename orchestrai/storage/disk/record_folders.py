"""The folders of a directory that hold files, without a look at each file of those that are known."""

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from stat import S_ISDIR

# how many links a folder without folders in it has, on file systems that count: itself, and its own "."
_NO_FOLDERS = 2


def record_folders(root: str, known: Collection[str]) -> Iterator[str]:
    """Yield the folders below `root` that hold something besides folders, as paths from there; never through a link.

    One that is `known`, and of which the file system says that it has no folders in it, is not read: so a long log of files costs one
    look. Where the file system does not count links every folder is read.
    """
    waiting = [""]
    while waiting:
        name = waiting.pop()
        path = f"{root}/{name}" if name else root
        with suppress(FileNotFoundError, NotADirectoryError):
            status = os.lstat(path)
            if name in known and S_ISDIR(status.st_mode) and status.st_nlink == _NO_FOLDERS:
                yield name
                continue
            if S_ISDIR(status.st_mode) and _has_files(path, name, waiting) and name:
                yield name


def _has_files(path: str, name: str, folders: list[str]) -> bool:
    """Whether a folder holds files; its folders are added to those to look into."""
    files = False
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(f"{name}/{entry.name}" if name else entry.name)
            else:
                files = True
    return files
