"""Medians, and what is made of medians, of some dozens of numbers: of so few a sort costs less than a call of a numeric library.

Pure: numbers in, numbers out. Of no numbers nothing is asked.
"""

from bisect import insort
from collections.abc import Sequence

# from so many numbers on a numeric library takes the slopes: of these there are as many as pairs
MANY = 128
# a normal distribution's standard deviation over its median absolute deviation
DEVIATION = 1.4826


def median(values: Sequence[float]) -> float:
    """The middle one, or the mean of the two in the middle."""
    return _middle(sorted(values))


def deviation(values: Sequence[float]) -> float:
    """The spread about the median: of normal errors their standard deviation, and hardly moved by a few wild ones."""
    center = median(values)
    return DEVIATION * median([abs(value - center) for value in values])


def running_medians(values: Sequence[float], width: int) -> list[float]:
    """The median of each `width` values that stand together, in order; none where there are fewer."""
    window = sorted(values[:width])
    if len(window) < width:
        return []
    medians = [_middle(window)]
    for gone, new in zip(values, values[width:], strict=False):
        window.remove(gone)
        insort(window, new)
        medians.append(_middle(window))
    return medians


def middle_slope(times: Sequence[int], values: Sequence[float], least: int) -> float:
    """The median slope over all pairs whose times, ascending, are at least so far apart (Theil and Sen); 0 where none are."""
    if len(times) > MANY:
        return _slope_of_many(times, values, least)
    slopes: list[float] = []
    for at, (time, value) in enumerate(zip(times, values, strict=True)):
        slopes += [
            (values[later] - value) / gap for later in range(at + 1, len(times)) if (gap := times[later] - time) >= least
        ]
    return median(slopes) if slopes else 0.0


def _slope_of_many(times: Sequence[int], values: Sequence[float], least: int) -> float:
    import numpy as np

    t, y = np.array(times), np.array(values)
    gap = t[None, :] - t[:, None]
    pairs = gap >= least
    return float(np.median((y[None, :] - y[:, None])[pairs] / gap[pairs])) if pairs.any() else 0.0


def _middle(ordered: Sequence[float]) -> float:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
