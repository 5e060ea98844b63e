"""A contract: what a dataset must look like, as the rest of orchestrai reads it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from orchestrai.contracts.columns.derivation import Derivation
from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.calendar import Grain, dates_of
from orchestrai.core.verdict import Severity

if TYPE_CHECKING:
    import pyarrow as pa

PERSONAL = frozenset({"pii", "personal", "sensitive", "restricted"})
SIMPLE = ("STRING", "BIGINT", "INT", "DOUBLE", "BOOLEAN", "TIMESTAMP", "DATE")
_DECIMAL = re.compile(r"DECIMAL\((\d{1,2})(?:,\s*(\d{1,2}))?\)")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def normal_type(text: str) -> str:
    """A physical type in its one spelling, such as `DECIMAL(12,2)`; raises ValueError for others."""
    upper = text.strip().upper()
    if upper in SIMPLE:
        return upper
    match = _DECIMAL.fullmatch(upper)
    if match:
        precision, scale = int(match[1]), int(match[2] or 0)
        if 1 <= precision <= 38 and scale <= precision:
            return f"DECIMAL({precision},{scale})"
    raise ValueError(f"expected {', '.join(SIMPLE)} or DECIMAL(p,s) with p up to 38, found {text!r}")


def arrow_type(physical: str) -> "pa.DataType":
    """The Arrow type of a physical type; timestamps are UTC in microseconds."""
    import pyarrow as pa

    plain = {
        "STRING": pa.string(),
        "BIGINT": pa.int64(),
        "INT": pa.int32(),
        "DOUBLE": pa.float64(),
        "BOOLEAN": pa.bool_(),
        "TIMESTAMP": pa.timestamp("us", tz="UTC"),
        "DATE": pa.date32(),
    }
    if physical in plain:
        return plain[physical]
    match = _DECIMAL.fullmatch(physical)
    if match is None:
        raise ValueError(f"expected a normal physical type, found {physical!r}")
    return pa.decimal128(int(match[1]), int(match[2] or 0))


def physical_type(kind: "pa.DataType") -> str | None:
    """The physical type of an Arrow type as orchestrai writes it; None for others."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_large_string(kind):
        return "STRING"
    if pa.types.is_decimal128(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    return next((name for name in SIMPLE if arrow_type(name) == kind), None)


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `source` is its name at the source, `key` its position in the primary key.

    `canonical` "integer" writes text such as `17850.0` as `17850`; "trim" drops blanks around. `unit` says what integers count
    since 1970 under TIMESTAMP and DATE. `tokenise` asks for tokens in place of values from ingest on (see tokens.py). `derive` says
    what a column is made from that no source sends.
    """

    name: str
    type: str
    source: str
    required: bool = False
    unique: bool = False
    key: int | None = None
    allowed: tuple[str | int | float | bool, ...] = ()
    minimum: float | str | None = None
    maximum: float | str | None = None
    pattern: str | None = None
    max_length: int | None = None
    classification: str = ""
    canonical: Literal["", "integer", "trim"] = ""
    tokenise: bool = False
    severity: Severity = "error"
    description: str = ""
    derive: Derivation | None = None
    unit: Literal["", "s", "ms", "us", "ns", "days"] = ""

    @property
    def personal(self) -> bool:
        """True for personal data."""
        return self.classification.lower() in PERSONAL


@dataclass(frozen=True, slots=True)
class VolumeRule:
    """How many rows a partition may have.

    `threshold` is the relative change from the expected that alerts at all; `gross_below` and `gross_above` are the
    shares of the expected beyond which an alert closes the gate; `minimum` and `maximum` always do.
    `z` is in scales of the usual error: an alert takes three quarters of it below the expected, one and a half of it above.
    `period` is the season in partitions (7 for days, 24 for hours, 0 for none, None by grain).
    """

    method: Literal["robust", "mean7d", "none"] = "robust"
    threshold: float = 0.2
    z: float = 4.0
    gross_below: float = 0.125
    gross_above: float = 8.0
    period: int | None = None
    minimum: int | None = None
    maximum: int | None = None


@dataclass(frozen=True, slots=True)
class HoldRule:
    """When a partition that is unlike those before it waits for a person.

    `ordinary_days` is the share of ordinary partitions that may be held by mistake; 0 judges none. `release_after` publishes a held one
    that nobody decided on for so long; without it a person decides, or more data does.
    """

    ordinary_days: float = 0.005
    release_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class ClosedDays:
    """Days on which nothing is due: weekdays (0 is Monday) and spans of dates, both ends included."""

    weekdays: frozenset[int] = frozenset()
    spans: tuple[tuple[date, date], ...] = ()

    def covers(self, day: date) -> bool:
        """True when nothing is due on `day`."""
        return day.weekday() in self.weekdays or any(first <= day <= last for first, last in self.spans)

    def due(self, partition: str, grain: Grain) -> bool:
        """True when data is due for a partition: at least one of its days is open."""
        if grain == "all":
            return True
        return not all(self.covers(day) for day in dates_of(partition, grain))


@dataclass(frozen=True)
class Contract:
    """What a dataset must look like: columns, event time, and the promises on freshness, volume and retention.

    `freshness` is how far the newest event may lie before the partition's end (or now, when that is earlier);
    `tolerance` how far events may stray from the partition's window. `person` is the column that names whose row it is, where
    columns are tokenised. `key_across_partitions` says what it is when a key stands in two partitions.
    """

    name: str
    version: str
    columns: tuple[Column, ...]
    event_time: str | None = None
    freshness: timedelta | None = None
    earliest: datetime = datetime(1990, 1, 1, tzinfo=UTC)
    tolerance: timedelta = timedelta(0)
    volume: VolumeRule = VolumeRule()
    hold: HoldRule = HoldRule()
    closed: ClosedDays = ClosedDays()
    person: str | None = None
    retention: timedelta | None = None
    key_across_partitions: Literal["warn", "error", "off"] = "warn"
    description: str = ""
    owner: str = ""
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    def column(self, name: str) -> Column:
        """A column by name; raises KeyError."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def landed(self) -> tuple[Column, ...]:
        """The columns that a source sends: all but those that are derived."""
        return tuple(column for column in self.columns if column.derive is None)

    @property
    def names_objects(self) -> bool:
        """Whether a column is made of the name of the object that a row came in."""
        return any(column.derive is not None and column.derive.function == "name" for column in self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The columns of the primary key, in its order."""
        keyed = sorted((column.key, column.name) for column in self.columns if column.key is not None)
        return tuple(name for _, name in keyed)

    @property
    def personal_columns(self) -> tuple[str, ...]:
        """Columns that hold personal data."""
        return tuple(column.name for column in self.columns if column.personal)

    @property
    def tokenised_columns(self) -> tuple[str, ...]:
        """Columns that hold tokens under the key of the person; empty for a dataset without `person`."""
        if self.person is None:
            return ()
        return tuple(column.name for column in self.columns if column.tokenise or column.name == self.person)

    def arrow_schema(self) -> "pa.Schema":
        """The schema of the Parquet files; every field nullable, since the audit and not the writer judges nulls."""
        import pyarrow as pa

        return pa.schema([pa.field(column.name, arrow_type(column.type)) for column in self.columns])
