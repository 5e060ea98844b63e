"""The system calls under the local store, and what their errors mean."""

import errno
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from orchestrai.errors import ObjectNotFound, StorageError, TransientStorageError
from orchestrai.storage.base import CHUNK_BYTES, ObjectInfo

# what stays in the processor's cache between reading, hashing and writing
BUFFER_BYTES = 256 * 1024
_spare: list[memoryview] = []
_STALE_NS = 24 * 3600 * 10**9
_LATE_NS = 10**9
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_TRANSIENT = frozenset({errno.EIO, errno.EAGAIN, errno.EBUSY, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def info(key: str, status: os.stat_result) -> ObjectInfo:
    """Describe a file as an object."""
    return ObjectInfo(key, status.st_size, etag(status), _EPOCH + timedelta(microseconds=status.st_mtime_ns // 1000))


def etag(status: os.stat_result) -> str:
    """Inode, modification time and size."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def order(key: str) -> bytes:
    """What keys are sorted by."""
    return key.encode("utf-8", "surrogatepass")


@contextmanager
def page_buffer() -> Iterator[memoryview]:
    """Lend BUFFER_BYTES that begin on a page: the kernel fills them in four fifths of the time that a buffer in the heap takes."""
    try:
        view = _spare.pop()
    except IndexError:
        # private: the default is shared with the children of a fork, which would fill the same pages
        view = memoryview(mmap.mmap(-1, BUFFER_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    try:
        yield view
    finally:
        _spare.append(view)


def open_regular(path: str | os.PathLike[str]) -> int:
    """Open a file for reading: never through a symbolic link, and a fifo or device in its place is no file, and does not block.

    Raises OSError, FileNotFoundError for what is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))


def read_range(descriptor: int, start: int, length: int) -> bytes:
    """Read `length` bytes from `start`, or what there is of them."""
    data = os.pread(descriptor, length, start)
    while len(data) < length and (more := os.pread(descriptor, length - len(data), start + len(data))):
        data += more
    return data


def write_all(descriptor: int, chunk: bytes) -> None:
    """Write every byte, however many calls it takes."""
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


def copy(source: int, target: int) -> None:
    """Copy a whole file, inside the kernel where it can."""
    try:
        while os.copy_file_range(source, target, 1 << 30):
            pass
    except OSError as exc:
        if exc.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    except AttributeError:
        pass  # the call exists on Linux alone
    while chunk := os.read(source, CHUNK_BYTES):
        write_all(target, chunk)


def settle_time(descriptor: int) -> os.stat_result:
    """Make mtime the time of publication where the writer was held up before it.

    Who judges a commit by `modified` must not be told the time at which its bytes were written to the temporary file.
    """
    status = os.fstat(descriptor)
    if status.st_ctime_ns - status.st_mtime_ns > _LATE_NS:
        os.utime(descriptor)
        status = os.fstat(descriptor)
    return status


def remove_stale(folder: str) -> None:
    """Remove what killed writers left, once it is a day older than the folder's newest change (the store's own clock)."""
    now = os.stat(folder).st_mtime_ns
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if now - entry.stat(follow_symlinks=False).st_mtime_ns > _STALE_NS:
                    os.unlink(entry.path)


def syncfs(descriptor: int) -> None:
    """Flush the file system that a descriptor is on."""
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if call is None:
        os.sync()
    elif call(descriptor) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def translated(exc: OSError, key: str, done: str, url: str) -> StorageError:
    """The StorageError that an OSError means."""
    reason = os.strerror(exc.errno) if exc.errno else str(exc)
    message = f"expected {key!r} to be {done} in {url}, found: {reason}"
    if exc.errno in _ABSENT:
        return ObjectNotFound(f"expected an object {key!r} in {url}, found none", key=key)
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"{message}: free space there and run it again, nothing was changed", key=key)
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(f"{message}: give this user access to the folder", key=key)
    if exc.errno in _TRANSIENT:
        return TransientStorageError(f"{message}: try again", key=key, store=url)
    return StorageError(f"{message}: check the file system", key=key)
