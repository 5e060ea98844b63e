"""Rows of a table in a database, as a sample: `sqlite:///shop.db#purchases`, `env://SHOP_DSN#public.purchases`."""

import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.core.sql.quoting import quoted
from orchestrai.errors import ConfigError
from orchestrai.pipeline.starter.look.landing_look import Look
from orchestrai.pipeline.starter.look.sample import Sample
from orchestrai.storage.databases.open_table import SQLITE

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 50_000
_REFERENCES = ("env://", "file:///")
_PATIENCE = timedelta(seconds=30)


def is_table(place: str) -> bool:
    """Whether a place is a table in a database."""
    return place.startswith(SQLITE) or (place.startswith(_REFERENCES) and "#" in place)


def read_table(place: str) -> tuple[Look, Sample]:
    """The first rows of a table; raises ConfigError for one that is not there or has none, StorageError in an outage."""
    url, _, table = place.partition("#")
    if not table:
        raise ConfigError(f"expected a table behind the database, such as {url}#purchases, found none: name one")
    if url.startswith(SQLITE):
        path = Path(url.removeprefix(SQLITE)).expanduser().absolute()
        url = f"{SQLITE}{path}"
        names, rows = _of_sqlite(path, table)
    else:
        names, rows = _of_postgres(url, table)
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


def _of_sqlite(path: Path, table: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    if not path.is_file():
        raise ConfigError(f"expected an SQLite file, found none at {path}: check the path")
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
