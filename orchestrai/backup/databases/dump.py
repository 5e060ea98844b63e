"""Databases as datasets: consistent dumps of SQLite and PostgreSQL, restored and compared.

A dump carries the row count of every table, taken in the dump's own snapshot; a restore counts again before it says done.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrai.backup.databases.dump_tools import counted, pg_dump, pg_restore, snapshot_of
from orchestrai.core.canonical import JsonValue
from orchestrai.core.sql.quoting import quoted
from orchestrai.errors import ConfigError, IntegrityError, RestoreError, StorageError, TransientStorageError

SQLITE, POSTGRES = "sqlite", "postgresql"


@dataclass(frozen=True)
class DumpFile:
    """One staged file of a dump, with the rows of each table in it at the moment of the dump.

    `source` None: nothing changed since the dump before, where the vault has it under `token`.
    """

    path: str
    source: Path | None
    size: int
    tables: Mapping[str, int]
    token: str = ""

    @property
    def rows(self) -> int:
        """Rows in all its tables."""
        return sum(self.tables.values())


@dataclass(frozen=True)
class Dump:
    """A database as files."""

    engine: str
    server_version: str
    files: tuple[DumpFile, ...]
    facts: Mapping[str, JsonValue]

    @property
    def tables(self) -> Mapping[str, int]:
        """Rows by table; where there are several files, a table is named `file:table`."""
        alone = len(self.files) == 1
        return {name if alone else f"{file.path}:{name}": rows for file in self.files for name, rows in file.tables.items()}

    @property
    def rows(self) -> int:
        """Rows in all tables."""
        return sum(file.rows for file in self.files)

    def as_json(self) -> dict[str, JsonValue]:
        """What is kept beside the files, so that a restore can compare without anything else."""
        return {
            "engine": self.engine,
            "server_version": self.server_version,
            "files": {file.path: dict(sorted(file.tables.items())) for file in self.files},
            **dict(self.facts),
        }


def dump_sqlite(path: Path, into: Path, *, pages: int = -1) -> Dump:
    """Copy a SQLite database through its backup API, consistent while others write; `into` is a folder of one's own.

    With `pages` -1 the copy is one step: writers of a database without WAL wait for it. Otherwise it goes in steps of so many
    pages and begins again when somebody else writes. Raises StorageError, IntegrityError for a damaged database.
    """
    if not path.is_file():
        raise ConfigError(f"expected a SQLite database at {path}, found none: correct the path")
    into.mkdir(parents=True, exist_ok=True)
    target = into / "database.sqlite"
    with _sqlite_errors(path), closing(_opened(path, "ro")) as source:
        with closing(sqlite3.connect(target)) as copy:
            source.backup(copy, pages=pages, sleep=0.05)
            # one file, without a journal beside it
            copy.execute("PRAGMA journal_mode = DELETE")
        tables = _checked_sqlite(target)
    size = target.stat().st_size
    facts: dict[str, JsonValue] = {"bytes": size, "source_bytes": path.stat().st_size}
    return Dump(SQLITE, sqlite3.sqlite_version, (DumpFile(target.name, target, size, tables),), facts)


def restore_sqlite(dump: Path, target: Path, *, tables: Mapping[str, int] | None = None) -> Mapping[str, int]:
    """Put a dumped database at `target`, atomically and never over a file; returns the rows per table.

    `tables` are the counts to find again. Raises RestoreError, IntegrityError.
    """
    if target.exists():
        raise RestoreError(f"expected nothing at {target}, found a file: restore to another path and move it yourself")
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    staged = Path(name)
    try:
        with os.fdopen(handle, "wb") as sink, dump.open("rb") as source:
            while chunk := source.read(4 * 1024 * 1024):
                sink.write(chunk)
            sink.flush()
            os.fsync(sink.fileno())
        with _sqlite_errors(dump):
            counts = _checked_sqlite(staged)
        _same(tables, counts)
        try:
            os.link(staged, target)
        except FileExistsError:
            raise RestoreError(f"expected nothing at {target}, found a file: another restore was faster") from None
    finally:
        staged.unlink()
    return counts


def dump_postgres(url: str, into: Path, *, tools: Path | None = None, timeout: float = 3600.0) -> Dump:
    """Dump a PostgreSQL database with its own pg_dump (custom format); `url` is a secret reference.

    The counts and the dump see one exported snapshot. `tools` is the folder of pg_dump; else PATH and an installed server
    wheel are searched. Roles and other databases of the server are not in it. Raises StorageError, ConfigError.
    """
    into.mkdir(parents=True, exist_ok=True)
    target = into / "database.pgdump"
    with snapshot_of(url) as snapshot:
        version = pg_dump(url, target, snapshot.name, snapshot.server_major, tools=tools, timeout=timeout)
        tables = counted(snapshot.connection)
    size = target.stat().st_size
    facts: dict[str, JsonValue] = {"bytes": size, "database_bytes": snapshot.size, "tool_version": version}
    return Dump(POSTGRES, snapshot.server_version, (DumpFile(target.name, target, size, tables),), facts)


def restore_postgres(
    dump: Path, url: str, *, tables: Mapping[str, int] | None = None, tools: Path | None = None, timeout: float = 3600.0
) -> Mapping[str, int]:
    """Restore a dump into the empty database behind `url`, in one transaction; returns the rows per table.

    `tables` are the counts to find again. Raises RestoreError for a database that is not empty or rows that differ.
    """
    with snapshot_of(url) as snapshot:
        present = sorted(counted(snapshot.connection))
        major = snapshot.server_major
    if present:
        raise RestoreError(
            f"expected an empty database, found the tables {', '.join(present[:5])}: restore into a fresh one"
        )
    pg_restore(url, dump, major, tools=tools, timeout=timeout)
    with snapshot_of(url) as snapshot:
        counts = counted(snapshot.connection)
    _same(tables, counts)
    return counts


def _same(expected: Mapping[str, int] | None, actual: Mapping[str, int]) -> None:
    if expected is None or dict(expected) == dict(actual):
        return
    differ = sorted(name for name in {*expected, *actual} if expected.get(name) != actual.get(name))
    first = differ[0]
    raise RestoreError(
        f"expected {expected.get(first)} rows in {first}, found {actual.get(first)} ({len(differ)} tables differ): "
        "do not use the restored database; restore another dump"
    )


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, timeout=60)


def _checked_sqlite(path: Path) -> dict[str, int]:
    """The rows per table of a sound database; raises IntegrityError."""
    with closing(_opened(path, "ro")) as opened:
        faults = [str(row[0]) for row in opened.execute("PRAGMA integrity_check(5)")]
        if faults != ["ok"]:
            raise IntegrityError(
                f"expected a sound SQLite database, found: {'; '.join(faults)[:300]}: restore an older dump"
            )
        query = (
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
        )
        names = [str(row[0]) for row in opened.execute(query)]
        return {name: int(opened.execute(f"SELECT count(*) FROM {quoted(name)}").fetchone()[0]) for name in names}


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as exc:
        raise TransientStorageError(f"expected to read {path.name}, found: {exc}: retry") from exc
    except sqlite3.DatabaseError as exc:
        raise IntegrityError(f"expected a SQLite database in {path.name}, found: {exc}: restore an older dump") from exc
    except OSError as exc:
        raise StorageError(f"expected to write the copy of {path.name}, found: {exc.strerror}: check the disk") from exc
