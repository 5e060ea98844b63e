"""Partition keys and the time they cover; keys as Dagster writes them.

grain   key                 covers
hour    2026-01-01-13:00    [13:00, 14:00), always of UTC
day     2026-01-01          one day: of UTC, or the 23, 24 or 25 hours that it has in a zone
week    2026-01-05          Monday to Sunday (ISO 8601); the key is the Monday
month   2026-01-01          one month
year    2026-01-01          one year
all     all                 everything

Nothing else turns a key into a span of time or a moment into a key. The zone is part of the grain, so that nobody hands it on by hand;
so is a dimension beside time, whose value a key then ends with (partition_key.py): what is asked of a key is then asked of its time.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Literal, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.partition_key import WHOLE as WHOLE
from orchestrai.core.time.partition_key import Dimension, Key, with_value
from orchestrai.errors import ConfigError

GrainName = Literal["hour", "day", "week", "month", "year", "all"]


@dataclass(frozen=True, slots=True)
class LocalGrain:
    """A grain whose partitions begin at midnight of a zone other than UTC."""

    name: Literal["day", "week", "month", "year"]
    zone: str

    def __str__(self) -> str:
        return self.name


TimeGrain = GrainName | LocalGrain


@dataclass(frozen=True, slots=True)
class DividedGrain:
    """A grain whose partitions are of a time and of a value of a dimension: each is gated alone."""

    time: TimeGrain
    dimension: Dimension

    def __str__(self) -> str:
        return str(self.time)


Grain = TimeGrain | DividedGrain
_HOUR = "%Y-%m-%d-%H:%M"
_DAY = timedelta(days=1)
_CUT, _DIMENSION = "cut", "dimension"
# other ways to write a partition, for people
_WEEK_TEXT = re.compile(r"(\d{4})-?W(\d{2})")
_DAY_TEXT = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_SHORT_TEXT = re.compile(r"(\d{4})(?:-(\d{2}))?")


def grain_in(name: GrainName, zone: str) -> TimeGrain:
    """A grain in a zone; raises ConfigError for a zone that is none, and for hours of one."""
    if zone_name(zone) == "UTC" or name == WHOLE:
        return name
    if name == "hour":
        raise ConfigError(
            f"expected no timezone for the grain hour, found {zone}: an hour is one of UTC; file names and times without a "
            "zone are read by source.timezone"
        )
    return LocalGrain(cast("Literal['day', 'week', 'month', 'year']", name), zone)


def zone_name(name: str) -> str:
    """The name of a zone of the IANA database, once it is one; raises ConfigError."""
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise ConfigError(f"expected an IANA time zone such as America/Los_Angeles or UTC, found {name!r}") from exc


def time_grain(grain: Grain) -> TimeGrain:
    """How partitions are cut by time, whatever else they are of."""
    return grain.time if isinstance(grain, DividedGrain) else grain


def dimension_of(grain: Grain) -> Dimension | None:
    """What partitions are of beside a time."""
    return grain.dimension if isinstance(grain, DividedGrain) else None


def name_of(grain: Grain) -> GrainName:
    """The grain without its zone and dimension."""
    grain = time_grain(grain)
    return grain.name if isinstance(grain, LocalGrain) else grain


def zone_of(grain: Grain) -> str:
    """The zone whose midnights cut the partitions."""
    grain = time_grain(grain)
    return grain.zone if isinstance(grain, LocalGrain) else "UTC"


def shown(moment: datetime, grain: Grain, *, seconds: bool = False) -> str:
    """A moment by the clock that cuts the partitions, for people."""
    form = "%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M"
    grain = time_grain(grain)
    return (
        moment.astimezone(ZoneInfo(grain.zone)).strftime(f"{form}%z")
        if isinstance(grain, LocalGrain)
        else moment.strftime(form)
    )


def floor(moment: datetime, grain: Grain) -> datetime:
    """The start of the partition that holds `moment`, UTC."""
    grain = time_grain(grain)
    if grain == "hour":
        return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return _starts(_day_of(moment, grain), zone_of(grain))


def partition_of(moment: datetime | date, grain: TimeGrain) -> str:
    """The key of the time that holds `moment`; a date is a day of the zone that cuts the partitions."""
    if grain == WHOLE:
        return WHOLE
    if not isinstance(moment, datetime):
        return partition_on(moment, grain)
    return floor(moment, grain).strftime(_HOUR) if grain == "hour" else _day_of(moment, grain).isoformat()


def partition_on(day: date, grain: TimeGrain) -> str:
    """The key of the time that a date belongs to, by the calendar of the partitions' zone: of its hours the first."""
    if grain == WHOLE:
        return WHOLE
    return f"{day.isoformat()}-00:00" if grain == "hour" else _first(day, grain).isoformat()


