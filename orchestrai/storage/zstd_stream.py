"""Objects that lie compressed by zstd: written so where it pays, and read back in bounded memory.

Level 2, as in the vault's pieces. What an object's plain bytes are is said by their own hash, which whoever reads them checks.
"""

from collections.abc import Iterable, Iterator
from io import BufferedReader, RawIOBase
from itertools import chain
from threading import local
from typing import TYPE_CHECKING

from orchestrai.errors import DigestMismatch
from orchestrai.storage.base import CHUNK_BYTES, Store

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from zstandard import ZstdCompressor

LEVEL = 2
# what compressed bytes may keep of their length: less than that spared is not worth opening them
WORTH = 0.97
# below it a block of a disk is taken either way
SMALLEST = 4096
_SAMPLE = 4096
_PLACES = 3
# no frame of ours needs more: a frame that claims more is none of ours
_MAX_WINDOW = 8 * 1024 * 1024
_READ_BYTES = 256 * 1024
# what one thread uses again and again: it may not be shared by two at once
_tools = local()


def compressor() -> "ZstdCompressor":
    """The compressor of this thread."""
    if not hasattr(_tools, "compressor"):
        from zstandard import ZstdCompressor

        _tools.compressor = ZstdCompressor(level=LEVEL)
    made: ZstdCompressor = _tools.compressor
    return made


def looks_compressible(data: bytes | memoryview) -> bool:
    """Whether samples from the start, the middle and the end shrink; what is compressed already does not, and is told in 10 us."""
    size = len(data)
    sample: bytes | memoryview = data
    if size > _SAMPLE * _PLACES:
        step = (size - _SAMPLE) // (_PLACES - 1)
        sample = b"".join(bytes(data[place * step : place * step + _SAMPLE]) for place in range(_PLACES))
    return len(compressor().compress(sample)) < len(sample) * WORTH


def write_compressed(store: Store, key: str, data: Iterable[bytes]) -> int:
    """Write an object compressed where its beginning shrinks, else as it is; returns how long it lies there, 0 for as it is.

    A chunk may be a view that is valid only until the next is asked for, where the store is on this disk.
    """
    parts = iter(data)
    first = next(parts, b"")
    if len(first) < SMALLEST or not looks_compressible(first):
        store.write(key, chain([first], parts))
        return 0
    return write_frame(store, key, chain([first], parts))


def write_frame(store: Store, key: str, data: Iterable[bytes]) -> int:
    """Write an object compressed, whether that pays or not; returns how long it lies there."""
    return store.write(key, _frame(data)).size


def _frame(data: Iterable[bytes]) -> Iterator[bytes]:
    from zstandard import ZstdCompressor

    frame = ZstdCompressor(level=LEVEL).compressobj()
    for part in data:
        if packed := frame.compress(part):
            yield packed
    yield frame.flush()


def expanded_stream(store: Store, key: str, *, most: int) -> Iterator[bytes]:
    """Yield the plain bytes of an object that lies compressed, `most` of them and one more at most, so that who expects fewer sees it.

    Raises ObjectNotFound, and DigestMismatch for what is no frame of ours.
    """
    from zstandard import ZstdDecompressor, ZstdError

    opened = ZstdDecompressor(max_window_size=_MAX_WINDOW)
    left = most + 1
    try:
        pieces = BufferedReader(_Pieces(store.stream(key)), _READ_BYTES)
        with opened.stream_reader(pieces, read_size=_READ_BYTES) as reader:
            while left > 0 and (chunk := reader.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk
    except ZstdError as exc:
        raise DigestMismatch(
            f"expected {key} in {store.url} compressed by zstd, found other bytes ({exc}): restore the dataset again",
            key=key,
        ) from exc


class _Pieces(RawIOBase):
    """Chunks of a store as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: "WriteableBuffer") -> int:
        view = memoryview(target)
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = memoryview(chunk)
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
