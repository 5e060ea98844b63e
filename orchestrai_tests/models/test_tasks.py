"""Each task through every stage: trained, judged, promoted over its naive baseline, scored in batch and online."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from orchestrai.features.views.moment_partitions import PointInTime
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.inference import predict
from orchestrai.models.metrics.bootstrap import measure, point_metrics
from orchestrai.models.metrics.metric import METRICS
from orchestrai.models.metrics.metric_set import MetricSet
from orchestrai.models.metrics.scored import Scored
from orchestrai.models.registry.serving import scoring_app
from orchestrai.models.spec import ModelSpec
from orchestrai_tests.models.conftest import CHAMPION, EVALUATION, START, customers, publish, spec

Run = Callable[..., Any]
FEATURES, PREDICTIONS = "churn/customer_rfm/features", "churn/churn/predictions"
PLANS = ["basic", "family", "pro"]


def _labelled(values: Any, table: pa.Table | None = None) -> pa.Table:
    table = customers(moments=6, per_moment=120) if table is None else table
    return table.set_column(table.column_names.index("label"), "label", pa.array(values))


def _plans() -> pa.Table:
    table = customers(moments=6, per_moment=120)
    spend = np.nan_to_num(table.column("spend_90d").to_numpy(), nan=60.0)
    rng = np.random.default_rng(2)
    chosen = np.digitize(spend + rng.normal(0, 15, len(spend)), [70.0, 120.0])
    return _labelled([PLANS[place] for place in chosen], table)


def _values() -> pa.Table:
    table = customers(moments=6, per_moment=120)
    rng = np.random.default_rng(3)
    return _labelled(50 + 2 * table.column("recency_days").to_numpy() + rng.normal(0, 8, table.num_rows), table)


def _baskets() -> pa.Table:
    """Buyers and items at moments: who took an item before takes it again, and some items are what everybody takes."""
    rng, lines = np.random.default_rng(4), []
    for moment in range(6):
        for buyer in range(40):
            for item in range(12):
                often = int(rng.poisson(0.4))
                chance = 1 / (1 + np.exp(2.2 - 1.1 * often - 0.06 * item))
                lines.append((f"b{buyer}", f"i{item}", moment, int(rng.random() < chance), often, item))
    buyers, items, moments, labels, often, number = zip(*lines, strict=True)
    when = [START + timedelta(days=7 * moment) for moment in moments]
    return pa.table(
        {
            "buyer": list(buyers), "item": list(items), "event_time": pa.array(when, pa.timestamp("us", "UTC")),
            "label": list(labels), "times_bought": list(often), "item_number": list(number),
        }
    )  # fmt: skip


def _demand(days: int = 120, shops: int = 6, noise: float = 2.0) -> pa.Table:
    """What shops sell one and two days ahead: a week's pattern and a level that moves and comes back, of which yesterday tells."""
    rng, lines = np.random.default_rng(5), []
    for shop in range(shops):
        moved = np.zeros(days + 9)
        for day in range(1, days + 9):
            moved[day] = 0.8 * moved[day - 1] + rng.normal(0, 4)
        sold = 60 + moved + 12 * np.sin(2 * np.pi * np.arange(days + 9) / 7) + rng.normal(0, noise, days + 9)
        for day in range(7, days + 7):
            for step in (1, 2):
                lines.append((f"s{shop}", step, day, sold[day + step - 1], sold[day - 1], sold[day + step - 8], step))
    shop, step, day, label, yesterday, week, ahead = zip(*lines, strict=True)
    return pa.table(
        {
            "shop": list(shop), "step": list(step),
            "event_time": pa.array([START + timedelta(days=int(one)) for one in day], pa.timestamp("us", "UTC")),
            "label": list(label), "sold_yesterday": list(yesterday), "sold_week_before": list(week), "steps_ahead": list(ahead),
        }
    )  # fmt: skip


