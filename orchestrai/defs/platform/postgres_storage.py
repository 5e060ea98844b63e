"""Dagster's runs, events and ticks in PostgreSQL, by a secret reference to its URL.

SQLAlchemy 2.1 takes psycopg 3 for `postgresql://`, and dagster-postgres uses `with connection:`, which closes a psycopg 3 connection:
each page of the webserver was HTTP 500. So whatever scheme the URL has, psycopg2 speaks. The password is asked for again at each
connection: a rotated one needs no restart.
"""

from collections.abc import Callable, Mapping
from typing import Any

from dagster import Field
from dagster._serdes import ConfigurableClassData
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from orchestrai.errors import ConfigError
from orchestrai.secrets.reference import resolve_secret

try:
    from dagster_postgres import DagsterPostgresStorage
    from dagster_postgres.auth import PgTokenProvider
except ImportError as exc:
    raise ConfigError(
        f"expected dagster-postgres for ORCHESTRAI_INSTANCE_DB, found it absent ({exc.name}): pip install 'orchestrai[postgres]'"
    ) from exc

DRIVER = "postgresql+psycopg2"
_SCHEMES = ("postgres", "postgresql", DRIVER, "postgresql+psycopg")


class SecretPassword(PgTokenProvider):
    """The password in the URL behind a reference, as it is when a connection is made."""

    def __init__(self, read: Callable[[], URL]) -> None:
        super().__init__()
        self._read = read

    def get_token(self) -> str:
        """The password of now; how long one is kept is the reference's matter and not Dagster's."""
        return self._read().password or ""

    def _fetch_token(self) -> tuple[str, float]:
        return self.get_token(), 0.0


class PostgresStorage(DagsterPostgresStorage):
    """dagster-postgres's storage, with its URL behind a secret reference."""

    @classmethod
    def config_type(cls) -> Any:
        """What dagster.yaml says."""
        return {"url": Field(str, description="where the URL lies: env://NAME, file:///path")}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "PostgresStorage":
        """What dagster.yaml asks for; raises ConfigError, which never shows the URL."""
        reference = config_value["url"]
        url = database_url(reference)
        # without its password: what is logged of an engine has none
        shown = url.set(password=None).render_as_string(hide_password=False)
        provider = SecretPassword(lambda: database_url(reference)) if url.password else None
        return cls(shown, inst_data=inst_data, token_provider=provider)


def database_url(reference: str) -> URL:
    """The URL behind a reference, for psycopg2; raises ConfigError where it is none of PostgreSQL."""
    text = resolve_secret(reference)
    try:
        url = make_url(text)
    except ArgumentError:
        raise _no_database(reference) from None
    if url.drivername not in _SCHEMES or not (url.host or url.query.get("host")) or not url.database:
        raise _no_database(reference)
    return url.set(drivername=DRIVER)


def _no_database(reference: str) -> ConfigError:
    return ConfigError(f"expected postgresql://user:password@host/database at {reference}, found something else: correct it")
