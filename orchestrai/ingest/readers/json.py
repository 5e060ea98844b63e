"""JSON Lines and JSON documents: fast by Arrow when every line is as declared, else record by record."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrai.contracts.contract import Contract, arrow_type
from orchestrai.contracts.footers import one_line, read_failures
from orchestrai.errors import UnreadableObject
from orchestrai.ingest.conversions.json_text import (
    JSON_ERRORS,
    decode_document,
    decode_line,
    field_text,
    json_kind,
    shown_value,
)
from orchestrai.ingest.readers import chunks
from orchestrai.ingest.readers.chunks import Chunk, Untidy, one_array
from orchestrai.ingest.readers.json_blocks import line_blocks
from orchestrai.ingest.readers.lines import numbered_lines
from orchestrai.ingest.readers.rejects import Mark, Refused, shown
from orchestrai.ingest.spec import SourceSpec

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024


class JsonLinesReader:
    """An object with one JSON record a line; the first record tells its fields."""

    def __init__(self, source: SourceSpec, path: Path, contract: Contract) -> None:
        self.source, self.contract = source, contract
        self.fields = self._first_fields(path)

    def _first_fields(self, path: Path) -> tuple[str, ...]:
        with path.open("rb") as stream:
            for _, _, raw, whole in numbered_lines(stream, self.source.max_row_bytes):
                if raw.strip() and whole:
                    record = _parsed(raw)
                    if isinstance(record, dict):
                        return tuple(record)
        raise UnreadableObject("expected a JSON record a line, found none in the object: have the producer send it again")

    def fast(self, path: Path) -> Iterator[Chunk]:
        if self.source.encoding.lower().replace("-", "") != "utf8":
            raise Untidy
        yield from arrow_chunks(self.contract, path, self.source.max_row_bytes)

    def careful(self, path: Path) -> Iterator[Chunk]:
        with path.open("rb") as stream:
            yield from gather(self.contract, self._records(stream))

    def _records(self, stream: Any) -> Iterator["Refused | tuple[Mark, Mapping[str, Any]]"]:
        record = 0
        for line, offset, raw, whole in numbered_lines(stream, self.source.max_row_bytes):
            if not raw.strip():
                continue
            record += 1
            mark = Mark(record, line, offset, shown(raw.rstrip(b"\r\n")))
            if not whole:
                yield Refused(mark, f"expected at most {self.source.max_row_bytes} bytes a row, found more")
                continue
            value = _parsed(raw, self.source.encoding)
            yield Refused(mark, value) if isinstance(value, str) else (mark, value)


def arrow_chunks(contract: Contract, path: Path, limit: int) -> Iterator[Chunk]:
    """JSON Lines as typed columns by Arrow's reader, lines of up to `limit` bytes; raises Untidy at what is not proven to be in order."""
    import pyarrow as pa
    import pyarrow.json as arrow_json

    typed = []
    for column in contract.landed:
        kind = arrow_type(column.type)
        # times are read as text, so that one rule reads them in every format
        if pa.types.is_temporal(kind):
            kind = pa.string()
        elif pa.types.is_decimal(kind) and kind.precision + kind.scale > 38:
            kind = pa.decimal256(38, kind.scale)  # Arrow wraps what it cannot count in 128 bits
        typed.append(pa.field(column.source, kind))
    decimals = [field.name for field in typed if pa.types.is_decimal(field.type)]
    parse = arrow_json.ParseOptions(explicit_schema=pa.schema(typed), unexpected_field_behavior="ignore")
    for block in line_blocks(path, limit):
        whole = arrow_json.ReadOptions(use_threads=False, block_size=len(block.data) + 1)
        try:
            table = arrow_json.read_json(pa.BufferReader(pa.py_buffer(block.data)), whole, parse)
            for name in decimals:
                table.column(name).validate(full=True)  # Arrow's parser lets through more digits than declared
        except read_failures() as exc:
            raise Untidy(one_line(exc)) from exc
        if table.num_rows != block.records:
            raise Untidy  # several records in one line
        yield Chunk({name: one_array(table.column(name)) for name in table.column_names}, table.num_rows)


class JsonDocumentReader:
    """An object that is one JSON document holding a list of records, at the path `records`."""

    def __init__(self, source: SourceSpec, path: Path, contract: Contract) -> None:
        self.source, self.contract = source, contract
        size = path.stat().st_size
        if size > MAX_DOCUMENT_BYTES:
            raise UnreadableObject(
                f"expected at most {MAX_DOCUMENT_BYTES} bytes in a JSON document, found {size}: use jsonl"
            )
        self.items = records_in(parse_document(path.read_bytes(), source.encoding), source.records)
        first = next((item for item in self.items if isinstance(item, dict)), {})
        self.fields = tuple(first)

    def fast(self, path: Path) -> Iterator[Chunk]:
        raise Untidy

    def careful(self, path: Path) -> Iterator[Chunk]:
        yield from gather(self.contract, (self._record(n, item) for n, item in enumerate(self.items, start=1)))

    def _record(self, number: int, item: Any) -> "Refused | tuple[Mark, Mapping[str, Any]]":
        mark = Mark(number, 0, 0, shown(shown_value(item)))
        return (mark, item) if isinstance(item, dict) else Refused(mark, f"expected an object, found {json_kind(item)}")


