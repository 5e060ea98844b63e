"""The text of an object as UTF-8, whatever its encoding; a byte that is no text stays one that is no UTF-8 either.

An undecodable byte b becomes the lone surrogate U+DC00 + b, whose three bytes no strict decoder takes: so it is refused where it
stands, and its own value and place can still be told.
"""

import codecs
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from orchestrai.errors import UnreadableObject

_KEEP = "orchestrai.keep-undecodable"
_FIRST = 0xDC00
MARGIN = 16
_MARKS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_WIDE_MARKS = {b"\xff\xfe\0\0": "utf-32-le", b"\0\0\xfe\xff": "utf-32-be"}


_KEPT = re.compile(f"([{chr(_FIRST)}-{chr(_FIRST + 255)}]+)")


def _keep(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(_FIRST + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_KEEP, _keep)


class Utf8Stream:
    """An object's text as UTF-8, block by block. `start` is where it begins in the object, behind the byte order mark."""

    def __init__(self, stream: FileIO, codec: str) -> None:
        self.codec, self.start = _begun(stream.read(4), codec)
        stream.seek(self.start)
        self.plain = self.codec == "utf-8"
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(self.codec)(errors=_KEEP)

    def read(self, size: int) -> bytes:
        """The UTF-8 of about `size` bytes of the object, whole characters of it; nothing at its end."""
        if self.plain:
            return self._stream.read(size)
        while True:
            block = self._stream.read(size)
            text = self._decoder.decode(block, final=not block)
            if text or not block:
                return text.encode("utf-8", "surrogatepass")

    def read_into(self, window: memoryview) -> int:
        """Fill a window but for its last MARGIN bytes or less, and tell how much of it; nothing at the end of the object."""
        size = len(window) - MARGIN
        if self.plain:
            return self._stream.readinto(window[:size])
        # a byte of the object is three of UTF-8 at most, and the decoder may have held some back
        piece = self.read(max(size // 3, 1))
        window[: len(piece)] = piece
        return len(piece)

    def original(self, piece: bytes) -> bytes:
        """The bytes of the object that a piece was made of; of a character that was cut at its end nothing is told."""
        if self.plain:
            return piece
        text = codecs.getincrementaldecoder("utf-8")("surrogatepass").decode(piece)
        # texts and what was kept of bytes that are none, by turns
        return b"".join(
            bytes(ord(char) - _FIRST for char in part) if number % 2 else part.encode(self.codec)
            for number, part in enumerate(_KEPT.split(text))
        )

    def width(self, piece: bytes) -> int:
        """How many bytes of the object whole characters were made of."""
        return len(piece) if self.plain else len(self.original(piece))

    def undecodable(self, piece: bytes, error: UnicodeDecodeError) -> tuple[int, int]:
        """What byte a strict decoder stumbled over in `piece`, and how far from its beginning it lies in the object."""
        if self.plain:
            return piece[error.start], error.start
        before = piece[: error.start]
        return ord(piece[error.start : error.start + 3].decode("utf-8", "surrogatepass")) - _FIRST, self.width(before)


@contextmanager
def opened(path: Path, codec: str) -> Iterator[Utf8Stream]:
    """The text of an object; raises UnreadableObject where its byte order mark says another encoding, or is missing."""
    with path.open("rb", buffering=0) as stream:
        yield Utf8Stream(stream, codec)


def _begun(first: bytes, codec: str) -> tuple[str, int]:
    """The codec with its byte order decided, and the width of the mark that decided it."""
    if codec == "utf-8":
        _not_another(first, codec)
        return codec, 3 if first.startswith(codecs.BOM_UTF8) else 0
    if not codec.startswith(("utf-16", "utf-32")):
        return codec, 0
    marks = _WIDE_MARKS if codec.startswith("utf-32") else _MARKS
    for mark, ordered in marks.items():
        if first.startswith(mark):
            if codec in (ordered, ordered[:6]):
                return ordered, len(mark)
            raise UnreadableObject(f"expected {codec}, found the byte order mark of {ordered}: declare encoding: {ordered}")
    if codec in ("utf-16", "utf-32"):
        raise UnreadableObject(
            f"expected {codec} with a byte order mark, found none: declare encoding: {codec}-le or {codec}-be"
        )
    return codec, 0


def _not_another(first: bytes, codec: str) -> None:
    for mark, other in _MARKS.items():
        if first.startswith(mark):
            raise UnreadableObject(f"expected {codec} text, found the byte order mark of {other}: declare encoding: utf-16")
