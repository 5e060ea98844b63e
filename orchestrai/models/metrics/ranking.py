"""Metrics of lists: what the best places of each hold. Equal scores count at their expected place."""

from dataclasses import dataclass

import numpy as np

from orchestrai.models.metrics.binary import DISCRIMINATION, discrimination, ranked
from orchestrai.models.metrics.scored import Index, Scored
from orchestrai.models.rows import Floats


@dataclass(frozen=True)
class ByList:
    """For each list that has a positive: one of its rows, and what its first places hold."""

    row: Index
    recall: Floats
    ndcg: Floats
    precision: Floats


class RankingJudge:
    """Judges the order of each list, and the scores over all lists as of two classes."""

    def __init__(self, part: Scored, top: int) -> None:
        self.part, self.top = part, top
        self.positive = (part.label > 0).astype(np.float64)
        self.ranked = ranked(part.score, self.positive)
        self.lists = by_list(part, top)

    def metrics(self, weight: Floats) -> dict[str, float]:
        """Every metric of the task."""
        return {**discrimination(self.ranked, weight), **self._first_places(weight)}

    def metric(self, name: str, weight: Floats) -> float:
        """One metric, without those it shares nothing with."""
        return (discrimination(self.ranked, weight) if name in DISCRIMINATION else self._first_places(weight))[name]

    def defined(self, weight: Floats) -> bool:
        """True when these weights leave both classes."""
        return 0 < float((weight * self.positive).sum()) < float(weight.sum())

    def undefined(self) -> dict[str, str]:
        """None: without both classes nothing is told at all."""
        return {}

    def _first_places(self, weight: Floats) -> dict[str, float]:
        chosen = weight[self.lists.row]
        total = max(float(chosen.sum()), 1e-300)
        return {
            f"recall_at_{self.top}": float((chosen * self.lists.recall).sum() / total),
            f"ndcg_at_{self.top}": float((chosen * self.lists.ndcg).sum() / total),
            f"map_at_{self.top}": float((chosen * self.lists.precision).sum() / total),
        }


def by_list(part: Scored, k: int) -> ByList:
    """Recall@k, NDCG@k and average precision@k of each list that has a positive."""
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
    precise = np.add.reduceat(_precision(label, ties, tied, first, starts, k), starts)[some] / np.minimum(positives[some], k)
    return ByList(order[starts[some]], recall, np.add.reduceat(label * gained, starts)[some] / best, precise)


def _precision(label: Floats, ties: Index, tied: Index, first: Index, starts: Index, k: int) -> Floats:
    """By place of a list: the chance of a positive there times the precision up to it, over all orders of equal scores."""
    hits = np.add.reduceat(label, ties)
    before = np.cumsum(label) - label
    found = before[ties] - before[starts[np.searchsorted(starts, ties, side="right") - 1]]
    place = np.arange(len(label)) - np.repeat(ties, tied)
    others = np.repeat(np.where(tied > 1, (hits - 1) / np.maximum(tied - 1, 1), 0.0), tied)
    rank = np.repeat(first, tied) + place + 1
    precision = np.repeat(hits / tied, tied) * (np.repeat(found, tied) + 1 + place * others) / rank
    return np.where(rank <= k, precision, 0.0)