XGBOOST = {"xgboost": {"num_boost_round": 25, "max_depth": 3}}
CASES: dict[str, tuple[Callable[[], pa.Table], dict[str, Any]]] = {
    "binary": (lambda: customers(moments=6, per_moment=120), {"task": "binary"}),
    "multiclass": (_plans, {"task": "multiclass", "promote_when": {"metric": "macro_f1", "at_least": 0.5}}),
    "multiclass by folds": (_plans, {"task": "multiclass", "promote_when": {}, "split": {"folds": 3}}),
    "multiclass sklearn": (
        _plans,
        {"task": "multiclass", "promote_when": {}, "estimator": {"sklearn": {"class": "sklearn.linear_model.LogisticRegression"}}},
    ),
    "regression": (_values, {"task": "regression", "promote_when": {"metric": "mae"}}),
    "quantile": (
        _values,
        {
            "task": "regression",
            "promote_when": {"metric": "pinball"},
            "estimator": {"xgboost": {"num_boost_round": 60, "objective": "reg:quantileerror", "quantile_alpha": 0.8}},
        },
    ),
    "ranking": (
        _baskets,
        {"task": "ranking", "entity": ["buyer", "item"], "promote_when": {"metric": "map_at_5", "at_least": 0.1}},
    ),
    "forecast": (
        _demand,
        {
            "task": "forecast",
            "entity": ["shop", "step"],
            "forecast": {"season": "7d", "ahead": "1d", "step": "step"},
            "split": {"backtests": 3, "gap": "2d"},
            "promote_when": {"metric": "mase"},
        },
    ),
}  # fmt: skip


def _model(**changes: Any) -> ModelSpec:
    return spec(**{"baseline": None, "estimator": XGBOOST, **changes})


def _files(ledger: Ledger, asset: str) -> dict[str, bytes]:
    with ledger.open(asset).fetched(["all"]) as fetched:
        return {file.entry.path: file.path.read_bytes() for file in fetched["all"]}


@pytest.mark.parametrize("case", CASES)
def test_a_task_goes_through_every_stage(ledger: Ledger, run: Run, case: str) -> None:
    make, declared = CASES[case]
    table, model = make(), _model(**declared)
    trained, judged, promoted = run(model, table)
    assert trained.version and judged.version
    assert promoted.version == trained.version, promoted.outcomes
    # every figure is a number with an interval around it, and the naive answer is worse
    files = _files(ledger, EVALUATION)
    document, rule = json.loads(files["metrics.json"]), METRICS.get(model.promote_when.metric)
    assert document["task"] == model.task
    for who in ("candidate", "naive"):
        for name, figure in document[who].items():
            assert all(np.isfinite(list(figure.values()))), (who, name)
            assert figure["low"] <= figure["high"]
    ours, naive = (document[who][model.promote_when.metric]["value"] for who in ("candidate", "naive"))
    assert ours < naive if rule is not None and rule.smaller_is_better else ours > naive
    card = files["model_card.md"].decode()
    assert f"A {model.task} model" in card and document["naive_is"] in card
    pictures = {
        "binary": {"roc", "calibration"}, "ranking": {"roc", "precision_recall"}, "multiclass": {"confusion"},
        "regression": {"predicted", "residuals"}, "forecast": {"predicted", "residuals", "forecast"},
    }  # fmt: skip
    assert {f"{name}.png" for name in pictures[model.task]} <= files.keys()
    # the champion scores what is new, in a batch and online
    newest = max(table.column("event_time").to_pylist())
    fresh = table.filter(pa.compute.equal(table.column("event_time"), pa.scalar(newest, pa.timestamp("us", "UTC"))))
    publish(ledger, FEATURES, fresh.drop_columns(["label"]), "2026-07-01")
    report = predict(ledger, model, champion=CHAMPION, features=[FEATURES], known=PointInTime(ledger), asset=PREDICTIONS)
    assert report.facts["task"] == model.task
    scored = _predictions(ledger)
    online = _ask(ledger, fresh, model)
    assert online["task"] == model.task and len(online["scores"]) == fresh.num_rows
    if model.task == "multiclass":
        shares = np.column_stack([scored.column(f"probability_{name}").to_numpy() for name in PLANS])
        assert np.allclose(shares.sum(axis=1), 1, atol=1e-5)
        assert scored.column("label").to_pylist() == [PLANS[place] for place in shares.argmax(axis=1)]
        assert set(online["labels"]) <= set(PLANS) and sorted(online["probabilities"][0]) == PLANS
    else:
        assert scored.column_names == [*model.entity, "event_time", "score", "model_version"]
        assert "labels" not in online


