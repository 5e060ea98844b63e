"""How good scores are: the field's metrics, each with a seeded bootstrap interval.

Parts are the held-out rows of a split, or one part per fold; a metric over several parts is their mean, as a k-fold figure is.
The bootstrap draws rows (for a ranking whole lists) with replacement, as weights, so that rows are sorted once only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrai.models.rows import Floats
from orchestrai.models.spec import SMALLER_IS_BETTER, Task

Index = npt.NDArray[np.intp]
RESAMPLES = 200
LARGE = 200_000
TOP = 10
BOUNDS = (2.5, 97.5)
DISCRIMINATION = ("auc", "pr_auc", "lift_top_tenth")
ZERO = np.zeros(1)


@dataclass(frozen=True)
class Scored:
    """Labels and scores of one part; `groups` numbers the lists of a ranking."""

    label: Floats
    score: Floats
    groups: Index

    def take(self, index: Index) -> "Scored":
        """Some of the rows."""
        return Scored(self.label[index], self.score[index], self.groups[index])


@dataclass(frozen=True)
class Measured:
    """A metric's value with the 95 % interval of its bootstrap."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        """Rounded to 6 digits."""
        return {"value": round(self.value, 6), "low": round(self.low, 6), "high": round(self.high, 6)}


class Judge:
    """Computes the metrics of one part under row weights."""

    def __init__(self, task: Task, part: Scored) -> None:
        self.task, self.part = task, part
        self.order = np.argsort(-part.score, kind="stable")
        ranked = part.score[self.order]
        self.ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True]) if len(ranked) else self.order[:0]
        self.positive = (part.label > 0).astype(np.float64)
        # what does not depend on the weights is not computed again for each draw
        self.hit = self.positive[self.order]
        if task == "classification":
            self._losses()
        if task == "ranking":
            self.lists, self.recall, self.ndcg = ranking_by_group(part, TOP)

    def metrics(self, weight: Floats) -> dict[str, float]:
        """Every metric of the task."""
        if self.task == "regression":
            return self._regression(weight)
        if self.task == "ranking":
            return {**self._discrimination(weight), **self._ranking(weight)}
        return {**self._discrimination(weight), **self._probability(weight)}

    def metric(self, name: str, weight: Floats) -> float:
        """One metric of the task, without those it shares nothing with."""
        if self.task == "classification":
            return (self._discrimination if name in DISCRIMINATION else self._probability)(weight)[name]
        return self.metrics(weight)[name]

    def defined(self, weight: Floats) -> bool:
        """True when these weights leave rows, and both classes where the task has classes."""
        positives, total = float((weight * self.positive).sum()), float(weight.sum())
        return total > 0 if self.task == "regression" else 0 < positives < total

    def _discrimination(self, weight: Floats) -> dict[str, float]:
        ranked = weight[self.order]
        true = np.cumsum(ranked * self.hit)
        seen = np.cumsum(ranked)
        tp, fp = true[self.ends], (seen - true)[self.ends]
        before_tp, before_fp = np.concatenate((ZERO, tp[:-1])), np.concatenate((ZERO, fp[:-1]))
        area = float(((fp - before_fp) * (tp + before_tp)).sum()) / (2 * tp[-1] * fp[-1])
        precise = tp / np.maximum(tp + fp, 1e-300)
        share = tp[-1] / seen[-1]
        cut = min(int(np.searchsorted(seen, 0.1 * seen[-1])), len(seen) - 1)
        return {
            "auc": float(area),
            "pr_auc": float(((tp - before_tp) * precise).sum() / tp[-1]),
            "lift_top_tenth": float(true[cut] / max(seen[cut], 1e-300) / share),
        }

    def _losses(self) -> None:
        label, score = self.positive, self.part.score
        p = np.clip(score, 1e-15, 1 - 1e-15)
        self.loss = -(label * np.log(p) + (1 - label) * np.log(1 - p))
        self.right, self.squared = (score >= 0.5) == (label > 0), (score - label) ** 2
        self.bins = [(rows, score[rows] - label[rows]) for rows in np.array_split(self.order, 10)]

    def _probability(self, weight: Floats) -> dict[str, float]:
        total = weight.sum()
        gaps = [abs(float((weight[rows] * gap).sum())) for rows, gap in self.bins]
        return {
            "log_loss": float((weight * self.loss).sum() / total),
            "accuracy": float((weight * self.right).sum() / total),
            "brier": float((weight * self.squared).sum() / total),
            "calibration_error": float(sum(gaps) / total),
        }

    def _regression(self, weight: Floats) -> dict[str, float]:
        error, total = self.part.score - self.part.label, weight.sum()
        mean = (weight * self.part.label).sum() / total
        spread = float((weight * (self.part.label - mean) ** 2).sum())
        squared = float((weight * error**2).sum())
        return {
            "rmse": float(np.sqrt(squared / total)),
            "mae": float((weight * np.abs(error)).sum() / total),
            "r2": 1 - squared / spread if spread else 0.0,
        }

    def _ranking(self, weight: Floats) -> dict[str, float]:
        chosen = weight[self.lists]
        total = max(float(chosen.sum()), 1e-300)
        return {
            f"recall_at_{TOP}": float((chosen * self.recall).sum() / total),
            f"ndcg_at_{TOP}": float((chosen * self.ndcg).sum() / total),
        }


