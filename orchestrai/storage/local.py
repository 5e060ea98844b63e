"""Objects as files below one directory, published by link or rename so that a reader never sees half an object."""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from io import FileIO
from pathlib import Path

from orchestrai.errors import (
    InvalidKey,
    ObjectExists,
    ObjectNotFound,
    OrchestraiError,
    PreconditionFailed,
    StorageError,
)
from orchestrai.storage.base import CHUNK_BYTES, ObjectInfo
from orchestrai.storage.disk.local_walk import walk
from orchestrai.storage.disk.posix import copy, etag, info, order, read_range, settle_time, syncfs, translated, write_all
from orchestrai.storage.disk.rooted import OPEN_DIR, TEMPORARY, RootedTree
from orchestrai.storage.traffic import count

_ATTEMPTS = 200
KIND = "file"


class _NotCloned(Exception):
    """Nothing was stored: the blocks could not be shared."""


class LocalStore:
    """A directory as a store; keys never leave it, and symbolic links in it are neither followed nor listed.

    An object is published atomically: `create` by hard link, else by rename. Bytes survive a power loss after `sync`.
    The etag is inode, mtime and size, so a file edited in place within one tick of the file system's clock keeps its etag.
    One key cannot be the folder of another ("a" and "a/b").
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._tree = RootedTree(self._root)

    def __repr__(self) -> str:
        return f"LocalStore({self._root!r})"

    @property
    def url(self) -> str:
        return Path(self._root).as_uri()

    def head(self, key: str, *, version: str | None = None) -> ObjectInfo:
        descriptor, status = self._open(key, version)
        os.close(descriptor)
        count(KIND, reads=1)
        return info(key, status)

    def read(
        self,
        key: str,
        *,
        version: str | None = None,
        if_match: str | None = None,
        start: int = 0,
        length: int | None = None,
    ) -> bytes:
        descriptor, status = self._open(key, version, if_match)
        try:
            left = max(0, status.st_size - start)
            data = read_range(descriptor, start, left if length is None else min(left, length))
            self._require_etag(key, if_match, descriptor)
            count(KIND, reads=1, came=len(data))
            return data
        except OSError as exc:
            raise translated(exc, key, "read", self.url) from exc
        finally:
            os.close(descriptor)

    def stream(self, key: str, *, version: str | None = None, if_match: str | None = None) -> Iterator[bytes]:
        descriptor, status = self._open(key, version, if_match)
        count(KIND, reads=1, came=status.st_size)
        # a file object closes itself when the stream is given up
        return self._chunks(key, FileIO(descriptor), if_match)

    def write(self, key: str, data: bytes | Iterable[bytes], *, create: bool = False) -> ObjectInfo:
        chunks = [data] if isinstance(data, bytes) else data

        # what the caller's own iterable raises is the caller's: only our own calls are translated
        def fill(descriptor: int) -> None:
            for chunk in chunks:
                with self._errors(key, "written"):
                    write_all(descriptor, chunk)

        return self._publish(key, fill, create)

    def write_file(self, key: str, path: Path, *, create: bool = False) -> ObjectInfo:
        with open(path, "rb", buffering=0) as source:

            def fill(descriptor: int) -> None:
                with self._errors(key, "written"):
                    copy(source.fileno(), descriptor)

            return self._publish(key, fill, create)

    def write_clone(self, key: str, fill: Callable[[int], bool]) -> bool:
        """Store what `fill` makes of an open empty file by sharing blocks; False, and nothing stored, where it says that it cannot."""

        def filled(descriptor: int) -> None:
            with self._errors(key, "written"):
                cloned = fill(descriptor)
            if not cloned:
                raise _NotCloned

        try:
            self._publish(key, filled, create=False)
        except _NotCloned:
            return False
        return True

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        after = None if start_after is None else order(start_after)
        count(KIND, lists=1)
        try:
            yield from walk(self._root, prefix, after, hidden=TEMPORARY)
        except OSError as exc:
            raise translated(exc, prefix, "listed", self.url) from exc

    def delete(self, key: str, *, version: str | None = None) -> None:
        segments = self._tree.segments(key)
        if version is not None:
            return
        with self._errors(key, "deleted"), suppress(FileNotFoundError, NotADirectoryError):
            with self._tree.folder(segments[:-1]) as parent:
                status = os.stat(segments[-1], dir_fd=parent, follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode):
                    return
                os.unlink(segments[-1], dir_fd=parent)
            self._tree.remove_empty(segments[:-1])

    def local_path(self, key: str) -> Path:
        """The file that holds the object, whether or not it is there yet; raises InvalidKey below a symbolic link."""
        path = self._root
        for segment in self._tree.segments(key):
            path = f"{path}/{segment}"
            if os.path.islink(path):
                raise InvalidKey(
                    f"expected {key!r} to be a plain file in {self.url}, found the symbolic link {path}: remove it"
                )
        return Path(path)

    def sync(self) -> None:
        with self._errors("", "synced"), suppress(FileNotFoundError):
            descriptor = os.open(self._root, OPEN_DIR)
            try:
                syncfs(descriptor)
            finally:
                os.close(descriptor)

    def _open(self, key: str, version: str | None, if_match: str | None = None) -> tuple[int, os.stat_result]:
        segments = self._tree.segments(key)
        if version is not None:
            raise ObjectNotFound(f"expected version {version} of {key!r}, found that {self.url} keeps no versions", key=key)
        try:
            descriptor = self._tree.descriptor(key, segments)
            status = os.fstat(descriptor)
        except OSError as exc:
            raise translated(exc, key, "read", self.url) from exc
        if stat.S_ISREG(status.st_mode) and if_match in (None, etag(status)):
            return descriptor, status
        os.close(descriptor)
        if stat.S_ISREG(status.st_mode):
            raise _changed(key, if_match, status)
        raise ObjectNotFound(f"expected an object {key!r} in {self.url}, found none", key=key)

    def _chunks(self, key: str, file: FileIO, if_match: str | None) -> Iterator[bytes]:
        with closing(file), self._errors(key, "read"):
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
            self._require_etag(key, if_match, file.fileno())

    def _require_etag(self, key: str, if_match: str | None, descriptor: int) -> None:
        """Refuse bytes of a file that was changed in place while it was read."""
        if if_match is not None and etag(status := os.fstat(descriptor)) != if_match:
            raise _changed(key, if_match, status)

    def _publish(self, key: str, fill: Callable[[int], None], create: bool) -> ObjectInfo:
        segments = self._tree.segments(key)
        with self._errors(key, "written"):
            temporary, descriptor = self._tree.temporary()
        moved = False
        try:
            fill(descriptor)
            with self._errors(key, "written"):
                self._place(temporary, segments, create)
                moved = not create
                written = settle_time(descriptor)
                count(KIND, writes=1, went=written.st_size)
                return info(key, written)
        finally:
            os.close(descriptor)
            if not moved:
                with suppress(FileNotFoundError):
                    os.unlink(temporary)

    def _place(self, temporary: str, segments: Sequence[str], create: bool) -> None:
        key, name = "/".join(segments), segments[-1]
        for attempt in range(_ATTEMPTS):
            try:
                with self._tree.folder(segments[:-1], make=True) as parent:
                    if create:
                        os.link(temporary, name, dst_dir_fd=parent)
                    else:
                        os.replace(temporary, name, dst_dir_fd=parent)
                return
            except FileNotFoundError:
                # a concurrent delete removed the folder while it was empty
                if attempt == _ATTEMPTS - 1:
                    raise
            except FileExistsError as exc:
                raise self._taken(key) from exc
            except (IsADirectoryError, NotADirectoryError) as exc:
                raise self._folder_clash(key) from exc
            except OSError as exc:
                if exc.errno == errno.ELOOP:
                    raise self._folder_clash(key) from exc
                raise

    def _taken(self, key: str) -> StorageError:
        if stat.S_ISREG(os.lstat(f"{self._root}/{key}").st_mode):
            return ObjectExists(
                f"expected no object {key!r} in {self.url}, found one: read it or choose another key", key=key
            )
        return self._folder_clash(key)

    def _folder_clash(self, key: str) -> InvalidKey:
        return InvalidKey(
            f"expected a key that is neither a folder nor below an object or a symbolic link, found that {key!r} is, "
            f"in {self.url}: rename one of them",
            key=key,
        )

    @contextmanager
    def _errors(self, key: str, done: str) -> Iterator[None]:
        try:
            yield
        except OrchestraiError:
            raise
        except OSError as exc:
            raise translated(exc, key, done, self.url) from exc


def _changed(key: str, if_match: str | None, status: os.stat_result) -> PreconditionFailed:
    return PreconditionFailed(f"expected {key!r} with etag {if_match}, found {etag(status)}: list it again", key=key)
