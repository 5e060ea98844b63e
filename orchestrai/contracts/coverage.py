"""How much of the time that its like usually covers a partition's events cover: what is cut off is not seen by counting.

Usual are the medians of the first and of the last event of the last SEASONS partitions of the same season (weekday, hour of the day).
Flagged when more of that span is missing than the rule's threshold, than three times what those partitions themselves miss of it, and
than NOISE / rows: between `rows` events strewn at random the ends alone leave that much open once in a thousand times.
A hole in the middle and a partition that is thinned evenly cover what they should: they are told by their rows, or not at all.
"""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import NamedTuple

from orchestrai.contracts.contract import VolumeRule
from orchestrai.contracts.volume import WINDOW_SEASONS, period_of
from orchestrai.core.time.calendar import Grain, earlier, window

SEASONS = 4
NOISE = 9.0
_SCALES = 3 * 1.4826


class Span(NamedTuple):
    """The first and the last event of a partition, and its rows."""

    first: datetime
    last: datetime
    rows: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """The share of the usual span that is covered, the least that passes, and the usual span itself."""

    share: float
    least: float
    first: datetime
    last: datetime

    @property
    def flagged(self) -> bool:
        """True when too little is covered."""
        return self.share < self.least


def alike(rule: VolumeRule, partition: str, grain: Grain, *keys: Container[str]) -> list[str]:
    """The partitions before this one, of those in one of `keys`, that tell what it should cover, newest first.

    It asks for the few that may, whatever else there is.
    """
    if rule.method != "robust" or grain == "all":
        return []
    period = period_of(rule, grain)
    steps = range(period or 1, WINDOW_SEASONS * (period or 7) + 1, period or 1)
    before = (earlier(partition, grain, step) for step in steps)
    return [key for key in before if any(key in some for some in keys)]


def judge_coverage(
    rule: VolumeRule, current: Span, partition: str, grain: Grain, before: Mapping[str, Span]
) -> Coverage | None:
    """Judge a partition's span by those of SEASONS that `alike` named; None where there are not so many."""
    if len(before) < SEASONS:
        return None
    starts = {key: window(key, grain)[0] for key in before}
    first = median((span.first - starts[key]).total_seconds() for key, span in before.items())
    last = median((span.last - starts[key]).total_seconds() for key, span in before.items())
    if last <= first:
        return None

    def share(span: Span, start: datetime) -> float:
        begun, ended = (span.first - start).total_seconds(), (span.last - start).total_seconds()
        return max(0.0, min(ended, last) - max(begun, first)) / (last - first)

    usual = median(1.0 - share(span, starts[key]) for key, span in before.items())
    noise = NOISE / max(1.0, median(span.rows for span in before.values()))
    start = window(partition, grain)[0]
    least = 1.0 - max(rule.threshold, _SCALES * usual, noise)
    return Coverage(share(current, start), least, start + timedelta(seconds=first), start + timedelta(seconds=last))
