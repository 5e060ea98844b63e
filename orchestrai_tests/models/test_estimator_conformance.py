"""What every estimator must do, run against ours."""

from dataclasses import dataclass
from typing import Any

import pytest

from orchestrai.conformance.estimator_suite import EstimatorConformance, Make, sample_rows
from orchestrai.models.estimators import boosting, lightgbm_trees, logistic
from orchestrai.models.estimators import sklearn_estimator as sklearn_model
from orchestrai.models.estimators.added_estimator import Fitted
from orchestrai.models.estimators.spec import LightGBMParams, LogisticParams, SklearnParams, XGBoostParams
from orchestrai.models.rows import Column, Rows
from orchestrai.models.task import Task


@dataclass
class Ours:
    """One of ours, by the port of plug-ins; what is kept beside the bytes of a regression by XGBoost is kept here."""

    kind: str
    seed: int
    offset: float = 0.0

    def fit(self, rows: Rows, task: Task) -> Fitted:
        if self.kind == "lightgbm":
            return lightgbm_trees.fit(LightGBMParams(num_boost_round=40, seed=self.seed), task, rows)
        if self.kind == "xgboost":
            return boosting.fit(XGBoostParams(num_boost_round=40, seed=self.seed), task, rows)
        if self.kind == "logistic":
            return logistic.fit(LogisticParams(), rows)
        name = "RandomForestClassifier" if task in ("binary", "multiclass") else "RandomForestRegressor"
        params: dict[str, Any] = {"class": f"sklearn.ensemble.{name}", "params": {"n_estimators": 20}, "seed": self.seed}
        return sklearn_model.fit(SklearnParams.model_validate(params), task, rows)

    def decode(self, data: bytes, columns: tuple[Column, ...], task: Task, classes: int) -> Fitted:
        if self.kind == "lightgbm":
            return lightgbm_trees.decode(data, columns, classes)
        if self.kind == "xgboost":
            return boosting.decode(data, columns, self.offset, classes)
        if self.kind == "logistic":
            return logistic.decode(data, columns)
        return sklearn_model.decode(data, task, columns, classes)


class TestLightGBM(EstimatorConformance):
    """Every task."""

    tasks = ("binary", "multiclass", "regression", "ranking", "forecast")

    @pytest.fixture
    def make(self) -> Make:
        return lambda seed: Ours("lightgbm", seed)


class TestXGBoost(EstimatorConformance):
    """What its file holds whole: of a regression model.json has the rest."""

    tasks = ("binary", "multiclass", "ranking")

    @pytest.fixture
    def make(self) -> Make:
        return lambda seed: Ours("xgboost", seed)


class TestLogistic(EstimatorConformance):
    """Two classes."""

    tasks = ("binary", "ranking")

    @pytest.fixture
    def make(self) -> Make:
        return lambda seed: Ours("logistic", seed)


class TestSklearn(EstimatorConformance):
    """A forest of scikit-learn."""

    tasks = ("binary", "multiclass", "regression")

    @pytest.fixture
    def make(self) -> Make:
        return lambda seed: Ours("sklearn", seed)

    def test_once_read_it_scores_the_same_and_is_written_the_same(self, make: Make, task: Task) -> None:
        # skops numbers parts as they are met, and a file that was read is never written again
        rows = sample_rows(task)
        fitted = make(1).fit(rows, task)
        again = make(1).decode(fitted.encode(), rows.columns, task, len(rows.classes))
        assert (fitted.score(rows) == again.score(rows)).all()