def _predictions(ledger: Ledger) -> pa.Table:
    with ledger.open(PREDICTIONS).fetched(["2026-07-01"]) as fetched:
        return pq.read_table(fetched["2026-07-01"][0].path)


def _ask(ledger: Ledger, fresh: pa.Table, model: ModelSpec) -> dict[str, Any]:
    names = [name for name in fresh.column_names if name not in (*model.entity, "event_time", "label")]
    response = TestClient(scoring_app(ledger, CHAMPION)).post("/score", json={"rows": fresh.select(names).to_pylist()})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.parametrize("case", ["multiclass sklearn", "forecast", "quantile"])
def test_a_task_trained_again_gives_the_same_bytes_and_the_same_figures(ledger: Ledger, run: Run, case: str) -> None:
    make, declared = CASES[case]
    first = [report.version for report in run(_model(**declared), make())[:2]]
    assert [report.version for report in run(_model(**declared), make())[:1]] == first[:1]


def test_a_model_that_is_no_better_than_the_naive_answer_is_not_promoted(ledger: Ledger, run: Run) -> None:
    rng = np.random.default_rng(6)
    noise = _labelled(rng.normal(100, 10, 720))
    _, judged, promoted = run(_model(task="regression", promote_when={"metric": "rmse"}), noise)
    assert promoted.refused and "not better than the mean of the training labels" in promoted.refused[0].verdicts[0].message
    # the evaluation is published all the same
    assert judged.version and ledger.head(CHAMPION) is None


def test_a_forecast_no_better_than_last_week_is_not_promoted(ledger: Ledger, run: Run) -> None:
    table = _demand(noise=0.0)
    week = table.column("sold_week_before").to_numpy()
    same = table.set_column(table.column_names.index("label"), "label", pa.array(week + 1e-3 * np.arange(len(week))))
    plain = same.drop_columns(["sold_week_before", "sold_yesterday"])
    _, _, promoted = run(_model(**CASES["forecast"][1]), plain)
    assert promoted.refused and "not better than the value one season before" in promoted.refused[0].verdicts[0].message


def test_what_rows_have_no_value_of_is_refused_with_a_sentence_and_the_rest_is_told(ledger: Ledger, run: Run) -> None:
    table = _values()
    late = np.array([moment >= START + timedelta(days=120) for moment in table.column("event_time").to_pylist()])
    labels = np.where(late, 0.0, table.column("label").to_numpy())
    model = _model(task="regression", promote_when={"metric": "r2", "at_least": 0.1})
    _, _, promoted = run(model, _labelled(labels, table))
    document = json.loads(_files(ledger, EVALUATION)["metrics.json"])
    assert document["refused"]["candidate"].keys() == {"r2", "mape"} and "mae" in document["candidate"]
    assert promoted.refused and "expected labels that vary" in promoted.refused[0].verdicts[0].message


def test_a_champion_of_another_task_is_not_compared_and_does_not_stand_in_the_way(ledger: Ledger, run: Run) -> None:
    run(_model(task="regression", promote_when={"metric": "mae"}), _values())
    trained, _, promoted = run(_model(task="multiclass", promote_when={"better_than_champion_by": 0.1}), _plans())
    assert promoted.version == trained.version
    assert "not compared with the champion, which is of the task regression" in promoted.outcomes[0].verdicts[0].message


def test_a_class_that_the_champion_never_saw_has_no_probability_and_the_two_are_compared(ledger: Ledger, run: Run) -> None:
    model = _model(task="multiclass", promote_when={"metric": "log_loss"})
    few = _plans()
    run(model, few.filter(pa.compute.not_equal(few.column("label"), "pro")))
    trained, _, promoted = run(model, few)
    document = json.loads(_files(ledger, EVALUATION)["metrics.json"])
    assert document["champion"]["log_loss"]["value"] > document["candidate"]["log_loss"]["value"]
    assert promoted.version == trained.version


