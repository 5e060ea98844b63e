"""What lies in a landing: which objects are data, and which partition each belongs to."""

import fnmatch
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from zoneinfo import ZoneInfo

from orchestrai.core.time.calendar import (
    WHOLE,
    Grain,
    TimeGrain,
    dates_of,
    dimension_of,
    name_of,
    partition_of,
    partition_on,
    time_grain,
    window,
    zone_of,
)
from orchestrai.core.time.partition_key import with_value
from orchestrai.errors import ConfigError
from orchestrai.ingest.discovery.odd_keys import odd_key, shown
from orchestrai.ingest.discovery.passed_over import passed_over
from orchestrai.ingest.spec import SourceSpec
from orchestrai.storage.base import ObjectInfo, Store

_DAY = re.compile(r"(?<!\d)(\d{4})[-_/.]?(\d{2})[-_/.]?(\d{2})(?:[T_\-/. ]?(\d{2})(?:[-:_h]?(\d{2}))?)?(?!\d{3})")
_WEEK = re.compile(r"(?<!\d)(\d{4})[-_/.]?[Ww](\d{2})(?!\d)")
_MONTH = re.compile(r"(?<!\d)(\d{4})[-_/.]?(\d{2})(?!\d)")
_YEAR = re.compile(r"(?<!\d)(\d{4})(?!\d)")
_LABELS = re.compile(r"(?:year|month|day|hour|date|dt|y|m|d|h)=", re.IGNORECASE)


@dataclass(frozen=True)
class Zone:
    """Where objects are looked for, and what places them in partitions."""

    landing: Store
    source: SourceSpec
    grain: Grain


@dataclass(frozen=True, slots=True)
class Sighting:
    """One listed object: the `rule` that passes it over, or the `fault` by which no partition can take it, or its partition."""

    info: ObjectInfo
    partition: str | None = None
    rule: str | None = None
    fault: str | None = None


def sight(source: SourceSpec, grain: Grain, info: ObjectInfo) -> Sighting:
    """What an object is by its name alone."""
    # a step of a path is no hidden name
    named = re.sub(r"(^|/)(\.{1,2}/)+", r"\1", info.key) if "./" in info.key else info.key
    rule = passed_over(named, source.passed_over) or _other_pattern(source, info.key)
    if rule is not None:
        return Sighting(info, rule=rule)
    fault = odd_key(info)
    if fault is not None:
        return Sighting(info, fault=fault)
    time = place(source, time_grain(grain), info)
    if time is None:
        nameless = f"expected a name that tells its {grain}, found {info.key!r}: mend partition_from or rename the object"
        return Sighting(info, fault=nameless)
    dimension = dimension_of(grain)
    if dimension is None:
        return Sighting(info, time)
    try:
        return Sighting(info, with_value(time, dimension.told_by(info.key)))
    except ConfigError as exc:
        return Sighting(info, fault=f"{exc.message}: mend partitions.dimension or rename the object")


def _other_pattern(source: SourceSpec, key: str) -> str | None:
    if source.pattern == "*" or fnmatch.fnmatchcase(key, source.pattern):
        return None
    return f"a key that does not match the pattern {source.pattern}"


def sightings(landing: Store, source: SourceSpec, grain: Grain, *, prefix: str = "") -> Iterator[Sighting]:
    """Everything in a landing, or below a prefix of it; raises StorageError in an outage, and for no object."""
    return (sight(source, grain, info) for info in landing.list(prefix))


def listed(landing: Store, source: SourceSpec, grain: Grain, *, since: datetime | None = None) -> Iterator[ObjectInfo]:
    """Every object of a landing; `since` leaves out partitions before it, where the source promises a `key_prefix`."""
    after = None
    if since is not None and source.key_prefix:
        # names tell the time of the zone that they are of
        after = since.astimezone(_zone_of_names(source, grain)).strftime(source.key_prefix)
    return landing.list("", start_after=after)


