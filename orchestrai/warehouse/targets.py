"""From a URL to the table behind it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrai.errors import ConfigError
from orchestrai.secrets.reference import is_reference, resolve_secret
from orchestrai.storage.databases import mysql
from orchestrai.storage.databases.cloud.cloud_url import BIGQUERY, SCHEMES
from orchestrai.storage.databases.cloud.open_warehouse import open_warehouse
from orchestrai.warehouse.cloud.cloud_table import CloudTarget
from orchestrai.warehouse.mysql_target import MysqlTarget
from orchestrai.warehouse.sqlalchemy_target import SqlAlchemyTarget
from orchestrai.warehouse.target import DuckdbTarget, PostgresTarget

WarehouseTarget = PostgresTarget | MysqlTarget | DuckdbTarget | SqlAlchemyTarget | CloudTarget


def open_target(url: str, table: str, home: Path) -> WarehouseTarget:
    """The table at a URL or behind a secret reference; a relative DuckDB file lies under `home`. Raises ConfigError."""
    plain = resolve_secret(url) if is_reference(url) else url
    if plain.startswith(("postgresql://", "postgres://")):
        return PostgresTarget(url, table)
    if plain.startswith(mysql.SCHEMES):
        return MysqlTarget(url, table)
    if plain.startswith("duckdb:///"):
        return DuckdbTarget(home / plain.removeprefix("duckdb:///"), table)
    # of BigQuery without a staging place SQLAlchemy's dialect is asked
    if plain.startswith(SCHEMES) and (not plain.startswith(BIGQUERY) or "staging=" in plain):
        return _in_cloud(plain, table)
    return SqlAlchemyTarget(url, table)


@contextmanager
def opened_target(url: str, table: str, home: Path) -> Iterator[WarehouseTarget]:
    """The table at a URL, left with the block: see `open_target`."""
    target = open_target(url, table, home)
    try:
        yield target
    finally:
        if isinstance(target, CloudTarget):
            target.warehouse.close()


def _in_cloud(url: str, table: str) -> CloudTarget:
    """A table that is loaded from files."""
    if table.count(".") > 1:
        raise ConfigError(
            f"expected the table as name or schema.name for this warehouse, found {table}: leave the first out"
        )
    return CloudTarget(open_warehouse(url), table)
