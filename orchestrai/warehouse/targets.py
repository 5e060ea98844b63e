"""From a URL to the table behind it."""

from pathlib import Path

from orchestrai.errors import ConfigError
from orchestrai.secrets.reference import is_reference, resolve_secret
from orchestrai.storage.databases import mysql
from orchestrai.storage.databases.cloud import bigquery_jobs, redshift_data
from orchestrai.storage.url import open_store
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
    if plain.startswith(redshift_data.SCHEME) or (plain.startswith(bigquery_jobs.SCHEME) and "staging=" in plain):
        return _in_cloud(plain, table)
    return SqlAlchemyTarget(url, table)


def _in_cloud(url: str, table: str) -> CloudTarget:
    """A table that is loaded from a bucket."""
    if table.count(".") > 1:
        raise ConfigError(
            f"expected the table as name or schema.name for this warehouse, found {table}: leave the first out"
        )
    warehouse = redshift_data.Redshift.at(url) if url.startswith(redshift_data.SCHEME) else bigquery_jobs.BigQuery.at(url)
    staging = warehouse.url.staging
    return CloudTarget(warehouse, table, open_store(staging), staging)
