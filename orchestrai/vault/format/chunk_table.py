"""Where the chunks of one file lie: a table of bytes, 52 a chunk, so that a file of a terabyte takes 100 MB and no million objects.

sha256 of the plain bytes (32) | number of the object (4) | offset (8) | stored length (4) | plain length (4), top bit: compressed
"""

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

_ROW = Struct(">32sIQII")
ROW_BYTES = _ROW.size
_COMPRESSED = 1 << 31


class StoredObject(NamedTuple):
    """One object that holds bytes of a file; `version` and `stored` as in StoredFile."""

    key: str
    length: int
    version: str = ""
    stored: str = ""

    @property
    def session(self) -> str:
        """The session that wrote it."""
        return self.key.split("/")[2]


class Chunk(NamedTuple):
    """One chunk: `size` plain bytes that hash to `sha256`, stored as `length` bytes at `offset` of the file's object `place`."""

    sha256: bytes
    place: int
    offset: int
    length: int
    size: int
    compressed: bool

    def pack(self) -> bytes:
        """The row."""
        return _ROW.pack(
            self.sha256, self.place, self.offset, self.length, self.size | (_COMPRESSED if self.compressed else 0)
        )


def chunks_of(table: bytes) -> Iterator[Chunk]:
    """The chunks of a table, in order."""
    for sha256, place, offset, length, size in _ROW.iter_unpack(table):
        yield Chunk(sha256, place, offset, length, size & ~_COMPRESSED, bool(size & _COMPRESSED))


def chunk_at(table: bytes, number: int) -> Chunk:
    """One chunk of a table."""
    sha256, place, offset, length, size = _ROW.unpack_from(table, number * ROW_BYTES)
    return Chunk(sha256, place, offset, length, size & ~_COMPRESSED, bool(size & _COMPRESSED))
