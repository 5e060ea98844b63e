"""What a writer is given to keep: files and where their bytes are now."""

import hashlib
import os
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from orchestrai.errors import DigestMismatch, MissingObject, ObjectNotFound, PreconditionFailed
from orchestrai.storage.base import Store
from orchestrai.storage.disk.posix import open_regular, page_buffer
from orchestrai.storage.zstd_stream import expanded_stream

_BLOCK = 1024 * 1024
# where the byte goes that shows that a file is longer than it was; nobody reads it
_BEYOND = bytearray(1)


class StoredAt(NamedTuple):
    """Bytes in a store; of what lies there compressed `packed` is the length of the plain bytes, -1 of anything else."""

    store: Store
    key: str
    packed: int = -1

    def chunks(self) -> Iterator[bytes]:
        """The plain bytes; raises ObjectNotFound, DigestMismatch."""
        if self.packed < 0:
            return self.store.stream(self.key)
        return expanded_stream(self.store, self.key, most=self.packed)


class SourceFile(NamedTuple):
    """One file to keep; `content` is a local file (its path), the bytes themselves, or where they lie in a store.

    With a `sha256` its bytes must hash to it; without one, `token` tells whether it changed.

    A token is what `file_token` gives of a local file: equal tokens and sizes mean that the file is not read again.
    """

    path: str
    size: int
    content: Path | str | bytes | StoredAt
    sha256: str = ""
    rows: int = 0
    role: str = "data"
    token: str = ""


def held(path: str, data: bytes) -> SourceFile:
    """A file whose bytes are in memory; hashed here, so that it is not written again where the vault has it."""
    return SourceFile(path, len(data), data, hashlib.sha256(data).hexdigest())


def file_token(status: os.stat_result) -> str:
    """Inode, mtime and ctime: what changes whenever a local file does."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_ctime_ns:x}"


def read_whole(source: SourceFile) -> bytes:
    """All bytes of a small file; raises MissingObject, PreconditionFailed."""
    content = source.content
    if isinstance(content, bytes):
        return content
    if isinstance(content, Path | str):
        descriptor = _open(source, content)
        try:
            data = os.read(descriptor, source.size + 1)
            while len(data) < source.size and (more := os.read(descriptor, source.size + 1 - len(data))):
                data += more
            _require_unchanged(source, descriptor)
        finally:
            os.close(descriptor)
        return data
    try:
        return content.store.read(content.key) if content.packed < 0 else b"".join(content.chunks())
    except ObjectNotFound as exc:
        raise _gone(source) from exc


def read_into(source: SourceFile, target: memoryview) -> int:
    """Read a small file into `target`, which is as long as it should be; returns its length, which is more where it grew.

    Raises MissingObject, PreconditionFailed.
    """
    if not isinstance(source.content, Path | str):
        data = read_whole(source)
        target[: len(data)] = data[: len(target)]
        return len(data)
    descriptor = _open(source, source.content)
    try:
        done = os.readv(descriptor, [target, _BEYOND])
        while 0 < done < len(target) and (more := os.readv(descriptor, [target[done:], _BEYOND])):
            done += more
        _require_unchanged(source, descriptor)
    finally:
        os.close(descriptor)
    return done


def chunks(source: SourceFile, *, reuse: bool = False) -> Generator[bytes, None, None]:
    """A file's bytes in chunks; with `reuse`, views of one buffer that are valid until the next is asked for."""
    content = source.content
    if isinstance(content, bytes):
        yield content
    elif isinstance(content, Path | str):
        yield from _file_chunks(source, content, reuse)
    else:
        try:
            yield from content.chunks()
        except ObjectNotFound as exc:
            raise _gone(source) from exc


def _file_chunks(source: SourceFile, path: Path | str, reuse: bool) -> Iterator[bytes]:
    descriptor = _open(source, path)
    try:
        if reuse:
            with page_buffer() as buffer:
                while count := os.readv(descriptor, [buffer]):
                    yield buffer[:count]  # type: ignore[misc]  # a view stands in for bytes wherever they are only written and hashed
        else:
            while chunk := os.read(descriptor, _BLOCK):
                yield chunk
        _require_unchanged(source, descriptor)
    finally:
        os.close(descriptor)


def _open(source: SourceFile, path: Path | str) -> int:
    try:
        return open_regular(path)
    except FileNotFoundError as exc:
        raise _gone(source) from exc


class Hashing:
    """Hashes and counts what passes through."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.size = 0

    def through(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        """Yield `parts`, hashed."""
        for part in parts:
            self.digest.update(part)
            self.size += len(part)
            yield part

    def require(self, source: SourceFile) -> str:
        """The hash, or DigestMismatch when the bytes are not what the source says."""
        return require_equal(source, self.size, self.digest.hexdigest())


def require_equal(source: SourceFile, size: int, sha256: str) -> str:
    """Return `sha256`, or raise DigestMismatch when size or hash are not what the source says."""
    if size != source.size or (source.sha256 and sha256 != source.sha256):
        raise DigestMismatch(
            f"expected {source.path} to be {source.size} bytes of sha256 {source.sha256[:12] or 'any'}, found {size} bytes of "
            f"{sha256[:12]}: the source was altered; nothing was committed",
            path=source.path,
        )
    return sha256


def _require_unchanged(source: SourceFile, descriptor: int) -> None:
    if source.token and file_token(os.fstat(descriptor)) != source.token:
        raise PreconditionFailed(f"expected {source.path} unchanged since it was listed, found it changed", path=source.path)


def _gone(source: SourceFile) -> MissingObject:
    return MissingObject(f"expected {source.path} to be readable, found nothing: publish the source again", path=source.path)
