"""Metrics of several classes by a probability for each."""

import numpy as np
import numpy.typing as npt

from orchestrai.models.metrics.binary import ranked
from orchestrai.models.metrics.scored import Scored
from orchestrai.models.rows import Floats


class MulticlassJudge:
    """Judges the probabilities of classes; a label is the number of its class."""

    def __init__(self, part: Scored) -> None:
        self.part = part
        self.classes = part.score.shape[1]
        self.code, self.chosen = part.label.astype(np.intp), part.score.argmax(axis=1)
        own = part.score[np.arange(len(part.label)), self.code]
        self.loss = -np.log(np.clip(own, 1e-15, 1))
        self.right = self.code == self.chosen
        self.ranked = [ranked(part.score[:, n], (self.code == n).astype(np.float64)) for n in range(self.classes)]

    def metrics(self, weight: Floats) -> dict[str, float]:
        """Every metric of the task."""
        return {**self._labels(weight), "macro_auc": self._area(weight)}

    def metric(self, name: str, weight: Floats) -> float:
        """One metric, without those it shares nothing with."""
        return self._area(weight) if name == "macro_auc" else self._labels(weight)[name]

    def defined(self, weight: Floats) -> bool:
        """True when these weights leave rows."""
        return float(weight.sum()) > 0

    def undefined(self) -> dict[str, str]:
        """Areas where the rows are of one class."""
        if len(np.unique(self.code)) > 1:
            return {}
        return {"macro_auc": f"expected two classes among the {len(self.code)} held-out rows, found one: no AUC"}

    def confusion(self) -> npt.NDArray[np.int64]:
        """Counts by true class (row) and predicted class (column)."""
        return np.bincount(self.code * self.classes + self.chosen, minlength=self.classes**2).reshape(self.classes, -1)

    def by_class(self) -> list[dict[str, float | int]]:
        """Rows, precision, recall, F1 and the area against all others, class by class; what a class has no value of is left out."""
        counts, ones = self.confusion(), np.ones(len(self.code))
        lines = []
        for number in range(self.classes):
            hits, there, named = counts[number, number], counts[number].sum(), counts[:, number].sum()
            line: dict[str, float | int] = {"rows": int(there)}
            if named:
                line["precision"] = round(float(hits / named), 6)
            if there:
                line["recall"] = round(float(hits / there), 6)
            if there + named:
                line["f1"] = round(float(2 * hits / (there + named)), 6)
            if 0 < there < len(self.code):
                line["auc"] = round(self.ranked[number].area(ones), 6)
            lines.append(line)
        return lines

    def _labels(self, weight: Floats) -> dict[str, float]:
        total = weight.sum()
        there = np.bincount(self.code, weight, self.classes)
        named = np.bincount(self.chosen, weight, self.classes)
        hits = np.bincount(self.code[self.right], weight[self.right], self.classes)
        seen = there + named > 0
        accuracy = float(hits.sum() / total)
        return {
            "log_loss": float((weight * self.loss).sum() / total),
            "accuracy": accuracy,
            "macro_f1": float((2 * hits[seen] / (there + named)[seen]).mean()),
            # each row has one label and gets one, so that both kinds of error are as many
            "micro_f1": accuracy,
        }

    def _area(self, weight: Floats) -> float:
        areas = [value for value in (rows.area(weight) for rows in self.ranked) if not np.isnan(value)]
        return float(np.mean(areas)) if areas else float("nan")
