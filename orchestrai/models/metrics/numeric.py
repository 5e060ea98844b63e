"""Metrics of predicted values: of a regression, and of a forecast beside the seasonal naive one."""

from abc import ABC, abstractmethod

import numpy as np

from orchestrai.models.metrics.metric_set import MetricSet
from orchestrai.models.metrics.scored import Scored
from orchestrai.models.rows import Floats

NAN = float("nan")


class _ValueJudge(ABC):
    """What regressions and forecasts share."""

    def __init__(self, part: Scored, asked: MetricSet) -> None:
        self.part, self.quantile = part, asked.quantile
        self.error = part.score - part.label
        self.missed, self.squared = np.abs(self.error), self.error**2
        if asked.quantile is not None:
            self.loss = np.where(self.error < 0, -asked.quantile * self.error, (1 - asked.quantile) * self.error)

    def metric(self, name: str, weight: Floats) -> float:
        """One metric."""
        return self.metrics(weight)[name]

    @abstractmethod
    def metrics(self, weight: Floats) -> dict[str, float]:
        """Every metric of the task."""

    def defined(self, weight: Floats) -> bool:
        """True when these weights leave rows."""
        return float(weight.sum()) > 0

    def _distance(self, weight: Floats) -> dict[str, float]:
        total = weight.sum()
        return {
            "rmse": float(np.sqrt(float((weight * self.squared).sum()) / total)),
            "mae": float((weight * self.missed).sum() / total),
        }

    def _pinball(self, weight: Floats) -> dict[str, float]:
        return {} if self.quantile is None else {"pinball": float((weight * self.loss).sum() / weight.sum())}


class RegressionJudge(_ValueJudge):
    """Judges predicted values."""

    def metrics(self, weight: Floats) -> dict[str, float]:
        """Every metric of the task."""
        label, total = self.part.label, weight.sum()
        spread = float((weight * (label - (weight * label).sum() / total) ** 2).sum())
        squared = float((weight * self.squared).sum())
        some = label != 0
        share = float((weight[some] * self.missed[some] / np.abs(label[some])).sum() / total) if some.all() else NAN
        r2 = 1 - squared / spread if spread else NAN
        return {**self._distance(weight), "r2": r2, "mape": share, **self._pinball(weight)}

    def undefined(self) -> dict[str, str]:
        """R2 where the label does not vary, MAPE where it is zero somewhere."""
        label, refused = self.part.label, {}
        if len(label) and (label == label[0]).all():
            refused["r2"] = (
                f"expected labels that vary among the {len(label)} held-out rows, found {label[0]:g} in all: no R2"
            )
        zeros = int((label == 0).sum())
        if zeros:
            refused["mape"] = (
                f"expected labels other than zero, found {zeros} of {len(label)} held-out rows with zero: no MAPE"
            )
        return refused


class ForecastJudge(_ValueJudge):
    """Judges forecasts; MASE is the error in units of what the seasonal naive forecast missed the same series by while training."""

    def __init__(self, part: Scored, asked: MetricSet) -> None:
        super().__init__(part, asked)
        size = np.abs(part.score) + np.abs(part.label)
        # nothing forecast and nothing there is no error
        self.symmetric = np.divide(2 * self.missed, size, out=np.zeros_like(size), where=size > 0)
        scale = part.scale if part.scale is not None else np.zeros_like(size)
        self.scaled = scale > 0
        self.relative = np.divide(self.missed, scale, out=np.zeros_like(size), where=self.scaled)

    def metrics(self, weight: Floats) -> dict[str, float]:
        """Every metric of the task."""
        known = float((weight * self.scaled).sum())
        mase = float((weight * self.relative).sum()) / known if known else NAN
        smape = float((weight * self.symmetric).sum() / weight.sum())
        return {**self._distance(weight), "smape": smape, "mase": mase, **self._pinball(weight)}

    def undefined(self) -> dict[str, str]:
        """MASE where no series varied while training."""
        if self.scaled.any():
            return {}
        return {
            "mase": "expected a series that varies from season to season before the held-out rows, found none: no MASE, widen the "
            "label's range or correct forecast.season"
        }
