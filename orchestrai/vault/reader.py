"""Reads kept files back, every hash checked on the way."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from orchestrai.storage.base import CHUNK_BYTES, Store
from orchestrai.storage.disk.posix import page_buffer
from orchestrai.storage.disk.reflink import clone, hashed
from orchestrai.vault.format.chunk_table import StoredObject
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.keys.encryption import CHUNK, Cipher, block_sizes, context
from orchestrai.vault.pieces.chunk_reader import ChunkSource, LocalReader, stream_chunks
from orchestrai.vault.pieces.object_reads import (
    object_file,
    open_object,
    pinned,
    read_into,
    read_some,
    read_stretch,
    require_listed,
)
from orchestrai.vault.pieces.pack_reader import read_packed


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
        require_listed(file, size, digest.hexdigest())
        return
    if file.piece:
        for _, data in read_packed(store, vault, cipher, [file]):
            yield data
        return
    for chunk in _plain(vault, cipher, file, _stored(store, file, reuse, block_sizes() if cipher else None), reuse):
        digest.update(chunk)
        size += len(chunk)
        yield chunk
    require_listed(file, size, digest.hexdigest())


def clone_file(store: Store, cipher: Cipher | None, file: StoredFile, target: int) -> bool:
    """Let an empty file share the blocks of an object that is the whole of `file` as it is, and hash what it then has.

    False, and nothing changed, where it does not lie so, or the file system cannot. Raises MissingObject, DigestMismatch.
    """
    if cipher is not None or file.objects or file.piece or file.pack >= 0 or store.local_path(file.key) is None:
        return False
    with object_file(store, file.key) as source:
        if not clone(source, target):
            return False
    require_listed(file, *hashed(target))
    return True


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
    with LocalReader(store, lambda key: open_object(store, key)) as reader:
        yield ChunkSource(vault, cipher, reader.read)


def _plain(vault: str, cipher: Cipher | None, file: StoredFile, stored: Iterable[bytes], reuse: bool) -> Iterator[bytes]:
    if cipher is None:
        yield from stored
        return
    kind = "pack" if file.pack >= 0 else "object"
    buffer = memoryview(bytearray(min(CHUNK, file.size))) if reuse else None
    yield from cipher.open(context(vault, kind, file.key, file.session, file.offset), stored, buffer)


def _stored(store: Store, file: StoredFile, reuse: bool, sizes: Iterator[int] | None = None) -> Iterator[bytes]:
    """The bytes as they are stored; those of a local object in blocks of `sizes`, where given."""
    if reuse and file.pack < 0 and store.local_path(file.key) is not None:
        yield from _local_views(store, file) if sizes is None else _local_blocks(store, file, sizes)
        return
    if file.pack >= 0 or file.length <= CHUNK_BYTES:
        yield read_stretch(store, file, file.offset, file.length)
        return
    yield from pinned(file.key, file.version, lambda version: store.stream(file.key, version=version))


def _local_views(store: Store, file: StoredFile) -> Iterator[bytes]:
    """A local object through one small buffer, which stays in the processor's cache."""
    with object_file(store, file.key) as descriptor, page_buffer() as buffer:
        while count := read_some(store, file.key, descriptor, buffer):
            yield buffer[:count]  # type: ignore[misc]  # a view stands in for bytes wherever they are only written and hashed


def _local_blocks(store: Store, file: StoredFile, sizes: Iterator[int]) -> Iterator[bytes]:
    """A local object in blocks, each valid until the next but one is asked for: who opens a block must see whether it is the last."""
    spare: list[memoryview] = []
    with object_file(store, file.key) as descriptor:
        for number, size in enumerate(sizes):
            if number < 3:
                spare.append(memoryview(bytearray(min(size, file.length))))
            block = spare[number and 1 + (number - 1) % 2]
            count = read_into(store, file.key, descriptor, block)
            if count:
                yield block[:count]  # type: ignore[misc]  # as above
            if count < size:
                return