def sightings_for(landing: Store, source: SourceSpec, grain: Grain, partitions: Sequence[str]) -> Iterator[Sighting]:
    """What may belong to some partitions: all, or what lies under their prefixes where the source promises one."""
    if not source.key_prefix or grain == "all":
        yield from sightings(landing, source, grain)
        return
    times = (moment for key in partitions for moment in _named_times(source, grain, key))
    for prefix in sorted({moment.strftime(source.key_prefix) for moment in times}):
        yield from sightings(landing, source, grain, prefix=prefix)


def _named_times(source: SourceSpec, grain: Grain, key: str) -> Iterator[datetime]:
    """Every time that the names of a partition's objects may tell: a month lies under many days, a day under many hours."""
    if name_of(grain) == "hour":
        yield window(key, grain)[0].astimezone(_zone_of_names(source, grain))
        return
    for day in dates_of(key, grain):
        for hour in range(24) if "%H" in source.key_prefix else (0,):
            yield datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def _zone_of_names(source: SourceSpec, grain: Grain) -> ZoneInfo:
    """Whose clock a name without a zone tells: days are those of the partitions, hours those of the source."""
    return ZoneInfo(source.timezone if name_of(grain) == "hour" else zone_of(grain))


def uri_of(landing: Store, info: ObjectInfo) -> str:
    """Where an object lay, for receipts and dead letters."""
    return f"{landing.url.rstrip('/')}/{shown(info.key)}"


def place(source: SourceSpec, grain: TimeGrain, info: ObjectInfo) -> str | None:
    """The time of an object by its name, path or time; None when its name tells none."""
    if grain == "all":
        return WHOLE
    if source.partition_from == "modified":
        return partition_of(info.modified, grain)
    name = info.key.rsplit("/", 1)[-1]
    if source.partition_format:
        stem = name.split(".")[0]
        text = info.key if source.partition_from == "path" else stem
        return _key(lambda: datetime.strptime(text, source.partition_format), source, grain)  # noqa: DTZ007 _key knows the zone
    return _find(_LABELS.sub("", info.key) if source.partition_from == "path" else name, source, grain)


def _key(named: Callable[[], datetime], source: SourceSpec, grain: TimeGrain) -> str | None:
    """The partition of the time that a name tells; None where it tells none, or an hour that its zone has twice or not at all."""
    try:
        moment = named()
        if moment.tzinfo is not None:
            return partition_of(moment, grain)
        if grain != "hour":
            return partition_on(moment.date(), grain)
        readings = source.clock.readings(moment) if source.clock else (moment.replace(tzinfo=UTC),)
        return partition_of(readings[0], grain) if len(readings) == 1 else None
    except ValueError:
        return None


def _find(text: str, source: SourceSpec, grain: TimeGrain) -> str | None:
    for match in _DAY.finditer(text):
        year, month, day, hour, minute = (int(part) if part else None for part in match.groups())
        if year is None or month is None or day is None or (grain == "hour" and hour is None):
            continue
        clock = (hour or 0, minute or 0) if grain == "hour" else (0, 0)
        key = _key(partial(datetime, year, month, day, clock[0], clock[1]), source, grain)
        if key is not None:
            return key
    return _find_longer(text, source, grain)


def _find_longer(text: str, source: SourceSpec, grain: TimeGrain) -> str | None:
    """A name that tells a week 2026-W05, a month or a year, where such a one is the whole partition."""
    if str(grain) == "week" and (week := _WEEK.search(text)):
        return _key(partial(datetime.fromisocalendar, int(week[1]), int(week[2]), 1), source, grain)
    if str(grain) in ("month", "year") and (month := _MONTH.search(text)):
        return _key(partial(datetime, int(month[1]), int(month[2]), 1), source, grain)
    if str(grain) == "year" and (year := _YEAR.search(text)):
        return _key(partial(datetime, int(year[1]), 1, 1), source, grain)
    return None
