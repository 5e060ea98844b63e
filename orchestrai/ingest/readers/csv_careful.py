"""Records of a CSV object one by one, each with its place, where it is not in order enough for Arrow."""

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from orchestrai.contracts.footers import one_line
from orchestrai.ingest.readers.lines import numbered_lines
from orchestrai.ingest.readers.rejects import Mark, Refused, shown
from orchestrai.ingest.spec import SourceSpec

MAX_RECORD_LINES = 10_000


@dataclass(frozen=True, slots=True)
class CsvRecord:
    """One parsed record: its number, place, bytes and fields."""

    number: int
    line: int
    offset: int
    raw: bytes
    lines: int
    fields: list[str]


class CsvRecords:
    """Records of a CSV stream with their place; a record that cannot be parsed is refused and the next line tried."""

    def __init__(self, stream: BinaryIO, source: SourceSpec) -> None:
        self.source = source
        self.lines = numbered_lines(stream, source.max_row_bytes)
        self.pending: deque[tuple[int, int, bytes, bool]] = deque()
        self.record = 0 if source.header else 1
        self.at_start = True
        self.quote = source.quote.encode(source.encoding)

    def __iter__(self) -> Iterator["Refused | CsvRecord"]:
        while (first := self._line()) is not None:
            line, offset, raw, whole = first
            if not raw.strip(b"\r\n"):
                continue
            record = self._parse(line, offset, raw, whole)
            self.record += 1
            yield record

    def _line(self) -> tuple[int, int, bytes, bool] | None:
        return self.pending.popleft() if self.pending else next(self.lines, None)

    def _parse(self, line: int, offset: int, raw: bytes, whole: bool) -> "Refused | CsvRecord":
        limit, encoding = self.source.max_row_bytes, self.source.encoding
        if not whole:
            mark = Mark(self.record, line, offset, shown(raw, encoding))
            return Refused(mark, f"expected at most {limit} bytes a row, found more")
        used: list[tuple[int, int, bytes, bool]] = []
        try:
            if self.quote not in raw and not self.at_start:
                # without a quote a record is a line, and splitting it ten times as fast
                fields = raw.rstrip(b"\r\n").decode(encoding).split(self.source.delimiter)
            else:
                fields = self._quoted(raw, used)
        except (csv.Error, UnicodeDecodeError, StopIteration) as exc:
            self.pending.extendleft(reversed(used))
            return Refused(Mark(self.record, line, offset, shown(raw.rstrip(b"\r\n"), encoding)), _why(exc))
        whole_raw = raw + b"".join(item[2] for item in used) if used else raw
        return CsvRecord(self.record, line, offset, whole_raw, 1 + len(used), fields)

    def _quoted(self, raw: bytes, used: list[tuple[int, int, bytes, bool]]) -> list[str]:
        lines = self._feed(raw, used)
        return next(csv.reader(lines, delimiter=self.source.delimiter, quotechar=self.source.quote, strict=True))

    def _feed(self, raw: bytes, used: list[tuple[int, int, bytes, bool]]) -> Iterator[str]:
        first = raw.decode(self.source.encoding)
        if self.at_start:
            self.at_start, first = False, first.removeprefix("\ufeff")
        yield first
        size = len(raw)
        while (item := self._line()) is not None:
            used.append(item)
            size += len(item[2])
            if size > self.source.max_row_bytes or len(used) > MAX_RECORD_LINES or not item[3]:
                return
            yield item[2].decode(self.source.encoding)


def _why(error: BaseException) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"expected {error.encoding} text, found byte {error.object[error.start]:#04x}"
    text = str(error)
    if "unexpected end of data" in text or isinstance(error, StopIteration):
        return "expected a closing quote, found none"
    return f"expected a CSV record, found {one_line(error)}"
