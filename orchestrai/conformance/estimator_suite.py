"""What every estimator must do, as tests for pytest.

class TestMyEstimator(EstimatorConformance):
    tasks = ("binary", "regression")

    @pytest.fixture
    def make(self) -> Make:
        return lambda seed: MyEstimator({"depth": 3}, seed)
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from orchestrai.errors import ModelError
from orchestrai.models.estimators.added_estimator import Estimator, Fitted, require_no_pickle
from orchestrai.models.rows import Column, Floats, Rows
from orchestrai.models.task import Task

Make = Callable[[int], Estimator]
_COLUMNS = (
    Column("strong", "number"),
    Column("weak", "number"),
    Column("noise", "number"),
    Column("flag", "bool"),
    Column("colour", "category", ("blue", "green", "red")),
)
_CLASSES = ("high", "low", "middle")


def sample_rows(task: Task, count: int = 400, seed: int = 7) -> Rows:
    """Rows in which a number, a flag and a category tell the label, with values missing in every column."""
    rng = np.random.default_rng(seed)
    strong, weak, noise = rng.normal(size=count), rng.normal(size=count), rng.normal(size=count)
    flag, colour = rng.integers(0, 2, count), rng.integers(0, 3, count)
    truth = 2 * strong + 0.5 * weak + flag + np.where(colour == 2, 1.5, 0) + rng.normal(scale=0.3, size=count)
    matrix = np.column_stack([strong, weak, noise, flag, colour]).astype(np.float32)
    matrix[rng.random(matrix.shape) < 0.03] = np.nan
    classes: tuple[str, ...] = ()
    label: Floats = truth
    if task in ("binary", "ranking"):
        label = (truth > np.median(truth)).astype(np.float64)
    elif task == "multiclass":
        classes, label = _CLASSES, np.digitize(truth, np.quantile(truth, [1 / 3, 2 / 3])).astype(np.float64)
    who = np.array([f"e{number % 40}" for number in range(count)], dtype=object)
    return Rows(_COLUMNS, matrix, (who,), np.arange(count, dtype=np.int64) * 1_000_000, label, classes)


def _fit(make: Make, rows: Rows, task: Task, seed: int = 1) -> Fitted:
    return make(seed).fit(rows, task)


def _again(make: Make, fitted: Fitted, rows: Rows, task: Task) -> Fitted:
    return make(1).decode(fitted.encode(), rows.columns, task, len(rows.classes))


class EstimatorConformance:
    """Subclass it with a fixture `make`, which gives an estimator for a seed, and name the `tasks` that it is for.

    Every test is of the protocols in `orchestrai.models.estimators.added_estimator`.
    """

    tasks: tuple[Task, ...] = ("binary", "multiclass", "regression")

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Each test runs for each task that the estimator is for."""
        if "task" in metafunc.fixturenames:
            metafunc.parametrize("task", self.tasks)

    def test_the_same_rows_and_seed_give_the_same_bytes(self, make: Make, task: Task) -> None:
        rows = sample_rows(task)
        assert _fit(make, rows, task).encode() == _fit(make, rows, task).encode()

    def test_once_read_it_scores_the_same_and_is_written_the_same(self, make: Make, task: Task) -> None:
        rows = sample_rows(task)
        fitted = _fit(make, rows, task)
        again = _again(make, fitted, rows, task)
        assert np.array_equal(fitted.score(rows), again.score(rows)) and again.encode() == fitted.encode()

    def test_its_bytes_are_no_pickle(self, make: Make, task: Task) -> None:
        require_no_pickle(_fit(make, sample_rows(task), task).encode(), "the estimator")

    def test_scores_are_finite_and_of_the_shape_and_range_of_the_task(self, make: Make, task: Task) -> None:
        rows = sample_rows(task)
        scores = np.asarray(_fit(make, rows, task).score(rows))
        assert scores.shape == ((len(rows), len(rows.classes)) if rows.classes else (len(rows),))
        assert np.isfinite(scores).all()
        if task in ("binary", "ranking", "multiclass"):
            assert scores.min() >= 0 and scores.max() <= 1
        if rows.classes:
            assert np.allclose(scores.sum(axis=1), 1, atol=1e-5)

    def test_it_learns_what_can_be_learned(self, make: Make, task: Task) -> None:
        rows, fresh = sample_rows(task), sample_rows(task, seed=8)
        scores = np.asarray(_fit(make, rows, task).score(fresh))
        if rows.classes:
            assert (scores.argmax(axis=1) == fresh.label).mean() > 0.5, "a third is chance"
        elif task in ("binary", "ranking"):
            assert ((scores > 0.5) == (fresh.label > 0)).mean() > 0.7, "a half is chance"
        else:
            assert np.sqrt(np.mean((scores - fresh.label) ** 2)) < 0.8 * fresh.label.std()

    def test_rows_without_any_value_are_scored(self, make: Make, task: Task) -> None:
        rows = sample_rows(task)
        empty = replace(rows.take(np.arange(3)), matrix=np.full((3, len(_COLUMNS)), np.nan, dtype=np.float32))
        assert np.isfinite(np.asarray(_fit(make, rows, task).score(empty))).all()

    def test_importances_are_shares_by_name(self, make: Make, task: Task) -> None:
        rows = sample_rows(task)
        told = _fit(make, rows, task).importance(rows.columns)
        assert set(told) <= {column.name for column in rows.columns} and all(value >= 0 for value in told.values())
        assert sum(told.values()) == pytest.approx(1, abs=1e-6) or not any(told.values())

    @pytest.mark.parametrize("data", [b"", b"{}", b"\x00" * 64, b"not a model"])
    def test_other_bytes_are_refused(self, make: Make, data: bytes) -> None:
        rows = sample_rows(self.tasks[0])
        with pytest.raises((ValueError, ModelError)):
            make(1).decode(data, rows.columns, self.tasks[0], len(rows.classes))
