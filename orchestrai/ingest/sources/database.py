"""One snapshot of a table in PostgreSQL or in an SQLite file, read page by page in the order of watermark and key."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from orchestrai.core.canonical import JsonValue
from orchestrai.core.sql.quoting import quoted
from orchestrai.errors import ConfigError, OrchestraiError, StorageError, TransientStorageError
from orchestrai.ingest.sources.table_source import SQLITE, Position, SqlSource
from orchestrai.storage import postgres

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Wanted:
    """What to read: columns by their names in the database (those in `texts` as text), and the order, watermark first.

    `timed` when the watermark is a time.
    """

    columns: tuple[str, ...]
    texts: frozenset[str]
    order: tuple[str, ...]
    timed: bool


class Snapshot(Protocol):
    """A table as one moment shows it."""

    def facts(self, watermark: str) -> dict[str, JsonValue]:
        """What a receipt notes: the snapshot, the server, rows without a watermark, the age of the oldest transaction."""
        ...

    def pages(self, wanted: Wanted, position: Position | None) -> Iterator[list[Row]]:
        """Rows behind a position. The sorting columns come once more at the end, keys and times as text."""
        ...


@contextmanager
def snapshot(source: SqlSource) -> Iterator[Snapshot]:
    """Open a snapshot for reading; raises StorageError, TransientStorageError, ConfigError."""
    if source.url.startswith(SQLITE):
        with _sqlite(source) as opened:
            yield _Sqlite(opened, source)
        return
    with postgres.snapshot(source.url, statement_timeout=source.statement_timeout) as opened:
        yield _Postgres(opened, source)


@dataclass(frozen=True)
class _Postgres:
    opened: Any
    source: SqlSource

    def facts(self, watermark: str) -> dict[str, JsonValue]:
        from psycopg import sql

        query = sql.SQL("SELECT count(*) FROM {} WHERE {} IS NULL").format(self._table(), sql.Identifier("t", watermark))
        (nulls,) = self.opened.execute(query, []).fetchone()
        shown, version, age = self.opened.execute(
            "SELECT pg_current_snapshot()::text, current_setting('server_version'), (SELECT extract(epoch FROM max(now() - "
            "xact_start))::float8 FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid())"
        ).fetchone()
        return {
            "snapshot": shown,
            "server_version": version,
            "null_watermarks": nulls,
            "oldest_transaction_seconds": age,
        }

    def _table(self) -> Any:
        from psycopg import sql

        if self.source.query:
            return sql.SQL("({}) AS t").format(sql.SQL(self.source.query.replace("%", "%%")))
        return sql.SQL("{} AS t").format(sql.Identifier(*self.source.table.split(".")))

    def pages(self, wanted: Wanted, position: Position | None) -> Iterator[list[Row]]:
        from psycopg import sql

        chosen = [
            sql.SQL("{}::text" if name in wanted.texts else "{}").format(sql.Identifier("t", name))
            for name in wanted.columns
        ]
        order = [sql.Identifier("t", name) for name in wanted.order]
        marks = [sql.SQL("{}::text" if wanted.timed or n else "{}").format(name) for n, name in enumerate(order)]
        where, values = self._where(order, wanted.timed, position)
        query = sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT {}").format(
            sql.SQL(", ").join([*chosen, *marks]),
            self._table(),
            where,
            sql.SQL(", ").join(order),
            sql.Literal(self.source.limit_rows),
        )
        with self.opened.cursor(name="orchestrai_extract") as cursor:
            cursor.execute(query, values)
            while rows := cursor.fetchmany(self.source.page_rows):
                yield rows

    def _where(self, order: Sequence[Any], timed: bool, position: Position | None) -> tuple[Any, Sequence[Any]]:
        from psycopg import sql

        if position is None:
            # an empty list, and not none: only then is a doubled % of a query read as one
            return sql.SQL("{} IS NOT NULL").format(order[0]), []
        if position.key is not None:
            # the rest of a slice that was cut: strictly behind the last row read
            return sql.SQL("({}) > ({})").format(
                sql.SQL(", ").join(order), sql.SQL(", ").join([sql.Placeholder()] * len(order))
            ), [position.watermark, *position.key]
        if timed:
            return sql.SQL("{} >= (%s::timestamptz - %s::interval)").format(order[0]), [
                position.watermark,
                self.source.overlap,
            ]
        return sql.SQL("{} >= (%s::bigint - %s)").format(order[0]), [position.watermark, self.source.overlap_ids]


@contextmanager
def _sqlite(source: SqlSource) -> Iterator[sqlite3.Connection]:
    path = Path(source.url.removeprefix(SQLITE))
    if not path.is_file():
        # opening would make an empty one, and an outage must not look like "nothing new"
        raise StorageError(f"expected the database {path.name}, found no such file: mount it or mend source.url")
    opened = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    try:
        opened.execute("BEGIN")
        yield opened
    except sqlite3.Error as exc:
        raise _told(exc, path.name) from exc
    finally:
        opened.close()


def _told(exc: sqlite3.Error, name: str) -> OrchestraiError:
    message = f"expected {name} to answer, found: {str(exc)[:200]}"
    if "locked" in str(exc) or "busy" in str(exc):
        return TransientStorageError(f"{message}: retry")
    return (
        ConfigError(f"{message}: correct the name") if "no such" in str(exc) else StorageError(f"{message}: check the file")
    )


@dataclass(frozen=True)
class _Sqlite:
    opened: sqlite3.Connection
    source: SqlSource

    def facts(self, watermark: str) -> dict[str, JsonValue]:
        # the first read fixes what this transaction sees
        (nulls,) = self.opened.execute(
            f"SELECT count(*) FROM {self._table()} WHERE t.{quoted(watermark)} IS NULL"
        ).fetchone()
        (changes,) = self.opened.execute("PRAGMA data_version").fetchone()
        version = f"sqlite {sqlite3.sqlite_version}"
        return {
            "snapshot": str(changes),
            "server_version": version,
            "null_watermarks": nulls,
            "oldest_transaction_seconds": None,
        }

    def _table(self) -> str:
        if self.source.query:
            return f"({self.source.query}) AS t"
        return ".".join(quoted(part) for part in self.source.table.split(".")) + " AS t"

    def pages(self, wanted: Wanted, position: Position | None) -> Iterator[list[Row]]:
        order = [f"t.{quoted(name)}" for name in wanted.order]
        chosen = [
            f"CAST(t.{quoted(name)} AS TEXT)" if name in wanted.texts else f"t.{quoted(name)}" for name in wanted.columns
        ]
        marks = [f"CAST({name} AS TEXT)" if wanted.timed or n else name for n, name in enumerate(order)]
        where, values = self._where(order, wanted.timed, position)
        cursor = self.opened.execute(
            f"SELECT {', '.join([*chosen, *marks])} FROM {self._table()} WHERE {where} ORDER BY {', '.join(order)} "
            f"LIMIT {self.source.limit_rows}",
            values,
        )
        while rows := cursor.fetchmany(self.source.page_rows):
            yield rows

    def _where(self, order: Sequence[str], timed: bool, position: Position | None) -> tuple[str, Sequence[Any]]:
        if position is None:
            return f"{order[0]} IS NOT NULL", ()
        if position.key is not None:
            return f"({', '.join(order)}) > ({', '.join('?' * len(order))})", (position.watermark, *position.key)
        if timed:
            # whatever ISO form the times are written in
            days = self.source.overlap.total_seconds() / 86_400
            return f"julianday({order[0]}) >= julianday(?) - ?", (position.watermark, days)
        return f"{order[0]} >= ?", (int(position.watermark) - self.source.overlap_ids,)
