"""What must not become a model, and what happens to the champion then."""

import dataclasses
import json
import pickle  # noqa: TID251  the attack under test
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from orchestrai.errors import DigestMismatch, IntegrityError, ModelError
from orchestrai.features.views.moment_partitions import PointInTime
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators import artifact, boosting
from orchestrai.models.estimators.artifact import load_model
from orchestrai.models.evaluation import evaluate
from orchestrai.models.inference import predict
from orchestrai.models.metrics.metric import Metric
from orchestrai.models.promotion import promote
from orchestrai.models.promotion_rule import decide_promotion
from orchestrai.models.spec import ModelAssets
from orchestrai.models.training import train
from orchestrai_tests.models.conftest import CANDIDATE, CHAMPION, EVALUATION, TRAINING_SET, customers, publish, spec
from orchestrai_tests.producers import producer

Run = Callable[..., Any]


def _with(name: str, values: Any) -> pa.Table:
    table = customers()
    return table.set_column(table.column_names.index(name), name, pa.array(values))


def _rows() -> int:
    return int(customers().num_rows)


CASES = {
    "one class": (_with("label", [0] * _rows()), "both classes"),
    "one row": (customers().slice(0, 1), "at least two as-of moments"),
    "few rows": (customers(per_moment=2, moments=3), "at least 10 training rows"),
    "no row": (customers().slice(0, 0), "at least two as-of moments"),
    "only nulls": (_with("spend_90d", pa.nulls(_rows(), pa.float64())), "only nulls in spend_90d"),
    "infinite": (_with("spend_90d", [float("inf")] + [1.0] * (_rows() - 1)), "1 infinite"),
    "beyond a float": (_with("spend_90d", [1e300] + [1.0] * (_rows() - 1)), "beyond 3.4e38"),
    "three labels": (_with("label", [n % 3 for n in range(_rows())]), "labels 0 and 1"),
    "null label": (_with("label", [None] + [1] * (_rows() - 1)), "finite label"),
    "text label": (_with("label", ["yes", "no"] * (_rows() // 2)), "label to be a number"),
    "no label": (customers().drop_columns(["label"]), "none named label"),
    "no time": (customers().drop_columns(["event_time"]), "none named event_time"),
    "a list": (_with("orders", [[1]] * _rows()), "number, boolean or string"),
    "no feature": (customers().select(["customer_id", "event_time", "label"]), "at least one feature"),
}


@pytest.mark.parametrize("case", CASES)
def test_training_refuses_rows_that_cannot_make_a_model_and_publishes_nothing(ledger: Ledger, case: str) -> None:
    table, message = CASES[case]
    publish(ledger, TRAINING_SET, table)
    with pytest.raises(ModelError, match=message):
        train(ledger, spec(), training_set=TRAINING_SET, asset=CANDIDATE)
    assert ledger.head(CANDIDATE) is None


def test_the_champion_keeps_serving_when_a_later_training_set_is_broken(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    serving = load_model(ledger, CHAMPION)
    publish(ledger, TRAINING_SET, CASES["one class"][0])
    with pytest.raises(ModelError):
        run(spec())
    assert load_model(ledger, CHAMPION).version == serving.version


def test_a_feature_that_gives_the_label_away_is_named_and_never_promoted(ledger: Ledger, run: Run) -> None:
    table = customers()
    leaking = table.append_column("cancelled_on_day", pa.array(table.column("label").to_numpy() * 3.0))
    _, judged, promoted = run(spec(), leaking)
    alarm = next(v for v in judged.outcomes[0].verdicts if v.check == "leak_alarm")
    assert not alarm.passed and "cancelled_on_day alone" in alarm.message
    assert promoted.refused and ledger.head(CHAMPION) is None


def test_a_champion_replaced_by_a_pickle_is_found_before_anything_is_parsed(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    entry = next(e for e in ledger.open(CHAMPION).files("all").files if e.path == "model.ubj")
    ledger.lake.write(entry.key, pickle.dumps({"a": 1}))
    with pytest.raises(DigestMismatch):
        load_model(ledger, CHAMPION)


def _publish_files(ledger: Ledger, files: dict[str, bytes]) -> None:
    session = ledger.session(CHAMPION, producer("champion"))
    for name, data in files.items():
        session.add_bytes("all", name, data)
    session.commit()


def _files(ledger: Ledger, asset: str) -> dict[str, bytes]:
    with ledger.open(asset).fetched(["all"]) as fetched:
        return {file.entry.path: file.path.read_bytes() for file in fetched["all"]}


def test_a_signed_pickle_is_refused_as_no_model(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    _publish_files(ledger, {**_files(ledger, CHAMPION), "model.ubj": pickle.dumps({"a": 1})})
    with pytest.raises(ModelError, match="expected an XGBoost model in UBJ, found bytes that begin with 8004"):
        load_model(ledger, CHAMPION)


def test_a_signed_model_of_other_features_is_refused(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    champion = _files(ledger, CHAMPION)
    publish(ledger, TRAINING_SET, customers().drop_columns(["orders"]))
    train(ledger, spec(), training_set=TRAINING_SET, asset=CANDIDATE)
    _publish_files(ledger, {**champion, "model.ubj": _files(ledger, CANDIDATE)["model.ubj"]})
    with pytest.raises(ModelError, match="it is another model"):
        load_model(ledger, CHAMPION)


def test_a_signed_model_that_predicts_otherwise_fails_its_golden_rows(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    champion = _files(ledger, CHAMPION)
    publish(ledger, TRAINING_SET, customers(seed=99))
    train(ledger, spec(), training_set=TRAINING_SET, asset=CANDIDATE)
    _publish_files(ledger, {**champion, "model.ubj": _files(ledger, CANDIDATE)["model.ubj"]})
    with pytest.raises(ModelError, match="golden rows to differ"):
        load_model(ledger, CHAMPION)


def test_an_asset_that_holds_no_model_is_refused(ledger: Ledger) -> None:
    publish(ledger, CHAMPION, customers())
    with pytest.raises(IntegrityError, match=r"expected model\.json"):
        load_model(ledger, CHAMPION)


@pytest.mark.parametrize("junk", [b"", b"{", b"{" * 200, b"not a model", b"[1,2]", b"\x80\x04."])
@pytest.mark.parametrize("name", ["model.ubj", "model.json", "golden.parquet"])
def test_signed_junk_in_any_file_is_one_clear_error(ledger: Ledger, run: Run, name: str, junk: bytes) -> None:
    run(spec(), customers(per_moment=60))
    _publish_files(ledger, {**_files(ledger, CHAMPION), name: junk})
    with pytest.raises((ModelError, IntegrityError), match="expected"):
        load_model(ledger, CHAMPION)


def test_prediction_refuses_infinite_features_and_missing_columns(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    fresh = customers(seed=5, moments=1).drop_columns(["label"])
    broken = {
        "infinite": fresh.set_column(
            fresh.column_names.index("recency_days"), "recency_days", pa.array(np.full(fresh.num_rows, np.inf))
        ),
        "none named recency_days": fresh.drop_columns(["recency_days"]),
        "none named recency_days, orders": fresh.drop_columns(["recency_days", "orders"]),
    }
    for message, table in broken.items():
        publish(ledger, "churn/customer_rfm/features", table, "2026-07-01")
        with pytest.raises(ModelError, match=message):
            features, asset = ["churn/customer_rfm/features"], "churn/churn/predictions"
            predict(ledger, spec(), champion=CHAMPION, features=features, known=PointInTime(ledger), asset=asset)
    assert ledger.head("churn/churn/predictions") is None


def test_evaluation_refuses_a_candidate_of_another_declaration(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    other = spec(split={"by": "entity"})
    with pytest.raises(ModelError, match="present declaration, found another split"):
        evaluate(ledger, other, ModelAssets(TRAINING_SET, CANDIDATE, EVALUATION, CHAMPION))


def test_promotion_refuses_a_stale_evaluation(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    serving = ledger.open(CHAMPION).version
    publish(ledger, TRAINING_SET, customers(seed=7))
    train(ledger, spec(), training_set=TRAINING_SET, asset=CANDIDATE)
    report = promote(ledger, spec(), candidate=CANDIDATE, evaluation=EVALUATION, asset=CHAMPION)
    assert [v.check for v in report.refused[0].verdicts if v.closes_gate] == ["evaluation_current"]
    assert ledger.open(CHAMPION).version == serving == report.version


def test_promotion_refuses_an_evaluation_against_a_champion_that_no_longer_serves(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    publish(ledger, TRAINING_SET, customers(seed=7))
    train(ledger, spec(), training_set=TRAINING_SET, asset=CANDIDATE)
    evaluate(ledger, spec(), ModelAssets(TRAINING_SET, CANDIDATE, EVALUATION, CHAMPION))
    publish(ledger, CHAMPION, customers())
    report = promote(ledger, spec(), candidate=CANDIDATE, evaluation=EVALUATION, asset=CHAMPION)
    assert "now" in next(v.message for v in report.refused[0].verdicts if v.check == "evaluation_current")


def test_a_cost_is_recorded_with_every_stage(ledger: Ledger, run: Run) -> None:
    for report in run(spec(), customers()):
        assert dataclasses.asdict(report.cost)["cpu_seconds"] > 0


BOUNDS: list[dict[str, Any]] = [{}, {"at_least": 0.5}, {"at_most": 0.5}, {"better_than_champion_by": 0.002}]


NAIVE = {"naive": {"auc": {"value": 0.5}}, "single_feature_auc": {}}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), None, "0.9", True])
@pytest.mark.parametrize("bounds", BOUNDS, ids=lambda bounds: ", ".join(bounds) or "no bound")
def test_what_is_no_number_promotes_nothing_whoever_wrote_it(value: Any, bounds: dict[str, Any]) -> None:
    document = {"candidate": {"auc": {"value": value}}, **NAIVE}
    decision = decide_promotion(spec(promote_when={"metric": "auc", **bounds}), document)
    assert not decision.promote and "expected a finite auc" in decision.reason
    json.dumps(decision.as_json(), allow_nan=False)
    against = {"candidate": {"auc": {"value": 0.9}}, "champion": {"auc": {"value": value}}, **NAIVE}
    gained = decide_promotion(spec(promote_when={"metric": "auc", "better_than_champion_by": 0.002}), against)
    assert not gained.promote and "no comparison with the champion: expected a finite auc" in gained.reason
    naive = {"candidate": {"auc": {"value": 0.9}}, "naive": {"auc": {"value": value}}, "single_feature_auc": {}}
    assert not decide_promotion(spec(promote_when={"metric": "auc", **bounds}), naive).promote


def test_an_evaluation_without_the_naive_baseline_promotes_nothing() -> None:
    decision = decide_promotion(spec(), {"candidate": {"auc": {"value": 0.9}}, "single_feature_auc": {}})
    assert not decision.promote and "evaluate the candidate again" in decision.reason


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_metric_can_hold_nothing_but_finite_numbers(number: float) -> None:
    for figures in ((number, 0.0, 1.0), (0.5, number, 1.0), (0.5, 0.0, number)):
        with pytest.raises(ModelError, match="expected a finite number with a finite interval"):
            Metric(*figures)


def test_an_evaluation_refuses_scores_that_are_no_numbers(ledger: Ledger, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run(spec(), customers())
    before = ledger.open(EVALUATION).version
    train(ledger, spec(), training_set=TRAINING_SET, asset=CANDIDATE)
    monkeypatch.setattr(boosting.BoostedTrees, "score", lambda self, rows: np.full(len(rows), np.nan))
    monkeypatch.setattr(artifact, "check_golden", lambda scorer, path: 0)
    assets = ModelAssets(TRAINING_SET, CANDIDATE, EVALUATION, CHAMPION)
    with pytest.raises(ModelError, match=r"expected finite scores of the held-out rows, found \d+ such as nan"):
        evaluate(ledger, spec(), assets)
    assert ledger.open(EVALUATION).version == before
