"""Landed objects unpacked: what they are packed with is found by their first bytes, since a name says what it likes.

Streams one behind another are one object, as those who pack in parallel write it; anything else behind a stream is refused.
"""

import bz2
import gzip
import lzma
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestrai.errors import UnreadableObject

_BLOCK = 1024 * 1024
# four times what the strongest setting of xz asks for
_XZ_MEMORY = 256 * 1024 * 1024
Pieces = Callable[[Path], Iterator[bytes]]


def _gzip(path: Path) -> Iterator[bytes]:
    with gzip.open(path) as packed:
        while piece := packed.read(_BLOCK):
            yield piece


def _zstd(path: Path) -> Iterator[bytes]:
    import pyarrow as pa

    with pa.OSFile(str(path)) as file, pa.CompressedInputStream(file, "zstd") as packed:
        while piece := packed.read(_BLOCK):
            yield piece


def _bzip2(path: Path) -> Iterator[bytes]:
    return _streams(path, bz2.BZ2Decompressor)


def _xz(path: Path) -> Iterator[bytes]:
    return _streams(path, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY))


def _streams(path: Path, begun: "Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]") -> Iterator[bytes]:
    """As bz2.open and lzma.open, which pass over whatever is no stream behind the first one."""
    stream = begun()
    with path.open("rb") as packed:
        while True:
            read = b""
            if stream.eof:
                read = stream.unused_data
                # zeros may fill a stream of xz up
                while not (read := read.lstrip(b"\0")):
                    if not (read := packed.read(_BLOCK)):
                        return
                stream = begun()
            elif stream.needs_input:
                read = packed.read(_BLOCK)
                if not read:
                    raise EOFError("its end is missing")
            yield stream.decompress(read, _BLOCK)


_PACKINGS: dict[bytes, tuple[str, Pieces]] = {
    b"\x1f\x8b\x08": ("gzip", _gzip),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
    b"BZh": ("bzip2", _bzip2),
    b"\xfd7zXZ\x00": ("xz", _xz),
}
# what an object that is packed begins with; text may too
PACKED = tuple(_PACKINGS)
# what a bzip2 stream goes on with, since text may begin with BZh
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")
_ARCHIVES = {b"PK\x03\x04": "a zip archive", b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"Rar!\x1a\x07": "a rar archive"}


def unpacked(path: Path, limit: int, target: Path) -> Path:
    """The object's bytes unpacked (gzip, zstd, bzip2, xz) into `target`, or where they are.

    Raises UnreadableObject beyond `limit` bytes and for an archive.
    """
    with path.open("rb") as stream:
        first = stream.read(16)
    packing = _packing(first)
    if packing is None:
        if path.stat().st_size > limit:
            raise UnreadableObject(f"expected at most {limit} bytes in an object, found {path.stat().st_size}: split it")
        return path
    name, pieces = packing
    size = 0
    try:
        with target.open("wb") as sink:
            for piece in pieces(path):
                size += sink.write(piece)
                if size > limit:
                    raise UnreadableObject(
                        f"expected at most {limit} bytes unpacked, found more: it is a decompression bomb"
                    )
        shutil.copystat(path, target)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as exc:
        raise UnreadableObject(f"expected a whole {name} object, found {exc}: have the producer send it again") from exc
    return target


def _packing(first: bytes) -> tuple[str, Pieces] | None:
    for magic, archive in _ARCHIVES.items():
        if first.startswith(magic):
            raise UnreadableObject(f"expected one object of data, found {archive}: land what is in it, one by one")
    for magic, packing in _PACKINGS.items():
        if first.startswith(magic) and (magic != b"BZh" or first[4:10] in _BZIP2_BLOCKS):
            return packing
    return None
