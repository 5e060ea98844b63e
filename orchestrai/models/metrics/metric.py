"""A metric is a finite number with its interval, or it is refused with a sentence: there is no third kind.

The catalogue says which task has which metric and which way is better; nothing else in orchestrai knows a direction.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrai.errors import ModelError
from orchestrai.models.task import Task

TOP = 10
_AT = re.compile(r"(recall|ndcg|map)_at_([1-9][0-9]{0,3})")
DIGITS = 6


@dataclass(frozen=True)
class MetricRule:
    """What a metric's name means: the tasks that have it, and whether a smaller value is the better one."""

    name: str
    tasks: frozenset[Task]
    smaller_is_better: bool = False

    def gain(self, ours: float, theirs: float) -> float:
        """By how much our value is better than theirs, in the metric's own unit."""
        return theirs - ours if self.smaller_is_better else ours - theirs


def _rules(smaller_is_better: bool, **tasks: tuple[Task, ...]) -> dict[str, MetricRule]:
    return {name: MetricRule(name, frozenset(of), smaller_is_better) for name, of in tasks.items()}


METRICS: dict[str, MetricRule] = {
    **_rules(
        False,
        auc=("binary", "ranking"),
        pr_auc=("binary", "ranking"),
        lift_top_tenth=("binary", "ranking"),
        accuracy=("binary", "multiclass"),
        macro_f1=("multiclass",),
        micro_f1=("multiclass",),
        macro_auc=("multiclass",),
        r2=("regression",),
        recall_at_10=("ranking",),
        ndcg_at_10=("ranking",),
        map_at_10=("ranking",),
    ),
    **_rules(
        True,
        log_loss=("binary", "multiclass"),
        brier=("binary",),
        calibration_error=("binary",),
        mae=("regression", "forecast"),
        rmse=("regression", "forecast"),
        mape=("regression",),
        pinball=("regression", "forecast"),
        smape=("forecast",),
        mase=("forecast",),
    ),
}
# what a promotion looks at where the declaration names no metric
DEFAULT: dict[Task, str] = {
    "binary": "auc",
    "multiclass": "log_loss",
    "regression": "rmse",
    "ranking": "auc",
    "forecast": "mase",
}


def metric_rule(name: str) -> MetricRule | None:
    """The rule of a metric, those at another place of a list (`ndcg_at_5`) included; None for an unknown name."""
    at = _AT.fullmatch(name)
    if at is not None:
        return MetricRule(name, frozenset({"ranking"}))
    return METRICS.get(name)


def rule_of(name: str) -> MetricRule:
    """The rule of a metric; raises ModelError for an unknown name."""
    rule = metric_rule(name)
    if rule is None:
        raise ModelError(f"expected a metric of {', '.join(sorted(METRICS))}, found {name!r}: correct the declaration")
    return rule


def place_of(name: str) -> int:
    """How many places of a list a ranking metric looks at; the usual ten for any other metric."""
    at = _AT.fullmatch(name)
    return int(at.group(2)) if at is not None else TOP


@dataclass(frozen=True)
class Metric:
    """A value with its 95 % interval, all three finite: none can be made of anything else. Raises ModelError."""

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        wrong = [number for number in (self.value, self.low, self.high) if not _is_finite(number)]
        if wrong:
            raise ModelError(f"expected a finite number with a finite interval, found {wrong[0]}")

    def as_json(self) -> dict[str, float]:
        """Rounded to 6 digits."""
        return {"value": round(self.value, DIGITS), "low": round(self.low, DIGITS), "high": round(self.high, DIGITS)}


def _is_finite(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)


def read_metric(figure: object) -> Metric:
    """A metric as records have it, with its interval or as a bare number; raises ModelError for anything else."""
    given: Mapping[str, Any] = figure if isinstance(figure, Mapping) else {"value": figure}
    value: Any = given.get("value")
    return Metric(value, given.get("low", value), given.get("high", value))


@dataclass(frozen=True)
class Measures:
    """The metrics of one contestant by name, and those that are refused, with the sentence why."""

    values: Mapping[str, Metric]
    refused: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The metrics that are numbers."""
        return {name: metric.as_json() for name, metric in self.values.items()}

    def get(self, name: str) -> Metric | str:
        """The metric, or why there is none."""
        return self.values.get(name) or self.refused.get(name) or f"expected {name} among the metrics, found none"


def read_measures(figures: object, refused: object = None) -> Measures:
    """Metrics as a record has them; what is no finite number there is refused here, whoever wrote it."""
    values: dict[str, Metric] = {}
    reasons = {str(name): str(reason) for name, reason in refused.items()} if isinstance(refused, Mapping) else {}
    for name, figure in figures.items() if isinstance(figures, Mapping) else ():
        try:
            values[str(name)] = read_metric(figure)
        except ModelError:
            shown = figure.get("value") if isinstance(figure, Mapping) else figure
            reasons[str(name)] = f"expected a finite {name}, found {shown}: look at the scores of the held-out rows"
    return Measures(values, reasons)


def document_measures(document: Mapping[str, Any], who: str) -> Measures | None:
    """The metrics of `candidate`, `champion`, `baseline` or `naive` in metrics.json; None where it was not scored."""
    if not document.get(who):
        return None
    return read_measures(document[who], (document.get("refused") or {}).get(who))
