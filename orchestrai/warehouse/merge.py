"""Features and predictions into warehouse tables: verified files staged, then merged by key in one transaction.

Idempotent: the same version again changes no row. A version older than the one a table holds is not loaded. PostgreSQL, MySQL,
DuckDB, and the warehouses of clouds that load files.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from orchestrai.core.canonical import JsonValue
from orchestrai.errors import ConfigError
from orchestrai.ledger.ledger import Ledger
from orchestrai.warehouse.cloud.cloud_merge import MergedVersion, merge_into_cloud
from orchestrai.warehouse.cloud.cloud_table import CloudTarget
from orchestrai.warehouse.mysql_target import MysqlTarget
from orchestrai.warehouse.older_files import as_declared
from orchestrai.warehouse.target import STAGED, DuckdbTarget, PostgresTarget, Statements, Target, quoted, widen_table

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrai.contracts.contract import Contract

VERSION = "orchestrai_version"
_LOADS = "orchestrai_loads"
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


def load_table(
    ledger: Ledger,
    target: Target,
    *,
    asset: str,
    key: Sequence[str],
    partitions: Sequence[str] | None = None,
    mode: Mode = "merge",
    contract: "Contract | None" = None,
) -> LoadReport:
    """Load the current version of `asset` into a table, which is created with `key` as its primary key when it is not there.

    "merge" inserts and updates by key; "replace" also deletes what the version does not hold. One transaction: readers see the
    old rows or the new ones. Raises NotReceipted, StorageError, ConfigError for a key that is not unique or not there.
    """
    import pyarrow.parquet as pq

    dataset = ledger.open(asset)
    if mode == "replace" and isinstance(target, CloudTarget):
        raise ConfigError("expected the mode merge for a cloud's warehouse, found replace: load it by partitions")
    if mode == "replace" and partitions is not None:
        raise ConfigError("expected all partitions to replace a table, found some chosen: leave them out or merge")
    with (
        dataset.fetched(sorted(dataset.partitions) if partitions is None else partitions) as fetched,
        tempfile.TemporaryDirectory(prefix="orchestrai-load-") as folder,
    ):
        files = [f.path for part in fetched.values() for f in part if f.entry.path.endswith(".parquet")]
        if not files:
            raise ConfigError(f"expected Parquet files in {asset}, found none: it cannot be loaded into a table")
        schema = pq.read_schema(files[0]) if contract is None else contract.arrow_schema()
        files = files if contract is None else as_declared(files, contract, Path(folder))
        absent = sorted(set(key) - set(schema.names))
        if absent or not key or VERSION in schema.names:
            raise ConfigError(f"expected {asset} with the key {list(key)} and without {VERSION}, found {schema.names}")
        if isinstance(target, CloudTarget):
            merged = MergedVersion(asset, dataset.version, dataset.head.seq, schema, tuple(key), tuple(files))
            done = merge_into_cloud(target, merged)
            if done is None:
                return LoadReport(asset, dataset.version, target.table, skipped=True)
            return LoadReport(asset, dataset.version, target.table, *done)
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
    """The statements of one load, said in the dialect of the database."""

    on: Statements
    name: str
    schema: "pa.Schema"
    key: tuple[str, ...]

    def __post_init__(self) -> None:
        self.table = ".".join(quoted(part) for part in self.name.split("."))
        self.same = " AND ".join(f"t.{quoted(k)} = s.{quoted(k)}" for k in self.key)
        self.others = [name for name in self.schema.names if name not in self.key]
        differs = [self.on.dialect.differs.format(f"t.{quoted(n)}", f"s.{quoted(n)}") for n in self.others]
        self.changed = " OR ".join(differs) or "false"

    def prepare(self) -> None:
        """Create what is missing; one loader of a database at a time."""
        import pyarrow as pa

        columns = ", ".join(
            f"{quoted(field.name)} {self.on.type_of(field.type, key=field.name in self.key)}" for field in self.schema
        )
        keys = ", ".join(quoted(name) for name in self.key)
        text, named = self.on.type_of(pa.string()), self.on.type_of(pa.string(), key=True)
        more = self.on.dialect.table_options
        self.on.run(f"CREATE TABLE IF NOT EXISTS {_LOADS} (name {named} PRIMARY KEY, seq BIGINT, version {text}){more}")
        self.on.lock(_LOADS)
        self.on.run(f"CREATE TABLE IF NOT EXISTS {self.table} ({columns}, {VERSION} {text}, PRIMARY KEY ({keys})){more}")
        widen_table(self.on, self.name, self.schema)
        self.on.run(f"CREATE TEMPORARY TABLE {STAGED} ({columns}){more}")

    def newer_than(self, seq: int) -> bool:
        return self.on.run(f"SELECT count(*) FROM {_LOADS} WHERE name = {self.on.mark} AND seq > {int(seq)}", self.name) > 0

    def check_key(self, asset: str) -> int:
        keys = ", ".join(quoted(name) for name in self.key)
        empty = " OR ".join(f"{quoted(name)} IS NULL" for name in self.key)
        twice = self.on.run(f"SELECT count(*) FROM (SELECT 1 FROM {STAGED} GROUP BY {keys} HAVING count(*) > 1) AS d")
        nulls = self.on.run(f"SELECT count(*) FROM {STAGED} WHERE {empty}")
        if twice or nulls:
            raise ConfigError(
                f"expected {list(self.key)} to be a key of {asset}, found {twice} values twice and {nulls} empty"
            )
        return self.on.run(f"SELECT count(*) FROM {STAGED}")

    def merge(self, version: str) -> tuple[int, int]:
        names = ", ".join(quoted(name) for name in self.schema.names)
        updated = self.on.run(f"SELECT count(*) FROM {STAGED} s JOIN {self.table} t ON {self.same} WHERE {self.changed}")
        before = self.on.run(f"SELECT count(*) FROM {self.table}")
        if updated:
            sets = ", ".join(self.on.dialect.sets.format(quoted(n)) for n in self.others)
            condition = f"{self.same} AND ({self.changed})"
            self.on.run(
                self.on.dialect.update.format(self.table, f"{sets}, {VERSION} = {self.on.mark}", STAGED, condition), version
            )
        self.on.run(
            f"INSERT INTO {self.table} ({names}, {VERSION}) SELECT {names}, {self.on.mark} FROM {STAGED} AS s "
            f"WHERE NOT EXISTS (SELECT 1 FROM {self.table} AS t WHERE {self.same})",
            version,
        )
        return self.on.run(f"SELECT count(*) FROM {self.table}") - before, updated

    def delete_others(self) -> int:
        gone = f"NOT EXISTS (SELECT 1 FROM {STAGED} AS s WHERE {self.same})"
        count = self.on.run(f"SELECT count(*) FROM {self.table} AS t WHERE {gone}")
        self.on.run(self.on.dialect.delete.format(self.table, gone))
        return count

    def remember(self, seq: int, version: str) -> None:
        mark = self.on.mark
        self.on.run(f"DELETE FROM {_LOADS} WHERE name = {mark}", self.name)
        self.on.run(f"INSERT INTO {_LOADS} VALUES ({mark}, {int(seq)}, {mark})", self.name, version)
        self.on.run(self.on.dialect.drop_staged.format(STAGED))


__all__ = ["DuckdbTarget", "LoadReport", "Mode", "MysqlTarget", "PostgresTarget", "load_table"]
