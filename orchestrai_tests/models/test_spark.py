"""The same declaration trained over Spark's executors, on a local session."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrai.errors import ConfigError, ModelError
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators import boosting
from orchestrai.models.estimators.artifact import load_model
from orchestrai.models.estimators.spec import XGBoostParams
from orchestrai.models.estimators.xgboost_on_spark import SparkTrainer
from orchestrai.models.rows import Rows, encode, infer_classes, infer_columns
from orchestrai.models.spec import SparkTraining
from orchestrai.models.training import train
from orchestrai_tests.models.conftest import CANDIDATE, TRAINING_SET, customers, plans, publish, spec

TREES = {"num_boost_round": 8, "max_depth": 3}


@pytest.mark.spark
def test_two_workers_train_what_one_machine_does_up_to_rounding(ledger: Ledger, spark_session: Any) -> None:
    publish(ledger, TRAINING_SET, customers())
    model = spec(estimator={"xgboost": TREES}, train_on={"spark": {"workers": 2}})
    report = train(ledger, model, training_set=TRAINING_SET, asset=CANDIDATE)
    job: Any = report.facts["job"]
    assert job["instance_type"].endswith("2 workers")
    there = load_model(ledger, CANDIDATE).score(customers(seed=5))
    train(ledger, spec(estimator={"xgboost": TREES}), training_set=TRAINING_SET, asset=CANDIDATE)
    here = load_model(ledger, CANDIDATE).score(customers(seed=5))
    assert there == pytest.approx(here, abs=1e-4)


@pytest.mark.spark
def test_classes_are_trained_by_two_workers_as_by_one_machine(ledger: Ledger, spark_session: Any) -> None:
    publish(ledger, TRAINING_SET, plans())
    model = spec(
        task="multiclass", promote_when={}, baseline=None, estimator={"xgboost": TREES}, train_on={"spark": {"workers": 2}}
    )
    train(ledger, model, training_set=TRAINING_SET, asset=CANDIDATE)
    there = load_model(ledger, CANDIDATE).score(plans().drop_columns(["label"]))
    train(ledger, model.model_copy(update={"train_on": None}), training_set=TRAINING_SET, asset=CANDIDATE)
    assert there.shape == (plans().num_rows, 3)
    assert there == pytest.approx(load_model(ledger, CANDIDATE).score(plans().drop_columns(["label"])), abs=1e-4)


def test_a_class_that_spark_would_not_count_is_refused_before_it_is_asked() -> None:
    model = spec(task="multiclass", promote_when={}, baseline=None)
    table = plans()
    classes = infer_classes(table, model)
    rows = encode(table, infer_columns(table, model), model.entity, classes=classes)
    some = rows.take(np.flatnonzero(rows.label != 1))
    with pytest.raises(ModelError, match="each in the training rows, found 2 of 3"):
        SparkTrainer(SparkTraining(workers=1), session=lambda: None).train("churn", XGBoostParams(), "multiclass", some)


def test_it_trains_in_the_session_that_the_settings_name(ledger: Ledger) -> None:
    publish(ledger, TRAINING_SET, customers())
    asked: list[str] = []

    def session() -> object:
        asked.append("settings")
        raise ModelError("expected a cluster, found none: start one")

    model = spec(estimator={"xgboost": TREES}, train_on={"spark": {"workers": 2}})
    with pytest.raises(ModelError, match="expected a cluster"):
        train(ledger, model, training_set=TRAINING_SET, asset=CANDIDATE, spark=session)
    assert asked == ["settings"]


def _rows(seed: int, count: int) -> Rows:
    table = customers(seed=seed, per_moment=count)
    return encode(table, infer_columns(table, spec()), spec().entity)


@pytest.mark.spark
def test_two_workers_that_stop_early_give_the_same_bytes_again(spark_session: Any, tmp_path: Path) -> None:
    params = XGBoostParams(num_boost_round=25, max_depth=4, eta=0.9, subsample=0.7, early_stopping_rounds=3)
    rows, stop = _rows(1, 100), _rows(2, 40)
    found = []
    for staging in (None, str(tmp_path)):
        # what another training left in the folder is not read
        (tmp_path / "part-00002.parquet").write_bytes(b"stale")
        trees, job = SparkTrainer(SparkTraining(workers=2, staging=staging)).train("churn", params, "binary", rows, stop)
        found.append(trees.encode())
        assert trees.booster.num_boosted_rounds() < 25 and job.place == "spark"
    assert found[0] == found[1]
    assert [path.name for path in tmp_path.rglob("*.parquet")] == ["part-00002.parquet"]


@pytest.mark.parametrize(("rows", "stop", "what"), [(1, 40, "training"), (40, 1, "stopping")])
def test_a_worker_without_rows_is_refused_before_spark_waits_for_it(rows: int, stop: int, what: str) -> None:
    held = [_rows(1, 40).take(np.arange(count)) for count in (rows, stop)]
    params = XGBoostParams(num_boost_round=5, early_stopping_rounds=2)
    with pytest.raises(ModelError, match=f"expected {what} rows for each of 2 workers, found 1"):
        SparkTrainer(SparkTraining(workers=2), session=lambda: None).train("churn", params, "binary", *held)


def test_an_objective_with_groups_is_refused_before_spark_is_asked() -> None:
    model = spec(estimator={"xgboost": {**TREES, "objective": "rank:ndcg"}})
    table = customers(per_moment=20)
    rows = encode(table, infer_columns(table, model), model.entity)
    params = model.estimator.xgboost
    assert params is not None
    with pytest.raises(ModelError, match="train locally"):
        SparkTrainer(SparkTraining(workers=1)).train("churn", params, "ranking", rows)


def test_a_gpu_that_this_build_cannot_use_is_told_before_training() -> None:
    if boosting.xgboost().build_info().get("USE_CUDA"):
        pytest.skip("this XGBoost has CUDA")
    table = customers(per_moment=20)
    rows = encode(table, infer_columns(table, spec()), spec().entity)
    with pytest.raises(ConfigError, match=r"device: cuda, found the CPU build"):
        boosting.fit(XGBoostParams(device="cuda"), "binary", rows)
