"""Features and predictions into warehouse tables: verified files staged, then merged by key in one transaction.

Idempotent: the same version again changes no row. A version older than the one a table holds is not loaded. PostgreSQL and
DuckDB; other warehouses load the same Parquet files with their own tools.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from orchestrai.contracts.verdict import JsonValue
from orchestrai.errors import ConfigError, StorageError, TransientStorageError
from orchestrai.ledger import Ledger
from orchestrai.storage.postgres import connection
from orchestrai.storage.secret_ref import check_reference

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = "orchestrai_version"
_LOADS = "orchestrai_loads"
_STAGED = "orchestrai_staged"
Mode = Literal["merge", "replace"]


@dataclass(frozen=True)
class LoadReport:
    """What a load changed; `skipped` when the table already holds a newer version."""

    asset: str
    version: str
    table: str
    rows: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    skipped: bool = False

    def as_json(self) -> dict[str, JsonValue]:
        """Facts for metadata."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class _Statements(Protocol):
    """A transaction of one of the two databases; `mark` stands for a value in its statements."""

    @property
    def mark(self) -> str: ...

    def lock(self, table: str) -> None:
        """Keep other loaders out until the transaction ends."""
        ...

    def run(self, statement: str, *values: Any) -> int:
        """Run a statement whose first answer, if any, is a number."""
        ...

    def stage(self, columns: Sequence[str], files: Sequence[Path]) -> None:
        """Fill the staging table from Parquet files."""
        ...

    def type_of(self, kind: "pa.DataType") -> str:
        """The column type for an Arrow type."""
        ...


class Target(Protocol):
    """A table that versions are loaded into."""

    @property
    def table(self) -> str: ...

    def transaction(self) -> "Any":
        """A context that gives `_Statements`, and commits when it is left without an error."""
        ...


@dataclass(frozen=True)
class PostgresTarget:
    """A table of PostgreSQL, `name` or `schema.name`; `url` is a secret reference to a connection URL."""

    url: str
    table: str

    def __post_init__(self) -> None:
        check_reference(self.url)

    @contextmanager
    def transaction(self) -> Iterator[_Statements]:
        with connection(self.url) as opened:
            yield _Postgres(opened)


@dataclass(frozen=True)
class DuckdbTarget:
    """A table in a DuckDB file."""

    path: Path
    table: str

    @contextmanager
    def transaction(self) -> Iterator[_Statements]:
        import duckdb

        try:
            with duckdb.connect(str(self.path)) as opened:
                opened.execute("SET TimeZone = 'UTC'")
                opened.begin()
                yield _Duckdb(opened)
                opened.commit()
        except (duckdb.IOException, duckdb.TransactionException) as exc:
            told = str(exc).split("\n")[0][:200]
            raise TransientStorageError(f"expected to write {self.path.name}, found: {told}; retry when it is free") from exc
        except duckdb.Error as exc:
            told = str(exc).split("\n")[0][:200]
            raise StorageError(f"expected {self.path.name} to take the rows, found: {told}; check the table") from exc


def load_table(
    ledger: Ledger,
    target: Target,
    *,
    asset: str,
    key: Sequence[str],
    partitions: Sequence[str] | None = None,
    mode: Mode = "merge",
) -> LoadReport:
    """Load the current version of `asset` into a table, which is created with `key` as its primary key when it is not there.

    "merge" inserts and updates by key; "replace" also deletes what the version does not hold. One transaction: readers see the
    old rows or the new ones. Raises NotReceipted, StorageError, ConfigError for a key that is not unique or not there.
    """
    import pyarrow.parquet as pq

    dataset = ledger.open(asset)
    if mode == "replace" and partitions is not None:
        raise ConfigError("expected all partitions to replace a table, found some chosen: leave them out or merge")
    with dataset.fetched(sorted(dataset.partitions) if partitions is None else partitions) as fetched:
        files = [f.path for part in fetched.values() for f in part if f.path.suffix == ".parquet"]
        if not files:
            raise ConfigError(f"expected Parquet files in {asset}, found none: it cannot be loaded into a table")
        schema = pq.read_schema(files[0])
        absent = sorted(set(key) - set(schema.names))
        if absent or not key or VERSION in schema.names:
            raise ConfigError(f"expected {asset} with the key {list(key)} and without {VERSION}, found {schema.names}")
        with target.transaction() as statements:
            load = _Load(statements, target.table, schema, tuple(key))
            load.prepare()
            if load.newer_than(dataset.head.seq):
                return LoadReport(asset, dataset.version, target.table, skipped=True)
            statements.stage(schema.names, files)
            rows = load.check_key(asset)
            inserted, updated = load.merge(dataset.version)
            deleted = load.delete_others() if mode == "replace" else 0
            load.remember(dataset.head.seq, dataset.version)
    return LoadReport(asset, dataset.version, target.table, rows, inserted, updated, deleted)


