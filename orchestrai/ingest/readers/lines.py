"""The lines of an object with their places, in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

BLOCK = 1024 * 1024
Line = tuple[int, int, bytes, bool]
# of one record; what has more is refused, so that little is held while its end is looked for
MAX_RECORD_LINES = 100_000


class Blocks(Protocol):
    """What lines are read from."""

    def read(self, size: int, /) -> bytes:
        """About `size` bytes, nothing at the end."""
        ...


def numbered_lines(
    stream: Blocks, limit: int, *, offset: int = 0, width: Callable[[bytes], int] = len, block_bytes: int = 0
) -> Iterator[Line]:
    """Yield (number from 1, byte offset, line with its end, whether whole); ends are LF, CRLF or CR, mixed at will.

    A line longer than `limit` is cut there and marked as not whole; memory stays bounded. Offsets count from `offset`, in the bytes
    that `width` tells of a piece of the stream.
    """
    number, tail = 1, b""
    skipping = False
    while True:
        block = stream.read(block_bytes or BLOCK)
        data = tail + block
        pieces = data.splitlines(keepends=True)
        # the last piece may go on in the next block, and a CR at its end may be half of a CRLF
        tail = pieces.pop() if block and pieces and not pieces[-1].endswith(b"\n") else b""
        for piece in pieces:
            if not skipping:
                yield number, offset, piece[:limit], len(piece) <= limit
            skipping = False
            number += 1
            offset += width(piece)
        if len(tail) > limit:
            if not skipping:
                yield number, offset, tail[:limit], False
            keep = 1 if tail.endswith(b"\r") else 0
            offset += width(tail[: len(tail) - keep])
            tail, skipping = tail[len(tail) - keep :], True
        if not block:
            return


def without_last(lines: Iterator[Line], count: int) -> Iterator[Line]:
    """All but the last `count` lines; empty ones at the very end do not count, and go too."""
    held: deque[Line] = deque()
    empty = 0
    for line in lines:
        empty = empty + 1 if is_blank(line[2]) else 0
        if empty > MAX_RECORD_LINES:
            continue  # no record goes on across so many
        held.append(line)
        while not empty and len(held) > count:
            yield held.popleft()


def is_blank(raw: bytes) -> bool:
    """Whether a line holds nothing but its end."""
    return len(raw) < 3 and not raw.strip(b"\r\n")