def point_metrics(task: Task, part: Scored) -> dict[str, float]:
    """Every metric of the task on one part."""
    return Judge(task, part).metrics(np.ones(len(part.label)))


def usable(task: Task, part: Scored) -> bool:
    """True when the task's metrics are defined on these rows."""
    return len(part.label) > 0 and Judge(task, part).defined(np.ones(len(part.label)))


def ranking_by_group(part: Scored, k: int) -> tuple[Index, Floats, Floats]:
    """A row of each list that has a positive, and the list's recall@k and NDCG@k, equal scores at their expected place."""
    order = np.lexsort((-part.score, part.groups))
    group, score, label = part.groups[order], part.score[order], (part.label[order] > 0).astype(np.float64)
    new_list = np.r_[True, group[1:] != group[:-1]]
    starts = np.flatnonzero(new_list)
    ties = np.flatnonzero(new_list | np.r_[True, score[1:] != score[:-1]])
    tied = np.diff(np.r_[ties, len(group)])
    first = ties - starts[np.searchsorted(starts, ties, side="right") - 1]
    gains = np.r_[0.0, np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))]
    above, below = np.minimum(first, k), np.minimum(first + tied, k)
    shown = np.repeat((below - above) / tied, tied)
    gained = np.repeat((gains[below] - gains[above]) / tied, tied)
    positives = np.add.reduceat(label, starts)
    some = positives > 0
    best = gains[np.minimum(positives[some], k).astype(np.intp)]
    recall = np.add.reduceat(label * shown, starts)[some] / positives[some]
    return order[starts[some]], recall, np.add.reduceat(label * gained, starts)[some] / best


def calibration_bins(part: Scored, bins: int = 10) -> list[tuple[float, float, int]]:
    """Mean score, share of positives and count, in bins of about equal count."""
    order = np.argsort(part.score, kind="stable")
    cut = [chunk for chunk in np.array_split(order, bins) if len(chunk)]
    return [(float(part.score[c].mean()), float(part.label[c].mean()), len(c)) for c in cut]


def measure(task: Task, parts: Sequence[Scored], seed: int = 0) -> dict[str, Measured]:
    """Every metric with its 95 % interval."""
    judges = [Judge(task, part) for part in parts]
    values = _mean(judges, [np.ones(len(part.label)) for part in parts])
    drawn = [list(_mean(judges, weights).values()) for weights in _weights(judges, seed)]
    if not drawn:
        return {name: Measured(value, value, value) for name, value in values.items()}
    low, high = (np.percentile(np.asarray(drawn), bound, axis=0) for bound in BOUNDS)
    return {name: Measured(value, float(low[i]), float(high[i])) for i, (name, value) in enumerate(values.items())}


def improvement(task: Task, metric: str, parts: Sequence[Scored], rivals: Sequence[Scored], seed: int = 0) -> Measured:
    """By how much `parts` beat `rivals` (the same rows) on a metric, towards better, with its paired interval."""
    sign = -1.0 if metric in SMALLER_IS_BETTER else 1.0
    ours, theirs = [Judge(task, part) for part in parts], [Judge(task, part) for part in rivals]

    def gain(weights: Sequence[Floats]) -> float:
        return sign * (_one(ours, metric, weights) - _one(theirs, metric, weights))

    value = gain([np.ones(len(part.label)) for part in parts])
    drawn = [gain(weights) for weights in _weights(ours, seed)]
    low, high = (float(np.percentile(drawn, bound)) for bound in BOUNDS) if drawn else (value, value)
    return Measured(value, low, high)


def _mean(judges: Sequence[Judge], weights: Sequence[Floats]) -> dict[str, float]:
    each = [judge.metrics(weight) for judge, weight in zip(judges, weights, strict=True)]
    # a metric's values lie side by side, so that they are summed as in a list of their own
    means = np.ascontiguousarray(np.array([list(values.values()) for values in each]).T).mean(axis=1)
    return dict(zip(each[0], means.tolist(), strict=True))


def _one(judges: Sequence[Judge], metric: str, weights: Sequence[Floats]) -> float:
    return float(np.mean([judge.metric(metric, weight) for judge, weight in zip(judges, weights, strict=True)]))


def _weights(judges: Sequence[Judge], seed: int) -> Iterator[list[Floats]]:
    rng = np.random.default_rng(seed)
    rows = sum(len(judge.part.label) for judge in judges)
    for _ in range(RESAMPLES if rows <= LARGE else RESAMPLES // 4):
        weights = [_draw(judge, rng) for judge in judges]
        if all(judge.defined(weight) for judge, weight in zip(judges, weights, strict=True)):
            yield weights


def _draw(judge: Judge, rng: np.random.Generator) -> Floats:
    groups = judge.part.groups
    units = int(groups.max()) + 1 if judge.task == "ranking" else len(groups)
    counts = np.bincount(rng.integers(0, units, units), minlength=units).astype(np.float64)
    return counts[groups] if judge.task == "ranking" else counts
