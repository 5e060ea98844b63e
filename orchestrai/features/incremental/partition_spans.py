"""Which partitions a span of time touches, from their keys."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from orchestrai.core.time.calendar import WHOLE, Grain, following, partition_of, time_grain, window
from orchestrai.core.tree.ordered_keys import BEHIND, StepsBack, keys_before
from orchestrai.errors import FeatureViewError

Span = tuple[datetime, datetime]
ALWAYS = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
# beyond this a partition may have no end
_LAST = datetime(9999, 1, 1, tzinfo=UTC)
_HOUR = re.compile(r"\d{4}-\d\d-\d\d-\d\d:\d\d")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def spans(keys: Iterable[str], grain: Grain | None = None) -> dict[str, tuple[datetime, datetime]]:
    """The half-open span each partition may hold, ascending by start; without a grain it is read off the keys."""
    ordered = sorted(keys)
    grain = grain or guess(ordered)
    windows = {key: window(key, grain) for key in ordered}
    return dict(sorted(windows.items(), key=lambda item: item[1]))


class PartitionSpans(Mapping[str, Span]):
    """The spans of published partitions, each worked out when it is asked for: a window reads what lies in it, however long the history.

    Without a grain it is read off the newest keys. Raises FeatureViewError for keys that tell none.
    """

    def __init__(self, keys: Collection[str], grain: Grain | None = None) -> None:
        self.keys_there = keys
        self.grain = grain or _guess_newest(keys)

    def before(self, key: str) -> Iterator[str]:
        """The keys before one, the last first."""
        return keys_before(self.keys_there, key)

    def overlapping(self, since: datetime | None, until: datetime | None) -> list[str]:
        """The keys whose span overlaps [since, until), ascending."""
        behind, found = BEHIND, list[str]()
        if until is not None and self.grain != WHOLE and until < _LAST:
            # no partition that begins before `until` has a later key than the one that holds it
            behind = f"{partition_of(until, time_grain(self.grain))}~"
        for key in self.before(behind):
            start, end = window(key, self.grain)
            if since is not None and end <= since:
                break
            if until is None or start < until:
                found.append(key)
        return found[::-1]

    @property
    def ends(self) -> Span | None:
        """From the start of the first to the end of the last; None where there is none."""
        first, last = next(iter(self), None), next(self.before(BEHIND), None)
        return (self[first][0], self[last][1]) if first is not None and last is not None else None

    def __getitem__(self, key: str) -> Span:
        if key not in self.keys_there:
            raise KeyError(key)
        return window(key, self.grain)

    def __contains__(self, key: object) -> bool:
        return key in self.keys_there

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys_there if isinstance(self.keys_there, StepsBack) else sorted(self.keys_there))

    def __len__(self) -> int:
        return len(self.keys_there)


def _guess_newest(keys: Collection[str]) -> Grain:
    """The grain of a published dataset, all of whose keys are of one: months where all are firsts of a month."""
    newest = keys_before(keys, BEHIND)
    last = next(newest, None)
    grain = guess([last] if last is not None else [])
    return "day" if grain == "month" and not all(key.endswith("-01") for key in newest) else grain


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


def overlapping(partitions: Mapping[str, Span], since: datetime | None, until: datetime | None) -> list[str]:
    """The partitions that may hold rows of [since, until)."""
    if isinstance(partitions, PartitionSpans):
        return partitions.overlapping(since, until)
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


__all__ = ["ALWAYS", "PartitionSpans", "back", "following", "guess", "overlapping", "spans"]
