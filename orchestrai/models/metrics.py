"""How good scores are: the field's metrics, each with a seeded bootstrap interval.

Parts are the held-out rows of a split, or one part per fold; a metric over several parts is their mean, as a k-fold figure is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrai.models.rows import Floats
from orchestrai.models.spec import SMALLER_IS_BETTER, Task

Index = npt.NDArray[np.intp]
Groups = npt.NDArray[np.intp]
RESAMPLES = 200
LARGE = 50_000
BOUNDS = (2.5, 97.5)


@dataclass(frozen=True)
class Scored:
    """Labels and scores of one part; `groups` numbers the lists of a ranking."""

    label: Floats
    score: Floats
    groups: Groups

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


def point_metrics(task: Task, part: Scored) -> dict[str, float]:
    """Every metric of the task on one part."""
    if task == "regression":
        return _regression(part)
    if task == "ranking":
        return {**_discrimination(part), **_ranking(part)}
    return {**_discrimination(part), **_probability(part)}


def _discrimination(part: Scored) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    return {
        "auc": float(roc_auc_score(part.label, part.score)),
        "pr_auc": float(average_precision_score(part.label, part.score)),
        "lift_top_tenth": lift(part, 0.1),
    }


def _probability(part: Scored) -> dict[str, float]:
    p = np.clip(part.score, 1e-15, 1 - 1e-15)
    return {
        "log_loss": float(-(part.label * np.log(p) + (1 - part.label) * np.log(1 - p)).mean()),
        "accuracy": float(((part.score >= 0.5) == (part.label > 0)).mean()),
        "brier": float(((part.score - part.label) ** 2).mean()),
        "calibration_error": calibration_error(part),
    }


def _regression(part: Scored) -> dict[str, float]:
    error = part.score - part.label
    spread = float(((part.label - part.label.mean()) ** 2).sum())
    return {
        "rmse": float(np.sqrt((error**2).mean())),
        "mae": float(np.abs(error).mean()),
        "r2": 1 - float((error**2).sum()) / spread if spread else 0.0,
    }


def _ranking(part: Scored, k: int = 10) -> dict[str, float]:
    recall, ndcg = ranking_by_group(part, k)
    return {f"recall_at_{k}": float(recall.mean()), f"ndcg_at_{k}": float(ndcg.mean())}


def ranking_by_group(part: Scored, k: int) -> tuple[Floats, Floats]:
    """recall@k and NDCG@k of each list that has a positive; equal scores are ordered by a seeded draw, not by position."""
    ties = np.random.default_rng(0).random(len(part.score))
    order = np.lexsort((ties, -part.score, part.groups))
    label, group = part.label[order] > 0, part.groups[order]
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    sizes = np.diff(np.r_[starts, len(group)])
    rank = np.arange(len(group)) - np.repeat(starts, sizes)
    discount = 1.0 / np.log2(rank + 2.0)
    hits = label & (rank < k)
    positives = np.add.reduceat(label.astype(np.float64), starts)
    found = np.add.reduceat(hits.astype(np.float64), starts)
    gained = np.add.reduceat(np.where(hits, discount, 0.0), starts)
    ideal = np.r_[0.0, np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))]
    some = positives > 0
    best = ideal[np.minimum(positives[some], k).astype(np.intp)]
    return found[some] / positives[some], gained[some] / best


def lift(part: Scored, share: float) -> float:
    """How many times more positives the best-scored share holds than rows drawn at random."""
    count = max(1, round(len(part.score) * share))
    best = np.argsort(-part.score, kind="stable")[:count]
    base = float(part.label.mean())
    return float(part.label[best].mean()) / base if base else 0.0


def calibration_bins(part: Scored, bins: int = 10) -> list[tuple[float, float, int]]:
    """Mean score, share of positives and count, in bins of about equal count."""
    order = np.argsort(part.score, kind="stable")
    cut = [chunk for chunk in np.array_split(order, bins) if len(chunk)]
    return [(float(part.score[c].mean()), float(part.label[c].mean()), len(c)) for c in cut]


def calibration_error(part: Scored) -> float:
    """The mean distance between score and share of positives over ten bins (expected calibration error)."""
    return sum(abs(score - share) * count for score, share, count in calibration_bins(part)) / max(1, len(part.score))


def usable(task: Task, part: Scored) -> bool:
    """True when the task's metrics are defined on these rows."""
    return len(part.label) > 0 and (task == "regression" or 0 < float((part.label > 0).mean()) < 1)


def mean_metrics(task: Task, parts: Sequence[Scored]) -> dict[str, float]:
    """The mean over parts of each metric."""
    each = [point_metrics(task, part) for part in parts]
    return {name: float(np.mean([values[name] for values in each])) for name in each[0]}


def measure(task: Task, parts: Sequence[Scored], seed: int = 0) -> dict[str, Measured]:
    """Every metric with its 95 % interval: rows (for a ranking whole lists) are drawn again with replacement."""
    values = mean_metrics(task, parts)
    drawn = _resampled(task, parts, seed, lambda sample: mean_metrics(task, sample))
    low, high = (np.percentile(drawn, bound, axis=0) for bound in BOUNDS) if len(drawn) else (None, None)
    return {
        name: Measured(value, float(low[i]) if low is not None else value, float(high[i]) if high is not None else value)
        for i, (name, value) in enumerate(values.items())
    }


def improvement(task: Task, metric: str, parts: Sequence[Scored], rivals: Sequence[Scored], seed: int = 0) -> Measured:
    """By how much `parts` beat `rivals` (the same rows) on a metric, towards better, with its paired interval."""
    sign = -1.0 if metric in SMALLER_IS_BETTER else 1.0

    def gain(ours: Sequence[Scored], theirs: Sequence[Scored]) -> dict[str, float]:
        return {"gain": sign * (mean_metrics(task, ours)[metric] - mean_metrics(task, theirs)[metric])}

    both = [Scored(o.label, np.column_stack([o.score, t.score]), o.groups) for o, t in zip(parts, rivals, strict=True)]

    def pair(sample: Sequence[Scored]) -> dict[str, float]:
        return gain(
            [Scored(s.label, s.score[:, 0], s.groups) for s in sample],
            [Scored(s.label, s.score[:, 1], s.groups) for s in sample],
        )

    drawn = _resampled(task, both, seed, pair)
    value = gain(parts, rivals)["gain"]
    low, high = (float(np.percentile(drawn, bound)) for bound in BOUNDS) if len(drawn) else (value, value)
    return Measured(value, low, high)


def _resampled(
    task: Task, parts: Sequence[Scored], seed: int, statistic: Callable[[Sequence[Scored]], dict[str, float]]
) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    rows = sum(len(part.label) for part in parts)
    drawn = []
    for _ in range(RESAMPLES if rows <= LARGE else RESAMPLES // 4):
        sample = [_draw(task, part, rng) for part in parts]
        if all(usable(task, part) for part in sample):
            drawn.append(list(statistic(sample).values()))
    return np.asarray(drawn, dtype=np.float64)


def _draw(task: Task, part: Scored, rng: np.random.Generator) -> Scored:
    if task != "ranking":
        return part.take(rng.integers(0, len(part.label), len(part.label)))
    order = np.argsort(part.groups, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(part.groups[order]) != 0])
    lists = np.split(order, starts[1:])
    chosen = rng.integers(0, len(lists), len(lists))
    index = np.concatenate([lists[place] for place in chosen])
    renumbered = np.repeat(np.arange(len(chosen)), [len(lists[place]) for place in chosen])
    sample = part.take(index)
    return Scored(sample.label, sample.score, renumbered.astype(np.intp))