def start_of_day(day: date, grain: Grain) -> datetime:
    """The moment at which a date begins in the zone that cuts the partitions, UTC."""
    return _starts(day, zone_of(grain))


def window(key: str, grain: Grain) -> tuple[datetime, datetime]:
    """The half-open span of time a partition covers, UTC; raises ConfigError for a key of another shape."""
    if grain == WHOLE:
        return datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    start = _parsed(key, grain)
    if name_of(grain) == "hour":
        return start, start + timedelta(hours=1)
    begins, ends = _starts(start.date(), zone_of(grain)), _starts(_next(start.date(), grain), zone_of(grain))
    if begins == ends:
        raise ConfigError(f"expected a {grain} of {zone_of(grain)}, found {key}, which that zone left out")
    return begins, ends


@lru_cache(maxsize=16_384)
def _parsed(key: str, grain: Grain) -> datetime:
    """What a key says, by the clock of its zone; remembered, as each step asks for the same keys many times."""
    key, grain = _time_of(key, grain), time_grain(grain)
    try:
        start = _read(key, grain)
    except ValueError as exc:
        raise ConfigError(
            f"expected a {grain} partition such as {partition_of(datetime.now(UTC), grain)}, found {key!r}"
        ) from exc
    first = start.replace(minute=0) if grain == "hour" else datetime.combine(_first(start.date(), grain), time(), UTC)
    if first != start:
        use = first.strftime(_HOUR) if grain == "hour" else first.date().isoformat()
        raise ConfigError(f"expected the start of a {grain}, found {key!r}: use {use}")
    return start


def _read(key: str, grain: TimeGrain) -> datetime:
    """The time in a key; raises ValueError."""
    # as written here a key is read at once; any other spelling by what is slower and knows them all
    if grain != "hour" and _DAY_TEXT.fullmatch(key):
        return datetime(int(key[:4]), int(key[5:7]), int(key[8:]), tzinfo=UTC)
    return datetime.strptime(key, _HOUR if grain == "hour" else "%Y-%m-%d").replace(tzinfo=UTC)


def _time_of(key: str, grain: Grain) -> str:
    """The key of a partition's time, once it has a value where one is declared, and none where none is; raises ConfigError."""
    dimension, parts = dimension_of(grain), Key.of(key)
    if dimension is not None:
        if not parts.value:
            such = Key(parts.time, next(iter(dimension.values), dimension.name))
            raise ConfigError(f"expected a partition of a {grain} and a {dimension.name} such as {such}, found {key!r}")
        dimension.require(parts.value)
    elif parts.value:
        raise ConfigError(f"expected a partition of a {grain} alone such as {parts.time}, found {key!r}")
    return parts.time


def following(start: datetime, grain: Grain) -> datetime:
    """The start of the next partition."""
    grain = time_grain(grain)
    return window(partition_of(start, grain), grain)[1]


def dates_of(key: str, grain: Grain) -> list[date]:
    """The calendar days, of the partitions' zone, that a partition lies in; not for what is not cut by time."""
    first = _parsed(key, grain).date()
    last = first + _DAY if name_of(grain) == "hour" else _next(first, grain)
    return [first + number * _DAY for number in range((last - first).days)]


def ordinal(key: str, grain: Grain) -> int:
    """A partition's place in time, in partitions: neighbours differ by one."""
    start, name = _parsed(key, grain), name_of(grain)
    if name == "hour":
        return int(start.timestamp()) // 3600
    if name in ("month", "year"):
        return start.year * 12 + start.month if name == "month" else start.year
    # days since 1970; Monday the fifth of January 1970 begins week 1
    days = start.date().toordinal() - date(1970, 1, 1).toordinal()
    return days if name == "day" else (days + 3) // 7