@dataclass
class _Load:
    """The statements of one load; both databases understand them."""

    on: _Statements
    name: str
    schema: "pa.Schema"
    key: tuple[str, ...]

    def __post_init__(self) -> None:
        self.table = ".".join(_quoted(part) for part in self.name.split("."))
        self.same = " AND ".join(f"t.{_quoted(k)} = s.{_quoted(k)}" for k in self.key)
        self.others = [name for name in self.schema.names if name not in self.key]
        self.changed = " OR ".join(f"t.{_quoted(n)} IS DISTINCT FROM s.{_quoted(n)}" for n in self.others) or "false"

    def prepare(self) -> None:
        """Create what is missing; one loader of a database at a time."""
        columns = ", ".join(f"{_quoted(field.name)} {self.on.type_of(field.type)}" for field in self.schema)
        keys = ", ".join(_quoted(name) for name in self.key)
        self.on.run(f"CREATE TABLE IF NOT EXISTS {_LOADS} (name TEXT PRIMARY KEY, seq BIGINT, version TEXT)")
        self.on.lock(_LOADS)
        self.on.run(f"CREATE TABLE IF NOT EXISTS {self.table} ({columns}, {VERSION} TEXT, PRIMARY KEY ({keys}))")
        self.on.run(f"CREATE TEMP TABLE {_STAGED} ({columns})")

    def newer_than(self, seq: int) -> bool:
        return self.on.run(f"SELECT count(*) FROM {_LOADS} WHERE name = {self.on.mark} AND seq > {int(seq)}", self.name) > 0

    def check_key(self, asset: str) -> int:
        keys = ", ".join(_quoted(name) for name in self.key)
        empty = " OR ".join(f"{_quoted(name)} IS NULL" for name in self.key)
        twice = self.on.run(f"SELECT count(*) FROM (SELECT 1 FROM {_STAGED} GROUP BY {keys} HAVING count(*) > 1) AS d")
        nulls = self.on.run(f"SELECT count(*) FROM {_STAGED} WHERE {empty}")
        if twice or nulls:
            raise ConfigError(
                f"expected {list(self.key)} to be a key of {asset}, found {twice} values twice and {nulls} empty"
            )
        return self.on.run(f"SELECT count(*) FROM {_STAGED}")

    def merge(self, version: str) -> tuple[int, int]:
        names = ", ".join(_quoted(name) for name in self.schema.names)
        updated = self.on.run(f"SELECT count(*) FROM {_STAGED} s JOIN {self.table} t ON {self.same} WHERE {self.changed}")
        before = self.on.run(f"SELECT count(*) FROM {self.table}")
        if updated:
            sets = ", ".join(f"{_quoted(n)} = s.{_quoted(n)}" for n in self.others)
            self.on.run(
                f"UPDATE {self.table} AS t SET {sets}, {VERSION} = {self.on.mark} FROM {_STAGED} AS s "
                f"WHERE {self.same} AND ({self.changed})",
                version,
            )
        self.on.run(
            f"INSERT INTO {self.table} ({names}, {VERSION}) SELECT {names}, {self.on.mark} FROM {_STAGED} AS s "
            f"WHERE NOT EXISTS (SELECT 1 FROM {self.table} AS t WHERE {self.same})",
            version,
        )
        return self.on.run(f"SELECT count(*) FROM {self.table}") - before, updated

    def delete_others(self) -> int:
        gone = f"FROM {self.table} AS t WHERE NOT EXISTS (SELECT 1 FROM {_STAGED} AS s WHERE {self.same})"
        found = self.on.run(f"SELECT count(*) {gone}")
        self.on.run(f"DELETE {gone}")
        return found

    def remember(self, seq: int, version: str) -> None:
        mark = self.on.mark
        self.on.run(
            f"INSERT INTO {_LOADS} VALUES ({mark}, {int(seq)}, {mark}) "
            "ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, version = excluded.version",
            self.name,
            version,
        )
        self.on.run(f"DROP TABLE {_STAGED}")


