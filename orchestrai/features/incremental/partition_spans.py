"""Which partitions a span of time touches, from their keys."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from orchestrai.core.time.calendar import WHOLE, Grain, following, window
from orchestrai.errors import FeatureViewError

ALWAYS = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
_HOUR = re.compile(r"\d{4}-\d\d-\d\d-\d\d:\d\d")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def spans(keys: Iterable[str], grain: Grain | None = None) -> dict[str, tuple[datetime, datetime]]:
    """The half-open span each partition may hold, ascending by start; without a grain it is read off the keys."""
    ordered = sorted(keys)
    grain = grain or guess(ordered)
    windows = {key: window(key, grain) for key in ordered}
    return dict(sorted(windows.items(), key=lambda item: item[1]))


def guess(keys: Iterable[str]) -> Grain:
    """The coarsest grain that the keys allow: dates that all are firsts of a month may be months.

    Only for partitions whose manifests note no grain: weeks, years and days of a zone do.
    """
    keys = list(keys)
    if keys == [WHOLE] or not keys:
        return "all"
    if all(_HOUR.fullmatch(key) for key in keys):
        return "hour"
    if all(_DAY.fullmatch(key) for key in keys):
        return "month" if all(key.endswith("-01") for key in keys) else "day"
    raise FeatureViewError(f"expected partitions by hour, day, week, month or year, or {WHOLE}, found {', '.join(keys[:3])}")


def overlapping(
    partitions: Mapping[str, tuple[datetime, datetime]], since: datetime | None, until: datetime | None
) -> list[str]:
    """The partitions that may hold rows of [since, until)."""
    return [
        key
        for key, (start, end) in partitions.items()
        if (until is None or start < until) and (since is None or end > since)
    ]


def back(moment: datetime, span: timedelta | None) -> datetime | None:
    """`moment` less `span`; None when there is no span or it passes the beginning of time."""
    if span is None or moment - datetime.min.replace(tzinfo=UTC) <= span:
        return None
    return moment - span


__all__ = ["ALWAYS", "back", "following", "guess", "overlapping", "spans"]
