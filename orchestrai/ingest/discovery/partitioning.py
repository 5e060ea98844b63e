"""What lies in a landing: which objects are data, and which partition each belongs to."""

import fnmatch
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from orchestrai.core.calendar import WHOLE, Grain, partition_of, window
from orchestrai.ingest.discovery.odd_keys import odd_key, shown
from orchestrai.ingest.discovery.passed_over import passed_over
from orchestrai.ingest.spec import SourceSpec
from orchestrai.storage.base import ObjectInfo, Store

_DAY = re.compile(r"(?<!\d)(\d{4})[-_/.]?(\d{2})[-_/.]?(\d{2})(?:[T_\-/. ]?(\d{2})(?:[-:_h]?(\d{2}))?)?(?!\d{3})")
_MONTH = re.compile(r"(?<!\d)(\d{4})[-_/.]?(\d{2})(?!\d)")
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
    rule = passed_over(named) or _other_pattern(source, info.key)
    if rule is not None:
        return Sighting(info, rule=rule)
    fault = odd_key(info)
    if fault is not None:
        return Sighting(info, fault=fault)
    partition = place(source, grain, info)
    nameless = f"expected a name that tells its {grain}, found {info.key!r}: mend partition_from or rename the object"
    return Sighting(info, partition, fault=None if partition else nameless)


def _other_pattern(source: SourceSpec, key: str) -> str | None:
    if source.pattern == "*" or fnmatch.fnmatchcase(key, source.pattern):
        return None
    return f"a key that does not match the pattern {source.pattern}"


def sightings(landing: Store, source: SourceSpec, grain: Grain, *, prefix: str = "") -> Iterator[Sighting]:
    """Everything in a landing, or below a prefix of it; raises StorageError in an outage, and for no object."""
    return (sight(source, grain, info) for info in landing.list(prefix))


def listed(landing: Store, source: SourceSpec, *, since: datetime | None = None) -> Iterator[ObjectInfo]:
    """Every object of a landing; `since` leaves out partitions before it, where the source promises a `key_prefix`."""
    after = since.strftime(source.key_prefix) if since is not None and source.key_prefix else None
    return landing.list("", start_after=after)


def sightings_for(landing: Store, source: SourceSpec, grain: Grain, partitions: Sequence[str]) -> Iterator[Sighting]:
    """What may belong to some partitions: all, or what lies under their prefixes where the source promises one."""
    if not source.key_prefix or grain == "all":
        yield from sightings(landing, source, grain)
        return
    # a month lies under many days, a day under many hours
    step = timedelta(hours=1) if "%H" in source.key_prefix else timedelta(days=1)
    starts = [moment for key in partitions for moment in _steps(*window(key, grain), step)]
    for prefix in sorted({start.strftime(source.key_prefix) for start in starts}):
        yield from sightings(landing, source, grain, prefix=prefix)


def _steps(start: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
    while start < end:
        yield start
        start += step


def uri_of(landing: Store, info: ObjectInfo) -> str:
    """Where an object lay, for receipts and dead letters."""
    return f"{landing.url.rstrip('/')}/{shown(info.key)}"


def place(source: SourceSpec, grain: Grain, info: ObjectInfo) -> str | None:
    """The partition of an object by its name, path or time; None when its name tells none."""
    if grain == "all":
        return WHOLE
    if source.partition_from == "modified":
        return partition_of(info.modified, grain)
    name = info.key.rsplit("/", 1)[-1]
    if source.partition_format:
        stem = name.split(".")[0]
        text = info.key if source.partition_from == "path" else stem
        return _key(lambda: datetime.strptime(text, source.partition_format).replace(tzinfo=UTC), grain)
    return _find(_LABELS.sub("", info.key) if source.partition_from == "path" else name, grain)


def _key(moment: Callable[[], datetime], grain: Grain) -> str | None:
    try:
        return partition_of(moment(), grain)
    except ValueError:
        return None


def _find(text: str, grain: Grain) -> str | None:
    for match in _DAY.finditer(text):
        year, month, day, hour, minute = (int(part) if part else None for part in match.groups())
        if year is None or month is None or day is None or (grain == "hour" and hour is None):
            continue
        clock = (hour or 0, minute or 0) if grain == "hour" else (0, 0)
        key = _key(partial(datetime, year, month, day, clock[0], clock[1], tzinfo=UTC), grain)
        if key is not None:
            return key
    month_only = _MONTH.search(text) if grain == "month" else None
    return _key(partial(datetime, int(month_only[1]), int(month_only[2]), 1, tzinfo=UTC), grain) if month_only else None
