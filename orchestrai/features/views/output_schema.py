"""What a view gives: its SQL in DuckDB's dialect, and the exact types of the result."""

import atexit
import os
from collections.abc import Mapping
from functools import cache

import pyarrow as pa
from sqlglot import ErrorLevel, exp

from orchestrai.core.sql.quoting import name_fault, quoted
from orchestrai.errors import FeatureViewError
from orchestrai.features.engines.closed_database import ClosedDatabase
from orchestrai.features.views.lint.subset import Context
from orchestrai.features.views.portable_types import UTC_MICROS, duckdb_type, from_duckdb


def to_duckdb(tree: exp.Expr, origin: str) -> str:
    """The tree in DuckDB's dialect, on plain timestamps."""
    copied = tree.copy()
    for kind in copied.find_all(exp.DataType):
        if kind.this in (exp.DType.TIMESTAMPTZ, exp.DType.TIMESTAMPLTZ):
            kind.set("this", exp.DType.TIMESTAMP)
    try:
        return copied.sql("duckdb", unsupported_level=ErrorLevel.RAISE, comments=False, copy=False)
    except ValueError as exc:
        raise FeatureViewError(f"{origin}:1: expected SQL that DuckDB can run, found {exc}") from exc


@cache
def _database(process: int) -> ClosedDatabase:
    """One for all views that a process looks at: to open one costs more than to ask it. A forked process needs its own."""
    database = ClosedDatabase({"threads": 1})
    atexit.register(database.close)
    return database


def result_schema(sql: str, tables: Mapping[str, pa.Schema], context: Context) -> pa.Schema:
    """The columns that DuckDB finds in the result; raises FeatureViewError for a type that is not portable."""
    import duckdb

    # tables of a connection alone are gone with it
    with _database(os.getpid()).connection.cursor() as connection:
        for name, schema in tables.items():
            columns = ", ".join(f"{quoted(field.name)} {duckdb_type(field.type)}" for field in schema)
            connection.execute(f"CREATE TEMP TABLE {quoted(name)} ({columns})")
        try:
            rows = connection.execute(f"DESCRIBE {sql}").fetchall()
        except duckdb.Error as exc:
            message = " ".join(str(exc).split())[:300]
            raise FeatureViewError(f"{context.origin}:1: expected SQL that binds to its inputs, found: {message}") from exc
    fields = []
    for row in rows:
        column, kind = str(row[0]), str(row[1])
        arrow_type = from_duckdb(kind)
        if arrow_type is None:
            instead = "write CAST(SUM(..) AS BIGINT)" if kind == "HUGEINT" else "give it a type with CAST"
            raise FeatureViewError(f"{context.origin}:1: expected a plain type for {column}, found {kind}: {instead}")
        fields.append(pa.field(column, arrow_type))
    return pa.schema(fields)


def check_key(schema: pa.Schema, entity: tuple[str, ...], time: str, context: Context) -> None:
    """Raises FeatureViewError unless entity and time are among the columns, in types that identify a row."""
    names = schema.names
    missing = [name for name in (*entity, time) if name not in names]
    if missing:
        raise FeatureViewError(
            f"{context.origin}:1: expected the output columns {', '.join(missing)}, found {', '.join(names)}"
        )
    for name in names:
        if (expected := name_fault(name)) is not None:
            raise FeatureViewError(f"{context.origin}:1: expected {expected}, found {name!r}: rename the column")
    spelled = [name.casefold() for name in names]
    if len(set(spelled)) != len(names):
        twice = sorted({name for name in names if spelled.count(name.casefold()) > 1})
        raise FeatureViewError(f"{context.origin}:1: expected distinct output columns, found {', '.join(twice)} twice")
    if schema.field(time).type != UTC_MICROS:
        raise FeatureViewError(f"{context.origin}:1: expected {time} to be a TIMESTAMP, found {schema.field(time).type}")
    for name in entity:
        if pa.types.is_floating(schema.field(name).type):
            raise FeatureViewError(
                f"{context.origin}:1: expected the entity {name} to be text or whole numbers, found DOUBLE"
            )
