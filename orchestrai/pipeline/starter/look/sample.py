"""A sample of landed rows as ingest reads them: every column as text, or as Parquet has it, with the object each row came in."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.contract import Column, Contract
from orchestrai.contracts.footers import check_envelope, read_failures
from orchestrai.errors import ConfigError, UnreadableObject
from orchestrai.ingest.readers.csv.csv_dialect import CsvDialect
from orchestrai.ingest.readers.csv.csv_reader import CsvReader
from orchestrai.ingest.readers.object_reader import ObjectOutcome, Typing
from orchestrai.ingest.readers.parquet import ParquetReader
from orchestrai.ingest.spec import SourceSpec
from orchestrai.pipeline.starter.look.csv_shape import csv_shape
from orchestrai.pipeline.starter.look.landing_look import Look

if TYPE_CHECKING:
    import pyarrow as pa

MAX_COLUMNS = 1_500
_FIRST_BYTES = 1 << 20


@dataclass
class Sample:
    """Rows of a landing. `keys[objects[row]]` is the object of a row, `reading` what a `source` says of the format."""

    reading: dict[str, Any]
    columns: "dict[str, pa.Array]"
    objects: Sequence[int]
    keys: tuple[str, ...]
    whole: bool
    notes: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.objects)


def read_sample(look: Look) -> Sample:
    """Read what was fetched; raises ConfigError for what is no table of at least two columns and one row."""
    paths = [one.path for one in look.fetched]
    kind = _format(paths[0])
    notes: list[str] = []
    reading: dict[str, Any] = {"format": kind}
    if kind == "csv":
        shape = csv_shape(paths, look.whole)
        reading |= shape.dialect
        notes += shape.notes
        source = SourceSpec(url="look/", **reading)
        names = list(shape.names) if not source.header else _headers(source, paths)
    elif kind == "parquet":
        names = []
    else:
        reading, names = _json_fields(paths, kind)
    names = [name for name in names if _is_text(name)]
    if len(names) > MAX_COLUMNS:
        raise ConfigError(f"expected at most {MAX_COLUMNS} columns, found {len(names)}: name another file")
    sample = _parquet(look, reading) if kind == "parquet" else _texts(look, reading, names)
    sample.notes += notes
    if len(sample.columns) < 2:
        raise ConfigError(
            f"expected a table of at least two columns, something to learn and something to learn it from, found "
            f"{', '.join(sample.columns) or 'none'}{_left_out(sample)}: name another file"
        )
    if not sample.rows:
        raise ConfigError(f"expected rows, found none{_left_out(sample)}: name another file")
    return sample


def _left_out(sample: Sample) -> str:
    """What was refused in the sample: a person who is told what was found has to know of what it was found."""
    more = f"; {len(sample.refused) - 1} more" if len(sample.refused) > 1 else ""
    return f" (refused: {sample.refused[0]}{more})" if sample.refused else ""


def read_texts(look: Look, source: SourceSpec) -> Sample:
    """The rows of CSV objects in a declared dialect, every column as text and nothing taken for null."""
    reading = source.model_dump(exclude_unset=True, exclude={"url", "null_values", "footer_lines", "timestamp_formats"})
    dialect = {name: value for name, value in reading.items() if name in CsvDialect.model_fields or name == "format"}
    paths = [one.path for one in look.fetched]
    names = list(source.columns) if not source.header else _headers(source, paths)
    return _texts(look, dialect, [name for name in names if _is_text(name)])


def _is_text(name: str) -> bool:
    """Whether a file can say a name: half a letter, which JSON can, is none."""
    return bool(name) and "\0" not in name and name.encode("utf-8", "ignore").decode() == name


def _format(path: Path) -> str:
    with path.open("rb") as stream:
        head = stream.read(4096)
    if head.startswith(b"PAR1"):
        return "parquet"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"["):
        return "json"
    if text.startswith(b"{"):
        try:
            json.loads(text.split(b"\n", 1)[0])
            return "jsonl"
        except (ValueError, RecursionError):
            return "json"
    return "csv"


def _headers(source: SourceSpec, paths: Sequence[Path]) -> list[str]:
    """The fields that every object has, in the order of the first: others are told and left out."""
    contract = Contract("look", "1", (Column("look", "STRING", "look"),))
    found: dict[str, None] = {}
    for path in paths:
        try:
            found |= dict.fromkeys(CsvReader(source, path, contract).fields)
        except UnreadableObject:
            continue
    return list(found)


def _json_fields(paths: Sequence[Path], kind: str) -> tuple[dict[str, Any], list[str]]:
    """The fields of all records that were looked at, and where in a document they lie."""
    fields: dict[str, None] = {}
    reading: dict[str, Any] = {"format": kind}
    for path in paths:
        if kind == "jsonl":
            with path.open("rb") as stream:
                lines = stream.read(_FIRST_BYTES).splitlines()[:-1] or path.read_bytes().splitlines()
            records = [_parsed(line) for line in lines]
        else:
            document = _parsed(path.read_bytes())
            where, records = _records(document)
            if where:
                reading["records"] = where
        for record in records:
            if isinstance(record, dict):
                fields |= dict.fromkeys(record)
    if not fields:
        raise ConfigError("expected JSON records, found none: name a file of objects, one a line or in a list")
    return reading, list(fields)


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None


def _records(document: Any, path: str = "") -> tuple[str, list[Any]]:
    """The longest list of objects in a document, and the names that lead to it."""
    if isinstance(document, list):
        return path, document
    best: tuple[str, list[Any]] = ("", [])
    for name, value in document.items() if isinstance(document, dict) else ():
        found = _records(value, f"{path}.{name}" if path else name)
        best = max(best, found, key=lambda one: len(one[1]))
    return best


def _texts(look: Look, reading: dict[str, Any], names: Sequence[str]) -> Sample:
    """Rows by the reader of the source, with every column as text."""
    import pyarrow as pa

    source = SourceSpec(url="look/", max_refused_share=1.0, **reading)
    contract = Contract("look", "1", tuple(Column(f"c{place}", "STRING", name) for place, name in enumerate(names)))
    batches: list[pa.RecordBatch] = []
    owners: list[int] = []
    refused: list[str] = []
    keys = tuple(one.info.key for one in look.fetched)
    for number, one in enumerate(look.fetched):
        outcome = ObjectOutcome()
        for batch in Typing(source, contract).batches(one.path, outcome, one.info.key):
            batches.append(batch)
            owners += [number] * batch.num_rows
        refused += [f"{one.info.key}: {outcome.unreadable}"] if outcome.unreadable else []
        refused += [f"{one.info.key}:{letter.mark.line}: {letter.reason}" for letter in outcome.refused[:20]]
    table = pa.Table.from_batches(batches, contract.arrow_schema())
    columns = {name: _one(table.column(place)) for place, name in enumerate(names)}
    return Sample(reading, columns, owners, keys, look.whole, refused=refused)


def _parquet(look: Look, reading: dict[str, Any]) -> Sample:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables: list[pa.Table] = []
    owners: list[int] = []
    refused: list[str] = []
    whole = look.whole
    contract = Contract("look", "1", (Column("look", "STRING", "look"),))
    for number, one in enumerate(look.fetched):
        try:
            check_envelope(one.path)
            ParquetReader(one.path, contract, SourceSpec(url="look/", format="parquet").max_object_bytes)
            with pq.ParquetFile(one.path, coerce_int96_timestamp_unit="us") as file:
                batch = next(file.iter_batches(batch_size=200_000, use_threads=False), None)
                if batch is None:
                    continue
                batch.validate(full=True)
                whole = whole and batch.num_rows == file.metadata.num_rows
        except UnreadableObject as exc:
            refused.append(f"{one.info.key}: {exc.message}")
            continue
        except read_failures() as exc:
            refused.append(f"{one.info.key}: {str(exc).splitlines()[0]}")
            continue
        tables.append(pa.Table.from_batches([batch]))
        owners += [number] * batch.num_rows
    if not tables:
        raise ConfigError(f"expected readable Parquet, found {refused[0] if refused else 'no rows'}: have it sent again")
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except read_failures() as exc:
        raise ConfigError(f"expected files of one schema, found others ({str(exc).splitlines()[0]}): name one kind") from exc
    columns = {name: _one(table.column(name)) for name in dict.fromkeys(table.column_names)}
    keys = tuple(one.info.key for one in look.fetched)
    return Sample(reading, columns, owners, keys, whole, refused=refused)


def _one(column: Any) -> "pa.Array":
    import pyarrow as pa

    joined = column.combine_chunks()
    return joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks)
