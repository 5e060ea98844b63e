"""CSV, read fast by Arrow when it is in order and record by record when it is not."""

import csv
import io
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from orchestrai.contracts.footers import one_line, read_failures
from orchestrai.errors import UnreadableObject
from orchestrai.ingest.chunks import CAREFUL_BYTES, CAREFUL_ROWS, Chunk, Untidy
from orchestrai.ingest.refusal import Mark, Places, Refused, shown
from orchestrai.ingest.source import SourceSpec

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 1024 * 1024
MAX_FIELDS = 10_000
MAX_RECORD_LINES = 10_000
UNNAMED = "\0row"


class CsvReader:
    """A CSV object; its header is read at once. Raises UnreadableObject for an empty object or an unreadable header."""

    def __init__(
        self, source: SourceSpec, path: Path, wanted: tuple[str, ...], types: Mapping[str, str] | None = None
    ) -> None:
        self.source, self.wanted, self.types = source, wanted, types or {}
        self._header_lines = 0
        self.fields = self._header(path) if source.header else source.columns
        self.names = (UNNAMED, *self.fields) if source.skip_leading_column else self.fields

    def _header(self, path: Path) -> tuple[str, ...]:
        with path.open("rb") as stream:
            for found in _Records(stream, self.source):
                if isinstance(found, Refused):
                    raise UnreadableObject(f"expected a header, found {found.reason}: have the producer send it again")
                self._header_lines = found.line + found.lines - 1
                if len(found.fields) > MAX_FIELDS:
                    raise UnreadableObject(f"expected at most {MAX_FIELDS} columns, found {len(found.fields)}")
                return tuple(name.strip() for name in found.fields)
        raise UnreadableObject("expected a header, found an empty object: have the producer send it again")

    def fast(self, path: Path) -> Iterator[Chunk]:
        import pyarrow as pa
        import pyarrow.csv as arrow_csv

        wanted = [name for name in self.wanted if name in self.names]
        if len(set(self.names)) != len(self.names) or not wanted:
            raise Untidy
        source = self.source
        quote = source.quote.encode(source.encoding)
        quoted, hexadecimal = _held(path, quote)
        read = arrow_csv.ReadOptions(
            use_threads=False,
            block_size=BLOCK,
            skip_rows=self._header_lines,
            column_names=list(self.names),
            encoding=source.encoding,
        )
        parse = arrow_csv.ParseOptions(
            delimiter=source.delimiter, quote_char=source.quote if quoted else False, newlines_in_values=quoted
        )

        def options(types: Mapping[str, pa.DataType]) -> arrow_csv.ConvertOptions:
            return arrow_csv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=list(source.null_values),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            )

        types = {name: pa.string() for name in wanted}
        head = _head(path)
        for name, kind in self._direct(hexadecimal=hexadecimal).items():
            try:
                arrow_csv.read_csv(io.BytesIO(head), read, parse, options({name: kind}))
            except read_failures():
                continue  # written in a way of its own, such as 17850.0: read as text
            types[name] = kind
        try:
            for batch in arrow_csv.open_csv(path, read, parse, options(types)):
                yield Chunk({name: batch.column(name) for name in wanted}, batch.num_rows)
        except read_failures() as exc:
            raise Untidy(one_line(exc)) from exc

    def _direct(self, *, hexadecimal: bool) -> "dict[str, pa.DataType]":
        """The columns that Arrow may type while it reads, at a third of the cost of reading text and casting it."""
        import pyarrow as pa

        kinds: dict[str, pa.DataType] = {"DOUBLE": pa.float64()}
        if not hexadecimal:
            kinds |= {"BIGINT": pa.int64(), "INT": pa.int32()}  # Arrow reads 0x10 as 16
        if not self.source.timestamp_formats:
            kinds["TIMESTAMP"] = pa.timestamp("us")
        return {name: kinds[kind] for name, kind in self.types.items() if kind in kinds and name in self.names}

    def careful(self, path: Path) -> Iterator[Chunk]:
        gather = _Gather(self)
        with path.open("rb") as stream:
            skip = self.source.header
            for found in _Records(stream, self.source):
                if skip:
                    skip = False
                    continue
                gather.add(found)
                if gather.full:
                    yield gather.chunk()
        if gather.any:
            yield gather.chunk()


