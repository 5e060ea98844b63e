"""CSV, read fast by Arrow when it is in order and record by record when it is not."""

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.contracts.footers import one_line, read_failures
from orchestrai.errors import UnreadableObject
from orchestrai.ingest.readers.chunks import CAREFUL_BYTES, CAREFUL_ROWS, Chunk, Untidy
from orchestrai.ingest.readers.csv_careful import CsvRecord, CsvRecords
from orchestrai.ingest.readers.lines import BLOCK
from orchestrai.ingest.readers.rejects import Mark, Places, Refused, shown
from orchestrai.ingest.spec import SourceSpec

if TYPE_CHECKING:
    import pyarrow as pa

MAX_FIELDS = 10_000
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
            for record in CsvRecords(stream, self.source):
                if isinstance(record, Refused):
                    raise UnreadableObject(f"expected a header, found {record.reason}: have the producer send it again")
                self._header_lines = record.line + record.lines - 1
                if len(record.fields) > MAX_FIELDS:
                    raise UnreadableObject(f"expected at most {MAX_FIELDS} columns, found {len(record.fields)}")
                return tuple(name.strip() for name in record.fields)
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
        head, direct = _head(path), self._direct(hexadecimal=hexadecimal)

        def readable(kinds: Mapping[str, pa.DataType]) -> bool:
            try:
                arrow_csv.read_csv(io.BytesIO(head), read, parse, options(kinds))
            except read_failures():
                return False  # written in a way of its own, such as 17850.0: read as text
            return True

        if direct and not readable(direct):
            direct = {name: kind for name, kind in direct.items() if readable({name: kind})}
        types |= direct
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
            for record in CsvRecords(stream, self.source):
                if skip:
                    skip = False
                    continue
                gather.add(record)
                if gather.full:
                    yield gather.chunk()
        if gather.any:
            yield gather.chunk()


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

    def add(self, record: Refused | CsvRecord) -> None:
        if isinstance(record, Refused):
            self.refused.append(record)
            self.size += len(record.mark.text)
            return
        self.size += len(record.raw)
        if len(record.fields) != self.width:
            mark = Mark(record.number, record.line, record.offset, shown(record.raw.rstrip(b"\r\n"), self.encoding))
            self.refused.append(Refused(mark, f"expected {self.width} fields, found {len(record.fields)}"))
            return
        self.rows.append(record.fields)
        self.places.add(record.number, record.line, record.offset, record.raw)

    def chunk(self) -> Chunk:
        import pyarrow as pa

        arrays = {
            name: pa.array([None if row[i] in self.nulls else row[i] for row in self.rows], pa.string())
            for name, i in self.picks
        }
        made = Chunk(arrays, len(self.rows), self.places, tuple(self.refused))
        self._clear()
        return made


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
