"""Candidate, evaluation, promotion, prediction, rollback."""

import io
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrai.errors import ConfigError, ModelError
from orchestrai.features.views.moment_partitions import PointInTime
from orchestrai.ledger.heads import Head
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.models.estimators.artifact import load_model
from orchestrai.models.inference import predict
from orchestrai.models.ports import LearnedView
from orchestrai.models.registry.rolled_back import left_by_rollback
from orchestrai.models.registry.versions import resolve, rollback, versions
from orchestrai.models.training import train
from orchestrai_tests.models.conftest import CANDIDATE, CHAMPION, EVALUATION, TRAINING_SET, customers, publish, spec

Run = Callable[..., Any]
FEATURES, PREDICTIONS = "churn/customer_rfm/features", "churn/churn/predictions"
BETTER = {"metric": "auc", "at_least": 0.7, "better_than_champion_by": 0.002}


def _predict(ledger: Ledger, features: Sequence[str] = (FEATURES,)) -> StageReport:
    return predict(ledger, spec(), champion=CHAMPION, features=features, known=PointInTime(ledger), asset=PREDICTIONS)


def _table(ledger: Ledger, asset: str, partition: str) -> pa.Table:
    with ledger.open(asset).fetched([partition]) as files:
        return pq.read_table(io.BytesIO(files[partition][0].path.read_bytes()))


def test_a_good_candidate_becomes_champion_with_the_same_version(ledger: Ledger, run: Run) -> None:
    trained, judged, promoted = run(spec(), customers())
    assert trained.version == promoted.version == load_model(ledger, CHAMPION).version
    assert set(judged.plots) == {"roc", "precision_recall", "calibration", "importance"}
    assert all(plot.startswith(b"\x89PNG") for plot in judged.plots.values())
    metrics = judged.facts["metrics"]
    assert 0.8 < metrics["auc"]["low"] < metrics["auc"]["value"] < metrics["auc"]["high"] < 0.95


