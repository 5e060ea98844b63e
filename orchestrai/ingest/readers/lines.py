"""The lines of an object with their places, in bounded memory."""

from collections.abc import Iterator
from typing import BinaryIO

BLOCK = 1024 * 1024


def numbered_lines(stream: BinaryIO, limit: int) -> Iterator[tuple[int, int, bytes, bool]]:
    """Yield (number from 1, byte offset, line with its end, whether whole); ends are LF, CRLF or CR, mixed at will.

    A line longer than `limit` is cut there and marked as not whole; memory stays bounded.
    """
    number, offset, tail = 1, 0, b""
    skipping = False
    while True:
        block = stream.read(BLOCK)
        data = tail + block
        pieces = data.splitlines(keepends=True)
        # the last piece may go on in the next block, and a CR at its end may be half of a CRLF
        tail = pieces.pop() if pieces and block else b""
        for piece in pieces:
            if not skipping:
                yield number, offset, piece[:limit], len(piece) <= limit
            skipping = False
            number += 1
            offset += len(piece)
        if len(tail) > limit:
            if not skipping:
                yield number, offset, tail[:limit], False
            keep = 1 if tail.endswith(b"\r") else 0
            offset += len(tail) - keep
            tail, skipping = tail[len(tail) - keep :], True
        if not block:
            return
