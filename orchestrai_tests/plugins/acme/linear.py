"""An estimator of another package: least squares on standardised columns, through a logistic curve for two classes; kept as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrai.models.rows import Column, Floats, Rows
from orchestrai.models.task import Task

FORMAT = "acme linear 1"


class Linear:
    """Implements `orchestrai.models.estimators.added_estimator.Estimator`; the seed decides nothing here."""

    def __init__(self, params: Mapping[str, Any], seed: int) -> None:
        if strange := sorted(set(params) - {"penalty"}):
            raise ValueError(f"expected the parameter penalty, found {', '.join(strange)}")
        self._penalty = float(params.get("penalty", 1.0))

    def fit(self, rows: Rows, task: Task) -> "Fit":
        if task == "multiclass":
            raise ValueError("expected two classes or a value, found several classes")
        names = tuple(column.name for column in rows.columns)
        centre = np.nan_to_num(np.nanmean(rows.matrix.astype(np.float64), axis=0))
        spread = np.nan_to_num(np.nanstd(rows.matrix.astype(np.float64), axis=0))
        spread[spread == 0] = 1.0
        ready = Fit(task, names, centre.tolist(), spread.tolist(), [], 0.0)
        design, target = ready.design(rows), rows.label - rows.label.mean()
        weights = np.linalg.solve(design.T @ design + self._penalty * np.eye(design.shape[1]), design.T @ target)
        return Fit(task, names, centre.tolist(), spread.tolist(), weights.round(12).tolist(), float(rows.label.mean()))

    def decode(self, data: bytes, columns: tuple[Column, ...], task: Task, classes: int) -> "Fit":
        try:
            body = json.loads(data)
            if body.pop("format") != FORMAT:
                raise ValueError("expected a model of acme, found another")
            fitted = Fit(**body | {"names": tuple(body["names"])})
        except (KeyError, TypeError, AttributeError) as exc:
            raise ValueError(f"expected a model of acme, found something else ({exc})") from exc
        if fitted.names != tuple(column.name for column in columns):
            raise ValueError("expected a model of these features, found one of others")
        return fitted


@dataclass(frozen=True)
class Fit:
    """Implements `orchestrai.models.estimators.added_estimator.Fitted`."""

    task: Task
    names: tuple[str, ...]
    centre: list[float]
    spread: list[float]
    weights: list[float]
    mean: float

    def design(self, rows: Rows) -> Floats:
        """Standardised columns; what is missing is the mean."""
        return np.nan_to_num((rows.matrix.astype(np.float64) - self.centre) / self.spread)

    def score(self, rows: Rows) -> Floats:
        line = self.design(rows) @ np.array(self.weights)
        if self.task in ("binary", "ranking"):
            odds: Floats = 1 / (1 + np.exp(-4 * (line + self.mean - 0.5)))
            return odds
        value: Floats = line + self.mean
        return value

    def encode(self) -> bytes:
        return json.dumps({"format": FORMAT, **self.__dict__}, sort_keys=True).encode()

    def importance(self, columns: tuple[Column, ...]) -> dict[str, float]:
        sizes = np.abs(self.weights)
        total = float(sizes.sum()) or 1.0
        return {column.name: float(size) / total for column, size in zip(columns, sizes, strict=True)}
