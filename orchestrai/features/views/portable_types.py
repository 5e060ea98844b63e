"""The column types that views may read and give, and their names in Arrow, in Spark SQL and in DuckDB.

Timestamps are microseconds in UTC. DuckDB holds them as plain TIMESTAMP, because its arithmetic on zoned ones is slow.
"""

import re
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

UTC_MICROS = pa.timestamp("us", tz="UTC")
_SPARK = {
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INT",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.string(): "STRING",
    pa.date32(): "DATE",
    UTC_MICROS: "TIMESTAMP",
}
_DUCKDB = {"STRING": "VARCHAR", "INT": "INTEGER"}
_FROM_DUCKDB = {_DUCKDB.get(name, name): kind for kind, name in _SPARK.items()}
_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")


def portable(kind: pa.DataType) -> pa.DataType | None:
    """The portable type in which a stored one is read; None when there is none."""
    if pa.types.is_timestamp(kind):
        return UTC_MICROS
    if pa.types.is_integer(kind):
        if pa.types.is_uint64(kind):
            return None
        return pa.int64() if kind.bit_width == 64 or pa.types.is_uint32(kind) else pa.int32()
    if pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_decimal(kind):
        return pa.decimal128(kind.precision, kind.scale) if kind.precision <= 38 else None
    if pa.types.is_dictionary(kind):
        return portable(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_date(kind):
        return pa.date32()
    return pa.bool_() if pa.types.is_boolean(kind) else None


def readable(schema: pa.Schema) -> pa.Schema:
    """The columns a view can read, in portable types; others (lists, structs, binary) are left out."""
    fields = [(field, portable(field.type)) for field in schema]
    return pa.schema(
        [pa.field(field.name, kind, field.nullable) for field, kind in fields if kind is not None], metadata=schema.metadata
    )


def spark_type(kind: pa.DataType) -> str:
    """The Spark SQL name of a portable type."""
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    return _SPARK[kind]


def duckdb_type(kind: pa.DataType) -> str:
    """The DuckDB name of a portable type."""
    name = spark_type(kind)
    return _DUCKDB.get(name, name)


def from_duckdb(name: str) -> pa.DataType | None:
    """The portable type of a DuckDB type; None when there is none."""
    if match := _DECIMAL.fullmatch(name):
        return pa.decimal128(int(match[1]), int(match[2]))
    return _FROM_DUCKDB.get(name)


def from_spark(name: str) -> pa.DataType | None:
    """The portable type of a Spark SQL type; None when there is none."""
    return from_duckdb(_DUCKDB.get(name.upper(), name.upper()))


def spark_types(schema: pa.Schema) -> Mapping[str, str]:
    """Column names and Spark SQL types."""
    return {field.name: spark_type(field.type) for field in schema}


# by its bytes: Arrow imports pandas to make a scalar of a number
_ZERO = pa.Array.from_buffers(pa.float64(), 1, [None, pa.py_buffer(bytes(8))])[0]


def canonical(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch in the exact types of `schema`, with one zero and one NaN.

    Engines compare -0.0 and 0.0 as equal and keep either, by their plan: DuckDB's ROW_NUMBER() = 1 loses the sign, Spark's not.
    """
    batch = batch.cast(schema)
    columns = [_one_zero(column) if pa.types.is_floating(column.type) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _one_zero(column: pa.Array) -> pa.Array:
    column = pc.add(column, _ZERO)  # -0.0 + 0.0 is 0.0, every other number stays itself
    strange = pc.is_nan(column)
    return pc.if_else(strange, float("nan"), column) if pc.any(strange).as_py() else column
