"""How many rows a partition should have, judged from the partitions before it.

`robust`: log1p of the rows; season factor = median of the difference to the centred mean of one period; level = median of
the last period, deseasonalised, plus Theil-Sen drift; scale = 1.4826 MAD of the one-step errors, floored by counting noise.
Flagged when z < -3 or z > 6 and the relative change exceeds the threshold, so that neither noise nor trifles alert. The bounds are
apart because the errors are not alike: what is lost is gone unless somebody looks, while a day too many rows is seen by keys.
`mean7d`: the plain rule "more than 20 % off the mean of the 7 partitions before".
A history is keyed by time, not by position: a missing day must not turn a Monday into a Tuesday.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice

from orchestrai.contracts.contract import VolumeRule
from orchestrai.contracts.order_statistics import DEVIATION, deviation, median, middle_slope, running_medians
from orchestrai.core.time.calendar import Grain, GrainName, name_of, ordinal
from orchestrai.core.time.partition_key import alike_before

WINDOW_SEASONS = 8
DRIFT_SEASONS = 4
FLOOR = 0.01
# shares of a rule's z at which a partition is too small and too large
BELOW, ABOVE = 0.75, 1.5
PERIODS: dict[GrainName, int] = {"hour": 24, "day": 7, "week": 0, "month": 0, "year": 0, "all": 0}


@dataclass(frozen=True, slots=True)
class VolumeFinding:
    """What a rule expects of one partition, and whether the rows found alert; rows, except `z` (in scales)."""

    rows: int
    expected: float | None
    low: float
    high: float
    z: float | None
    history: int
    flagged: bool
    gross: bool

    def as_json(self) -> dict[str, str | int | float | bool | None]:
        """The form in which verdicts carry it."""
        return {
            "rows": self.rows,
            "expected": None if self.expected is None else round(self.expected, 1),
            "low": round(self.low, 1),
            "high": None if math.isinf(self.high) else round(self.high, 1),
            "z": None if self.z is None else round(self.z, 2),
            "history": self.history,
        }


def judge_volume(rule: VolumeRule, rows: int, partition: str, grain: Grain, history: Mapping[str, int]) -> VolumeFinding:
    """Judge a partition's rows by the earlier partitions in `history` (rows by key; later ones and those of other values are ignored)."""
    if rule.method == "none" or grain == "all":
        return _finding(rule, rows, None, 0.0, math.inf, None, 0)
    if rule.method == "mean7d":
        return _mean7d(rule, rows, [count for _, count in islice(_back(partition, history), 7)])
    now, period, earlier = ordinal(partition, grain), period_of(rule, grain), dict[int, int]()
    oldest = now - WINDOW_SEASONS * (period or 7)
    for key, count in _back(partition, history):
        place = ordinal(key, grain)
        if place < oldest:
            break
        earlier[place] = count
    return _robust(rule, rows, now, dict(reversed(earlier.items())), period)


def _back(partition: str, history: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """The rows of earlier partitions of its value that have any, the newest first."""
    for key in alike_before(history, partition):
        if (count := history[key]) > 0:
            yield key, count


def _finding(
    rule: VolumeRule, rows: int, expected: float | None, low: float, high: float, z: float | None, history: int
) -> VolumeFinding:
    flagged = not low <= rows <= high
    share = rows / expected if expected else 1.0
    gross = flagged and not rule.gross_below <= share <= rule.gross_above
    return VolumeFinding(rows, expected, low, high, z, history, flagged, gross)


def period_of(rule: VolumeRule, grain: Grain) -> int:
    """The season in partitions; 0 for none."""
    return PERIODS[name_of(grain)] if rule.period is None else rule.period


def _mean7d(rule: VolumeRule, rows: int, last: Sequence[int]) -> VolumeFinding:
    if len(last) < 7:
        return _finding(rule, rows, None, 0.0, math.inf, None, len(last))
    mean = sum(last) / 7
    return _finding(rule, rows, mean, mean * (1 - rule.threshold), mean * (1 + rule.threshold), None, len(last))


def _robust(rule: VolumeRule, rows: int, now: int, earlier: Mapping[int, int], period: int) -> VolumeFinding:
    step, times = period or 7, list(earlier)
    count = len(times)
    if count < step:
        return _finding(rule, rows, None, 0.0, math.inf, None, count)
    logs = [math.log1p(earlier[time]) for time in times]
    if count < 3 * step:
        return _short(rule, rows, now, times, logs, period)
    season = _season(times, logs, period)
    flat = [log - season[time % (period or 1)] for time, log in zip(times, logs, strict=True)]
    level, drift = _level(times, flat, now, step)
    expected = math.expm1(level + drift + season[now % (period or 1)])
    scale = _scale(flat, step, max(expected, 1.0))
    center = math.log1p(max(expected, 0.0))
    z = (math.log1p(rows) - center) / scale
    low = min(expected * (1 - rule.threshold), math.expm1(center - BELOW * rule.z * scale))
    high = max(expected * (1 + rule.threshold), math.expm1(center + ABOVE * rule.z * scale))
    return _finding(rule, rows, expected, max(low, 0.0), high, z, count)


def _short(rule: VolumeRule, rows: int, now: int, times: Sequence[int], logs: Sequence[float], period: int) -> VolumeFinding:
    """A young history: compare with the last one or two of the same season, as widely as the few points scatter."""
    step, before = period or 7, dict(zip(times, logs, strict=True))
    same = [log for time, log in before.items() if time % (period or 1) == now % (period or 1)] or logs
    expected = math.expm1(median(same[-2:]) if len(logs) >= 2 * step else same[-1])
    steps = [log - before[time - step] for time, log in before.items() if time - step in before]
    if len(steps) >= 3:
        ratio, least = rule.z * DEVIATION * median(list(map(abs, steps))), LEAST_RATIO
    else:
        ratio, least = rule.z * deviation(logs), FIRST_RATIO
    ratio = min(max(math.exp(min(ratio, 10.0)), least), MOST_RATIO)
    return _finding(rule, rows, expected, expected / ratio, expected * ratio, None, len(logs))


LEAST_RATIO, FIRST_RATIO, MOST_RATIO = 1.25, 1.5, 2.4


def _season(times: Sequence[int], logs: Sequence[float], period: int) -> list[float]:
    """One additive factor per phase of the period, zero-mean over the phases seen."""
    if not period:
        return [0.0]
    half, sums = period // 2, [0.0, *accumulate(logs)]
    errors: dict[int, list[float]] = {}
    for time, log in zip(times, logs, strict=True):
        left, right = bisect_left(times, time - half), bisect_right(times, time + half)
        errors.setdefault(time % period, []).append(log - (sums[right] - sums[left]) / (right - left))
    factors = {phase: median(found) for phase, found in errors.items()}
    center = math.fsum(factors.values()) / len(factors)
    return [factors.get(phase, center) - center for phase in range(period)]


def _level(times: Sequence[int], flat: Sequence[float], now: int, step: int) -> tuple[float, float]:
    """The median of the last season, and how far the drift has carried it from there to `now`."""
    recent = bisect_left(times, now - DRIFT_SEASONS * step)
    slope = middle_slope(times[recent:], flat[recent:], step)
    return median(flat[-step:]), slope * (now - median(times[-step:]))


def _scale(flat: Sequence[float], step: int, expected: float) -> float:
    """The usual one-step error, never below what counting alone would scatter."""
    usual = running_medians(flat[:-1], step)
    errors = [value - before for value, before in zip(flat[step:], usual, strict=True)]
    return max(deviation(errors), 1.0 / math.sqrt(expected), FLOOR)
