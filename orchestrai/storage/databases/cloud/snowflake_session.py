"""Snowflake by its connector: one session, whose temporary stage and tables hold what is on its way and end with it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from orchestrai.core.identity import new_session_id
from orchestrai.core.sql.dialects import SNOWFLAKE, Dialect, family_of
from orchestrai.errors import ConfigError, IntegrityError, MissingExtra, OrchestraiError
from orchestrai.secrets.reference import scrubbed
from orchestrai.storage.databases.cloud.cloud_warehouse import LIMIT, Statement, Unload, Values, one_number
from orchestrai.storage.databases.cloud.snowflake_stage import SnowflakeStage
from orchestrai.storage.databases.database_faults import statement_error
from orchestrai.storage.databases.window_query import NUMBER

if TYPE_CHECKING:
    import pyarrow as pa

_OPTIONS = ("warehouse", "role", "private_key_file", "private_key_file_pwd", "authenticator", "token", "host")
# what a value is as text must not hang on who asks
_SESSION = {
    "TIMEZONE": "UTC",
    "TIMESTAMP_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF6",
    "TIMESTAMP_NTZ_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF6",
    "TIMESTAMP_LTZ_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF6TZH:TZM",
    "TIMESTAMP_TZ_OUTPUT_FORMAT": "YYYY-MM-DD HH24:MI:SS.FF6TZH:TZM",
    "DATE_OUTPUT_FORMAT": "YYYY-MM-DD",
    "QUERY_TAG": "orchestrai",
}
_DIVIDED = "22012"
_TYPES = {"moment": "BIGINT", "clock": "BIGINT", "date": "VARCHAR", "decimal": "VARCHAR", "unsigned": "VARCHAR"}


@dataclass(frozen=True)
class SnowflakeUrl:
    """A URL taken apart; `given` is what the connector is called with, secrets among it."""

    schema: str
    given: Mapping[str, str] = field(repr=False)

    @property
    def secrets(self) -> list[str]:
        """What no message may show."""
        return [text for name, text in self.given.items() if name in ("password", "token", "private_key_file_pwd")]


def snowflake_url(text: str) -> SnowflakeUrl:
    """snowflake://user:password@account/database/schema?warehouse=W&role=R, as SQLAlchemy's dialect has it; raises ConfigError.

    In place of the password `private_key_file`, or `authenticator` with `token`.
    """
    parts = urlsplit(text)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(options) - set(_OPTIONS))
    database, _, schema = unquote(parts.path.strip("/")).partition("/")
    if unknown or not parts.hostname or not database or not schema or "/" in schema:
        found = f"unknown {', '.join(unknown)}" if unknown else "another one"
        raise ConfigError(
            f"expected snowflake://USER@ACCOUNT/DATABASE/SCHEMA?warehouse=NAME, found {found}: correct the URL"
        )
    place = {"account": parts.hostname, "database": database, "schema": schema}
    named = {"user": unquote(parts.username or ""), "password": unquote(parts.password or ""), **options}
    # without quotes a name is one of capitals
    written = schema[1:-1] if schema.startswith('"') and schema.endswith('"') else schema.upper()
    return SnowflakeUrl(written, {**place, **{name: value for name, value in named.items() if value}})


@dataclass
class Snowflake:
    """See Warehouse; the session begins with the first statement. `driver` is the connector, where it is another one."""

    url: SnowflakeUrl
    limit: timedelta = LIMIT
    driver: Any = None
    token: str = field(default_factory=new_session_id)
    _opened: Any = None
    _stage: SnowflakeStage | None = None

    @classmethod
    def at(cls, text: str, limit: timedelta = LIMIT) -> "Snowflake":
        """The warehouse at a URL; no statement of it takes longer than `limit`. Raises ConfigError."""
        return cls(snowflake_url(text), limit)

    @property
    def dialect(self) -> Dialect:
        """How its SQL differs."""
        return SNOWFLAKE

    @property
    def schema(self) -> str:
        """The schema."""
        return self.url.schema

    @property
    def staging(self) -> SnowflakeStage:
        """A stage of the session."""
        if self._stage is None:
            name = f"ORCHESTRAI_{self.token.upper()}"
            self.rows(f"CREATE TEMPORARY STAGE {name}")
            self._stage = SnowflakeStage(name, self.rows)
        return self._stage

    def close(self) -> None:
        """End the session."""
        if self._opened is not None:
            with self._errors("to end the session"):
                self._opened.close()
            self._opened, self._stage = None, None

    def rows(self, query: str) -> list[Values]:
        """The rows of a statement, their values as text."""
        with self._errors(f"to {query.split(None, 1)[0].upper()}"):
            cursor = self._session().cursor()
            try:
                cursor.execute(query, timeout=round(self.limit.total_seconds()))
                return [tuple(None if one is None else str(one) for one in row) for row in cursor.fetchall()]
            finally:
                cursor.close()

    def run(self, groups: Sequence[Sequence[Statement]]) -> None:
        """One transaction, where there is more than definitions, which end one."""
        statements = [statement for group in groups for statement in group]
        if all(len(group) == 1 for group in groups):
            for statement in statements:
                self.rows(statement.text)
            return
        self.rows("BEGIN")
        try:
            for statement in statements:
                self._told(statement)
        except BaseException:
            self.rows("ROLLBACK")
            raise
        self.rows("COMMIT")

    def _told(self, statement: Statement) -> None:
        try:
            self.rows(statement.text)
        except OrchestraiError as exc:
            if statement.told and exc.fields.get("sqlstate") == _DIVIDED:
                raise IntegrityError(f"{statement.told}; look at what else writes to the table") from exc
            raise

    def load(self, staged: str, schema: "pa.Schema", folder: str, uris: Sequence[str]) -> list[Statement]:
        """COPY into a table of the session, before any transaction: a definition would end it."""
        columns = ", ".join(f"{SNOWFLAKE.column(one.name)} {_staged_type(one.type)}" for one in schema)
        place = SNOWFLAKE.column(staged)
        self.rows(f"CREATE TEMPORARY TABLE {place} ({columns})")
        self.rows(
            f"COPY INTO {place} FROM {folder} FILE_FORMAT = (TYPE = PARQUET) MATCH_BY_COLUMN_NAME = CASE_SENSITIVE "
            "ON_ERROR = ABORT_STATEMENT"
        )
        return []

    def forget(self, staged: Sequence[str]) -> None:
        """Tables of a session end with it."""

    def unload(self, asked: Unload) -> int | None:
        """Rows and count by one statement, which sees one moment, as a transaction of Snowflake does not; then the rows to the stage."""
        name = SNOWFLAKE.column(re.sub(r"\W", "_", asked.name))
        number = SNOWFLAKE.column(NUMBER)
        count = f"({asked.count})" if asked.count else "NULL"
        self.rows(
            f"CREATE TEMPORARY TABLE {name} AS SELECT c.counted, p.* FROM (SELECT {count} AS counted) AS c "
            f"LEFT JOIN ({asked.rows}) AS p ON TRUE"
        )
        self.rows(
            f"COPY INTO {asked.place} FROM (SELECT * EXCLUDE counted FROM {name} WHERE {number} IS NOT NULL) "
            "FILE_FORMAT = (TYPE = PARQUET) HEADER = TRUE"
        )
        if not asked.count:
            return None
        return one_number(self.rows(f"SELECT MAX(counted) FROM {name}"), "Snowflake")

    def _session(self) -> Any:
        if self._opened is None:
            self._opened = self._named().connect(
                **self.url.given, session_parameters=_SESSION, application="orchestrai", autocommit=True
            )
        return self._opened

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        driver = self._named()
        try:
            yield
        except driver.Error as exc:
            text = scrubbed(" ".join(str(getattr(exc, "msg", None) or exc).split()), *self.url.secrets)
            reason = f"{getattr(exc, 'errno', None) or ''} {text}".strip()
            raise statement_error(f"Snowflake {what}", reason, sqlstate=str(getattr(exc, "sqlstate", None) or "")) from None

    def _named(self) -> Any:
        if self.driver is not None:
            return self.driver
        try:
            import snowflake.connector
        except ImportError as exc:
            raise MissingExtra(
                "expected snowflake-connector-python, found it absent: install orchestrai[snowflake]"
            ) from exc
        return snowflake.connector


def _staged_type(kind: "pa.DataType") -> str:
    return _TYPES.get(family_of(kind)) or SNOWFLAKE.type_of(kind)
