"""How databases differ in their SQL: one row of facts for each, so that a statement is written once and said in any of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from orchestrai.core.sql.quoting import literal, quoted, spark_literal
from orchestrai.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")
_NARROWER = {"BIGINT": ("SMALLINT", "INTEGER"), "DOUBLE": ("REAL", "FLOAT", "SMALLINT", "INTEGER"), "TIMESTAMPTZ": ("DATE",)}


@dataclass(frozen=True)
class Dialect:
    """The facts of one database. Texts with `{}` take what they are about.

    `parser` is its name in sqlglot. `types` has a column type for each family of Arrow types, `keys` the type of a text that is part of
    a primary key. `back` is a moment before another by microseconds, empty where the moment is worked out here. `row_values` when rows
    are compared whole, `(a, b) > (c, d)`.
    `update` takes table, columns set, staging table and condition; `delete` table and condition, both of them by the names t and s.
    `check` fails unless a count is a number, `listed` asks for the columns of a table, `cluster` is how a table is laid out by a column.
    `folds` says which names are one whatever their case: all, by their small letters, or plain ones of small letters by their capitals.
    `staged_in_session` when what is staged is a table of the session; `staged` has what becomes of a staged column of a family, by its
    name and its type in the table.
    `narrower` has for the first word of a type those of a table that is there which it may take the place of.
    """

    parser: str
    types: Mapping[str, str]
    text: str
    back: str
    quote: str = '"'
    decimal: str = "DECIMAL({0},{1})"
    differs: str = "{0} IS DISTINCT FROM {1}"
    keys: str = ""
    row_values: bool = False
    backslashes: Literal["plain", "escape", "refused"] = "plain"
    sets: str = "{0} = s.{0}"
    update: str = "UPDATE {0} AS t SET {1} FROM {2} AS s WHERE {3}"
    delete: str = "DELETE FROM {0} AS t WHERE {1}"
    widen: str = "ALTER TABLE {0} ALTER COLUMN {1} SET DATA TYPE {2}"
    drop_staged: str = "DROP TABLE {0}"
    schema: str = "current_schema()"
    table_options: str = ""
    check: str = "SELECT 1 / CASE WHEN ({0}) = {1} THEN 1 ELSE 0 END"
    listed: str = "SELECT column_name FROM information_schema.columns WHERE table_schema = {0} AND table_name = {1}"
    cluster: str = ""
    folds: Literal["", "lower", "plain to upper"] = ""
    staged_in_session: bool = False
    staged: Mapping[str, str] = field(default_factory=dict)
    narrower: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NARROWER)

    def name(self, table: str) -> str:
        """A table, `name` or `schema.name`, as an identifier."""
        return ".".join(self.column(part) for part in table.split("."))

    def spelled(self, name: str) -> str:
        """A name as the database's own catalog has it."""
        if self.folds == "lower":
            return name.lower()
        return name.upper() if self.folds == "plain to upper" and _PLAIN.fullmatch(name) else name

    def column(self, name: str) -> str:
        """A name as an identifier."""
        name = self.spelled(name)
        if self.quote == "[":
            return "[" + quoted(name, "]")[1:]
        return quoted(name, self.quote)

    def value(self, text: str) -> str:
        """A text as a value. Raises ConfigError for a backslash where it is not known what one means."""
        if self.backslashes == "escape":
            return spark_literal(text)
        if self.backslashes == "refused" and "\\" in text:
            raise ConfigError(f"expected a text without a backslash for {self.parser}, found {text!r}: rename it")
        return literal(text)

    def type_of(self, kind: "pa.DataType", *, key: bool = False) -> str:
        """The column type for an Arrow type. Raises ConfigError for one that no column of plain values has."""
        family = family_of(kind)
        if family == "decimal":
            return self.decimal.format(kind.precision, kind.scale)
        if family == "text" and key and self.keys:
            return self.keys
        return self.types[family]


def family_of(kind: "pa.DataType") -> str:
    """What an Arrow type is to a database. Raises ConfigError for what is none of plain values."""
    import pyarrow.types as kinds

    if kinds.is_timestamp(kind):
        return "moment" if kind.tz else "clock"
    rules = (
        (kinds.is_decimal, "decimal"),
        (kinds.is_boolean, "boolean"),
        (kinds.is_uint64, "unsigned"),
        (lambda k: kinds.is_int64(k) or kinds.is_uint32(k), "bigint"),
        (kinds.is_integer, "integer"),
        (kinds.is_float64, "double"),
        (kinds.is_floating, "real"),
        (kinds.is_date, "date"),
        (lambda k: kinds.is_string(k) or kinds.is_large_string(k), "text"),
        (lambda k: kinds.is_binary(k) or kinds.is_large_binary(k), "bytes"),
    )
    for holds, name in rules:
        if holds(kind):
            return name
    raise ConfigError(f"expected columns of plain types, found {kind}: leave the column out of the view")


_USUAL = {
    "boolean": "BOOLEAN",
    "unsigned": "DECIMAL(20,0)",
    "bigint": "BIGINT",
    "integer": "INTEGER",
    "double": "DOUBLE PRECISION",
    "real": "REAL",
    "date": "DATE",
    "clock": "TIMESTAMP",
    "moment": "TIMESTAMPTZ",
    "text": "TEXT",
    "bytes": "BYTEA",
}

