"""Rows of a table in a database, as a sample: `sqlite:///shop.db#purchases`, `env://SHOP_URL#public.purchases` (PostgreSQL, MySQL)."""

import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.core.sql.dialects import DUCKDB, MYSQL
from orchestrai.core.sql.quoting import quoted
from orchestrai.errors import ConfigError
from orchestrai.pipeline.starter.look.landing_look import Look
from orchestrai.pipeline.starter.look.sample import Sample
from orchestrai.storage.databases import mysql
from orchestrai.storage.databases.open_table import FILES, SQLITE, Place
from orchestrai.storage.postgres import SCHEMES as POSTGRES

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 50_000
_REFERENCES = ("env://", "file:///")
_SERVERS = (*POSTGRES, *mysql.SCHEMES)
_PATIENCE = timedelta(seconds=30)


def is_table(place: str) -> bool:
    """Whether a place is a table in a database."""
    return place.startswith((*FILES, *_SERVERS)) or (place.startswith(_REFERENCES) and "#" in place)


def read_table(place: str) -> tuple[Look, Sample]:
    """The first rows of a table; raises ConfigError for one that is not there or has none, StorageError in an outage."""
    url, _, table = place.partition("#")
    if not table:
        raise ConfigError(f"expected a table behind the database, such as {url}#purchases, found none: name one")
    file = next((scheme for scheme in FILES if url.startswith(scheme)), None)
    if file is not None:
        path = Path(url.removeprefix(file)).expanduser().absolute()
        url = f"{file}{path}"
        names, rows = (_of_sqlite if file == SQLITE else _of_duckdb)(path, table)
    else:
        place_of_table = Place(url)
        place_of_table.check()
        names, rows = (_of_mysql if place_of_table.of_mysql else _of_postgres)(url, table)
    if not rows or len(names) < 2:
        raise ConfigError(
            f"expected rows of at least two columns in {table}, found {len(rows)} of {len(names)}: name another table"
        )
    columns = {name: _column([row[place] for row in rows]) for place, name in enumerate(names)}
    reading = {"format": "sql", "sql": {"table": table}}
    notes = [f"the first {len(rows):,} rows of {table}"] if len(rows) == ROWS else []
    return Look(url, "*", (), ()), Sample(reading, columns, [0] * len(rows), (table,), len(rows) < ROWS, notes)


def _column(values: Sequence[Any]) -> "pa.Array":
    """The values as Arrow has them, as text where they are of several kinds."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _require(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"expected a database file, found none at {path}: check the path")


def _of_duckdb(path: Path, table: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    import duckdb

    _require(path)
    try:
        with duckdb.connect(str(path), read_only=True) as opened:
            opened.execute("SET TimeZone = 'UTC'")
            found = opened.execute(f"SELECT * FROM {DUCKDB.name(table)} LIMIT {ROWS}")
            return [one[0] for one in found.description], found.fetchall()
    except duckdb.Error as exc:
        told = str(exc).splitlines()[0][:200]
        raise ConfigError(f"expected the table {table} in {path.name}, found {told}: name another") from exc


def _of_mysql(url: str, table: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    with mysql.connection(url) as opened, opened.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {MYSQL.name(table)} LIMIT {ROWS}")
        return [one[0] for one in cursor.description], list(cursor.fetchall())


def _of_sqlite(path: Path, table: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    _require(path)
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        cursor = connection.execute(f"SELECT * FROM {quoted(table)} LIMIT {ROWS}")
        return [one[0] for one in cursor.description], cursor.fetchall()
    except sqlite3.Error as exc:
        raise ConfigError(f"expected the table {table} in {path.name}, found {exc}: name another") from exc
    finally:
        connection.close()


def _of_postgres(url: str, table: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    from orchestrai.storage import postgres

    with postgres.snapshot(url, statement_timeout=_PATIENCE) as opened:
        from psycopg import sql

        name = sql.Identifier(*table.split("."))
        cursor = opened.execute(sql.SQL("SELECT * FROM {} LIMIT {}").format(name, sql.Literal(ROWS)))
        return [one.name for one in cursor.description], cursor.fetchall()
