"""Blocks of whole lines that are proven to hold one JSON object each, so that Arrow reads in them what the strict reader reads.

What a quick parser takes and a strict one refuses is looked for: several records in a line, records over several lines, a line that
is `null`, text that is not UTF-8, and lines beyond the limit. Each block is read from the file once, looked at and parsed in place.
"""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.ingest.readers.chunks import Untidy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Arrow begins anew with each block, so smaller ones cost more; larger ones leave the cache of a core
BLOCK_BYTES = 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_LINE_FEED, _RETURN, _OPEN, _CLOSE = b"\n\r{}"


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Whole lines with `records` JSON objects, by their first and last bytes. `data` is valid until the next block is asked for."""

    data: memoryview
    records: int


def line_blocks(path: Path, limit: int) -> Iterator[LineBlock]:
    """A file in blocks that Arrow may read; raises Untidy at the first one that is not proven, or has a line beyond `limit` bytes."""
    import numpy as np

    with path.open("rb", buffering=0) as stream:
        start = len(_BOM) if stream.read(len(_BOM)) == _BOM else 0
        stream.seek(0)
        window, octets, flags, end = bytearray(), np.empty(0, np.uint8), np.empty(0, np.bool_), 0
        while True:
            if len(window) - end < BLOCK_BYTES:
                # memory that is used again costs a tenth of what is new
                wider = bytearray(end + 2 * BLOCK_BYTES)
                wider[:end] = window[:end]
                window, octets, flags = wider, np.frombuffer(wider, np.uint8), np.empty(len(wider), np.bool_)
            read = stream.readinto(memoryview(window)[end : end + BLOCK_BYTES])
            end += read
            cut = window.rfind(b"\n", start, end) + 1 if read else end
            if end - max(cut, start) > limit:
                raise Untidy
            if cut > start:
                records = _records(octets[start:cut], flags[start:cut], limit)
                if records:
                    yield LineBlock(memoryview(window)[start:cut], records)
                window[: end - cut] = window[cut:end]
                end, start = end - cut, 0
            if not read:
                return


def _records(octets: "NDArray[np.uint8]", flags: "NDArray[np.bool_]", limit: int) -> int:
    """How many lines hold one object each, empty ones left out; raises Untidy where any other line is."""
    import numpy as np

    if octets.max() > 127:
        try:
            codecs.utf_8_decode(octets.data, "strict", True)
        except UnicodeDecodeError as exc:
            raise Untidy from exc
    ends = np.equal(octets, _LINE_FEED, out=flags).nonzero()[0]
    if octets[-1] != _LINE_FEED:
        ends = np.append(ends, len(octets))
    starts = np.concatenate(([0], ends[:-1] + 1))
    if (ends - starts).max() > limit:
        raise Untidy
    returns = np.count_nonzero(np.equal(octets, _RETURN, out=flags))
    if returns:
        returned = (octets[np.maximum(ends - 1, 0)] == _RETURN) & (ends > starts)
        if returns != np.count_nonzero(returned):
            raise Untidy
        ends = ends - returned
    filled = ends > starts
    if not filled.all():
        starts, ends = starts[filled], ends[filled]
    if not bool(((octets[starts] == _OPEN) & (octets[ends - 1] == _CLOSE)).all()):
        raise Untidy
    return len(starts)