def test_forecasts_are_told_step_by_step_over_backtests_and_their_naive_answer_is_last_week(
    ledger: Ledger, run: Run
) -> None:
    run(_model(**CASES["forecast"][1]), _demand())
    document = json.loads(_files(ledger, EVALUATION)["metrics.json"])
    assert [line["step"] for line in document["by_step"]] == [1, 2]
    assert len(document["candidate_by_fold"]) == 3 == document["split"]["backtests"]
    # two days ahead is harder than one
    assert document["by_step"][0]["mae"]["value"] < document["by_step"][1]["mae"]["value"]
    assert document["rows_without_season"] == 0


def test_rows_of_one_entity_are_drawn_together_so_that_repeating_them_tells_nothing_new() -> None:
    rng = np.random.default_rng(7)
    label = rng.normal(size=40)
    score = label + rng.normal(size=40)
    groups = np.zeros(40, dtype=np.intp)
    once = measure(MetricSet("regression"), [Scored(label, score, groups)]).values["mae"]
    often = np.tile(np.arange(40), 25)
    alone = Scored(label[often], score[often], groups[often])
    together = Scored(label[often], score[often], groups[often], cluster=often.astype(np.intp))
    narrow, wide = (measure(MetricSet("regression"), [part]).values["mae"] for part in (alone, together))
    assert wide.high - wide.low == pytest.approx(once.high - once.low, rel=0.01)
    assert narrow.high - narrow.low < 0.3 * (wide.high - wide.low)


def test_multiclass_and_forecast_metrics_equal_the_textbooks() -> None:
    from sklearn import metrics as reference

    rng = np.random.default_rng(8)
    code = rng.integers(0, 3, 200)
    shares = rng.dirichlet([1, 1, 1], 200) + 0.6 * np.eye(3)[code]
    shares /= shares.sum(axis=1, keepdims=True)
    groups = np.zeros(200, dtype=np.intp)
    figures = point_metrics(MetricSet("multiclass"), Scored(code.astype(float), shares, groups))
    named = shares.argmax(axis=1)
    assert figures["macro_f1"] == pytest.approx(reference.f1_score(code, named, average="macro"))
    assert figures["micro_f1"] == pytest.approx(reference.f1_score(code, named, average="micro"))
    assert figures["log_loss"] == pytest.approx(reference.log_loss(code, shares))
    assert figures["macro_auc"] == pytest.approx(reference.roc_auc_score(code, shares, multi_class="ovr"))
    label, score = rng.normal(10, 3, 200), rng.normal(10, 3, 200)
    value = point_metrics(MetricSet("regression", quantile=0.9), Scored(label, score, groups))
    assert value["pinball"] == pytest.approx(reference.mean_pinball_loss(label, score, alpha=0.9))
    assert value["mape"] == pytest.approx(reference.mean_absolute_percentage_error(label, score))
    ahead = point_metrics(MetricSet("forecast"), Scored(label, score, groups, scale=np.full(200, 2.0)))
    assert ahead["mase"] == pytest.approx(value["mae"] / 2)
    assert ahead["smape"] == pytest.approx(float(np.mean(2 * np.abs(label - score) / (np.abs(label) + np.abs(score)))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "multiclass", "promote_when": {"metric": "auc"}}, "expected one of accuracy, log_loss, macro_auc"),
        ({"task": "multiclass", "estimator": {"logistic": {}}, "promote_when": {}}, "another than logistic"),
        ({"task": "multiclass", "baseline": "orders", "promote_when": {}}, "baseline: expected none for multiclass"),
        ({"task": "forecast", "promote_when": {}}, "forecast: expected {season, ahead}"),
        ({"forecast": {"season": "7d", "ahead": "1d"}}, "forecast: expected {season, ahead}"),
        ({**CASES["forecast"][1], "split": {"folds": 3}}, "by: time over the latest moments"),
        ({**CASES["forecast"][1], "entity": ["shop"]}, "forecast.step: expected one of the entity columns"),
        ({"task": "regression", "promote_when": {"metric": "pinball"}}, "an estimator of a quantile"),
        ({"split": {"backtests": 3, "by": "entity"}}, "backtests: expected by: time"),
        ({"task": "guess"}, "task"),
    ],
)
def test_declarations_that_no_task_can_keep_are_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _model(**changes)


def test_the_first_spelling_of_binary_is_read_and_written_as_before() -> None:
    assert _model(task="classification") == _model(task="binary")
    assert _model(task="classification").recipe()["task"] == "classification"
    assert _model().asked == MetricSet("binary")
