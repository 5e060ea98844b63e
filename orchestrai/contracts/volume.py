"""How many rows a partition should have, judged from the partitions before it.

`robust`: log1p of the rows; season factor = median of the difference to the centred mean of one period; level = median of
the last period, deseasonalised, plus Theil-Sen drift; scale = 1.4826 MAD of the one-step errors, floored by counting noise.
Flagged when z < -3 or z > 6 and the relative change exceeds the threshold, so that neither noise nor trifles alert. The bounds are
apart because the errors are not alike: what is lost is gone unless somebody looks, while a day too many rows is seen by keys.
`mean7d`: the plain rule "more than 20 % off the mean of the 7 partitions before".
A history is keyed by time, not by position: a missing day must not turn a Monday into a Tuesday.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.contract import VolumeRule
from orchestrai.core.time.calendar import Grain, GrainName, name_of, ordinal
from orchestrai.core.time.partition_key import alike_before

if TYPE_CHECKING:
    import numpy as np

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
    import numpy as np

    step, keys = period or 7, list(earlier)
    count = len(keys)
    if count < step:
        return _finding(rule, rows, None, 0.0, math.inf, None, count)
    times = np.array(keys)
    logs = np.log1p(np.array([earlier[key] for key in keys], dtype=float))
    if count < 3 * step:
        return _short(rule, rows, now, times, logs, period)
    season = _season(times, logs, period)
    phase = times % period if period else np.zeros(count, dtype=int)
    flat = logs - season[phase]
    level, drift = _level(times, flat, now, step)
    expected = math.expm1(level + drift + float(season[now % period if period else 0]))
    scale = _scale(times, flat, step, max(expected, 1.0))
    z = (math.log1p(rows) - math.log1p(max(expected, 0.0))) / scale
    center = math.log1p(max(expected, 0.0))
    low = min(expected * (1 - rule.threshold), math.expm1(center - BELOW * rule.z * scale))
    high = max(expected * (1 + rule.threshold), math.expm1(center + ABOVE * rule.z * scale))
    return _finding(rule, rows, expected, max(low, 0.0), high, z, count)


def _short(rule: VolumeRule, rows: int, now: int, times: Any, logs: Any, period: int) -> VolumeFinding:
    """A young history: compare with the last one or two of the same season, as widely as the few points scatter."""
    import numpy as np

    step = period or 7
    same = logs[times % period == now % period] if period else logs
    same = same if len(same) else logs
    expected = math.expm1(float(np.median(same[-2:]) if len(logs) >= 2 * step else same[-1]))
    before = {int(time): float(log) for time, log in zip(times, logs, strict=True)}
    steps = [before[time] - before[time - step] for time in before if time - step in before]
    if len(steps) >= 3:
        ratio, least = rule.z * 1.4826 * float(np.median(np.abs(steps))), LEAST_RATIO
    else:
        ratio, least = rule.z * 1.4826 * float(np.median(np.abs(logs - np.median(logs)))), FIRST_RATIO
    ratio = min(max(math.exp(min(ratio, 10.0)), least), MOST_RATIO)
    return _finding(rule, rows, expected, expected / ratio, expected * ratio, None, len(logs))


LEAST_RATIO, FIRST_RATIO, MOST_RATIO = 1.25, 1.5, 2.4


def _season(times: Any, logs: Any, period: int) -> "np.ndarray[Any, Any]":
    """One additive factor per phase of the period, zero-mean over the phases seen."""
    import numpy as np

    if not period:
        return np.zeros(1)
    half = period // 2
    left = np.searchsorted(times, times - half)
    right = np.searchsorted(times, times + half, side="right")
    sums = np.concatenate([[0.0], np.cumsum(logs)])
    around = (sums[right] - sums[left]) / (right - left)
    factors = np.full(period, np.nan)
    for phase in np.unique(times % period):
        factors[phase] = np.median((logs - around)[times % period == phase])
    factors -= np.nanmean(factors)
    season: np.ndarray[Any, Any] = np.nan_to_num(factors)
    return season


def _level(times: Any, flat: Any, now: int, step: int) -> tuple[float, float]:
    """The median of the last season, and how far the drift has carried it from there to `now`."""
    import numpy as np

    last = slice(-step, None)
    recent = times >= now - DRIFT_SEASONS * step
    t, y = times[recent], flat[recent]
    gap = t[None, :] - t[:, None]
    pairs = gap >= step
    slope = float(np.median((y[None, :] - y[:, None])[pairs] / gap[pairs])) if pairs.any() else 0.0
    return float(np.median(flat[last])), slope * float(now - np.median(times[last]))


def _scale(times: Any, flat: Any, step: int, expected: float) -> float:
    """The usual one-step error, never below what counting alone would scatter."""
    import numpy as np

    windows = np.lib.stride_tricks.sliding_window_view(flat[:-1], step)
    errors = flat[step:] - np.median(windows, axis=-1)
    mad = 1.4826 * float(np.median(np.abs(errors - np.median(errors))))
    return max(mad, 1.0 / math.sqrt(expected), FLOOR)
