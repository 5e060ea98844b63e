"""Every partition of predictions is told stale when the features that it read changed, at the cost of what changed."""

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from orchestrai.features.views.moment_partitions import PointInTime
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.inference import predict
from orchestrai.models.staleness import stale_predictions as module
from orchestrai.models.staleness.stale_predictions import Scored, judged_predictions, stale_predictions
from orchestrai.stage.last_judgement import Since
from orchestrai.stage.staleness import StalePartition
from orchestrai_tests.features.shop import FEATURES, FIRST, MODEL, sales_of
from orchestrai_tests.features.staleness.test_late_days import Late, late
from orchestrai_tests.models.conftest import CHAMPION, START, customers, publish, spec

TABLE, PREDICTIONS = "churn/customer_rfm/features", "churn/churn/predictions"
SCORED = Scored(PREDICTIONS, CHAMPION, (TABLE,), None)
Run = Callable[..., Any]


def _moment(number: int) -> str:
    return f"{START + timedelta(days=7 * number):%Y-%m-%d}"


def _features(ledger: Ledger, number: int, seed: int) -> None:
    publish(ledger, TABLE, customers(seed=seed, per_moment=3, moments=1).drop_columns(["label"]), _moment(number))


def _predict(ledger: Ledger, key: str, stale: tuple[StalePartition, ...] = ()) -> None:
    predict(
        ledger,
        spec(),
        champion=CHAMPION,
        features=[TABLE],
        known=PointInTime(ledger),
        asset=PREDICTIONS,
        partition=key,
        judged=lambda made: judged_predictions(ledger, SCORED, stale, {made}),
    )


def test_a_change_is_told_at_the_cost_of_the_change(ledger: Ledger, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run(spec(), customers())
    read: list[str] = []
    receipt = Dataset.receipt

    def counted(dataset: Dataset, partition: str) -> Any:
        if dataset.asset == PREDICTIONS:
            read.append(partition)
        return receipt(dataset, partition)

    counts = []
    for number in range(12):
        _features(ledger, number, number)
        _predict(ledger, _moment(number))
        if number in (5, 11):
            _features(ledger, 4, 100 + number)
            monkeypatch.setattr(Dataset, "receipt", counted)
            read.clear()
            (one,) = stale_predictions(ledger, SCORED, {})
            assert (one.partition, one.causes[0].kind) == (_moment(4), "changed")
            counts.append(sorted(read))
            monkeypatch.undo()
            _predict(ledger, _moment(4), ())
            assert stale_predictions(ledger, SCORED, {}) == ()
    assert counts == [[_moment(4), _moment(5)], [_moment(4), _moment(11)]]


@pytest.mark.parametrize("seed", range(3))
def test_the_note_of_the_last_run_and_the_partitions_own_records_say_the_same(
    ledger: Ledger, run: Run, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(spec(), customers())
    chance, newest = random.Random(seed), 0
    for step in range(14):
        action = chance.choice(["next", "change", "again", "back"])
        number = chance.randrange(newest) if newest else 0
        if action == "next" or not newest:
            _features(ledger, newest, step)
            _predict(ledger, _moment(newest), stale_predictions(ledger, SCORED, {}))
            newest += 1
        elif action == "again":
            _predict(ledger, _moment(number), stale_predictions(ledger, SCORED, {}))
        else:
            _features(ledger, number, 1000 + step if action == "change" else number)
        above = {TABLE: [_moment(number)]} if chance.random() < 0.3 else {}
        told = stale_predictions(ledger, SCORED, above)
        with monkeypatch.context() as patch:
            patch.setattr(module, "last_judgement", lambda current: Since(None, frozenset(current.partitions)))
            assert stale_predictions(ledger, SCORED, above) == told


def test_a_later_champion_makes_only_the_newest_stale(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    for number in range(3):
        _features(ledger, number, number)
        _predict(ledger, _moment(number))
    run(spec(promote_when={"metric": "auc", "at_least": 0.5}), customers(seed=2))
    (one,) = stale_predictions(ledger, SCORED, {})
    assert one.partition == _moment(2) and [cause.asset for cause in one.causes] == [CHAMPION]


def test_a_run_scores_again_what_mended_features_made_stale(tmp_path: Any) -> None:
    shop: Late = late(tmp_path / "shop")
    predictions = f"{MODEL}/predictions"
    shop.land(*range(33))
    for asset in (FEATURES, *(f"{MODEL}/{stage}" for stage in ("training_set", "candidate", "evaluation", "champion"))):
        shop.run(asset)
    shop.run(predictions)
    shop.land(*range(33, 41))
    shop.run(FEATURES)
    shop.run(predictions)
    both = sorted(shop.runtime.ledger.open(predictions).partitions)
    assert len(both) == 2 and shop.keys(predictions) == []
    before = shop.runtime.ledger.open(predictions).roots()
    # within the look-back of both moments
    shop.land(30, text=sales_of(FIRST + timedelta(days=30), cents=7))
    assert shop.keys(predictions) == both, "their features are stale"
    shop.run(FEATURES)
    assert shop.keys(predictions) == both, "their features changed"
    report = shop.run(predictions)
    assert [outcome.partition for outcome in report.outcomes] == both and shop.keys(predictions) == []
    assert before.keys() == shop.runtime.ledger.open(predictions).roots().keys()
