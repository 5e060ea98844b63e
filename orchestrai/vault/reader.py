"""Reads kept files back, every hash checked on the way."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import attrgetter
from typing import TypeVar

from orchestrai.errors import DigestMismatch, MissingObject, ObjectNotFound
from orchestrai.storage.base import CHUNK_BYTES, Store
from orchestrai.storage.disk.posix import BUFFER_BYTES, open_regular, page_buffer, translated
from orchestrai.storage.disk.reflink import clone, hashed
from orchestrai.vault.format.chunk_table import StoredObject
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.keys.encryption import Cipher, block_sizes, context
from orchestrai.vault.pieces.chunk_reader import ChunkSource, LocalReader, stream_chunks
from orchestrai.vault.pieces.piece_compression import expanded

# a gap between two wanted files of a pack that is cheaper to read over than to ask again for
_READ_OVER = 1024 * 1024
T = TypeVar("T")


def stream_file(
    store: Store, vault: str, cipher: Cipher | None, file: StoredFile, *, reuse: bool = False
) -> Iterator[bytes]:
    """Yield a file's bytes; raises MissingObject, DigestMismatch (after the last chunk when only the whole is wrong).

    With `reuse`, a chunk may be a view of a buffer that is valid only until the next is asked for.
    """
    digest, size = hashlib.sha256(), 0
    if file.objects:
        with chunk_source(store, vault, cipher, file) as source:
            for _, chunk in stream_chunks(source, file):
                digest.update(chunk)
                size += len(chunk)
                yield chunk if reuse else bytes(chunk)
        _require(file, size, digest.hexdigest())
        return
    if file.piece:
        for _, data in read_packed(store, vault, cipher, [file]):
            yield data
        return
    for chunk in _plain(vault, cipher, file, _stored(store, file, reuse, block_sizes() if cipher else None)):
        digest.update(chunk)
        size += len(chunk)
        yield chunk
    _require(file, size, digest.hexdigest())


def clone_file(store: Store, cipher: Cipher | None, file: StoredFile, target: int) -> bool:
    """Let an empty file share the blocks of an object that is the whole of `file` as it is, and hash what it then has.

    False, and nothing changed, where it does not lie so, or the file system cannot. Raises MissingObject, DigestMismatch.
    """
    if cipher is not None or file.objects or file.piece or file.pack >= 0 or store.local_path(file.key) is None:
        return False
    with _opened(store, file) as source:
        if not clone(source, target):
            return False
    _require(file, *hashed(target))
    return True


def read_packed(
    store: Store, vault: str, cipher: Cipher | None, files: Sequence[StoredFile], *, reuse: bool = False
) -> Iterator[tuple[StoredFile, bytes]]:
    """Yield the bytes of files that share one pack, in few reads; raises MissingObject, DigestMismatch.

    With `reuse`, the bytes may be a view of a buffer that is valid only until the next file is asked for.
    """
    files = sorted(files, key=attrgetter("offset", "at"))
    key = files[0].key
    local = store.local_path(key) is not None
    with _reading(store, files[0], local) as read:
        for run in _runs(files, BUFFER_BYTES if local else sys.maxsize):
            start = run[0].offset
            data = read(start, max(file.offset + file.length for file in run) - start)
            for (offset, length, size, compressed), group in groupby(
                run, key=attrgetter("offset", "length", "piece", "compressed")
            ):
                part: memoryview | bytes = data[offset - start : offset - start + length]
                if cipher is not None:
                    part = cipher.open_small(context(vault, "pack", key, files[0].session, offset), part)  # type: ignore[arg-type]
                if compressed:
                    part = expanded(part, size, key)
                for file in group:
                    plain = part[file.at : file.at + file.size] if size else part
                    plain = plain if reuse else bytes(plain)
                    _require(file, len(plain), hashlib.sha256(plain).hexdigest())
                    yield file, plain  # type: ignore[misc]  # a view stands in for bytes wherever they are only written and hashed


@contextmanager
def chunk_source(store: Store, vault: str, cipher: Cipher | None, file: StoredFile) -> Iterator[ChunkSource]:
    """The vault as the chunks of a file are read from it."""
    if store.local_path(file.key) is None:

        def read(stored: StoredObject, start: int, length: int) -> bytes:
            return pinned(
                stored.key,
                stored.version,
                lambda version: store.read(stored.key, version=version, start=start, length=length),
            )

        yield ChunkSource(vault, cipher, read)
        return
    with LocalReader(store, lambda key: _open(store, key)) as reader:
        yield ChunkSource(vault, cipher, reader.read)


def _runs(files: Sequence[StoredFile], limit: int) -> Iterator[list[StoredFile]]:
    """Files that one read covers: with small gaps alone between them, and `limit` bytes at most where there are more than one."""
    run: list[StoredFile] = []
    start = end = 0
    for file in files:
        if run and (file.offset > end + _READ_OVER or file.offset + file.length - start > limit):
            yield run
            run = []
        if not run:
            start = file.offset
        run.append(file)
        end = file.offset + file.length
    if run:
        yield run


@contextmanager
def _reading(store: Store, file: StoredFile, local: bool) -> Iterator[Callable[[int, int], memoryview]]:
    """What reads from the file's object: in a local store, into a buffer that each read uses again."""
    if not local:
        yield lambda start, length: memoryview(_range(store, file, start, length))
        return
    with _opened(store, file) as descriptor, page_buffer() as buffer:

        def read(start: int, length: int) -> memoryview:
            view = buffer[:length] if length <= BUFFER_BYTES else memoryview(bytearray(length))
            try:
                return view[: os.preadv(descriptor, [view], start)]
            except OSError as exc:
                raise translated(exc, file.key, "read", store.url) from exc

        yield read


