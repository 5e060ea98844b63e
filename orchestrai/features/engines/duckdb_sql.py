"""DuckDB's SQL around a view: verified files as typed tables, the result in its exact types and order."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa

from orchestrai.core.sql.quoting import literal, quoted
from orchestrai.features.engines.engine import Query, Source
from orchestrai.features.engines.stored_schemas import alike
from orchestrai.features.views.portable_types import UTC_MICROS, duckdb_type

Paths = Callable[[Iterable[Path]], str]


def typed_sql(query: Query, sql: str) -> str:
    """The result of `sql` in the view's exact types, and only the rows to keep."""
    view = query.view
    columns = ", ".join(_cast(quoted(field.name), field) for field in view.schema)
    keep = ""
    if query.keep is not None:
        low, high = (moment_sql(value) for value in query.keep)
        keep = f" WHERE {quoted(view.time)} >= {low} AND {quoted(view.time)} < {high}"
    return f"SELECT {columns} FROM ({sql}) AS result{keep}"


def final_sql(query: Query) -> str:
    """The whole query, in the order that it asks for."""
    return f"{typed_sql(query, query.view.duckdb_sql)} ORDER BY {order_sql(query)}"


def order_sql(query: Query) -> str:
    """The order that a query asks for."""
    view = query.view
    order = ", ".join(f"{quoted(name)} NULLS FIRST" for name in view.key)
    if query.slices is not None:
        micros = query.slices // timedelta(microseconds=1)
        moment = f"epoch_us({quoted(view.time)})"
        order = f"{moment} - ({moment} % {micros} + {micros}) % {micros} NULLS FIRST, {order}"
    return order


def source_sql(source: Source, paths: Paths, path_as: str = "") -> str:
    """The SELECT that types a source: UTC micros, portable types, non-finite numbers as NULL, the allowed span only.

    `paths` says how the engine finds files; with `path_as` a column of that name says of each row in which one it lies.
    """
    if source.tail:
        recent, earlier = replace(source, tail=()), Source(source.table, source.tail)
        return f"{source_sql(recent, paths)} UNION ALL {source_sql(earlier, paths)}"
    table = source.table
    if not source.files:
        columns = ", ".join(_cast("NULL", field) for field in table.schema)
        return f"SELECT {columns} WHERE false"
    return " UNION ALL ".join(
        _part_sql(source, stored, files, paths, path_as) for stored, files in alike(table, source.files)
    )


def _part_sql(source: Source, stored: pa.Schema, files: Sequence[Path], paths: Paths, path_as: str) -> str:
    """The SELECT over files of one schema."""
    table = source.table
    columns = ", ".join(f"{_typed(field, stored)} AS {quoted(field.name)}" for field in table.schema)
    zoned = {field.name for field in stored if pa.types.is_timestamp(field.type) and field.type.tz}
    tests = time_tests(source, zoned)
    where = f" WHERE {' AND '.join(tests)}" if tests else ""
    if path_as:
        return f"SELECT {columns}, {quoted(path_as)} FROM read_parquet({paths(files)}, filename = {literal(path_as)}){where}"
    return f"SELECT {columns} FROM read_parquet({paths(files)}){where}"


def time_tests(source: Source, zoned: Collection[str] = ()) -> list[str]:
    """The tests that keep the rows of the span that a source allows; `zoned` are the columns that hold a time zone."""
    table = source.table
    bounds = (
        (table.event_time, ">=", source.since),
        (table.event_time, "<", source.until),
        (table.known_at, "<", source.known_before),
    )
    return [
        f"{quoted(column)} {test} {moment_sql(moment, zoned=column in zoned)}"
        for column, test, moment in bounds
        if column is not None and moment is not None
    ]


def _cast(value: str, field: pa.Field) -> str:
    return f"CAST({value} AS {duckdb_type(field.type)}) AS {quoted(field.name)}"


def _typed(field: pa.Field, stored: pa.Schema) -> str:
    if field.name not in stored.names:
        return f"CAST(NULL AS {duckdb_type(field.type)})"
    name, kind = quoted(field.name), stored.field(field.name).type
    if field.type == UTC_MICROS and pa.types.is_timestamp(kind):
        return f"make_timestamp(epoch_us({name}))" if kind.tz or kind.unit != "us" else name
    if pa.types.is_floating(kind):
        return f"CASE WHEN isfinite({name}) THEN CAST({name} AS DOUBLE) END"
    return name if kind == field.type else f"CAST({name} AS {duckdb_type(field.type)})"


def moment_sql(value: datetime, *, zoned: bool = False) -> str:
    """A timestamp literal."""
    moment = f"{value:%Y-%m-%d %H:%M:%S.%f}{'+00' if zoned else ''}"
    return f"{'TIMESTAMPTZ' if zoned else 'TIMESTAMP'} {literal(moment)}"
