"""Objects as files below one directory, published by link or rename so that a reader never sees half an object."""

import ctypes
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path

from orchestrai.errors import (
    InvalidKey,
    ObjectExists,
    ObjectNotFound,
    OrchestraiError,
    PreconditionFailed,
    StorageError,
    TransientStorageError,
)
from orchestrai.storage.base import CHUNK_BYTES, ObjectInfo, check_key

TEMPORARY = ".orchestrai-tmp"
_STALE_NS = 24 * 3600 * 10**9
_LATE_NS = 10**9
_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_OPEN_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_TRANSIENT = frozenset({errno.EIO, errno.EAGAIN, errno.EBUSY, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LocalStore:
    """A directory as a store; keys never leave it, and symbolic links in it are neither followed nor listed.

    An object is published atomically: `create` by hard link, else by rename. Bytes survive a power loss after `sync`.
    The etag is inode, mtime and size, so a file edited in place within one tick of the file system's clock keeps its etag.
    One key cannot be the folder of another ("a" and "a/b").
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._swept = False

    def __repr__(self) -> str:
        return f"LocalStore({self._root!r})"

    @property
    def url(self) -> str:
        return Path(self._root).as_uri()

    def head(self, key: str, *, version: str | None = None) -> ObjectInfo:
        with self._open(key, version) as file:
            return _info(key, os.fstat(file.fileno()))

    def read(
        self,
        key: str,
        *,
        version: str | None = None,
        if_match: str | None = None,
        start: int = 0,
        length: int | None = None,
    ) -> bytes:
        with self._open(key, version, if_match) as file, self._errors(key, "read"):
            if start:
                file.seek(start)
            data = file.read(-1 if length is None else length)
            _require_etag(key, file, if_match)
            return data

    def stream(self, key: str, *, version: str | None = None, if_match: str | None = None) -> Iterator[bytes]:
        return self._chunks(key, self._open(key, version, if_match), if_match)

    def write(self, key: str, data: bytes | Iterable[bytes], *, create: bool = False) -> ObjectInfo:
        chunks = [data] if isinstance(data, bytes) else data

        # what the caller's own iterable raises is the caller's: only our own calls are translated
        def fill(descriptor: int) -> None:
            for chunk in chunks:
                with self._errors(key, "written"):
                    _write_all(descriptor, chunk)

        return self._publish(key, fill, create)

    def write_file(self, key: str, path: Path, *, create: bool = False) -> ObjectInfo:
        with open(path, "rb", buffering=0) as source:

            def fill(descriptor: int) -> None:
                with self._errors(key, "written"):
                    _copy(source.fileno(), descriptor)

            return self._publish(key, fill, create)

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        folder = prefix.rpartition("/")[0]
        if folder and any(segment in ("", ".", "..") or "\0" in segment for segment in folder.split("/")):
            return
        after = None if start_after is None else _order(start_after)
        yield from self._walk(folder + "/" if folder else "", prefix, after)

    def delete(self, key: str, *, version: str | None = None) -> None:
        segments = self._segments(key)
        if version is not None:
            return
        with self._errors(key, "deleted"), suppress(FileNotFoundError, NotADirectoryError):
            with self._folder(segments[:-1]) as parent:
                status = os.stat(segments[-1], dir_fd=parent, follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode):
                    return
                os.unlink(segments[-1], dir_fd=parent)
            self._remove_empty(segments[:-1])

    def local_path(self, key: str) -> Path:
        """The file that holds the object, whether or not it is there yet; raises InvalidKey below a symbolic link."""
        path = self._root
        for segment in self._segments(key):
            path = f"{path}/{segment}"
            if os.path.islink(path):
                raise InvalidKey(
                    f"expected {key!r} to be a plain file in {self.url}, found the symbolic link {path}: remove it"
                )
        return Path(path)

    def sync(self) -> None:
        with self._errors("", "synced"), suppress(FileNotFoundError):
            descriptor = os.open(self._root, _OPEN_DIR)
            try:
                _syncfs(descriptor)
            finally:
                os.close(descriptor)

    def _segments(self, key: str) -> Sequence[str]:
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
    def _folder(self, segments: Iterable[str], *, make: bool = False) -> Iterator[int]:
        """Open a folder by walking from the root without following a symbolic link."""
        if make:
            os.makedirs(self._root, exist_ok=True)
        descriptor = os.open(self._root, _OPEN_DIR)
        try:
            for segment in segments:
                parent = descriptor
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(segment, dir_fd=parent)
                descriptor = os.open(segment, _OPEN_DIR | os.O_NOFOLLOW, dir_fd=parent)
                os.close(parent)
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self, key: str, version: str | None, if_match: str | None = None) -> FileIO:
        segments = self._segments(key)
        if version is not None:
            raise ObjectNotFound(f"expected version {version} of {key!r}, found that {self.url} keeps no versions", key=key)
        with self._errors(key, "read"), self._folder(segments[:-1]) as parent:
            file = _regular(os.open(segments[-1], _OPEN_FILE, dir_fd=parent))
        try:
            _require_etag(key, file, if_match)
        except PreconditionFailed:
            file.close()
            raise
        return file

    def _chunks(self, key: str, file: FileIO, if_match: str | None) -> Iterator[bytes]:
        with closing(file), self._errors(key, "read"):
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
            _require_etag(key, file, if_match)

    def _publish(self, key: str, fill: Callable[[int], None], create: bool) -> ObjectInfo:
        segments = self._segments(key)
        with self._errors(key, "written"):
            temporary = self._temporary()
            descriptor = os.open(temporary, _OPEN_NEW, 0o666)
        try:
            fill(descriptor)
            with self._errors(key, "written"):
                self._place(temporary, segments, create)
                return _info(key, _settle_time(descriptor))
        finally:
            os.close(descriptor)
            with suppress(FileNotFoundError):
                os.unlink(temporary)

    def _place(self, temporary: str, segments: Sequence[str], create: bool) -> None:
        key, name = "/".join(segments), segments[-1]
        for attempt in range(8):
            try:
                with self._folder(segments[:-1], make=True) as parent:
                    if create:
                        os.link(temporary, name, dst_dir_fd=parent)
                    else:
                        os.replace(temporary, name, dst_dir_fd=parent)
                return
            except FileNotFoundError:
                # a concurrent delete removed the folder while it was empty
                if attempt == 7:
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

    def _temporary(self) -> str:
        folder = f"{self._root}/{TEMPORARY}"
        os.makedirs(folder, exist_ok=True)
        if not self._swept:
            self._swept = True
            _remove_stale(folder)
        return f"{folder}/{os.getpid()}-{secrets.token_hex(8)}"

    def _remove_empty(self, segments: Sequence[str]) -> None:
        for depth in range(len(segments), 0, -1):
            try:
                with self._folder(segments[: depth - 1]) as parent:
                    os.rmdir(segments[depth - 1], dir_fd=parent)
            except OSError:
                return  # not empty, or gone: either way nothing is left to tidy

    def _walk(self, folder: str, prefix: str, after: bytes | None) -> Iterator[ObjectInfo]:
        for entry, key, order in self._entries(folder, prefix, after):
            if entry.is_dir(follow_symlinks=False):
                inside = after if after is not None and after.startswith(order) else None
                yield from self._walk(key, prefix, inside)
            else:
                # removed since the folder was read: as if it had been removed before
                with suppress(FileNotFoundError):
                    yield _info(key, entry.stat(follow_symlinks=False))

    def _entries(self, folder: str, prefix: str, after: bytes | None) -> Sequence[tuple[os.DirEntry[str], str, bytes]]:
        found = []
        with self._errors(folder, "listed"), suppress(FileNotFoundError, NotADirectoryError):
            self._refuse_linked(folder)
            with os.scandir(f"{self._root}/{folder}") as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        key = f"{folder}{entry.name}/"
                        wanted = key.startswith(prefix) or prefix.startswith(key)
                    elif entry.is_file(follow_symlinks=False):
                        key = f"{folder}{entry.name}"
                        wanted = key.startswith(prefix)
                    else:
                        continue
                    order = _order(key)
                    skipped = after is not None and order <= after and not (key[-1] == "/" and after.startswith(order))
                    if wanted and not skipped and not (not folder and entry.name == TEMPORARY):
                        found.append((entry, key, order))
        found.sort(key=lambda item: item[2])
        return found

    def _refuse_linked(self, folder: str) -> None:
        if folder and os.path.realpath(f"{self._root}/{folder}") != f"{self._root}/{folder}"[:-1]:
            raise FileNotFoundError(errno.ENOENT, "below a symbolic link", folder)

    @contextmanager
    def _errors(self, key: str, done: str) -> Iterator[None]:
        try:
            yield
        except OrchestraiError:
            raise
        except OSError as exc:
            raise _translated(exc, key, done, self.url) from exc


def _regular(descriptor: int) -> FileIO:
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return FileIO(descriptor)
    os.close(descriptor)
    raise FileNotFoundError(errno.ENOENT, "not a regular file")


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, status.st_size, _etag(status), _EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000))


def _etag(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def _require_etag(key: str, file: FileIO, if_match: str | None) -> None:
    if if_match is None:
        return
    found = _etag(os.fstat(file.fileno()))
    if found != if_match:
        raise PreconditionFailed(f"expected {key!r} with etag {if_match}, found {found}: list it again", key=key)


def _order(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _write_all(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


def _copy(source: int, target: int) -> None:
    try:
        while os.copy_file_range(source, target, 1 << 30):
            pass
    except OSError as exc:
        if exc.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    except AttributeError:
        pass  # the call exists on Linux alone
    while chunk := os.read(source, CHUNK_BYTES):
        _write_all(target, chunk)


def _settle_time(descriptor: int) -> os.stat_result:
    """Make mtime the time of publication where the writer was held up before it.

    Who judges a commit by `modified` must not be told the time at which its bytes were written to the temporary file.
    """
    status = os.fstat(descriptor)
    if status.st_ctime_ns - status.st_mtime_ns > _LATE_NS:
        os.utime(descriptor)
        status = os.fstat(descriptor)
    return status


def _remove_stale(folder: str) -> None:
    """Remove what killed writers left, once it is a day older than the folder's newest change (the store's own clock)."""
    now = os.stat(folder).st_mtime_ns
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if now - entry.stat(follow_symlinks=False).st_mtime_ns > _STALE_NS:
                    os.unlink(entry.path)


def _syncfs(descriptor: int) -> None:
    call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if call is None:
        os.sync()
    elif call(descriptor) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _translated(exc: OSError, key: str, done: str, url: str) -> StorageError:
    reason = os.strerror(exc.errno) if exc.errno else str(exc)
    told = f"expected {key!r} to be {done} in {url}, found: {reason}"
    if exc.errno in _ABSENT:
        return ObjectNotFound(f"expected an object {key!r} in {url}, found none", key=key)
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"{told}: free space there and run it again, nothing was changed", key=key)
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(f"{told}: give this user access to the folder", key=key)
    if exc.errno in _TRANSIENT:
        return TransientStorageError(f"{told}: try again", key=key)
    return StorageError(f"{told}: check the file system", key=key)
