"""What the partitions before one were like: the level and the usual error of each measure, as one reading ahead would have had them.

A measure's level is the median of its last seven values, for the rows after a factor for the phase of the season. Its scale is the usual
error of just that forecast on the partitions before, wider where a tenth of the errors, or the largest, tell of longer tails, and never
below what counting alone scatters. While there are few partitions all scales are wider, so that nothing but the extreme stands out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.anomaly.profile import Measure, Profile
from orchestrai.contracts.anomaly.thinning import LEFT, evenly_lost, rows_to_values

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

# partitions that are looked back at, those that make a level, and the fewest that anything is said from
WINDOW, SPAN, LEAST = 56, 7, 3
# rows that are fewer by less than about a ninth are not what a person is asked about
MATERIAL = 0.12
# how much of a column's distinct values follows the rows, from all to none; where nothing tells, all of it
SLOPES = (1.0, 0.75, 0.5, 0.25, 0.0)


@dataclass(frozen=True, slots=True)
class Reading:
    """One measure of a partition: its name, what is expected of it and found, and how many scales lie between."""

    measure: Measure
    expected: float
    found: float
    z: float


@dataclass(frozen=True)
class Past:
    """The partitions before one, at most WINDOW of them, as `profiles` with their places in time; `now` is the place of the one judged."""

    profiles: Sequence[Profile]
    places: Sequence[int]
    now: int
    period: int

    def readings(self, profile: Profile) -> list[Reading]:
        """What is measured of a partition against those before it; empty where there are too few."""
        if len(self.profiles) < LEAST:
            return []
        return [*self._forecast(profile), *self._thinned(profile), *self._spread(profile), *self._shape(profile)]

    @property
    def trust(self) -> float:
        """How much of a difference counts: a third after three partitions, seven tenths after two weeks, nearly all after a window."""
        count = len(self.profiles)
        return max(1 / (1 + 6 / count), 1 / (1 + (9 / count) ** 2))

    @property
    def rows(self) -> float:
        """The rows that are usual."""
        import numpy as np

        return max(1.0, middle(np.array([profile.rows for profile in self.profiles])))

    def _forecast(self, profile: Profile) -> list[Reading]:
        """Rows, repeated rows, and of each column nulls, distinct values and quantiles."""
        import numpy as np

        wanted = profile.measures
        before = [earlier.measures for earlier in self.profiles]
        names = [name for name in wanted if sum(name in earlier for earlier in before) >= max(LEAST, 0.8 * len(before))]
        table = np.array([[earlier.get(name, math.nan) for name in names] for earlier in before])
        current = np.array([wanted[name] for name in names])
        if np.isnan(table).any():
            table = np.where(np.isnan(table), np.nanmedian(table, axis=0), table)
        table, current = self._apart_from_rows(names, table, current)
        season = self._season(table[:, 0])
        phases = np.array(self.places) % self.period if self.period else np.zeros(len(self.places), dtype=int)
        table[:, 0] -= season[phases]
        level = np.median(table[-SPAN:], axis=0)
        error = _usual_error(table)
        scale = np.hypot(error, self._floors(names, profile, level, error))
        level[0] += season[self.now % self.period if self.period else 0]
        z = (current - level) / scale * self.trust
        return [Reading(*reading) for reading in zip(names, level.tolist(), current.tolist(), z.tolist(), strict=True)]

    def _thinned(self, profile: Profile) -> list[Reading]:
        """Fewer rows, and fewer to each value: what rows lost evenly take from both."""
        import numpy as np

        telling = rows_to_values(self.profiles, profile) if len(self.profiles) >= 3 * SPAN else None
        if telling is None:
            return []
        rows = np.array([earlier.measures["rows", "", 0] for earlier in self.profiles])
        table = np.column_stack([rows, telling.before])
        # a Saturday has fewer flights, and fewer of each airplane
        season = np.column_stack([self._season(column) for column in table.T])
        phases = np.array(self.places) % self.period if self.period else np.zeros(len(self.places), dtype=int)
        table -= season[phases]
        expected = season[self.now % self.period if self.period else 0] + np.median(table[-SPAN:], axis=0)
        current = np.array([profile.measures["rows", "", 0], *telling.now]) - expected
        if current[0] > -MATERIAL:
            return []
        errors = _errors(table)
        scale = np.hypot(_scatter(errors), np.array([max(0.02, 1 / math.sqrt(self.rows)), *telling.noise]))
        lost = np.array([math.log(LEFT), *telling.lost]) / scale
        off, weights = evenly_lost(errors / scale, current / scale, lost)
        usual = float(_scatter((errors / scale @ weights)[:, None])[0])
        # the noise of a sum that is told as if its parts were apart
        usual = max(usual, 0.5 * float(np.linalg.norm(weights)))
        told = 1 + int(np.argmax(weights[1:] * current[1:] / scale[1:]))
        column = telling.columns[told - 1]
        return [
            Reading(("thinned", column, 0), float(expected[told]), float(telling.now[told - 1]), off / usual * self.trust)
        ]

    def _apart_from_rows(self, names: Sequence[Measure], table: "Array", current: "Array") -> "tuple[Array, Array]":
        """Distinct values beyond what follows from the rows, by whichever of the slopes leaves least unexplained."""
        import numpy as np

        places = [place for place, name in enumerate(names) if name[0] == "distinct"]
        if places:
            left = np.stack([table[:, places] - slope * table[:, :1] for slope in SLOPES])
            unexplained = np.median(np.abs(left - np.median(left, axis=1, keepdims=True)), axis=1)
            best = np.argmin(unexplained.round(9), axis=0)
            table[:, places] = left[best, :, np.arange(len(places))].T
            current[places] -= np.array(SLOPES)[best] * current[0]
        return table, current

    def _season(self, rows: "Array") -> "Array":
        """One factor for each phase of the season, drawn to none as far as chance alone would make factors like these."""
        import numpy as np

        factors = np.zeros(self.period or 1)
        if not self.period or len(rows) < 2 * SPAN:
            return factors
        places, half = np.array(self.places), self.period // 2
        around = np.abs(places[:, None] - places[None, :]) <= half
        apart = rows - _middles(rows, around)
        phases = places % self.period
        seen = np.unique(phases)
        for phase in seen:
            factors[phase] = middle(apart[phases == phase])
        # the variance of a median of so many, against that of the factors
        chance = 1.57 * (1.4826 * middle(np.abs(apart - factors[phases]))) ** 2
        spread = max(float(np.mean(factors[seen] ** 2)), 1e-12)
        for phase in seen:
            times = int((phases == phase).sum())
            factors[phase] *= max(0.0, 1 - chance / times / spread) * times / (times + 0.5)
        return factors

    def _floors(self, names: Sequence[Measure], profile: Profile, level: "Array", error: "Array") -> "Array":
        """What a measure scatters by counting alone, and by being known for a short time only."""
        import numpy as np

        count = len(self.profiles)
        quantiles = {name: place for place, name in enumerate(names)}
        young = 0.7 if count < 7 else 0.35 if count < 14 else 0.0
        floors = []
        for place, (kind, column, _) in enumerate(names):
            if kind == "rows":
                # readings by the clock scatter less than events do
                counting = min(1 / math.sqrt(self.rows), 2 * float(error[place]) + 1.5 / self.rows)
                floors.append(math.hypot(max(0.02, counting), young))
            elif kind == "repeated":
                floors.append(0.05)
            elif kind == "nulls":
                floors.append(math.hypot(0.03, 0.5 / math.sqrt(max(profile.rows, 1))))
            elif kind == "distinct":
                known = [p.columns[column].distinct for p in self.profiles if column in p.columns]
                distinct = max(1.0, middle(np.array(known)))
                floors.append(max(0.03, 0.6 / math.sqrt(distinct)))
            else:
                ends = [quantiles.get((kind, column, end)) for end in (0, 4)]
                width = level[ends[1]] - level[ends[0]] if None not in ends else 0.0
                # of a column that hardly varies within a partition a single other value is no drift
                floors.append(0.05 * float(width) + max(0.02, 0.5 - float(width)))
        return np.array(floors)

    def _spread(self, profile: Profile) -> list[Reading]:
        """Of each column whose values are seen as hashes, how much of them lies elsewhere than usual."""
        import numpy as np

        readings = []
        noise = 0.3 / math.sqrt(min(1_024.0, self.rows)) + 0.02
        for name, column in profile.columns.items():
            earlier = [p.columns[name].buckets for p in self.profiles if name in p.columns and p.columns[name].buckets]
            if not column.buckets or len(earlier) < max(LEAST, 0.8 * len(self.profiles)):
                continue
            shares = np.array(earlier, dtype=float)
            shares /= shares.sum(axis=1, keepdims=True)
            own = np.array(column.buckets) / sum(column.buckets)
            usual, current = _distances(shares, own)
            readings.append(self._above(("values", name, -1), usual, current, noise))
        return readings

    def _shape(self, profile: Profile) -> list[Reading]:
        """How far the rows' way through the time is from the usual way, and how much of the usual lies in the longest empty stretch."""
        import numpy as np

        places = np.array([place for place, p in zip(self.places, self.profiles, strict=True) if sum(p.slices)])
        shares = np.array([p.slices for p in self.profiles if sum(p.slices)], dtype=float)
        if len(places) < LEAST or not sum(profile.slices):
            return []
        shares /= shares.sum(axis=1, keepdims=True)
        own = np.array(profile.slices) / sum(profile.slices)
        alike = places[:, None] % (self.period or 1) == places[None, :] % (self.period or 1)
        np.fill_diagonal(alike, False)
        alike[alike.sum(axis=1) < LEAST] = True
        np.fill_diagonal(alike, False)
        usual = alike @ shares / alike.sum(axis=1, keepdims=True)
        like_this = places % (self.period or 1) == self.now % (self.period or 1)
        here = shares[like_this].mean(axis=0) if like_this.sum() >= LEAST else shares.mean(axis=0)
        way = np.sqrt(np.abs(np.cumsum(shares - usual, axis=1)).max(axis=1))
        empty, hole = _longest_empty(shares, usual), float(_longest_empty(own[None, :], here[None, :])[0])
        off = math.sqrt(float(np.abs(np.cumsum(own - here)).max()))
        return [
            self._above(("shape", "", 0), way, off, 0.25 / math.sqrt(self.rows) + 0.02),
            self._above(("hole", "", 0), empty, hole, 0.02 + 1 / self.rows),
        ]

    def _above(self, measure: Measure, usual: "Array", current: float, noise: float) -> Reading:
        """A reading of what can only be too large."""

        level = middle(usual)
        scatter = float(_scatter((usual - level)[:, None])[0])
        return Reading(measure, level, current, max(0.0, (current - level) / math.hypot(scatter, noise)) * self.trust)