@contextmanager
def _opened(store: Store, file: StoredFile) -> Iterator[int]:
    """The descriptor of an object in a local store, open for a while; raises MissingObject."""
    descriptor = _open(store, file.key)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open(store: Store, key: str) -> int:
    path = store.local_path(key)
    assert path is not None
    try:
        return open_regular(path)
    except FileNotFoundError as exc:
        raise _missing(key) from exc
    except OSError as exc:
        raise translated(exc, key, "read", store.url) from exc


def _plain(vault: str, cipher: Cipher | None, file: StoredFile, stored: Iterable[bytes]) -> Iterator[bytes]:
    if cipher is None:
        yield from stored
        return
    kind = "pack" if file.pack >= 0 else "object"
    yield from cipher.open(context(vault, kind, file.key, file.session, file.offset), stored)


def _stored(store: Store, file: StoredFile, reuse: bool, sizes: Iterator[int] | None = None) -> Iterator[bytes]:
    """The bytes as they are stored; those of a local object in blocks of `sizes`, where given."""
    if reuse and file.pack < 0 and store.local_path(file.key) is not None:
        yield from _local_views(store, file) if sizes is None else _local_blocks(store, file, sizes)
        return
    if file.pack >= 0 or file.length <= CHUNK_BYTES:
        yield _range(store, file, file.offset, file.length)
        return
    yield from pinned(file.key, file.version, lambda version: store.stream(file.key, version=version))


def _local_views(store: Store, file: StoredFile) -> Iterator[bytes]:
    """A local object through one small buffer, which stays in the processor's cache."""
    with _opened(store, file) as descriptor, page_buffer() as buffer:
        while count := _read(store, file, descriptor, buffer):
            yield buffer[:count]  # type: ignore[misc]  # a view stands in for bytes wherever they are only written and hashed


def _local_blocks(store: Store, file: StoredFile, sizes: Iterator[int]) -> Iterator[bytes]:
    with _opened(store, file) as descriptor:
        for size in sizes:
            try:
                block = os.read(descriptor, size)
            except OSError as exc:
                raise translated(exc, file.key, "read", store.url) from exc
            if not block:
                return
            yield block


def _read(store: Store, file: StoredFile, descriptor: int, buffer: memoryview) -> int:
    try:
        return os.readv(descriptor, [buffer])
    except OSError as exc:
        raise translated(exc, file.key, "read", store.url) from exc


def _range(store: Store, file: StoredFile, start: int, length: int) -> bytes:
    if length == 0:
        pinned(file.key, file.version, lambda version: store.head(file.key, version=version))
        return b""
    return pinned(file.key, file.version, lambda version: store.read(file.key, version=version, start=start, length=length))


def pinned(key: str, version: str, read: Callable[[str | None], T]) -> T:
    """Read the version that was written, so that nothing put over it later counts; raises MissingObject.

    A copy of the vault in another store has versions of its own: there the newest is read, and its hash decides.
    """
    if version:
        try:
            return read(version)
        except ObjectNotFound:
            pass
    try:
        return read(None)
    except ObjectNotFound as exc:
        raise _missing(key) from exc


def _missing(key: str) -> MissingObject:
    return MissingObject(f"expected {key} in the vault, found nothing: run `orchestrai vault heal --apply`", key=key)


def _require(file: StoredFile, size: int, sha256: str) -> None:
    if (size, sha256) != (file.size, file.sha256):
        raise DigestMismatch(
            f"expected {file.path} in {file.key} to be {file.size} bytes of sha256 {file.sha256[:12]}, found {size} bytes of "
            f"{sha256[:12]}: run `orchestrai vault heal --apply`",
            key=file.key,
        )
