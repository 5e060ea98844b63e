"""Where some records of a segment begin, so that no reader walks it from its first record.

A file `<first offset:020d>.index` beside the segment: rows of (offset u64, position u64), big-endian, ascending, about one each 16 KiB
of records. It promises nothing. A row counts when the frame at its position is that very record's, which the frame's own digest
says; where it is not, an earlier row is tried, in the end the first record. So an index that is gone, torn, altered or of another
segment costs a walk and never an answer.
"""

import os
import struct
from bisect import bisect_right
from pathlib import Path
from typing import BinaryIO

from orchestrai.errors import StorageError
from orchestrai.ingest.sources.offsets.frame_walk import is_frame

SPACING = 16 * 1024
_ROW = struct.Struct(">QQ")
_SUFFIX = ".index"


class SegmentIndex:
    """The index of one segment: what its file says, and what this process saw of the segment itself."""

    def __init__(self, segment: Path, first: int) -> None:
        self.path, self.first = segment.with_suffix(_SUFFIX), first
        self._rows: list[tuple[int, int]] = []
        self._read = 0
        self._wrong = False

    def place(self, stream: BinaryIO, offset: int) -> tuple[int, int]:
        """The nearest record at or before `offset` whose place is proven, and that place; the segment's first where none is."""
        self._refresh()
        at = bisect_right(self._rows, (offset, 1 << 63))
        while at:
            known, position = self._rows[at - 1]
            if is_frame(stream, known, position):
                return known, position
            # what one row says wrongly, the file may say wrongly of all that follow
            del self._rows[at - 1 :]
            self._wrong = True
            at -= 1
        return self.first, 0

    def last(self, stream: BinaryIO) -> tuple[int, int]:
        """As `place`, of the last record that is known."""
        return self.place(stream, (1 << 63) - 1)

    def learn(self, offset: int, position: int) -> None:
        """Note where a record begins, for this process; those too near to the one before are not kept."""
        before = self._rows[-1][1] if self._rows else 0
        if position - before >= SPACING:
            self._rows.append((offset, position))

    def write(self) -> None:
        """Append what was learned since the last time, or mend the file; only for who holds the partition's lock.

        To be called when the records are on the disk: an index never names what a power loss may take back.
        """
        whole = len(self._rows) * _ROW.size
        try:
            size = self.path.stat().st_size if self.path.exists() else 0
            if self._wrong or size != self._read:
                staged = self.path.with_suffix(f".{os.getpid()}.part")
                staged.write_bytes(b"".join(_ROW.pack(*row) for row in self._rows))
                staged.replace(self.path)
            elif whole > self._read:
                with self.path.open("ab") as sink:
                    sink.write(b"".join(_ROW.pack(*row) for row in self._rows[self._read // _ROW.size :]))
        except OSError as exc:
            raise StorageError(f"expected to write {self.path.name}, found {type(exc).__name__}: check the disk") from exc
        self._read, self._wrong = whole, False

    def _refresh(self) -> None:
        """Take in what the file has more than was read of it; a file that is gone or cut is read anew."""
        try:
            size = self.path.stat().st_size
            if size == self._read:
                return
            self._rows, self._read = self._parsed(self.path.read_bytes()), size
            self._wrong = len(self._rows) * _ROW.size != size
        except FileNotFoundError:
            self._wrong |= self._read != 0
            self._read = 0
        except OSError as exc:
            raise StorageError(f"expected to read {self.path.name}, found {type(exc).__name__}: check the disk") from exc

    def _parsed(self, data: bytes) -> list[tuple[int, int]]:
        """The rows up to the first that cannot follow the one before it."""
        rows: list[tuple[int, int]] = []
        offset, position = self.first, 0
        for row in _ROW.iter_unpack(data[: len(data) // _ROW.size * _ROW.size]):
            if row[0] <= offset or row[1] <= position:
                break
            offset, position = row
            rows.append(row)
        return rows