def middle(values: "np.ndarray[Any, Any]") -> float:
    """The median of some numbers, to the bit as numpy gives it, which asks a dozen questions before it sorts."""
    import numpy as np

    ordered, half = np.sort(values), len(values) // 2
    if ordered[-1] != ordered[-1]:
        return math.nan
    return float(ordered[half]) if len(values) % 2 else float((ordered[half - 1] + ordered[half]) / 2)


def _middles(values: "Array", chosen: "np.ndarray[Any, np.dtype[np.bool_]]") -> "Array":
    """For each row of `chosen` the median of those values."""
    import numpy as np

    # what is not chosen comes last
    ordered, counts = np.sort(np.where(chosen, values[None, :], np.inf), axis=1), chosen.sum(axis=1)
    every, half = np.arange(len(counts)), counts // 2
    even: Array = (ordered[every, half - 1] + ordered[every, np.minimum(half, ordered.shape[1] - 1)]) / 2
    return np.where(counts % 2 == 1, ordered[every, np.minimum(half, ordered.shape[1] - 1)], even)


def _usual_error(table: "Array") -> "Array":
    """The usual error of forecasting each value by the median of the SPAN before it."""
    return _scatter(_errors(table))


def _errors(table: "Array") -> "Array":
    """The errors of forecasting each value by the median of the SPAN before it."""
    import numpy as np

    span = min(SPAN, len(table) - 1)
    windows = np.lib.stride_tricks.sliding_window_view(table[:-1], span, axis=0)
    errors: Array = table[span:] - np.median(windows, axis=-1)
    return errors


def _scatter(errors: "Array") -> "Array":
    """The scale of errors around nothing: by their middle, or by the largest where these are further out than chance has them."""
    import numpy as np

    sizes = np.abs(errors)
    scale: Array = np.maximum(1.4826 * np.median(sizes, axis=0), np.quantile(sizes, 0.9, axis=0) / 1.75)
    scale = np.maximum(scale, sizes.max(axis=0) / 4.5)
    return scale


def _distances(shares: "Array", own: "Array") -> "tuple[Array, float]":
    """How much of each one's share lies elsewhere than in the mean of the others, and of the one judged."""
    import numpy as np

    mean, count = shares.mean(axis=0), len(shares)
    others = (mean * count - shares) / (count - 1)
    return np.abs(shares - others).sum(axis=1) / 2, float(np.abs(own - mean).sum() / 2)


def _longest_empty(shares: "Array", usual: "Array") -> "Array":
    """What usually lies in the longest stretch of slices without a row, for each of some partitions."""
    import numpy as np

    longest = run = np.zeros(len(shares))
    for own, mean in zip(shares.T, usual.T, strict=True):
        run = np.where(own == 0, run + mean, 0.0)
        longest = np.maximum(longest, run)
    return longest