@dataclass(frozen=True, slots=True)
class _Record:
    """One parsed record: its number, place, bytes and fields."""

    number: int
    line: int
    offset: int
    raw: bytes
    lines: int
    fields: list[str]


class _Gather:
    """Collects records into a chunk."""

    def __init__(self, reader: CsvReader) -> None:
        self.encoding, self.width = reader.source.encoding, len(reader.names)
        self.nulls = frozenset(reader.source.null_values)
        self.picks = [(name, reader.names.index(name)) for name in reader.wanted if name in reader.names]
        self._clear()

    def _clear(self) -> None:
        self.rows: list[list[str]] = []
        self.places = Places(self.encoding)
        self.refused: list[Refused] = []
        self.size = 0

    @property
    def any(self) -> bool:
        return bool(self.rows or self.refused)

    @property
    def full(self) -> bool:
        return len(self.rows) + len(self.refused) >= CAREFUL_ROWS or self.size >= CAREFUL_BYTES

    def add(self, found: "Refused | _Record") -> None:
        if isinstance(found, Refused):
            self.refused.append(found)
            self.size += len(found.mark.text)
            return
        self.size += len(found.raw)
        if len(found.fields) != self.width:
            mark = Mark(found.number, found.line, found.offset, shown(found.raw.rstrip(b"\r\n"), self.encoding))
            self.refused.append(Refused(mark, f"expected {self.width} fields, found {len(found.fields)}"))
            return
        self.rows.append(found.fields)
        self.places.add(found.number, found.line, found.offset, found.raw)

    def chunk(self) -> Chunk:
        import pyarrow as pa

        arrays = {
            name: pa.array([None if row[i] in self.nulls else row[i] for row in self.rows], pa.string())
            for name, i in self.picks
        }
        made = Chunk(arrays, len(self.rows), self.places, tuple(self.refused))
        self._clear()
        return made


class _Records:
    """Records of a CSV stream with their place; a record that cannot be parsed is refused and the next line tried."""

    def __init__(self, stream: BinaryIO, source: SourceSpec) -> None:
        self.source = source
        self.lines = numbered_lines(stream, source.max_row_bytes)
        self.pending: deque[tuple[int, int, bytes, bool]] = deque()
        self.record = 0 if source.header else 1
        self.at_start = True
        self.quote = source.quote.encode(source.encoding)

    def __iter__(self) -> Iterator["Refused | _Record"]:
        while (first := self._line()) is not None:
            line, offset, raw, whole = first
            if not raw.strip(b"\r\n"):
                continue
            found = self._parse(line, offset, raw, whole)
            self.record += 1
            yield found

    def _line(self) -> tuple[int, int, bytes, bool] | None:
        return self.pending.popleft() if self.pending else next(self.lines, None)

    def _parse(self, line: int, offset: int, raw: bytes, whole: bool) -> "Refused | _Record":
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
        return _Record(self.record, line, offset, whole_raw, 1 + len(used), fields)

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


_HEXADECIMAL = re.compile(rb"0[xX]")
HEAD_BYTES = 64 * 1024
SCAN_BYTES = 256 * 1024  # stays in the cache of a core


def _held(path: Path, quote: bytes) -> tuple[bool, bool]:
    """Whether a file holds the quote, and whether it may hold a hexadecimal number; without quotes lines are lines."""
    quoted = hexadecimal = False
    last = b""
    with path.open("rb") as stream:
        while not (quoted and hexadecimal) and (block := stream.read(SCAN_BYTES)):
            quoted = quoted or quote in block
            # looking for one byte costs next to nothing, for two of them much more
            if not hexadecimal and (b"x" in block or b"X" in block):
                hexadecimal = _HEXADECIMAL.search(last + block) is not None
            last = block[-1:]
    return quoted, hexadecimal


def _head(path: Path) -> bytes:
    """The first whole lines of a file."""
    with path.open("rb") as stream:
        block = stream.read(HEAD_BYTES)
    return block[: block.rfind(b"\n") + 1] or block


def _why(error: BaseException) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"expected {error.encoding} text, found byte {error.object[error.start]:#04x}"
    text = str(error)
    if "unexpected end of data" in text or isinstance(error, StopIteration):
        return "expected a closing quote, found none"
    return f"expected a CSV record, found {one_line(error)}"


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