def earlier(key: str, grain: Grain, count: int) -> str:
    """The key so many partitions before one, of its value; raises ConfigError for a key of another shape."""
    start, name, value = _parsed(key, grain), name_of(grain), Key.of(key).value
    if name == "hour":
        return with_value((start - count * timedelta(hours=1)).strftime(_HOUR), value)
    if name in ("month", "year"):
        months = start.year * 12 + start.month - 1 - count * (1 if name == "month" else 12)
        return with_value(date(months // 12, months % 12 + 1, 1).isoformat(), value)
    return with_value((start.date() - count * (7 if name == "week" else 1) * _DAY).isoformat(), value)


def keys_between(first: str, last: str, grain: Grain) -> list[str]:
    """All keys from `first` to `last`, both included: of two dimensions all times between, each with all values between, as declared."""
    dimension = dimension_of(grain)
    if dimension is None:
        return list(_walk(first, last, time_grain(grain)))
    times = _walk(_time_of(first, grain), _time_of(last, grain), time_grain(grain))
    low, high = (dimension.place(Key.of(key).value) for key in (first, last))
    return [with_value(time, value) for time in times for value in dimension.values[low : high + 1]]


def _walk(first: str, last: str, grain: TimeGrain) -> Iterator[str]:
    if grain == WHOLE:
        yield WHOLE
        return
    moment, end = window(first, grain)[0], window(last, grain)[0]
    while moment <= end:
        yield partition_of(moment, grain)
        moment = following(moment, grain)


def span_named(text: str, grain: Grain) -> tuple[str, str]:
    """The first and the last partition that a person's words mean: a key, a date, a week 2026-W05, a month 2026-02 or a year 2026.

    Of two dimensions it is all values, or the one that the words end with: 2026-02|eu. Raises ConfigError for other words, and for a
    date that is not the start of a longer partition.
    """
    dimension = dimension_of(grain)
    if dimension is not None:
        words = Key.of(text)
        values = (dimension.require(words.value),) if words.value else dimension.values
        times = span_named(words.time, time_grain(grain))
        return with_value(times[0], values[0]), with_value(times[1], values[-1])
    grain = time_grain(grain)
    if week := _WEEK_TEXT.fullmatch(text):
        try:
            first = date.fromisocalendar(int(week[1]), int(week[2]), 1)
        except ValueError as exc:
            raise ConfigError(f"expected a week such as 2026-W05, found {text!r}") from exc
        return _edges(first, first + 6 * _DAY, grain, text)
    if short := _SHORT_TEXT.fullmatch(text):
        length: Grain = "month" if short[2] else "year"
        first = _parsed(f"{short[1]}-{short[2] or '01'}-01", length).date()
        return _edges(first, _next(first, length) - _DAY, grain, text)
    if grain == "hour" and text.count("-") == 2:
        day = _parsed(text, "day").date()
        return _edges(day, day, grain, text)
    window(text, grain)
    return text, text


def _edges(first: date, last: date, grain: TimeGrain, text: str) -> tuple[str, str]:
    if grain == "hour":
        return f"{first.isoformat()}-00:00", f"{last.isoformat()}-23:00"
    keys = partition_on(first, grain), partition_on(last, grain)
    if grain != WHOLE and dates_of(keys[0], grain)[0] != first:
        raise ConfigError(f"expected the start of a {grain}, found {text!r}: use {keys[0]}")
    return keys


def grain_stats(grain: Grain) -> dict[str, JsonValue]:
    """What a partition's manifest notes of how it was cut, as facts that travel with it; nothing for hours, days and months of UTC,
    which their keys tell.
    """
    cut: dict[str, JsonValue] = {}
    if isinstance(grain, DividedGrain) or isinstance(grain, LocalGrain) or grain in ("week", "year"):
        cut = {"grain": name_of(grain), "timezone": zone_of(grain)}
    if isinstance(grain, DividedGrain):
        cut[_DIMENSION] = grain.dimension.name
    return {_CUT: cut} if cut else {}


def recorded_grain(stats: Mapping[str, Any]) -> Grain | None:
    """The grain that a partition's manifest notes; None where it notes none. Of a dimension it tells the name: values are as in keys."""
    cut = stats.get(_CUT)
    if cut is None:
        return None
    grain = grain_in(cut["grain"], cut["timezone"])
    return DividedGrain(grain, Dimension(cut[_DIMENSION])) if _DIMENSION in cut else grain


# -- days of a zone ----------------------------------------------------------------------------------------------


def _first(day: date, grain: Grain) -> date:
    """The first day of the partition that a day belongs to."""
    name = name_of(grain)
    if name == "week":
        return day - day.weekday() * _DAY
    return day.replace(day=1, month=1 if name == "year" else day.month) if name in ("month", "year") else day


def _next(first: date, grain: Grain) -> date:
    """The first day of the partition after the one that begins on `first`."""
    name = name_of(grain)
    if name == "month":
        return (first + 32 * _DAY).replace(day=1)
    return first.replace(year=first.year + 1) if name == "year" else first + (7 if name == "week" else 1) * _DAY


@lru_cache(maxsize=16_384)
def _starts(day: date, zone: str) -> datetime:
    """The moment at which a day begins in a zone: its first midnight, or where clocks skip that, the moment they do."""
    if zone == "UTC":
        return datetime(day.year, day.month, day.day, tzinfo=UTC)
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def _day_of(moment: datetime, grain: Grain) -> date:
    """The first day of the partition that holds `moment`."""
    if not isinstance(grain, LocalGrain):
        return _first(moment.astimezone(UTC).date(), grain)
    day = _first(moment.astimezone(ZoneInfo(grain.zone)).date(), grain)
    # clocks that go back over midnight show a date twice: the partition is the one whose span holds the moment
    while _starts(day, grain.zone) > moment:
        day = _first(day - _DAY, grain)
    while _starts(following_day := _next(day, grain), grain.zone) <= moment:
        day = following_day
    return day
