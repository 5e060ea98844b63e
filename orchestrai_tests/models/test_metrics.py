"""Metrics against scikit-learn's and against hand-made cases."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from orchestrai.models.metrics.binary import BinaryJudge
from orchestrai.models.metrics.bootstrap import improvement, measure, point_metrics
from orchestrai.models.metrics.metric_set import MetricSet
from orchestrai.models.metrics.ranking import by_list
from orchestrai.models.metrics.scored import Scored

BINARY = MetricSet("binary")


def _part(label: list[float], score: list[float], groups: list[int] | None = None) -> Scored:
    return Scored(np.array(label), np.array(score), np.array(groups or [0] * len(label), dtype=np.intp))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8), st.integers(0, 3)), min_size=4, max_size=60))
@settings(max_examples=150)
def test_metrics_equal_those_of_scikit_learn_ties_and_weights_included(rows: list[tuple[bool, int, int]]) -> None:
    label = [float(hit) for hit, _, _ in rows]
    score = [value / 8 for _, value, _ in rows]
    weight = np.array([float(w) for _, _, w in rows])
    judge = BinaryJudge(_part(label, score))
    if not judge.defined(weight):
        return
    found = judge.metrics(weight)
    clipped = np.clip(score, 1e-15, 1 - 1e-15)
    expected = {
        "auc": reference.roc_auc_score(label, score, sample_weight=weight),
        "pr_auc": reference.average_precision_score(label, score, sample_weight=weight),
        "log_loss": reference.log_loss(label, clipped, sample_weight=weight, labels=[0, 1]),
        "accuracy": reference.accuracy_score(np.array(label) > 0, np.array(score) >= 0.5, sample_weight=weight),
        "brier": reference.brier_score_loss(label, score, sample_weight=weight),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_regression_metrics_equal_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    label = rng.normal(size=50)
    score = label + rng.normal(size=50)
    found = point_metrics(MetricSet("regression"), Scored(label, score, np.zeros(50, dtype=np.intp)))
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(label, score))
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(label, score))
    assert found["r2"] == pytest.approx(reference.r2_score(label, score))


def test_recall_ndcg_and_precision_of_ties_are_the_mean_over_all_their_orders() -> None:
    label, score = [1.0, 0.0, 1.0, 0.0, 0.0], [3.0, 2.0, 2.0, 2.0, 1.0]
    lists = by_list(_part(label, score), 2)
    recalls, gains, precisions = [], [], []
    for order in itertools.permutations([1, 2, 3]):
        shown = [label[place] for place in (0, *order, 4)][:2]
        recalls.append(sum(shown) / 2)
        gains.append(sum(hit / np.log2(rank + 2) for rank, hit in enumerate(shown)) / (1 + 1 / np.log2(3)))
        precisions.append(sum(hit * sum(shown[: rank + 1]) / (rank + 1) for rank, hit in enumerate(shown)) / 2)
    assert lists.recall[0] == pytest.approx(np.mean(recalls)) and lists.ndcg[0] == pytest.approx(np.mean(gains))
    assert lists.precision[0] == pytest.approx(np.mean(precisions))


def test_lists_without_a_positive_do_not_count() -> None:
    part = _part([1, 0, 0, 0], [0.9, 0.1, 0.5, 0.4], [0, 0, 1, 1])
    assert point_metrics(MetricSet("ranking"), part)["recall_at_10"] == 1.0


def test_intervals_are_seeded_cover_the_value_and_shrink_with_rows() -> None:
    rng = np.random.default_rng(1)

    def sample(count: int) -> list[Scored]:
        label = (rng.random(count) < 0.3).astype(float)
        score = np.clip(0.3 + 0.2 * label + rng.normal(0, 0.2, count), 0, 1)
        return [Scored(label, score, np.zeros(count, dtype=np.intp))]

    small, large = sample(200), sample(5000)
    assert measure(BINARY, small) == measure(BINARY, small)
    narrow, wide = measure(BINARY, large).values["auc"], measure(BINARY, small).values["auc"]
    assert narrow.low < narrow.value < narrow.high and narrow.high - narrow.low < wide.high - wide.low


def test_improvement_is_towards_better_and_paired() -> None:
    label = [float(n % 2) for n in range(100)]
    good, poor = _part(label, [0.2 + 0.6 * v for v in label]), _part(label, [0.45 + 0.1 * v for v in label])
    assert improvement(BINARY, "log_loss", [good], [poor]).low > 0
    same = improvement(BINARY, "auc", [good], [good])
    assert (same.low, same.value, same.high) == (0.0, 0.0, 0.0)


def test_folds_are_averaged_and_not_pooled() -> None:
    low, high = _part([0, 1, 0, 1], [0.1, 0.2, 0.15, 0.3]), _part([0, 1, 0, 1], [0.6, 0.9, 0.7, 0.8])
    assert measure(BINARY, [low, high]).values["auc"].value == 1.0


def test_one_metric_alone_is_what_all_of_them_give_and_so_are_means_over_many_parts() -> None:
    rng = np.random.default_rng(3)
    parts = [_part((rng.random(90) < 0.4).astype(float), np.round(rng.random(90), 2)) for _ in range(11)]
    for part in parts:
        judge, weight = BinaryJudge(part), np.bincount(rng.integers(0, 90, 90), minlength=90).astype(float)
        every = judge.metrics(weight)
        assert {name: judge.metric(name, weight) for name in every} == every
    measured = measure(BINARY, parts)
    for name, found in measured.values.items():
        assert found.value == float(np.mean([point_metrics(BINARY, part)[name] for part in parts]))