def test_receipts_pin_the_training_set_the_candidate_and_the_evaluation(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    trained = ledger.open(CANDIDATE).receipt("all").inputs
    assert [(ref.asset, ref.version) for ref in trained] == [(TRAINING_SET, ledger.open(TRAINING_SET).version)]
    promoted = {ref.asset: ref.version for ref in ledger.open(CHAMPION).receipt("all").inputs}
    assert promoted == {name: ledger.open(name).version for name in (CANDIDATE, EVALUATION)}


def test_a_weak_candidate_stays_registered_and_never_serves(ledger: Ledger, run: Run) -> None:
    model = spec(promote_when={"metric": "auc", "at_least": 0.99})
    trained, judged, promoted = run(model, customers())
    assert promoted.refused and "below at_least 0.99" in promoted.refused[0].verdicts[0].message
    assert judged.facts["promotion"]["passed"] is False and not judged.refused
    assert ledger.head(CHAMPION) is None
    assert [v.version for v in versions(ledger, candidate=CANDIDATE, champion=CHAMPION)] == [trained.version]


def test_a_challenger_must_beat_the_champion_on_the_same_rows(ledger: Ledger, run: Run) -> None:
    first = run(spec(promote_when=BETTER), customers())[0]
    weaker = spec(promote_when=BETTER, exclude=["spend_90d", "channel"])
    _, judged, promoted = run(weaker)
    assert promoted.refused and promoted.version == first.version == load_model(ledger, CHAMPION).version
    assert judged.facts["champion_metrics"]["auc"]["value"] > judged.facts["metrics"]["auc"]["value"]
    assert "needs +0.002" in judged.facts["promotion"]["message"]


def test_promoting_what_serves_already_changes_nothing(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    before = ledger.head(CHAMPION)
    run(spec())
    after = ledger.head(CHAMPION)
    assert before and after and before.version == after.version


def test_predictions_name_their_model_and_inputs(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    for partition, seed in (("2026-07-01", 3), ("2026-07-08", 4)):
        publish(ledger, FEATURES, customers(seed=seed, moments=1).drop_columns(["label"]), partition)
    report = _predict(ledger)
    table = _table(ledger, PREDICTIONS, "2026-07-08")
    assert table.column_names == ["customer_id", "event_time", "score", "model_version"]
    assert set(table.column("model_version").to_pylist()) == {ledger.open(CHAMPION).version}
    receipt = ledger.open(PREDICTIONS).receipt("2026-07-08")
    assert {ref.asset: ref.version for ref in receipt.inputs} == {
        CHAMPION: ledger.open(CHAMPION).version,
        FEATURES: ledger.open(FEATURES).version,
    }
    assert report.rows == table.num_rows == 150


def test_predicting_again_publishes_nothing_new(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    publish(ledger, FEATURES, customers(seed=3, moments=1).drop_columns(["label"]), "2026-07-01")
    for _ in range(2):
        _predict(ledger)
    assert len(list(ledger.history(PREDICTIONS))) == 1


SPEND = "churn/spend/features"


def _view(asset: str, time: str, *features: str) -> LearnedView:
    return LearnedView(asset.split("/")[1], asset, f"hash of {asset}", "entity", time, ("customer_id",), "orders", features)


def test_features_of_two_views_are_joined_by_entity_never_from_the_future(ledger: Ledger, run: Run) -> None:
    views = [
        _view(FEATURES, "event_time", "recency_days", "orders", "is_member", "channel"),
        _view(SPEND, "as_of", "spend_90d"),
    ]
    publish(ledger, TRAINING_SET, customers(), views=[view.as_json() for view in views])
    run(spec())
    whole = customers(seed=3, moments=1).drop_columns(["label"]).sort_by("customer_id")
    publish(ledger, FEATURES, whole.drop_columns(["spend_90d"]), "2026-01-01", view_hash=views[0].hash)
    moments = whole.column("event_time").cast(pa.int64()).to_numpy()
    second = whole.select(["customer_id", "event_time", "spend_90d"]).set_column(
        1, "as_of", pa.array(moments, pa.int64()).cast(pa.timestamp("us", "UTC"))
    )
    publish(ledger, SPEND, second, "2026-01-01", view_hash=views[1].hash)
    _predict(ledger, features=[FEATURES, SPEND])
    joined = _table(ledger, PREDICTIONS, "2026-01-01").column("score").to_pylist()
    assert joined == pytest.approx(load_model(ledger, CHAMPION).score(whole).tolist())
    future = second.set_column(1, "as_of", pa.array(moments + 1, pa.int64()).cast(pa.timestamp("us", "UTC")))
    publish(ledger, SPEND, future, "2026-01-01", view_hash=views[1].hash)
    _predict(ledger, features=[FEATURES, SPEND])
    unknown = whole.set_column(whole.column_names.index("spend_90d"), "spend_90d", pa.nulls(whole.num_rows, pa.float64()))
    blind = _table(ledger, PREDICTIONS, "2026-01-01").column("score").to_pylist()
    assert blind == pytest.approx(load_model(ledger, CHAMPION).score(unknown).tolist())


def test_a_champion_that_names_no_views_scores_one_view_as_it_is_and_no_two(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    publish(ledger, FEATURES, customers(seed=3, moments=1).drop_columns(["label"]), "2026-07-01")
    assert "unknown" in str(_predict(ledger).facts["views"])
    with pytest.raises(ModelError, match="train the model again"):
        _predict(ledger, features=[FEATURES, SPEND])


def test_rollback_serves_the_earlier_champion_and_can_be_undone(ledger: Ledger, run: Run) -> None:
    first = run(spec(), customers())[0].version
    second = run(spec(), customers(seed=2))[0].version
    assert load_model(ledger, CHAMPION).version == second != first
    # held against the champion before it, which a first candidate has none of
    judged = {verdict.check for verdict in ledger.open(EVALUATION).receipt("all").verdicts["all"]}
    assert {"champion_unseen", "feature_drift"} <= judged
    report = rollback(ledger, CHAMPION, reason="complaints")
    assert report.version == load_model(ledger, CHAMPION).version == first
    head = ledger.head(CHAMPION)
    assert head and (head.action, head.reason) == ("rollback", "complaints")
    assert rollback(ledger, CHAMPION, to=str(second)[7:17]).version == second


def test_what_was_rolled_back_is_promoted_by_no_training_and_comes_back_by_a_person(ledger: Ledger, run: Run) -> None:
    first = run(spec(), customers())[0].version
    second = str(run(spec(), customers(seed=2))[0].version)
    rollback(ledger, CHAMPION, reason="complaints")
    promoted = run(spec())[2]
    said = promoted.refused[0].verdicts[0].message
    assert "complaints" in said and f"orchestrai model rollback churn/churn --to {second[7:19]}" in said
    assert load_model(ledger, CHAMPION).version == first
    # of other bytes of the same rows the very same model is learned
    again = run(spec(), customers(seed=2).replace_schema_metadata({"exported": "anew"}))
    assert again[0].version != second and again[2].refused and second[7:19] in again[2].refused[0].verdicts[0].message
    listed = {v.version: v for v in versions(ledger, candidate=CANDIDATE, champion=CHAMPION)}
    assert listed[second].rolled_back.endswith(": complaints") and listed[str(first)].rolled_back == ""
    assert "rolled_back" in listed[second].as_json() and "rolled_back" not in listed[str(first)].as_json()
    # another model is judged by itself
    third = run(spec(), customers(seed=3))
    assert not third[2].refused and load_model(ledger, CHAMPION).version == third[0].version
    rollback(ledger, CHAMPION, to=second)
    assert load_model(ledger, CHAMPION).version == second and not run(spec(), customers(seed=2))[2].refused
    listed = {v.version: v for v in versions(ledger, candidate=CANDIDATE, champion=CHAMPION)}
    assert listed[second].rolled_back == "" and listed[str(third[0].version)].rolled_back


def test_a_rollback_that_is_undone_leaves_no_version_rolled_back() -> None:
    def left(*moves: str) -> set[str]:
        log = [
            Head(
                CHAMPION,
                seq,
                move[-1],
                "",
                "",
                "",
                "2026-01-01",
                ("all",),
                action="rollback" if move[0] == "<" else "publish",
            )
            for seq, move in enumerate(moves, 1)
        ]
        return set(left_by_rollback(log[::-1]))

    assert left("1", "2") == left("1", "2", "<1", "<2") == set()
    assert left("1", "2", "<1") == left("1", "2", "<1", "3") == {"2"}
    assert left("1", "2", "3", "<2", "<1") == {"2", "3"}
    # brought back in the place of one that was promoted meanwhile
    assert left("1", "2", "<1", "3", "<2") == {"3"}


def test_rollback_without_an_earlier_champion_changes_nothing(ledger: Ledger, run: Run) -> None:
    with pytest.raises(ModelError, match="promote a candidate first"):
        rollback(ledger, CHAMPION)
    run(spec(), customers())
    with pytest.raises(ModelError, match="nothing was changed"):
        rollback(ledger, CHAMPION)
    assert len(list(ledger.history(CHAMPION))) == 1


def test_the_registry_lists_versions_with_aliases_and_resolves_names(ledger: Ledger, run: Run) -> None:
    first = str(run(spec(), customers())[0].version)
    publish(ledger, TRAINING_SET, customers(seed=2))
    second = str(train(ledger, spec(), training_set=TRAINING_SET, asset=CANDIDATE).version)
    listed = {v.version: v.aliases for v in versions(ledger, candidate=CANDIDATE, champion=CHAMPION)}
    assert listed == {second: ("candidate",), first: ("champion",)}
    for name, expected in (("champion", first), ("candidate", second), (first[7:15], first), (second, second)):
        assert resolve(ledger, candidate=CANDIDATE, champion=CHAMPION, name=name).version == expected
    with pytest.raises(ConfigError, match="list the versions first"):
        resolve(ledger, candidate=CANDIDATE, champion=CHAMPION, name="production")


def test_a_training_over_its_time_limit_is_a_failed_check(ledger: Ledger) -> None:
    publish(ledger, TRAINING_SET, customers())
    report = train(ledger, spec(sla=timedelta(microseconds=1)), training_set=TRAINING_SET, asset=CANDIDATE)
    limit = next(v for v in report.outcomes[0].verdicts if v.check == "training_time")
    assert not limit.passed and not limit.closes_gate


def test_drift_against_the_champions_training_rows_names_the_feature(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    fresh = customers(seed=3, moments=1).drop_columns(["label"])
    place = fresh.column_names.index("recency_days")
    moved = fresh.set_column(place, "recency_days", pa.array(fresh.column("recency_days").to_numpy() + 60))
    publish(ledger, FEATURES, moved, "2026-07-01")
    report = _predict(ledger)
    verdict = report.outcomes[0].verdicts[0]
    assert not verdict.passed and "recency_days" in verdict.message and "orders" not in verdict.message


def test_slices_report_each_value_of_a_category(ledger: Ledger, run: Run) -> None:
    run(spec(slices=["channel", "is_member"]), customers())
    with ledger.open(EVALUATION).fetched(["all"]) as files:
        card = next(f.path.read_text() for f in files["all"] if f.entry.path == "model_card.md")
    assert all(f"| {f} | {v} |" in card for f, v in (("channel", "phone"), ("channel", "web"), ("is_member", "true")))
