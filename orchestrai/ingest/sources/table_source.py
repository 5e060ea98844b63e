"""A table that is read on behind a watermark: where it is, and how far it was read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.local_clock import LocalClock
from orchestrai.errors import ConfigError
from orchestrai.ingest.spec import SourceSpec
from orchestrai.storage.databases.open_table import FILES, Place
from orchestrai.storage.databases.table_port import Paging, Reached, Relation, Window


@dataclass(frozen=True)
class SqlSource:
    """A table or view; `url` is a secret reference (env://NAME, file:///path) to a URL of PostgreSQL or MySQL, sqlite:///path, duckdb:///path,
    or a URL of BigQuery or Redshift with `staging`.

    `watermark` names the contract's column that grows with every change: a TIMESTAMP, or a BIGINT with `overlap_ids` instead of
    `overlap`. `overlap` must be longer than the longest writing transaction. One slice holds at most `limit_rows`. `query` is read
    in place of the table of that name; `key` in place of the contract's primary key. With `reconcile` the source is asked again how many
    rows the window holds that was read.
    """

    url: str
    table: str
    watermark: str
    overlap: timedelta = timedelta(minutes=10)
    overlap_ids: int = 1_000
    page_rows: int = 5_000
    limit_rows: int = 1_000_000
    statement_timeout: timedelta = timedelta(minutes=30)
    retries: int = 3
    query: str = ""
    key: tuple[str, ...] = ()
    clock: LocalClock | None = None
    reconcile: bool = False

    def __post_init__(self) -> None:
        self.place.check()
        if self.overlap < timedelta(0) or self.overlap_ids < 0 or min(self.page_rows, self.limit_rows) < 1:
            raise ConfigError("expected an overlap of at least 0 and pages of at least 1 row: correct the source")

    @property
    def uri(self) -> str:
        """Where the table is, without user, password and options."""
        return f"{self.place.address}/{self.table}"

    @property
    def place(self) -> Place:
        """The database."""
        return Place(self.url)

    @property
    def relation(self) -> Relation:
        """The table or query in it."""
        return Relation(self.table, self.query)

    @property
    def paging(self) -> Paging:
        """How many rows are read at once."""
        return Paging(self.page_rows, self.limit_rows, self.reconcile)

    def window(self, after: "Position | None", until: "Position | None" = None) -> Window:
        """The rows behind a position, up to and with another."""
        return Window(_reached(after), _reached(until), self.overlap, self.overlap_ids)


@dataclass(frozen=True)
class Position:
    """How far a table was read: the greatest watermark, and the key reached where a slice ended before the table's end."""

    watermark: str | int
    key: tuple[str, ...] | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """The form kept in a manifest."""
        return {"watermark": self.watermark, "key": None if self.key is None else list(self.key)}

    @classmethod
    def of(cls, noted: JsonValue) -> "Position | None":
        """The position that `as_json` wrote; None for none."""
        if not isinstance(noted, Mapping):
            return None
        watermark, key = noted["watermark"], noted["key"]
        if not isinstance(watermark, str | int):
            raise ConfigError(
                f"expected a watermark that is text or a number in a position, found {watermark!r}: begin again"
            )
        return cls(watermark, tuple(str(part) for part in key) if isinstance(key, list | tuple) else None)


def _reached(position: Position | None) -> Reached | None:
    return None if position is None else Reached(position.watermark, position.key)


def table_of(source: SourceSpec, event_time: str | None, home: Path) -> SqlSource:
    """The table a declaration means; a relative file lies under `home`. Raises ConfigError."""
    options = source.sql
    watermark = options.watermark or event_time
    if not watermark:
        raise ConfigError("expected sql.watermark for a contract without an event time, found none: name the column")
    url = f"env://{options.dsn_env}" if options.dsn_env else source.url
    for scheme in FILES:
        if url.startswith(scheme):
            url = f"{scheme}{home / url.removeprefix(scheme)}"
    return SqlSource(
        url,
        options.table or "query",
        watermark,
        overlap=options.overlap,
        overlap_ids=options.overlap_ids,
        page_rows=options.page_rows,
        limit_rows=options.limit_rows,
        statement_timeout=options.statement_timeout,
        retries=options.retries,
        query=options.query.strip().rstrip(";"),
        key=options.key,
        clock=source.clock,
        reconcile=options.reconcile,
    )
