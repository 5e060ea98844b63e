"""Landed objects unpacked: what they are packed with is found by their first bytes, since a name says what it likes."""

import bz2
import gzip
import lzma
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrai.errors import UnreadableObject

_BLOCK = 1024 * 1024


def _zstd(path: Path) -> Any:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")


_PACKINGS: dict[bytes, tuple[str, Callable[[Path], Any]]] = {
    b"\x1f\x8b\x08": ("gzip", gzip.open),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ\x00": ("xz", lzma.open),
}
# what a bzip2 stream goes on with, since text may begin with BZh
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")
_ARCHIVES = {b"PK\x03\x04": "a zip archive", b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"Rar!\x1a\x07": "a rar archive"}


def unpacked(path: Path, limit: int) -> Path:
    """The object's bytes unpacked (gzip, zstd, bzip2, xz); raises UnreadableObject beyond `limit` bytes and for an archive."""
    with path.open("rb") as stream:
        first = stream.read(16)
    packing = _packing(first)
    if packing is None:
        if path.stat().st_size > limit:
            raise UnreadableObject(f"expected at most {limit} bytes in an object, found {path.stat().st_size}: split it")
        return path
    name, open_packed = packing
    target = path.with_name(path.name + ".unpacked")
    size = 0
    try:
        with open_packed(path) as packed, target.open("wb") as sink:
            while block := packed.read(_BLOCK):
                size += sink.write(block)
                if size > limit:
                    raise UnreadableObject(
                        f"expected at most {limit} bytes unpacked, found more: it is a decompression bomb"
                    )
        shutil.copystat(path, target)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as exc:
        raise UnreadableObject(f"expected a whole {name} object, found {exc}: have the producer send it again") from exc
    return target


def _packing(first: bytes) -> tuple[str, Callable[[Path], Any]] | None:
    for magic, archive in _ARCHIVES.items():
        if first.startswith(magic):
            raise UnreadableObject(f"expected one object of data, found {archive}: land what is in it, one by one")
    for magic, packing in _PACKINGS.items():
        if first.startswith(magic) and (magic != b"BZh" or first[4:10] in _BZIP2_BLOCKS):
            return packing
    return None
