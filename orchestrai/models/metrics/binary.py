"""Metrics of two classes by one score: how well it orders them, and how well it is a probability."""

from dataclasses import dataclass

import numpy as np

from orchestrai.models.metrics.scored import Index, Scored
from orchestrai.models.rows import Floats

DISCRIMINATION = ("auc", "pr_auc", "lift_top_tenth")
ZERO = np.zeros(1)


@dataclass(frozen=True)
class Ranked:
    """Rows in the order of their scores, best first, with the places where equal scores end and the hits on the way.

    What does not depend on the weights is not computed again for each draw.
    """

    order: Index
    ends: Index
    hit: Floats

    def curve(self, weight: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Weights of hits and of all rows so far, by row; and of hits and misses at the ends of equal scores."""
        ranked = weight[self.order]
        true = np.cumsum(ranked * self.hit)
        seen = np.cumsum(ranked)
        return true, seen, true[self.ends], (seen - true)[self.ends]

    def area(self, weight: Floats) -> float:
        """The area under the ROC curve; NaN unless there are hits and misses."""
        _, _, tp, fp = self.curve(weight)
        return area(tp, fp) if len(tp) and tp[-1] > 0 and fp[-1] > 0 else float("nan")


def ranked(score: Floats, positive: Floats) -> Ranked:
    """Rows by their score."""
    order = np.argsort(-score, kind="stable")
    sorted_scores = score[order]
    ends = np.flatnonzero(np.r_[sorted_scores[1:] != sorted_scores[:-1], True]) if len(order) else order[:0]
    return Ranked(order, ends, positive[order])


def area(tp: Floats, fp: Floats) -> float:
    """The area below hits over misses."""
    before_tp, before_fp = np.concatenate((ZERO, tp[:-1])), np.concatenate((ZERO, fp[:-1]))
    return float(float(((fp - before_fp) * (tp + before_tp)).sum()) / (2 * tp[-1] * fp[-1]))


def discrimination(ranked_rows: Ranked, weight: Floats) -> dict[str, float]:
    """How well the order tells the classes apart; both must have weight."""
    true, seen, tp, fp = ranked_rows.curve(weight)
    before_tp = np.concatenate((ZERO, tp[:-1]))
    precise = tp / np.maximum(tp + fp, 1e-300)
    share = tp[-1] / seen[-1]
    cut = min(int(np.searchsorted(seen, 0.1 * seen[-1])), len(seen) - 1)
    return {
        "auc": float(area(tp, fp)),
        "pr_auc": float(((tp - before_tp) * precise).sum() / tp[-1]),
        "lift_top_tenth": float(true[cut] / max(seen[cut], 1e-300) / share),
    }


class BinaryJudge:
    """Judges probabilities of class 1."""

    def __init__(self, part: Scored) -> None:
        self.part = part
        label, score = (part.label > 0).astype(np.float64), part.score
        self.positive, self.ranked = label, ranked(score, label)
        p = np.clip(score, 1e-15, 1 - 1e-15)
        self.loss = -(label * np.log(p) + (1 - label) * np.log(1 - p))
        self.right, self.squared = (score >= 0.5) == (label > 0), (score - label) ** 2
        self.bins = [(rows, score[rows] - label[rows]) for rows in np.array_split(self.ranked.order, 10)]

    def metrics(self, weight: Floats) -> dict[str, float]:
        """Every metric of the task."""
        return {**discrimination(self.ranked, weight), **self._probability(weight)}

    def metric(self, name: str, weight: Floats) -> float:
        """One metric, without those it shares nothing with."""
        return (discrimination(self.ranked, weight) if name in DISCRIMINATION else self._probability(weight))[name]

    def defined(self, weight: Floats) -> bool:
        """True when these weights leave both classes."""
        return 0 < float((weight * self.positive).sum()) < float(weight.sum())

    def undefined(self) -> dict[str, str]:
        """None: without both classes nothing is told at all."""
        return {}

    def _probability(self, weight: Floats) -> dict[str, float]:
        total = weight.sum()
        gaps = [abs(float((weight[rows] * gap).sum())) for rows, gap in self.bins]
        return {
            "log_loss": float((weight * self.loss).sum() / total),
            "accuracy": float((weight * self.right).sum() / total),
            "brier": float((weight * self.squared).sum() / total),
            "calibration_error": float(sum(gaps) / total),
        }


def calibration_bins(part: Scored, bins: int = 10) -> list[tuple[float, float, int]]:
    """Mean score, share of positives and count, in bins of about equal count."""
    order = np.argsort(part.score, kind="stable")
    cut = [chunk for chunk in np.array_split(order, bins) if len(chunk)]
    return [(float(part.score[c].mean()), float(part.label[c].mean()), len(c)) for c in cut]