POSTGRES = Dialect(
    "postgres",
    _USUAL,
    text="CAST({0} AS TEXT)",
    back="(CAST({0} AS TIMESTAMPTZ) - INTERVAL '{1} microseconds')",
    row_values=True,
)
DUCKDB = Dialect(
    "duckdb",
    {**_USUAL, "double": "DOUBLE", "bytes": "BLOB"},
    text="CAST({0} AS VARCHAR)",
    back="(CAST({0} AS TIMESTAMPTZ) - INTERVAL '{1} microseconds')",
)
SQLITE = Dialect(
    "sqlite",
    {**_USUAL, "double": "REAL", "bytes": "BLOB"},
    text="CAST({0} AS TEXT)",
    # whatever ISO form the times are written in
    back="julianday({0}) - {1} / 86400000000.0",
    row_values=True,
)
# a session of ours has ANSI_QUOTES, NO_BACKSLASH_ESCAPES and the zone UTC
MYSQL = Dialect(
    "mysql",
    {
        **_USUAL,
        "double": "DOUBLE",
        "real": "FLOAT",
        "clock": "DATETIME(6)",
        "moment": "DATETIME(6)",
        "text": "LONGTEXT",
        "bytes": "LONGBLOB",
    },
    text="CAST({0} AS CHAR)",
    back="(CAST({0} AS DATETIME(6)) - INTERVAL {1} MICROSECOND)",
    differs="NOT ({0} <=> {1})",
    keys="VARCHAR(255)",
    # both tables of a join have the column
    sets="t.{0} = s.{0}",
    update="UPDATE {0} AS t JOIN {2} AS s ON {3} SET {1}",
    delete="DELETE t FROM {0} AS t WHERE {1}",
    widen="ALTER TABLE {0} MODIFY COLUMN {1} {2}",
    drop_staged="DROP TEMPORARY TABLE {0}",
    schema="DATABASE()",
    table_options=" ENGINE=InnoDB CHARACTER SET utf8mb4",
    narrower={
        "BIGINT": ("SMALLINT", "INT", "MEDIUMINT"),
        "DOUBLE": ("FLOAT", "SMALLINT", "INT", "MEDIUMINT"),
        "DATETIME(6)": ("DATE",),
    },
)
BIGQUERY = Dialect(
    "bigquery",
    {
        "boolean": "BOOL",
        "unsigned": "NUMERIC(20,0)",
        "bigint": "INT64",
        "integer": "INT64",
        "double": "FLOAT64",
        "real": "FLOAT64",
        "date": "DATE",
        "clock": "DATETIME",
        "moment": "TIMESTAMP",
        "text": "STRING",
        "bytes": "BYTES",
    },
    text="CAST({0} AS STRING)",
    back="",
    quote="`",
    decimal="BIGNUMERIC({0},{1})",
    backslashes="escape",
    check="SELECT IF(({0}) = {1}, 1, ERROR('{2}'))",
    listed="SELECT column_name FROM {2}.INFORMATION_SCHEMA.COLUMNS WHERE table_name = {1}",
    cluster=" CLUSTER BY {0}",
)
REDSHIFT = Dialect(
    "redshift",
    {**_USUAL, "text": "VARCHAR(65535)", "bytes": "VARBYTE(1024000)"},
    # without a length it is of 256 bytes in some places
    text="CAST({0} AS VARCHAR(65535))",
    back="",
    differs="({0} <> {1} OR ({0} IS NULL AND {1} IS NOT NULL) OR ({0} IS NOT NULL AND {1} IS NULL))",
    backslashes="refused",
    folds="lower",
    cluster=" SORTKEY({0})",
    staged_in_session=True,
    # COPY of Parquet knows no time zones: the clock of UTC is staged, and read as one of UTC
    staged={"moment": "({0} AT TIME ZONE 'UTC')"},
)
# a session of ours has the zone UTC, and times with a dot and six digits
SNOWFLAKE = Dialect(
    "snowflake",
    {
        **_USUAL,
        "unsigned": "NUMBER(20,0)",
        "double": "DOUBLE",
        "real": "DOUBLE",
        "clock": "TIMESTAMP_NTZ(6)",
        "moment": "TIMESTAMP_TZ(6)",
        "text": "VARCHAR",
        "bytes": "BINARY",
    },
    text="CAST({0} AS VARCHAR)",
    back="",
    decimal="NUMBER({0},{1})",
    # as a name without quotes is meant, and as SQLAlchemy's dialect takes it
    folds="plain to upper",
    backslashes="escape",
    update="MERGE INTO {0} AS t USING {2} AS s ON {3} WHEN MATCHED THEN UPDATE SET {1}",
    staged_in_session=True,
    # files have plain numbers and texts for what a reader of Parquet may take in two ways
    staged={
        "moment": "TO_TIMESTAMP_TZ({0}, 6)",
        "clock": "TO_TIMESTAMP_NTZ({0}, 6)",
        "date": "CAST({0} AS {1})",
        "decimal": "CAST({0} AS {1})",
        "unsigned": "CAST({0} AS {1})",
    },
)
