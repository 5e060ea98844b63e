"""A directory tree in which no key leads out and no symbolic link is followed."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from orchestrai.errors import InvalidKey
from orchestrai.storage.base import check_key
from orchestrai.storage.disk.posix import remove_stale

TEMPORARY = ".orchestrai-tmp"
OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_OPEN_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# for the user, and the group as far as the umask lets it: data of a team is nobody else's
PRIVATE_FILE, PRIVATE_FOLDER = 0o660, 0o770


class RootedTree:
    """Folders and files below `root`, a real path, opened by descriptor."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._swept = False

    def segments(self, key: str) -> Sequence[str]:
        """The parts of a key; raises InvalidKey where it names nothing that may lie here."""
        segments = check_key(key).split("/")
        try:
            os.fsencode(key)
        except UnicodeEncodeError as exc:
            raise InvalidKey(
                f"expected a key that a file can be named by, found {key!r}: rename the object", key=key
            ) from exc
        if segments[0] == TEMPORARY:
            raise InvalidKey(
                f"expected a key outside {TEMPORARY}/, which this store keeps for itself, found {key!r}", key=key
            )
        return segments

    @contextmanager
    def folder(self, segments: Sequence[str], *, make: bool = False) -> Iterator[int]:
        """Open a folder without following a symbolic link; a missing one is made with `make`."""
        descriptor = self._walk_to(segments, make)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _walk_to(self, segments: Sequence[str], make: bool) -> int:
        path = "/".join([self.root, *segments])
        with suppress(OSError):
            descriptor = os.open(path, OPEN_DIR | os.O_NOFOLLOW)
            if _lies_at(descriptor, path):
                return descriptor
            os.close(descriptor)
        descriptor = os.open(self.root, OPEN_DIR)
        try:
            for segment in segments:
                parent = descriptor
                try:
                    descriptor = os.open(segment, OPEN_DIR | os.O_NOFOLLOW, dir_fd=parent)
                except FileNotFoundError:
                    if not make:
                        raise
                    with suppress(FileExistsError):
                        os.mkdir(segment, PRIVATE_FOLDER, dir_fd=parent)
                    descriptor = os.open(segment, OPEN_DIR | os.O_NOFOLLOW, dir_fd=parent)
                os.close(parent)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def descriptor(self, key: str, segments: Sequence[str]) -> int:
        """Open a file for reading; a fifo or device does not block. Raises OSError."""
        path = f"{self.root}/{key}"
        descriptor = os.open(path, _OPEN_FILE)
        if _lies_at(descriptor, path):
            return descriptor
        os.close(descriptor)
        with self.folder(segments[:-1]) as parent:
            return os.open(segments[-1], _OPEN_FILE, dir_fd=parent)

    def temporary(self) -> tuple[str, int]:
        """Make an empty file that nobody lists, on the same file system: its path and descriptor. What dead writers left goes first."""
        folder = f"{self.root}/{TEMPORARY}"
        path = f"{folder}/{os.getpid()}-{os.urandom(8).hex()}"
        try:
            descriptor = os.open(path, _OPEN_NEW, PRIVATE_FILE)
        except FileNotFoundError:
            os.makedirs(folder, PRIVATE_FOLDER, exist_ok=True)
            descriptor = os.open(path, _OPEN_NEW, PRIVATE_FILE)
        if not self._swept:
            self._swept = True
            remove_stale(folder)
        return path, descriptor

    def remove_empty(self, segments: Sequence[str]) -> None:
        """Remove a folder and those above it, as long as they are empty."""
        for depth in range(len(segments), 0, -1):
            try:
                with self.folder(segments[: depth - 1]) as parent:
                    os.rmdir(segments[depth - 1], dir_fd=parent)
            except OSError:
                return  # not empty, or gone: either way nothing is left to tidy


def _lies_at(descriptor: int, path: str) -> bool:
    """Whether what was opened lies at `path` with no symbolic link on the way.

    The kernel says where it is: one call in place of a walk through every folder.
    """
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}") == path
    except OSError:
        return False
