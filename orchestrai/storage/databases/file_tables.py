"""Windows of tables in files: SQLite by its driver's pages, DuckDB by its own Arrow stream; both opened for reading only."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.core.canonical import JsonValue
from orchestrai.core.sql.dialects import DUCKDB, SQLITE
from orchestrai.errors import ConfigError, OrchestraiError, StorageError, TransientStorageError
from orchestrai.storage.databases.database_faults import DatabaseFault, fault_in
from orchestrai.storage.databases.table_port import Paging, Relation, TableSnapshot, Wanted, Window
from orchestrai.storage.databases.window_query import count_query, nulls_query, rows_query

if TYPE_CHECKING:
    import pyarrow as pa


def _require(path: Path) -> Path:
    if not path.is_file():
        # opening would make an empty one, and an outage must not look like "nothing new"
        raise StorageError(f"expected the database {path.name}, found no such file: mount it or mend source.url")
    return path


@contextmanager
def sqlite_table(path: Path, relation: Relation) -> Iterator[TableSnapshot]:
    """A table of an SQLite file as one moment; raises StorageError, TransientStorageError, ConfigError."""
    opened = sqlite3.connect(f"file:{_require(path)}?mode=ro", uri=True, isolation_level=None)
    try:
        opened.execute("BEGIN")
        yield _Sqlite(opened, relation)
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
    relation: Relation

    def facts(self, watermark: str) -> dict[str, JsonValue]:
        # the first read fixes what this transaction sees
        (nulls,) = self.opened.execute(nulls_query(SQLITE, self.relation, watermark)).fetchone()
        (changes,) = self.opened.execute("PRAGMA data_version").fetchone()
        return {
            "snapshot": str(changes),
            "server_version": f"sqlite {sqlite3.sqlite_version}",
            "null_watermarks": nulls,
            "oldest_transaction_seconds": None,
        }

    def count(self, wanted: Wanted, window: Window) -> int:
        (rows,) = self.opened.execute(count_query(SQLITE, self.relation, wanted, window)).fetchone()
        return int(rows)

    def batches(self, wanted: Wanted, window: Window, paging: Paging) -> "Iterator[pa.RecordBatch]":
        import pyarrow as pa

        cursor = self.opened.execute(rows_query(SQLITE, self.relation, wanted, window, paging.limit_rows))
        names = [str(place) for place in range(len(cursor.description))]
        while rows := cursor.fetchmany(paging.page_rows):
            yield pa.RecordBatch.from_arrays([as_arrow(values) for values in zip(*rows, strict=True)], names=names)


def as_arrow(values: Sequence[Any]) -> "pa.Array":
    """Values in the Arrow type they have; as text where they have no common one, or one that holds them only nearly."""
    import pyarrow as pa

    kinds = {type(value) for value in values}
    try:
        if not {int, float} <= kinds and not {bytes, str} <= kinds:
            return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        pass
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _text(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


@contextmanager
def duckdb_table(path: Path, relation: Relation) -> Iterator[TableSnapshot]:
    """A table of a DuckDB file as one moment; raises StorageError, TransientStorageError, ConfigError."""
    import duckdb

    try:
        with duckdb.connect(str(_require(path)), read_only=True) as opened:
            opened.execute("SET TimeZone = 'UTC'")
            opened.begin()
            yield _Duckdb(opened, relation)
    except (duckdb.IOException, duckdb.TransactionException) as exc:
        if fault_in(str(exc)) is DatabaseFault.RIGHTS:
            raise DatabaseFault.RIGHTS.error(f"to read {path.name}", str(exc).splitlines()[0]) from exc
        raise TransientStorageError(
            f"expected to read {path.name}, found: {str(exc).splitlines()[0][:200]}; retry when it is free"
        ) from exc
    except (duckdb.CatalogException, duckdb.BinderException, duckdb.ParserException) as exc:
        raise ConfigError(
            f"expected {path.name} to answer, found: {str(exc).splitlines()[0][:200]}: correct the name"
        ) from exc
    except duckdb.Error as exc:
        raise StorageError(
            f"expected {path.name} to answer, found: {str(exc).splitlines()[0][:200]}: check the file"
        ) from exc


@dataclass(frozen=True)
class _Duckdb:
    opened: Any
    relation: Relation

    def _number(self, query: str) -> int:
        ((number,),) = self.opened.execute(query).fetchall()
        return int(number)

    def facts(self, watermark: str) -> dict[str, JsonValue]:
        nulls = self._number(nulls_query(DUCKDB, self.relation, watermark))
        ((version,),) = self.opened.execute("SELECT version()").fetchall()
        return {
            "snapshot": str(self._number("SELECT txid_current()")),
            "server_version": f"duckdb {version}",
            "null_watermarks": nulls,
            "oldest_transaction_seconds": None,
        }

    def count(self, wanted: Wanted, window: Window) -> int:
        return self._number(count_query(DUCKDB, self.relation, wanted, window))

    def batches(self, wanted: Wanted, window: Window, paging: Paging) -> "Iterator[pa.RecordBatch]":
        query = rows_query(DUCKDB, self.relation, wanted, window, paging.limit_rows)
        for batch in self.opened.sql(query).to_arrow_reader(paging.page_rows):
            if batch.num_rows:
                yield batch
