"""The naive answer of each task, which a model must beat to be promoted: it looks at no feature.

binary, multiclass   the shares of the classes while training (so the majority where one must be named)
regression           the mean while training; the median where errors count by their size (mae, mape), or the quantile that is asked for
ranking              how often each item was the right one while training
forecast             the value of the season before, as it was known at the moment
"""

from dataclasses import dataclass

import numpy as np

from orchestrai.errors import ModelError
from orchestrai.models.rows import Floats, Ints, Rows
from orchestrai.models.spec import Forecast, ModelSpec
from orchestrai.models.splitting import HeldOut, Index
from orchestrai.models.task import VALUES

BY_SIZE = frozenset({"mae", "mape"})


@dataclass(frozen=True)
class Naive:
    """The naive scores of held-out rows, and how many of them had to be the mean since nothing lies a season before."""

    score: Floats
    without_season: int = 0


def naive_name(spec: ModelSpec) -> str:
    """What the naive answer is, for people."""
    if spec.task == "forecast":
        return "the value one season before"
    if spec.task == "ranking":
        return "the popularity of each item"
    if spec.task not in VALUES:
        return "the share of each class"
    if spec.quantile is not None:
        return f"the quantile {spec.quantile:g} of the training labels"
    return f"the {'median' if spec.promote_when.metric in BY_SIZE else 'mean'} of the training labels"


def naive(spec: ModelSpec, rows: Rows, split: HeldOut) -> Naive:
    """The naive scores of a test, from its training rows alone."""
    train, count = rows.label[split.train], len(split.test)
    if spec.forecast is not None:
        before = season_before(spec.forecast, spec, rows)[split.test]
        absent = np.isnan(before)
        return Naive(np.where(absent, train.mean(), before), int(absent.sum()))
    if spec.task == "ranking":
        return Naive(_popularity(rows, split))
    if rows.classes:
        shares = np.bincount(train.astype(np.intp), minlength=len(rows.classes)) / len(train)
        return Naive(np.tile(shares, (count, 1)))
    return Naive(np.full(count, _constant(spec, train)))


def _constant(spec: ModelSpec, label: Floats) -> float:
    if spec.quantile is not None:
        return float(np.quantile(label, spec.quantile))
    return float(np.median(label) if spec.task in VALUES and spec.promote_when.metric in BY_SIZE else label.mean())


def _popularity(rows: Rows, split: HeldOut) -> Floats:
    items, codes = np.unique(rows.entity[1].astype(str), return_inverse=True)
    counts = np.bincount(codes[split.train], rows.label[split.train] > 0, len(items))
    return np.asarray(counts[codes[split.test]], dtype=np.float64)


def season_before(forecast: Forecast, spec: ModelSpec, rows: Rows) -> Floats:
    """By row the label of the same series and step a whole number of seasons before, the least that had ended by its moment; NaN where
    there is none.
    """
    series = _numbered(rows, list(range(len(rows.entity))))
    steps = steps_of(forecast, spec, rows)
    season, ahead = (round(length.total_seconds() * 1_000_000) for length in (forecast.season, forecast.ahead))
    wanted = rows.event_time - -(-steps * ahead // season) * season
    moments, rank = np.unique(rows.event_time, return_inverse=True)
    place = np.searchsorted(moments, wanted)
    there = moments[np.minimum(place, len(moments) - 1)] == wanted
    keys = series * len(moments) + rank
    order = np.argsort(keys, kind="stable")
    asked = series * len(moments) + np.minimum(place, len(moments) - 1)
    at = np.minimum(np.searchsorted(keys[order], asked), len(order) - 1)
    there &= keys[order][at] == asked
    return np.where(there, rows.label[order][at], np.nan)


def season_scale(spec: ModelSpec, rows: Rows, train: Index) -> Floats | None:
    """By row what the seasonal naive forecast missed its series by over the training rows, 0 where not known; None for other tasks."""
    if spec.forecast is None:
        return None
    places = [place for place, name in enumerate(spec.entity) if name != spec.forecast.step]
    series = _numbered(rows, places)
    before = season_before(spec.forecast, spec, rows)[train]
    known = ~np.isnan(before)
    mine, missed = series[train][known], np.abs(rows.label[train] - before)[known]
    many = int(series.max(initial=0)) + 1
    sums, counts = np.bincount(mine, missed, many), np.bincount(mine, minlength=many)
    return np.asarray((sums / np.maximum(counts, 1))[series], dtype=np.float64)


def steps_of(forecast: Forecast, spec: ModelSpec, rows: Rows) -> Ints:
    """How many steps ahead each row's value ends; raises ModelError unless they are whole numbers from 1 on."""
    if forecast.step is None:
        return np.ones(len(rows), dtype=np.int64)
    texts = rows.entity[spec.entity.index(forecast.step)].astype(str)
    distinct, inverse = np.unique(texts, return_inverse=True)
    wrong = [text for text in distinct if not text.isdecimal() or int(text) < 1]
    if wrong:
        raise ModelError(
            f"{spec.name}: expected whole numbers from 1 on in the step {forecast.step}, found {wrong[0]!r}: fix the view"
        )
    return np.asarray([int(text) for text in distinct], dtype=np.int64)[inverse]


def _numbered(rows: Rows, places: list[int]) -> Ints:
    """A number per row, equal for rows with the same values of these entity columns."""
    number = np.zeros(len(rows), dtype=np.int64)
    for place in places:
        _, codes = np.unique(rows.entity[place].astype(str), return_inverse=True)
        _, number = np.unique(number * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)
    return np.asarray(number, dtype=np.int64)
