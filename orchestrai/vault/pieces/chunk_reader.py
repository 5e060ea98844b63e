"""Reads a file that lies in chunks: neighbours in one read, each opened and no longer than its row says."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

from orchestrai.errors import DigestMismatch
from orchestrai.storage.base import Store
from orchestrai.storage.disk.posix import read_range, translated
from orchestrai.vault.format.chunk_table import Chunk, StoredObject, chunks_of
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.keys.encryption import Cipher, context
from orchestrai.vault.pieces.piece_compression import PIECE_BYTES, expanded

# what one read of neighbours takes at most
_RUN_BYTES = 8 * 1024 * 1024
# what a chunk that does not shrink grows by when it is sealed
_SEALED = 64
_OPEN_FILES = 32

Read = Callable[[StoredObject, int, int], bytes]


class ChunkSource(NamedTuple):
    """The vault that chunks are read from: its name, what opens its bytes, and how a stretch of an object is read."""

    vault: str
    cipher: Cipher | None
    read: Read


def stream_chunks(source: ChunkSource, file: StoredFile) -> Iterator[tuple[Chunk, bytes]]:
    """Yield the file's chunks with their plain bytes, in order; raises MissingObject, DigestMismatch."""
    for run in _runs(file):
        stored = file.objects[run[0].place]
        start = run[0].offset
        data = memoryview(source.read(stored, start, run[-1].offset + run[-1].length - start))
        for chunk in run:
            part = data[chunk.offset - start : chunk.offset - start + chunk.length]
            yield chunk, opened(source, stored, chunk, part)


def proven_chunks(source: ChunkSource, file: StoredFile) -> Iterator[Chunk]:
    """Read the file's chunks, each held against its own hash, which the signed list names; raises MissingObject, DigestMismatch."""
    for chunk, data in stream_chunks(source, file):
        if hashlib.sha256(data).digest() != chunk.sha256:
            key = file.objects[chunk.place].key
            raise DigestMismatch(
                f"expected a chunk of {file.path} at {chunk.offset} of {key} to hash as its list says, found other bytes: "
                "run `orchestrai vault heal --apply`",
                key=key,
            )
        yield chunk


def opened(source: ChunkSource, stored: StoredObject, chunk: Chunk, part: memoryview) -> bytes:
    """The plain bytes of a chunk; raises DigestMismatch where they are not as many as its row says."""
    data: bytes | memoryview = part
    if len(part) == chunk.length and source.cipher is not None:
        bound = context(source.vault, "object", stored.key, stored.session, chunk.offset)
        data = source.cipher.open_small(bound, part)
    if len(part) == chunk.length and chunk.compressed:
        data = expanded(data, chunk.size, stored.key)
    if len(part) != chunk.length or len(data) != chunk.size:
        raise DigestMismatch(
            f"expected a chunk of {chunk.size} bytes at {chunk.offset} of {stored.key}, found {len(data)}: "
            "run `orchestrai vault heal --apply`",
            key=stored.key,
        )
    return data  # type: ignore[return-value]  # a view stands in for bytes wherever they are only written and hashed


def _runs(file: StoredFile) -> Iterator[list[Chunk]]:
    """Chunks that one read covers, as they follow each other in the file and in their object."""
    run: list[Chunk] = []
    for chunk in chunks_of(file.table):
        if chunk.size > PIECE_BYTES or chunk.length > PIECE_BYTES + _SEALED or chunk.place >= len(file.objects):
            raise DigestMismatch(
                f"expected chunks of at most {PIECE_BYTES} bytes in the row of {file.path}, found one of {chunk.size}: verify the vault"
            )
        follows = run and chunk.place == run[0].place and chunk.offset == run[-1].offset + run[-1].length
        if run and not (follows and chunk.offset + chunk.length - run[0].offset <= _RUN_BYTES):
            yield run
            run = []
        run.append(chunk)
    if run:
        yield run


class LocalReader:
    """Reads stretches of objects in a local store, each object opened once."""

    def __init__(self, store: Store, open_object: Callable[[str], int]) -> None:
        self.store = store
        self.open_object = open_object
        self._files: dict[str, int] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "LocalReader":
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def read(self, stored: StoredObject, start: int, length: int) -> bytes:
        """A stretch of an object, or what there is of it."""
        if stored.key not in self._files:
            if len(self._files) >= _OPEN_FILES:
                self._stack.close()
                self._files.clear()
            descriptor = self.open_object(stored.key)
            self._stack.callback(os.close, descriptor)
            self._files[stored.key] = descriptor
        try:
            return read_range(self._files[stored.key], start, length)
        except OSError as exc:
            raise translated(exc, stored.key, "read", self.store.url) from exc
