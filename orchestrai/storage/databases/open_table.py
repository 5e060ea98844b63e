"""From a URL to a snapshot of a table behind it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from orchestrai.core import plugins
from orchestrai.errors import ConfigError, StorageError
from orchestrai.secrets.reference import is_reference, resolve_secret
from orchestrai.secrets.url_credentials import refuse_credentials, shown_url
from orchestrai.storage import postgres
from orchestrai.storage.databases import mysql
from orchestrai.storage.databases.cloud.cloud_url import SCHEMES as CLOUDS
from orchestrai.storage.databases.table_port import Relation, TableSnapshot

SQLITE, DUCKDB = "sqlite:///", "duckdb:///"
FILES = (SQLITE, DUCKDB)


@dataclass(frozen=True)
class Place:
    """Where tables are: `url` is sqlite:///path, duckdb:///path, bigquery:// or redshift-data:// with `staging`, snowflake://,
    postgresql:// or mysql:// without a password, a scheme that a plug-in adds, or a secret reference.
    """

    url: str

    @property
    def plugin(self) -> plugins.Plugin | None:
        """What adds the scheme, of one that orchestrai does not know."""
        scheme, separator, _ = self.url.partition("://")
        known = (*FILES, *CLOUDS, *mysql.SCHEMES, *postgres.SCHEMES)
        if not separator or self.url.startswith(known) or is_reference(self.url):
            return None
        return plugins.find("sources", scheme)

    @property
    def path(self) -> Path | None:
        """The file of a database that is one."""
        scheme = next((scheme for scheme in FILES if self.url.startswith(scheme)), None)
        return None if scheme is None else Path(self.url.removeprefix(scheme))

    def check(self) -> None:
        """Raise ConfigError, which shows no secret, for what is no such URL."""
        if self.path is not None:
            return
        if self.plugin is not None:
            refuse_credentials(self.url)
            return
        credentials = self.url.partition("://")[2].partition("/")[0].rpartition("@")[0]
        if self.url.startswith((*CLOUDS, *mysql.SCHEMES)) and ":" in credentials:
            raise ConfigError(
                "expected a URL without a password, found one with: write where the URL lies, such as env://NAME"
            )
        if self.url.startswith(CLOUDS):
            from orchestrai.storage.databases.cloud.open_warehouse import check_warehouse

            check_warehouse(self.url)
            return
        if not self.url.startswith(mysql.SCHEMES):
            postgres.check_address(self.url)

    @property
    def resolved(self) -> str:
        """The URL itself, behind a reference."""
        return resolve_secret(self.url) if is_reference(self.url) else self.url

    @property
    def of_mysql(self) -> bool:
        """Whether MySQL or MariaDB is asked; a reference is resolved for it."""
        return self.resolved.startswith(mysql.SCHEMES)

    @property
    def of_cloud(self) -> bool:
        """Whether a cloud's warehouse is asked, which writes its rows into a bucket; a reference is resolved for it."""
        return self.path is None and self.plugin is None and self.resolved.startswith(CLOUDS)

    @property
    def address(self) -> str:
        """Where it is, without user, password and options."""
        if self.path is not None:
            return f"{self.url.partition('///')[0]}///{self.path.name}"
        if self.plugin is not None:
            return shown_url(self.url)
        if self.of_cloud:
            scheme, _, rest = self.resolved.partition("?")[0].rstrip("/").partition("://")
            return f"{scheme}://{rest.rpartition('@')[2]}"
        return mysql.address(self.url) if self.of_mysql else postgres.address(self.url)


@contextmanager
def table_snapshot(
    place: Place, relation: Relation, *, statement_timeout: timedelta | None = None
) -> Iterator[TableSnapshot]:
    """A table as one moment shows it, opened for reading; raises StorageError, TransientStorageError, ConfigError, MissingExtra."""
    from orchestrai.storage.databases import file_tables
    from orchestrai.storage.databases.mysql_table import MysqlTable
    from orchestrai.storage.databases.postgres_table import PostgresTable

    if place.path is not None:
        opening = file_tables.sqlite_table if place.url.startswith(SQLITE) else file_tables.duckdb_table
        with opening(place.path, relation) as table:
            yield table
    elif place.plugin is not None:
        with ExitStack() as opened_by_it:
            opening = place.plugin.load()
            with plugins.blamed(
                place.plugin, f"to open {place.address}", "look at it, or mend the package", raises=StorageError
            ):
                table = opened_by_it.enter_context(opening(place.url, relation))
                plugins.require_protocol(table, TableSnapshot, place.plugin)
            yield table
    elif place.of_cloud:
        from orchestrai.storage.databases.cloud.staged_table import staged_table

        with staged_table(place.resolved, relation, statement_timeout) as staged:
            yield staged
    elif place.of_mysql:
        with mysql.snapshot(place.url, statement_timeout=statement_timeout) as opened:
            yield MysqlTable(opened, relation)
    else:
        with postgres.snapshot(place.url, statement_timeout=statement_timeout) as opened:
            yield PostgresTable(opened, relation)
