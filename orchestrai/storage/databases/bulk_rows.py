"""Arrow batches as the text that databases take in bulk: CSV for COPY, lists of values for an INSERT of many rows."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from orchestrai.core.sql.dialects import family_of
from orchestrai.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa


def csv_lines(batch: "pa.RecordBatch") -> bytes:
    """Lines of CSV as PostgreSQL reads them: texts in quotes, a null as nothing, bytes in hexadecimal digits behind a backslash and x."""
    import pyarrow as pa
    import pyarrow.csv as pc

    columns = [_hexadecimal(column, "\\x", "") if family_of(column.type) == "bytes" else column for column in batch.columns]
    plain = pa.RecordBatch.from_arrays(columns, names=[str(place) for place in range(len(columns))])
    sink = io.BytesIO()
    pc.write_csv(plain, sink, pc.WriteOptions(include_header=False, batch_size=max(batch.num_rows, 1)))
    return sink.getvalue()


def value_lists(batch: "pa.RecordBatch") -> "list[str]":
    """A `(..., ...)` for each row, as MySQL reads it without backslashes. Raises ConfigError for a number that is not finite."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = [pc.fill_null(_literals(name, batch.column(name)), "NULL") for name in batch.schema.names]
    rows = pc.binary_join_element_wise(*parts, pa.scalar(", "))
    return [f"({row})" for row in rows.to_pylist()]


def in_statements(head: str, rows: "Iterator[list[str]]", most: int) -> Iterator[str]:
    """INSERT statements of at most `most` characters, and of one row at least."""
    texts: list[str] = []
    size = len(head)
    for page in rows:
        for row in page:
            if texts and size + len(row) + 2 > most:
                yield head + ", ".join(texts)
                texts, size = [], len(head)
            texts.append(row)
            size += len(row) + 2
    if texts:
        yield head + ", ".join(texts)


def _literals(name: str, column: "pa.Array") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    family = family_of(column.type)
    if family == "bytes":
        return _hexadecimal(column, "x'", "'")
    if family in ("double", "real"):
        wide = pc.cast(column, pa.float64())
        if pc.all(pc.is_finite(wide)).as_py() is False:
            raise ConfigError(f"expected finite numbers in {name}, found one that is not: MySQL has none, make it null")
        text = pc.cast(wide, pa.string())
        # with an exponent a number is a DOUBLE from the start
        return pc.if_else(pc.match_substring(text, "e"), text, pc.binary_join_element_wise(text, "e0", ""))
    if family in ("moment", "clock"):
        micros = pc.cast(column, pa.timestamp("us", tz=column.type.tz)).cast(pa.int64())
        column = micros.cast(pa.timestamp("us"))
    text = pc.cast(column, pa.string())
    if family in ("moment", "clock", "date", "text"):
        return pc.binary_join_element_wise("'", pc.replace_substring(text, "'", "''"), "'", "")
    return text


def _hexadecimal(column: "pa.Array", before: str, behind: str) -> "pa.Array":
    import pyarrow as pa

    return pa.array(
        [None if value is None else f"{before}{value.hex()}{behind}" for value in column.to_pylist()], pa.string()
    )