@dataclass(frozen=True)
class _Postgres:
    opened: Any
    mark: str = "%s"

    def lock(self, table: str) -> None:
        self.opened.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")

    def run(self, statement: str, *values: Any) -> int:
        answer = self.opened.execute(statement, values or None)
        return int(answer.fetchone()[0]) if answer.description else 0

    def stage(self, columns: Sequence[str], files: Sequence[Path]) -> None:
        import pyarrow.parquet as pq

        names = ", ".join(_quoted(name) for name in columns)
        with self.opened.cursor().copy(f"COPY {_STAGED} ({names}) FROM STDIN") as copy:
            for path in files:
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(batch_size=5_000, columns=list(columns)):
                        for row in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
                            copy.write_row(row)

    def type_of(self, kind: "pa.DataType") -> str:
        return _type_of(kind, double="DOUBLE PRECISION", real="REAL", timestamp="TIMESTAMP", binary="BYTEA")


@dataclass(frozen=True)
class _Duckdb:
    opened: Any
    mark: str = "?"

    def lock(self, table: str) -> None:
        """The file has one writing process, which holds it."""

    def run(self, statement: str, *values: Any) -> int:
        answer = self.opened.execute(statement, list(values) or None).fetchone()
        return int(answer[0]) if answer and isinstance(answer[0], int) else 0

    def stage(self, columns: Sequence[str], files: Sequence[Path]) -> None:
        names = ", ".join(_quoted(name) for name in columns)
        self.opened.execute(
            f"INSERT INTO {_STAGED} SELECT {names} FROM read_parquet(?, union_by_name = true)",
            [[str(path) for path in files]],
        )

    def type_of(self, kind: "pa.DataType") -> str:
        return _type_of(kind, double="DOUBLE", real="REAL", timestamp="TIMESTAMP", binary="BLOB")


def _type_of(kind: "pa.DataType", **names: str) -> str:
    import pyarrow.types as kinds

    if kinds.is_timestamp(kind):
        return "TIMESTAMPTZ" if kind.tz else names["timestamp"]
    if kinds.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    rules = (
        (kinds.is_boolean, "BOOLEAN"),
        (kinds.is_uint64, "DECIMAL(20,0)"),
        (lambda k: kinds.is_int64(k) or kinds.is_uint32(k), "BIGINT"),
        (kinds.is_integer, "INTEGER"),
        (kinds.is_float64, names["double"]),
        (kinds.is_floating, names["real"]),
        (kinds.is_date, "DATE"),
        (lambda k: kinds.is_string(k) or kinds.is_large_string(k), "TEXT"),
        (lambda k: kinds.is_binary(k) or kinds.is_large_binary(k), names["binary"]),
    )
    for holds, name in rules:
        if holds(kind):
            return name
    raise ConfigError(f"expected columns of plain types, found {kind}: leave the column out of the view")


def _quoted(name: str) -> str:
    if not name or "\0" in name or "%" in name:
        raise ConfigError(f"expected a plain column or table name, found {name!r}: rename it")
    return '"' + name.replace('"', '""') + '"'
