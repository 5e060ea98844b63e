"""When two landed objects are one arrival: what they say is equal, however it is packed and whatever it is called."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, cast

from orchestrai.ledger.receipt import Material
from orchestrai.storage.base import CHUNK_BYTES

# by their first bytes: a name may say anything
_PACKED: tuple[tuple[bytes, Callable[[Path], object]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
)


def content_digest(path: Path, limit: int) -> str:
    """The SHA-256 of what a compressed object unpacks to; nothing for one that is not, is damaged or passes `limit` bytes."""
    with path.open("rb") as stream:
        head = stream.read(6)
    for magic, open_packed in _PACKED:
        if head.startswith(magic):
            return _unpacked_digest(path, cast("Callable[[Path], BinaryIO]", open_packed), limit)
    return ""


def _unpacked_digest(path: Path, open_packed: Callable[[Path], BinaryIO], limit: int) -> str:
    digest, size = sha256(), 0
    try:
        with open_packed(path) as packed:
            while block := packed.read(CHUNK_BYTES):
                size += len(block)
                if size > limit:
                    return ""
                digest.update(block)
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        # the reader says what is wrong with it: here it is equal to its own bytes only
        return ""
    return digest.hexdigest()


def precedence(name: str) -> tuple[int, str]:
    """Which of equal objects stands for them: the shortest name, as a compressed copy or one in another folder has a longer one.

    A function of the names alone, so that the order in which they came decides nothing.
    """
    return len(name), name


def first_arrival(materials: Iterable[Material]) -> str:
    """When the first of equal objects was seen; "" where none says."""
    return min((material.arrived for material in materials if material.arrived), default="")
