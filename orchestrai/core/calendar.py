"""Partition keys and the time they cover; all UTC, keys as Dagster writes them.

grain   key                 covers
hour    2026-01-01-13:00    [13:00, 14:00)
day     2026-01-01          one day
month   2026-01-01          one month
all     all                 everything
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

from orchestrai.errors import ConfigError

Grain = Literal["hour", "day", "month", "all"]
WHOLE = "all"
_FORMATS = {"hour": "%Y-%m-%d-%H:%M", "day": "%Y-%m-%d", "month": "%Y-%m-%d"}


def floor(moment: datetime, grain: Grain) -> datetime:
    """The start of the partition that holds `moment`."""
    start = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if grain in ("day", "month"):
        start = start.replace(hour=0)
    return start.replace(day=1) if grain == "month" else start


def partition_of(moment: datetime, grain: Grain) -> str:
    """The key of the partition that holds `moment`."""
    return WHOLE if grain == "all" else floor(moment, grain).strftime(_FORMATS[grain])


def window(key: str, grain: Grain) -> tuple[datetime, datetime]:
    """The half-open span of time a partition covers; raises ConfigError for a key of another shape."""
    if grain == "all":
        return datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    try:
        start = datetime.strptime(key, _FORMATS[grain]).replace(tzinfo=UTC)
    except ValueError as exc:
        raise ConfigError(
            f"expected a {grain} partition such as {partition_of(datetime.now(UTC), grain)}, found {key!r}"
        ) from exc
    if floor(start, grain) != start:
        raise ConfigError(f"expected the start of a {grain}, found {key!r}: use {partition_of(start, grain)}")
    return start, following(start, grain)


def following(start: datetime, grain: Grain) -> datetime:
    """The start of the next partition."""
    if grain == "month":
        return (start + timedelta(days=32)).replace(day=1)
    return start + (timedelta(hours=1) if grain == "hour" else timedelta(days=1))


def keys_between(first: str, last: str, grain: Grain) -> list[str]:
    """All keys from `first` to `last`, both included."""
    return list(_walk(first, last, grain))


def _walk(first: str, last: str, grain: Grain) -> Iterator[str]:
    if grain == "all":
        yield WHOLE
        return
    moment, end = window(first, grain)[0], window(last, grain)[0]
    while moment <= end:
        yield partition_of(moment, grain)
        moment = following(moment, grain)
