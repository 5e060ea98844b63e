"""Tables that versions are loaded into: PostgreSQL and DuckDB here, each in one transaction that readers see whole or not at all."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestrai.core.sql.dialects import DUCKDB, POSTGRES, Dialect
from orchestrai.core.sql.quoting import quoted as core_quoted
from orchestrai.errors import ConfigError, StorageError, TransientStorageError
from orchestrai.storage.databases.bulk_rows import csv_lines
from orchestrai.storage.postgres import check_address, connection

if TYPE_CHECKING:
    import pyarrow as pa

STAGED = "orchestrai_staged"
PAGE_ROWS = 20_000


class Statements(Protocol):
    """A transaction of one of the databases; `mark` stands for a value in its statements."""

    @property
    def mark(self) -> str: ...

    @property
    def dialect(self) -> Dialect:
        """How its SQL differs."""
        ...

    def lock(self, table: str) -> None:
        """Keep other loaders out until the transaction ends."""
        ...

    def run(self, statement: str, *values: Any) -> int:
        """Run a statement whose first answer, if any, is a number."""
        ...

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a query; its rows."""
        ...

    def stage(self, columns: Sequence[str], files: Sequence[Path]) -> None:
        """Fill the staging table from Parquet files."""
        ...

    def type_of(self, kind: "pa.DataType", *, key: bool = False) -> str:
        """The column type for an Arrow type, in a primary key or not."""
        ...


class Target(Protocol):
    """A table that versions are loaded into."""

    @property
    def table(self) -> str: ...

    def transaction(self) -> "Any":
        """A context that gives `Statements`, and commits when it is left without an error."""
        ...


@dataclass(frozen=True)
class PostgresTarget:
    """A table of PostgreSQL, `name` or `schema.name`; `url` is a secret reference to a connection URL, or one without a password."""

    url: str
    table: str

    def __post_init__(self) -> None:
        check_address(self.url)

    @contextmanager
    def transaction(self) -> Iterator[Statements]:
        with connection(self.url) as opened:
            yield _Postgres(opened)


@dataclass(frozen=True)
class DuckdbTarget:
    """A table in a DuckDB file."""

    path: Path
    table: str

    @contextmanager
    def transaction(self) -> Iterator[Statements]:
        import duckdb

        try:
            with duckdb.connect(str(self.path)) as opened:
                opened.execute("SET TimeZone = 'UTC'")
                opened.begin()
                yield _Duckdb(opened)
                opened.commit()
        except (duckdb.IOException, duckdb.TransactionException) as exc:
            message = str(exc).split("\n")[0][:200]
            raise TransientStorageError(
                f"expected to write {self.path.name}, found: {message}; retry when it is free"
            ) from exc
        except duckdb.Error as exc:
            message = str(exc).split("\n")[0][:200]
            raise StorageError(f"expected {self.path.name} to take the rows, found: {message}; check the table") from exc


@dataclass(frozen=True)
class _Postgres:
    opened: Any
    mark: str = "%s"
    dialect: Dialect = POSTGRES

    def lock(self, table: str) -> None:
        self.opened.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")

    def run(self, statement: str, *values: Any) -> int:
        answer = self.opened.execute(statement, values or None)
        return int(answer.fetchone()[0]) if answer.description else 0

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return list(self.opened.execute(statement, values or None).fetchall())

    def stage(self, columns: Sequence[str], files: Sequence[Path]) -> None:
        import pyarrow.parquet as pq

        names = ", ".join(quoted(name) for name in columns)
        with self.opened.cursor().copy(f"COPY {STAGED} ({names}) FROM STDIN (FORMAT csv)") as copy:
            for path in files:
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(batch_size=PAGE_ROWS, columns=list(columns)):
                        copy.write(csv_lines(batch.select(list(columns))))

    def type_of(self, kind: "pa.DataType", *, key: bool = False) -> str:
        return self.dialect.type_of(kind, key=key)


@dataclass(frozen=True)
class _Duckdb:
    opened: Any
    mark: str = "?"
    dialect: Dialect = DUCKDB

    def lock(self, table: str) -> None:
        """The file has one writing process, which holds it."""

    def run(self, statement: str, *values: Any) -> int:
        answer = self.opened.execute(statement, list(values) or None).fetchone()
        return int(answer[0]) if answer and isinstance(answer[0], int) else 0

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return list(self.opened.execute(statement, list(values) or None).fetchall())

    def stage(self, columns: Sequence[str], files: Sequence[Path]) -> None:
        names = ", ".join(quoted(name) for name in columns)
        self.opened.execute(
            f"INSERT INTO {STAGED} SELECT {names} FROM read_parquet(?, union_by_name = true)",
            [[str(path) for path in files]],
        )

    def type_of(self, kind: "pa.DataType", *, key: bool = False) -> str:
        return self.dialect.type_of(kind, key=key)


def widen_table(on: Statements, table: str, schema: "pa.Schema") -> None:
    """Give a table that was there before the columns that it lacks, and the types that became wider; others stay as they are."""
    import pyarrow.types as kinds

    owner, _, plain = table.rpartition(".")
    rows = on.rows(
        "SELECT column_name, data_type, numeric_precision, numeric_scale FROM information_schema.columns "
        f"WHERE table_name = {on.mark} AND table_schema = {on.mark if owner else on.dialect.schema}",
        plain,
        *([owner] if owner else []),
    )
    there = {name: (str(kind).upper(), precision, scale) for name, kind, precision, scale in rows}
    place = ".".join(quoted(part) for part in table.split("."))
    for field in schema if there else ():
        wanted = on.type_of(field.type)
        if field.name not in there:
            on.run(f"ALTER TABLE {place} ADD COLUMN {quoted(field.name)} {wanted}")
            continue
        kind, precision, scale = there[field.name]
        wider = kind in on.dialect.narrower.get(wanted.split()[0], ())
        if kinds.is_decimal(field.type) and kind.startswith(("DECIMAL", "NUMERIC")) and precision and scale is not None:
            grown = field.type.scale >= scale and field.type.precision - field.type.scale >= precision - scale
            wider = grown and (field.type.precision, field.type.scale) != (precision, scale)
        if wider:
            on.run(on.dialect.widen.format(place, quoted(field.name), wanted))


def quoted(name: str) -> str:
    if not name or "\0" in name or "%" in name:
        raise ConfigError(f"expected a plain column or table name, found {name!r}: rename it")
    return core_quoted(name)