class PagesReader:
    """An object with one page of an HTTP API a line, each holding a list of records at the path `records`."""

    def __init__(self, source: SourceSpec, path: Path, contract: Contract) -> None:
        self.source, self.contract = source, contract
        first: dict[str, Any] = {}
        for _, item in self._items(path):
            if isinstance(item, dict):
                first = item
                break
        self.fields = tuple(first)

    def fast(self, path: Path) -> Iterator[Chunk]:
        raise Untidy

    def careful(self, path: Path) -> Iterator[Chunk]:
        def records() -> Iterator["Refused | tuple[Mark, Mapping[str, Any]]"]:
            for number, (line, item) in enumerate(self._items(path), start=1):
                mark = Mark(number, line, 0, shown(shown_value(item)))
                fits = isinstance(item, dict)
                yield (mark, item) if fits else Refused(mark, f"expected an object, found {json_kind(item)}")

        yield from gather(self.contract, records())

    def _items(self, path: Path) -> Iterator[tuple[int, Any]]:
        limit = self.source.http.max_page_bytes
        with path.open("rb") as stream:
            for line, _, raw, whole in numbered_lines(stream, limit):
                if not whole:
                    raise UnreadableObject(f"expected pages of at most {limit} bytes, found more in line {line}")
                for item in records_in(parse_document(raw, "utf-8"), self.source.records):
                    yield line, item


def parse_document(data: bytes, encoding: str) -> Any:
    """A JSON document; raises UnreadableObject."""
    try:
        return decode_document(data.decode(encoding))
    except JSON_ERRORS as exc:
        raise UnreadableObject(f"expected a JSON document, found {one_line(exc)}: have the producer send it again") from exc


def records_in(document: Any, path: str) -> list[Any]:
    """The list of records in a JSON document; raises UnreadableObject."""
    for part in path.split(".") if path else ():
        document = document.get(part) if isinstance(document, dict) else None
    if not isinstance(document, list):
        where = path or "the document"
        raise UnreadableObject(f"expected a list of records in {where}, found {json_kind(document)}: set source.records")
    return document


def _parsed(raw: bytes, encoding: str = "utf-8") -> dict[str, Any] | str:
    """The record, or why there is none."""
    try:
        value = decode_line(raw.decode(encoding))
    except UnicodeDecodeError as exc:
        return f"expected {exc.encoding} text, found byte {exc.object[exc.start]:#04x}"
    except JSON_ERRORS as exc:
        return f"expected JSON, found {one_line(exc)}"
    return value if isinstance(value, dict) else f"expected a JSON object, found {json_kind(value)}"


def gather(contract: Contract, records: Iterable["Refused | tuple[Mark, Mapping[str, Any]]"]) -> Iterator[Chunk]:
    """Collect records into chunks of text columns; a record of which a declared field is no text is refused."""
    rows: list[list[str | None]] = []
    marks: list[Mark] = []
    refused: list[Refused] = []
    size = 0
    for record in records:
        taken = record if isinstance(record, Refused) else _texts(contract, *record)
        if isinstance(taken, Refused):
            refused.append(taken)
            size += len(taken.mark.text)
        else:
            assert not isinstance(record, Refused)
            marks.append(record[0])
            rows.append(taken)
            size += len(record[0].text)
        if len(rows) + len(refused) >= chunks.CAREFUL_ROWS or size >= chunks.CAREFUL_BYTES:
            yield _chunk(contract, rows, marks, refused)
            rows, marks, refused, size = [], [], [], 0
    if rows or refused:
        yield _chunk(contract, rows, marks, refused)


def _texts(contract: Contract, mark: Mark, record: Mapping[str, Any]) -> list[str | None] | Refused:
    texts: list[str | None] = []
    for column in contract.landed:
        try:
            texts.append(field_text(record, column.source))
        except ValueError as exc:
            return Refused(mark, str(exc), column.name)
    return texts


def _chunk(contract: Contract, rows: list[list[str | None]], marks: list[Mark], refused: list[Refused]) -> Chunk:
    import pyarrow as pa

    columns = zip(*rows, strict=True) if rows else ((),) * len(contract.landed)
    arrays = {column.source: pa.array(values, pa.string()) for column, values in zip(contract.landed, columns, strict=True)}
    return Chunk(arrays, len(rows), tuple(marks), tuple(refused))
