"""Blocks of whole records that are proven to be in order, so that Arrow reads in them what the specification reads.

The proof errs on one side: it may fail for a block in order, which is then read record by record, and never holds for another.
Without quotes a record is a line. With quotes, counted from 0 at the beginning of a record, an even one must open a field (behind a
delimiter or a line end) and an odd one close it (before one), or the two are a doubled quote: an odd one with the even one behind it.
"""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrai.ingest.readers.chunks import Untidy
from orchestrai.ingest.readers.csv.utf8_stream import MARGIN, Utf8Stream
from orchestrai.ingest.readers.lines import MAX_RECORD_LINES
from orchestrai.ingest.spec import SourceSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Places = NDArray[np.intp]

# Arrow begins anew with each block, so larger ones cost less; larger still are no faster
BLOCK_BYTES = 2 * 1024 * 1024
# most objects are small, and need no larger window
FIRST_BYTES = 128 * 1024
# more than this before the first record, or of one beyond the limit of a row, is left to the careful reader
_SLACK = 4 * BLOCK_BYTES
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Block:
    """Whole records in order. `data` is valid until the next block is asked for."""

    data: memoryview
    quoted: bool
    hexadecimal: bool
    """Whether a number like 0x10 may be in it."""


class TidyBlocks:
    """The data of a CSV object in blocks that Arrow may read; raises Untidy at the first one that is not proven."""

    def __init__(self, stream: Utf8Stream, source: SourceSpec, first_line: int) -> None:
        import numpy as np

        self.stream, self.source, self.first_line = stream, source, first_line
        self.block_bytes = FIRST_BYTES
        self.quote, self.escape, self.comment = source.quote.encode(), source.escape.encode(), source.comment.encode()
        self.edges = np.zeros(256, np.bool_)
        self.edges[[*source.delimiter.encode()[:1], *b"\r\n"]] = True
        self._renew(self.block_bytes + MARGIN)

    def _renew(self, size: int) -> None:
        """A larger window; memory that is used again costs a tenth of what is new."""
        import numpy as np

        self.window, self.size = bytearray(size), size
        self.octets = np.frombuffer(self.window, np.uint8)
        self.scratch, self.flags = np.empty(size, np.uint8), np.empty(size, np.bool_)

    def __iter__(self) -> Iterator[Block]:
        end, started, ended = 0, self.first_line == 0, False
        while not ended:
            read = self._fill(end)
            ended, end, start = read == 0, end + read, 0
            if not started:
                start = after_lines(self.window, end, self.first_line, ended=ended)
                started = start >= 0
            if started:
                quotes = self._places(self.quote, start, end)
                cut = self._cut(start, end, quotes, ended=ended)
                if cut > start and not self._is_blank(start, cut):
                    yield self._proven(start, cut, quotes)
                self.window[: end - cut] = self.window[cut:end]
                end -= cut
            if end > self.source.max_row_bytes + _SLACK:
                raise Untidy

    def _fill(self, end: int) -> int:
        size = self.block_bytes + MARGIN
        if self.size - end < size:
            unread = self.window[:end]
            self._renew(end + size + size // 2)
            self.window[:end] = unread
        read = self.stream.read_into(memoryview(self.window)[end : end + size])
        # of text in other encodings about a third is read
        if 4 * read >= self.block_bytes:
            self.block_bytes = BLOCK_BYTES
        return read

    def _places(self, mark: bytes, start: int, end: int) -> "Places | None":
        """Where a byte stands; None where it does not."""
        import numpy as np

        if not mark or self.window.find(mark, start, end) < 0:
            return None
        places = np.equal(self.octets[start:end], mark[0], out=self.flags[start:end]).nonzero()[0]
        return places + start if start else places

    def _cut(self, start: int, end: int, quotes: "Places | None", *, ended: bool) -> int:
        """Where the last whole record ends that is surely none of the footer's lines."""
        if self.source.footer_lines:
            end = before_lines(self.window, start, end, self.source.footer_lines)
        return end if ended else _record_end(self.window, start, end, quotes)

    def _is_blank(self, start: int, end: int) -> bool:
        return self.window[start] in b"\r\n" and not self.window[start:end].strip(b"\r\n")

    def _proven(self, start: int, end: int, quotes: "Places | None") -> Block:
        """The block; raises Untidy for what is not proven to be in order."""
        window, view = self.window, memoryview(self.window)[start:end]
        if window.startswith(_BOM, start, end) or (self.escape and window.find(self.escape, start, end) >= 0):
            raise Untidy
        if self.comment and (
            window.startswith(self.comment, start, end)
            or window.find(b"\n" + self.comment, start, end) >= 0
            or window.find(b"\r" + self.comment, start, end) >= 0
        ):
            raise Untidy
        if self.octets[start:end].max() > 127:
            try:
                codecs.utf_8_decode(view, "strict", True)
            except UnicodeDecodeError as exc:
                raise Untidy from exc
        if quotes is not None:
            quotes = quotes[: quotes.searchsorted(end)]
            self._prove_quotes(start, end, quotes)
        if not self._records_fit(start, end, quotes, self.source.max_row_bytes):
            raise Untidy
        return Block(view, quotes is not None and len(quotes) > 0, self._may_hold_hexadecimal(start, end))

    def _prove_quotes(self, start: int, end: int, quotes: "Places") -> None:
        if not len(quotes):
            return
        # a record of fewer bytes has fewer lines, too
        if len(quotes) % 2 or not self._records_fit(start, end, quotes, MAX_RECORD_LINES):
            raise Untidy
        opening, closing = quotes[::2], quotes[1::2]
        before = self.edges.take(self.octets.take(opening - 1, mode="wrap"))
        after = self.edges.take(self.octets.take(closing + 1, mode="wrap"))
        before[0] |= opening[0] == start
        after[-1] |= closing[-1] == end - 1
        if before.all() and after.all():
            return
        doubled = closing[:-1] + 1 == opening[1:]
        if not (self.source.double_quote and before[0] and after[-1]):
            raise Untidy
        if not ((before[1:] | doubled).all() and (after[:-1] | doubled).all()):
            raise Untidy

    def _records_fit(self, start: int, end: int, quotes: "Places | None", limit: int) -> bool:
        """Whether no record is longer than `limit`: from each one's beginning on, an end comes soon enough."""
        while start + limit < end:
            following = _record_end(self.window, start, start + limit, quotes)
            if following == start:
                return False
            start = following
        return True

    def _may_hold_hexadecimal(self, start: int, end: int) -> bool:
        import numpy as np

        # looking for one byte costs next to nothing, for two of them much more
        if self.window.find(b"x", start, end) < 0 and self.window.find(b"X", start, end) < 0:
            return False
        lower = np.bitwise_or(self.octets[start:end], 32, out=self.scratch[start:end])
        places = np.equal(lower, ord("x"), out=self.flags[start:end]).nonzero()[0] + start
        return bool((self.octets[places - 1] == ord("0")).any())


def after_lines(data: bytearray, end: int, count: int, *, ended: bool) -> int:
    """Where the line after `count` lines begins; -1 when more must be read to tell."""
    at = 0
    for _ in range(count):
        ends = [place for place in (data.find(b"\n", at, end), data.find(b"\r", at, end)) if place >= 0]
        if not ends:
            return end if ended else -1
        at = min(ends) + 1
        if data[at - 1 : at] == b"\r":
            if at == end and not ended:
                return -1  # half of a CRLF, perhaps
            at += data[at : min(at + 1, end)] == b"\n"
    return at


def before_lines(data: bytearray, start: int, end: int, count: int) -> int:
    """Where the last `count` lines begin, empty ones at the very end not counted; `start` when there are no more."""
    end = start + len(data[start:end].rstrip(b"\r\n"))
    for left in range(count, 0, -1):
        begin = max(data.rfind(b"\n", start, end), data.rfind(b"\r", start, end)) + 1
        if begin == 0 or left == 1:
            return max(begin, start)
        end = begin - 1 - (begin - 2 >= start and data[begin - 2 : begin] == b"\r\n")
    return end


def _line_end(data: bytearray, start: int, end: int) -> int:
    """Where the last line ends that ends in a part of `data`, and not in the middle of a CRLF; `start` when none does."""
    feed = data.rfind(b"\n", start, end)
    found = max(feed, data.rfind(b"\r", max(feed + 1, start), max(end - 1, start)))
    return start if found < 0 else found + 1


def _record_end(data: bytearray, start: int, end: int, quotes: "Places | None") -> int:
    """As `_line_end`, of the lines that end outside quotes."""
    end = _line_end(data, start, end)
    while end > start and quotes is not None:
        before = int(quotes.searchsorted(end))
        if before % 2 == 0:
            break
        end = _line_end(data, start, int(quotes[before - 1]))
    return end
