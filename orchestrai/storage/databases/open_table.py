"""From a URL to a snapshot of a table behind it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from orchestrai.errors import ConfigError
from orchestrai.secrets.reference import is_reference, resolve_secret
from orchestrai.storage import postgres
from orchestrai.storage.databases import mysql
from orchestrai.storage.databases.table_port import Relation, TableSnapshot

SQLITE, DUCKDB = "sqlite:///", "duckdb:///"
FILES = (SQLITE, DUCKDB)


@dataclass(frozen=True)
class Place:
    """Where tables are: `url` is sqlite:///path, duckdb:///path, postgresql:// or mysql:// without a password, or a secret reference."""

    url: str

    @property
    def path(self) -> Path | None:
        """The file of a database that is one."""
        scheme = next((scheme for scheme in FILES if self.url.startswith(scheme)), None)
        return None if scheme is None else Path(self.url.removeprefix(scheme))

    def check(self) -> None:
        """Raise ConfigError, which shows no secret, for what is no such URL."""
        if self.path is not None:
            return
        if self.url.startswith(mysql.SCHEMES):
            if ":" in self.url.partition("://")[2].partition("@")[0] and "@" in self.url:
                raise ConfigError(
                    "expected a URL without a password, found one with: write where the URL lies, such as env://NAME"
                )
            return
        postgres.check_address(self.url)

    @property
    def of_mysql(self) -> bool:
        """Whether MySQL or MariaDB is asked; a reference is resolved for it."""
        text = resolve_secret(self.url) if is_reference(self.url) else self.url
        return text.startswith(mysql.SCHEMES)

    @property
    def address(self) -> str:
        """Where it is, without user, password and options."""
        if self.path is not None:
            return f"{self.url.partition('///')[0]}///{self.path.name}"
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
    elif place.of_mysql:
        with mysql.snapshot(place.url, statement_timeout=statement_timeout) as opened:
            yield MysqlTable(opened, relation)
    else:
        with postgres.snapshot(place.url, statement_timeout=statement_timeout) as opened:
            yield PostgresTable(opened, relation)
