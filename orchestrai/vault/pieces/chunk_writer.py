"""Puts one file into the vault chunk by chunk: what is known is referred to, the rest goes end to end into objects of its own."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple, Protocol

from orchestrai.storage.base import Store
from orchestrai.vault.commit.source import Hashing, SourceFile, chunks
from orchestrai.vault.format.chunk_table import Chunk, StoredObject
from orchestrai.vault.format.layout import object_key
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.keys.encryption import Cipher, context
from orchestrai.vault.pieces.chunk_index import KnownChunk
from orchestrai.vault.pieces.piece_compression import PIECE_BYTES, compressed

# an object goes as a whole once nothing in it is needed: smaller ones are given back sooner
OBJECT_BYTES = 64 * 1024 * 1024
# a file that repeats itself refers to its own chunks, to the first this many
_OWN_CHUNKS = 65_536
_BUFFER = 4 * PIECE_BYTES

Cut = Callable[[bytes | bytearray | memoryview], int]


class Found(Protocol):
    """Where chunks are looked for."""

    def find(self, sha256: bytes, size: int) -> KnownChunk | None:
        """Where these bytes lie already."""
        ...


class Sealing(NamedTuple):
    """Whose bytes they are, and what seals them."""

    store: Store
    vault: str
    session: str
    cipher: Cipher | None


@dataclass
class _Written:
    """What was stored of a file so far."""

    objects: list[StoredObject] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    rows: bytearray = field(default_factory=bytearray)
    own: dict[bytes, Chunk] = field(default_factory=dict)
    length: int = 0
    new: int = 0

    def place(self, stored: StoredObject) -> int:
        """The number of an object in the file's row."""
        if stored.key not in self.places:
            self.places[stored.key] = len(self.objects)
            self.objects.append(stored)
        return self.places[stored.key]

    def add(self, chunk: Chunk) -> None:
        """The next chunk of the file."""
        self.rows += chunk.pack()
        self.length += chunk.length


def whole_pieces(content: bytes | bytearray | memoryview) -> int:
    """A border at each MiB: for files that are compressed and not worth being cut by content."""
    return min(len(content), PIECE_BYTES)


class ChunkWriter:
    """Stores one file, in bounded memory; not to be used twice."""

    def __init__(self, sealing: Sealing, source: SourceFile, cut: Cut, known: Found | None = None) -> None:
        self.sealing = sealing
        self.source = source
        self.cut = cut
        self.known = known
        self.hashing = Hashing()
        self.written = _Written()
        self._local = sealing.store.local_path(object_key(sealing.session, "probe")) is not None

    def put(self, names: Iterator[str]) -> tuple[StoredFile, int]:
        """Store what is new in objects of these names; the file's row, and how many of its plain bytes were stored."""
        source, written = self.source, self.written
        fresh = self._new_chunks()
        for first in fresh:
            self._put_object(object_key(self.sealing.session, next(names)), first, fresh)
        sha256 = self.hashing.require(source)
        objects = tuple(written.objects)
        stored = StoredFile(
            source.path, source.role, source.size, source.rows, sha256, self.sealing.session, "", -1, 0, written.length,
            source.token, objects[0].version, objects=objects, table=bytes(written.rows),
        )  # fmt: skip
        return stored, written.new

    def _put_object(self, key: str, first: memoryview, fresh: Iterator[memoryview]) -> None:
        """One object of new chunks, written as they come."""
        written = self.written
        place = written.place(StoredObject(key, 0))
        offset = 0
        hashing = Hashing()
        # compressed bytes are proven by their own hash to who cannot open them
        hashed = not self._local

        def body() -> Iterator[bytes]:
            nonlocal offset, hashed
            for plain in chain([first], fresh):
                stored, is_compressed = self._stored(plain, key, offset)
                hashed = hashed or (is_compressed and not offset)
                if hashed:
                    hashing.digest.update(stored)
                chunk = Chunk(self._sha256, place, offset, len(stored), len(plain), is_compressed)
                written.add(chunk)
                written.new += len(plain)
                if len(written.own) < _OWN_CHUNKS:
                    written.own[chunk.sha256] = chunk
                offset += len(stored)
                yield stored
                if offset >= OBJECT_BYTES:
                    return

        info = self.sealing.store.write(key, body())
        digest = hashing.digest.hexdigest() if hashed else ""
        written.objects[place] = StoredObject(key, info.size, info.version or "", digest)

    def _stored(self, plain: memoryview, key: str, offset: int) -> tuple[bytes, bool]:
        """A chunk as it is stored."""
        frame = compressed(plain)
        cipher = self.sealing.cipher
        if cipher is not None:
            bound = context(self.sealing.vault, "object", key, self.sealing.session, offset)
            return cipher.seal_small(bound, plain if frame is None else frame), frame is not None  # type: ignore[arg-type]
        if frame is not None:
            return frame, True
        # a store on this disk has written a chunk before it asks for the next; another may gather them
        return (plain if self._local else bytes(plain)), False  # type: ignore[return-value]

    def _new_chunks(self) -> Iterator[memoryview]:
        """The chunks that have to be stored; what is known already goes into the file's row on the way."""
        for plain in self._plain_chunks():
            self._sha256 = hashlib.sha256(plain).digest()
            own = self.written.own.get(self._sha256)
            if own is not None:
                self.written.add(own)
                continue
            hit = self.known.find(self._sha256, len(plain)) if self.known is not None else None
            if hit is None:
                yield plain
            else:
                self.written.add(hit.chunk._replace(place=self.written.place(hit.object)))

    def _plain_chunks(self) -> Iterator[memoryview]:
        """The file's chunks, each valid until the next is asked for."""
        buffer = memoryview(bytearray(min(_BUFFER, max(1, self.source.size))))
        start = end = 0
        for part in self.hashing.through(chunks(self.source, reuse=True)):
            rest = memoryview(part)
            while rest:
                if end == len(buffer):
                    while end - start >= PIECE_BYTES:
                        size = self.cut(buffer[start:end])
                        yield buffer[start : start + size]
                        start += size
                    if start == 0:
                        # the file grew while it is read: the rest is read to its end, where that is refused
                        break
                    buffer[: end - start] = buffer[start:end]
                    start, end = 0, end - start
                count = min(len(rest), len(buffer) - end)
                buffer[end : end + count] = rest[:count]
                end, rest = end + count, rest[count:]
        while start < end:
            size = self.cut(buffer[start:end])
            yield buffer[start : start + size]
            start += size
