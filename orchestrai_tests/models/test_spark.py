"""The same declaration trained over Spark's executors, on a local session."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrai.errors import ConfigError, ModelError
from orchestrai.ledger import Ledger
from orchestrai.models import boosting, load_model, train
from orchestrai.models.estimators import XGBoostParams
from orchestrai.models.rows import encode, infer_columns
from orchestrai.models.spec import SparkTraining
from orchestrai.models.trees_on_spark import SparkTrainer
from orchestrai_tests.models.conftest import CANDIDATE, TRAINING_SET, customers, publish, spec

TREES = {"num_boost_round": 8, "max_depth": 3}


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    sql = pytest.importorskip("pyspark.sql")
    # executors run the interpreter that has xgboost
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    spark = builder.config("spark.driver.memory", "512m").getOrCreate()
    yield spark


@pytest.mark.spark
def test_two_workers_train_what_one_machine_does_up_to_rounding(ledger: Ledger, session: Any) -> None:
    publish(ledger, TRAINING_SET, customers())
    model = spec(estimator={"xgboost": TREES}, train_on={"spark": {"workers": 2}})
    report = train(ledger, model, training_set=TRAINING_SET, asset=CANDIDATE)
    job: Any = report.facts["job"]
    assert job["instance_type"].endswith("2 workers")
    there = load_model(ledger, CANDIDATE).score(customers(seed=5))
    train(ledger, spec(estimator={"xgboost": TREES}), training_set=TRAINING_SET, asset=CANDIDATE)
    here = load_model(ledger, CANDIDATE).score(customers(seed=5))
    assert there == pytest.approx(here, abs=1e-4)


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
        boosting.fit(XGBoostParams(device="cuda"), "classification", rows)
