"""A landed CSV object: read by Arrow where it is proven to be in order, and record by record where it is not."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.contracts.contract import Contract
from orchestrai.contracts.footers import one_line, read_failures
from orchestrai.errors import UnreadableObject
from orchestrai.ingest.readers.chunks import Chunk, Untidy, one_array
from orchestrai.ingest.readers.csv.csv_blocks import Block, TidyBlocks
from orchestrai.ingest.readers.csv.csv_gather import Gather
from orchestrai.ingest.readers.csv.csv_records import CsvGrammar, CsvRecords
from orchestrai.ingest.readers.csv.number_marks import NumberMarks
from orchestrai.ingest.readers.csv.utf8_stream import opened
from orchestrai.ingest.readers.rejects import Refused
from orchestrai.ingest.spec import SourceSpec

if TYPE_CHECKING:
    import pyarrow as pa

MAX_FIELDS = 10_000
UNNAMED = "\0row"
HEAD_BYTES = 64 * 1024


class CsvReader:
    """A CSV object; its header is read at once. Raises UnreadableObject for an empty object or an unreadable header."""

    def __init__(self, source: SourceSpec, path: Path, contract: Contract) -> None:
        self.source, self.contract = source, contract
        self.types = {column.source: column.type for column in contract.landed}
        self.marks, self.grammar = NumberMarks.of(source), CsvGrammar(source)
        self._first_line = source.skip_lines
        self.fields = self._header(path) if source.header else source.columns
        self.names = (UNNAMED, *self.fields) if source.skip_leading_column else self.fields
        self.wanted = [name for name in self.types if name in self.names]

    def _header(self, path: Path) -> tuple[str, ...]:
        with opened(path, self.source.codec) as stream:
            for record in CsvRecords(stream, self.source, self.grammar, HEAD_BYTES):
                if isinstance(record, Refused):
                    raise UnreadableObject(f"expected a header, found {record.reason}: have the producer send it again")
                self._first_line = record.line + record.lines - 1
                if len(record.fields) > MAX_FIELDS:
                    raise UnreadableObject(f"expected at most {MAX_FIELDS} columns, found {len(record.fields)}")
                return tuple((name or "").strip() for name in record.fields)
        raise UnreadableObject("expected a header, found an empty object: have the producer send it again")

    def fast(self, path: Path) -> Iterator[Chunk]:
        source = self.source
        if len(set(self.names)) != len(self.names) or not self.wanted or not (source.delimiter + source.quote).isascii():
            raise Untidy
        blocks = _ArrowBlocks(self)
        with opened(path, source.codec) as stream:
            for block in TidyBlocks(stream, source, self._first_line):
                yield blocks.chunk(block)

    def careful(self, path: Path) -> Iterator[Chunk]:
        with opened(path, self.source.codec) as stream:
            records = CsvRecords(stream, self.source, self.grammar)
            gather = Gather(self.source, self.contract, self.names, self.marks, stream)
            skip = self.source.header
            for record in records:
                if skip:
                    skip = False
                    continue
                gather.add(record)
                if gather.full:
                    yield gather.chunk()
            if gather.any:
                yield gather.chunk()


class _ArrowBlocks:
    """Arrow's reader for the blocks of one object; columns are typed by it for as long as it can."""

    def __init__(self, reader: CsvReader) -> None:
        import pyarrow as pa

        self.source, self.names, self.marks, self.types = reader.source, list(reader.names), reader.marks, reader.types
        self.texts: dict[str, pa.DataType] = {name: pa.string() for name in reader.wanted}
        self.numbers, self.others = self._typed_by_arrow()

    def _typed_by_arrow(self) -> "tuple[dict[str, pa.DataType], dict[str, pa.DataType]]":
        """Columns that Arrow may type while it reads, at a third of the cost of text and a cast: whole numbers, and others."""
        import pyarrow as pa

        whole: dict[str, pa.DataType] = {"BIGINT": pa.int64(), "INT": pa.int32()}
        kinds: dict[str, pa.DataType] = {}
        if self.marks is None:
            kinds["DOUBLE"] = pa.float64()
        if not self.source.timestamp_formats:
            kinds["TIMESTAMP"] = pa.timestamp("us")
        typed = [(name, self.types[name]) for name in self.texts]
        numbers = {name: whole[kind] for name, kind in typed if kind in whole and self.marks is None}
        return numbers, {name: kinds[kind] for name, kind in typed if kind in kinds}

    def chunk(self, block: Block) -> Chunk:
        """The rows of a block that was proven to be in order; raises Untidy for what Arrow refuses all the same."""
        # Arrow reads 0x10 as 16
        typed = self.others | ({} if block.hexadecimal else self.numbers)
        try:
            table = self._read(block, typed)
        except read_failures() as exc:
            if not typed:
                raise Untidy(one_line(exc)) from exc
            table = self._read_partly_typed(block, typed)
        arrays = {name: one_array(table.column(name)) for name in self.texts}
        return Chunk(self._plain(arrays) if self.marks else arrays, table.num_rows)

    def _read_partly_typed(self, block: Block, typed: "Mapping[str, pa.DataType]") -> "pa.Table":
        """A block of which some column is written in a way of its own, such as 17850.0: that one is text from now on."""
        try:
            table = self._read(block, {})
        except read_failures() as exc:
            raise Untidy(one_line(exc)) from exc
        for name, kind in typed.items():
            try:
                self._read(block, {name: kind}, only=name)
            except read_failures():
                self.numbers.pop(name, None)
                self.others.pop(name, None)
        return table

    def _read(self, block: Block, typed: "Mapping[str, pa.DataType]", only: str = "") -> "pa.Table":
        import pyarrow as pa
        import pyarrow.csv as arrow_csv

        return arrow_csv.read_csv(
            pa.BufferReader(pa.py_buffer(block.data)),
            arrow_csv.ReadOptions(use_threads=False, block_size=len(block.data) + 1, column_names=self.names),
            arrow_csv.ParseOptions(
                delimiter=self.source.delimiter,
                # a line end within quotes needs no more than that: Arrow looks for one only where it cuts, and a block is whole
                quote_char=self.source.quote if block.quoted else False,
            ),
            arrow_csv.ConvertOptions(
                column_types=self.texts | dict(typed),
                include_columns=[only] if only else list(self.texts),
                null_values=list(self.source.null_values),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
                check_utf8=False,  # it was proven
            ),
        )

    def _plain(self, arrays: "dict[str, pa.Array]") -> "dict[str, pa.Array]":
        assert self.marks is not None
        for name in arrays:
            if self.marks.concern(self.types[name]):
                arrays[name], wrong = self.marks.plain(arrays[name])
                if wrong:
                    raise Untidy
        return arrays
