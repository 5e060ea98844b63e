"""Pull a PostgreSQL query into the landing: one CSV object a partition, from one snapshot of the database."""

import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.calendar import Grain, window
from orchestrai.errors import ConfigError, MissingExtra, ObjectNotFound, StorageError, TransientStorageError
from orchestrai.ingest.source import SourceSpec
from orchestrai.storage.base import Store

if TYPE_CHECKING:
    import psycopg

NULL = "\\N"


def pull_sql(source: SourceSpec, landing: Store, partition: str, grain: Grain, now: datetime) -> bool:
    """Land one partition of a query, again until it has settled; True when an object was written.

    The query sees `%(start)s` and `%(end)s` of the partition's window: the watermark is the partition itself, so nothing is
    pulled twice into two places. A partition settles once it was pulled `settle_seconds` after its end, which must exceed the
    longest transaction that writes rows with an earlier time. All rows come from one REPEATABLE READ snapshot; the object
    appears whole or not at all. Raises StorageError, TransientStorageError, ConfigError.
    """
    key = f"{partition.replace(':', '-')}.csv"
    start, end = window(partition, grain)
    if start > now and grain != "all":
        return False
    try:
        pulled = landing.head(key).modified
        if grain != "all" and pulled >= end + timedelta(seconds=source.sql.settle_seconds):
            return False
    except ObjectNotFound:
        pass
    landing.write(key, _rows(source, start, end))
    return True


def _rows(source: SourceSpec, start: datetime, end: datetime) -> Iterator[bytes]:
    try:
        import psycopg
    except ImportError as exc:
        raise MissingExtra("expected psycopg to read PostgreSQL, found none: pip install 'orchestrai[postgres]'") from exc

    statement = f"COPY ({source.sql.query}) TO STDOUT WITH (FORMAT csv, HEADER true, NULL '{NULL}', ENCODING 'UTF8')"
    bounds: dict[str, Any] = {"start": start, "end": end}
    try:
        with _connection(source) as connection, connection.cursor() as cursor:
            cursor.execute("SET TIME ZONE 'UTC'")
            with cursor.copy(statement, bounds) as copy:
                for block in copy:
                    yield bytes(block)
    except psycopg.OperationalError as exc:
        raise TransientStorageError(f"expected an answer from {source.url}, found {_told(exc)}: try again") from exc
    except psycopg.Error as exc:
        raise StorageError(f"expected rows from the query of {source.url}, found {_told(exc)}: correct sql.query") from exc


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _connection(source: SourceSpec) -> "psycopg.Connection[Any]":
    import psycopg

    name = source.sql.dsn_env
    dsn = os.environ.get(name, "") if name else source.url
    if not dsn:
        raise ConfigError(f"expected a connection string in the environment variable {name}, found none: set it")
    try:
        connection: psycopg.Connection[Any] = psycopg.connect(dsn, connect_timeout=10)
    except psycopg.ProgrammingError:
        # the driver quotes the text that it cannot read, password and all
        raise ConfigError(
            f"expected a PostgreSQL URL in {name or 'source.url'}, found text that is none: correct it"
        ) from None
    connection.read_only = True
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    return connection
