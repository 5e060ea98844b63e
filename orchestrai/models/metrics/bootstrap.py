"""Each metric with a seeded bootstrap interval.

Parts are the held-out rows of a split, or one part per fold or backtest; a metric over several parts is their mean, as a k-fold figure is.
The bootstrap draws what is independent (rows; whole lists, entities or moments where rows hang together) with replacement, as weights, so
that rows are sorted once only.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from orchestrai.models.metrics.binary import BinaryJudge
from orchestrai.models.metrics.metric import Measures, Metric, rule_of
from orchestrai.models.metrics.metric_set import MetricSet
from orchestrai.models.metrics.multiclass import MulticlassJudge
from orchestrai.models.metrics.numeric import ForecastJudge, RegressionJudge
from orchestrai.models.metrics.ranking import RankingJudge
from orchestrai.models.metrics.scored import Judge, Scored
from orchestrai.models.rows import Floats

RESAMPLES = 200
LARGE = 200_000
BOUNDS = (2.5, 97.5)


def judge_of(asked: MetricSet, part: Scored) -> Judge:
    """Who judges this task."""
    if asked.task == "regression":
        return RegressionJudge(part, asked)
    if asked.task == "forecast":
        return ForecastJudge(part, asked)
    if asked.task == "ranking":
        return RankingJudge(part, asked.top)
    return MulticlassJudge(part) if asked.task == "multiclass" else BinaryJudge(part)


def point_metrics(asked: MetricSet, part: Scored) -> dict[str, float]:
    """Every metric of the task that one part has a finite value of."""
    with np.errstate(over="ignore", invalid="ignore"):
        values = judge_of(asked, part).metrics(np.ones(len(part.label)))
    return {name: value for name, value in values.items() if np.isfinite(value)}


def usable(asked: MetricSet, part: Scored) -> bool:
    """True when anything can be told of these rows."""
    return len(part.label) > 0 and judge_of(asked, part).defined(np.ones(len(part.label)))


def measure(asked: MetricSet, parts: Sequence[Scored], seed: int = 0) -> Measures:
    """Every metric with its 95 % interval, or why there is none."""
    with np.errstate(over="ignore", invalid="ignore"):
        judges = [judge_of(asked, part) for part in parts]
        values = _mean(judges, [np.ones(len(part.label)) for part in parts])
        drawn = [list(_mean(judges, weights).values()) for weights in _weights(asked, judges, seed)]
        columns = np.asarray(drawn, dtype=np.float64).reshape(len(drawn), len(values)).T
    reasons = {name: reason for judge in judges for name, reason in judge.undefined().items()}
    measured: dict[str, Metric] = {}
    for column, (name, value) in zip(columns, values.items(), strict=True):
        if name in reasons:
            continue
        if np.isfinite(value):
            measured[name] = _with_interval(value, column)
        else:
            reasons[name] = (
                f"expected a finite {name}, found {value}: look at the scores and the labels of the held-out rows"
            )
    return Measures(measured, reasons)


def improvement(asked: MetricSet, metric: str, parts: Sequence[Scored], rivals: Sequence[Scored], seed: int = 0) -> Metric:
    """By how much `parts` beat `rivals` (the same rows) on a metric, towards better, with its paired interval; raises ModelError."""
    rule = rule_of(metric)
    ours, theirs = [judge_of(asked, part) for part in parts], [judge_of(asked, part) for part in rivals]

    def gain(weights: Sequence[Floats]) -> float:
        return rule.gain(_one(ours, metric, weights), _one(theirs, metric, weights))

    with np.errstate(over="ignore", invalid="ignore"):
        value = gain([np.ones(len(part.label)) for part in parts])
        drawn = np.asarray([gain(weights) for weights in _weights(asked, ours, seed)], dtype=np.float64)
    return _with_interval(value, drawn)


def _with_interval(value: float, drawn: Floats) -> Metric:
    """A value with the bounds of what was drawn; draws that have no value of the metric say nothing."""
    finite = drawn[np.isfinite(drawn)]
    low, high = (float(np.percentile(finite, bound)) for bound in BOUNDS) if len(finite) else (value, value)
    return Metric(value, low, high)


def _mean(judges: Sequence[Judge], weights: Sequence[Floats]) -> dict[str, float]:
    each = [judge.metrics(weight) for judge, weight in zip(judges, weights, strict=True)]
    # a metric's values lie side by side, so that they are summed as in a list of their own
    means = np.ascontiguousarray(np.array([list(values.values()) for values in each]).T).mean(axis=1)
    return dict(zip(each[0], means.tolist(), strict=True))


def _one(judges: Sequence[Judge], metric: str, weights: Sequence[Floats]) -> float:
    return float(np.mean([judge.metric(metric, weight) for judge, weight in zip(judges, weights, strict=True)]))


def _weights(asked: MetricSet, judges: Sequence[Judge], seed: int) -> Iterator[list[Floats]]:
    rng = np.random.default_rng(seed)
    rows = sum(len(judge.part.label) for judge in judges)
    for _ in range(RESAMPLES if rows <= LARGE else RESAMPLES // 4):
        weights = [_draw(asked, judge.part, rng) for judge in judges]
        if all(judge.defined(weight) for judge, weight in zip(judges, weights, strict=True)):
            yield weights


def _draw(asked: MetricSet, part: Scored, rng: np.random.Generator) -> Floats:
    together = part.groups if part.cluster is None and asked.task == "ranking" else part.cluster
    units = len(part.label) if together is None else int(together.max(initial=-1)) + 1
    counts = np.bincount(rng.integers(0, units, units), minlength=units).astype(np.float64)
    return counts if together is None else counts[together]
