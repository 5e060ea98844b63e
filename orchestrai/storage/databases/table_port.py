"""What a database must do to be read on from a watermark: one snapshot, a window of rows as Arrow, and the count of that window."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from orchestrai.core.canonical import JsonValue

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Relation:
    """A table, `name` or `schema.name`, or a query that is read like one."""

    table: str
    query: str = ""


@dataclass(frozen=True)
class Wanted:
    """What to read: columns by their names in the database (those in `texts` as text), and the order, watermark first.

    `timed` when the watermark is a time. The columns of the order that are in `numbers` are compared as numbers. Those in `exact`,
    decimals and times, are text as well where rows come in files, whose types hold them only nearly.
    """

    columns: tuple[str, ...]
    texts: frozenset[str]
    order: tuple[str, ...]
    timed: bool
    numbers: frozenset[str] = field(default_factory=frozenset)
    exact: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Reached:
    """A row in the order: its watermark, and its key where a slice was cut at it."""

    watermark: str | int
    key: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Window:
    """The rows behind `after`, or from an overlap before it where no slice was cut there; up to and with `until`.

    Without `after` it begins with the first row, without `until` it ends with the last. Rows without a watermark are in none.
    """

    after: Reached | None = None
    until: Reached | None = None
    overlap: timedelta = timedelta(0)
    overlap_ids: int = 0


@dataclass(frozen=True)
class Paging:
    """How many rows a batch and a slice have at most; `counted` when their count will be asked for."""

    page_rows: int = 5_000
    limit_rows: int = 1_000_000
    counted: bool = True


class TableSnapshot(Protocol):
    """A table as one moment shows it."""

    def facts(self, watermark: str) -> dict[str, JsonValue]:
        """What a receipt notes: the snapshot, the server, rows without a watermark, the age of the oldest transaction."""
        ...

    def batches(self, wanted: Wanted, window: Window, paging: Paging) -> "Iterator[pa.RecordBatch]":
        """Rows of a window in order. The sorting columns come once more at the end, keys and times as text."""
        ...

    def count(self, wanted: Wanted, window: Window) -> int:
        """How many rows the window holds, asked apart from the rows."""
        ...
