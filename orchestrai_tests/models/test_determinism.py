"""The same training set, declaration and libraries give the same bytes; old readers score them alike."""

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators.artifact import load_model
from orchestrai.models.training import train
from orchestrai_tests.models.conftest import CANDIDATE, CHAMPION, TRAINING_SET, customers, publish, spec

Run = Callable[..., Any]
ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAIN = """
import pathlib, sys
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.models.evaluation import evaluate
from orchestrai.models.training import train
from orchestrai.storage.local import LocalStore
from orchestrai_tests.models.conftest import *
home = pathlib.Path(sys.argv[1])
ledger = Ledger(LocalStore(home / "lake"), load_or_create_signer(home / "keys"))
publish(ledger, TRAINING_SET, customers())
for estimator in ({"xgboost": {"num_boost_round": 20, "subsample": 0.7, "colsample_bynode": 0.6}}, {"logistic": {}}):
    model = spec(estimator=estimator)
    print(train(ledger, model, training_set=TRAINING_SET, asset=CANDIDATE).version)
    print(evaluate(ledger, model, ModelAssets(TRAINING_SET, CANDIDATE, EVALUATION, CHAMPION)).version)
"""


@pytest.mark.thorough("one process gives the frozen bytes")
def test_two_processes_and_two_homes_give_identical_models_and_evaluations(tmp_path: pathlib.Path) -> None:
    found = []
    for number, hash_seed in enumerate(("1", "2")):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": hash_seed,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": str(number + 1),
        }
        done = subprocess.run(
            [sys.executable, "-c", TRAIN, str(tmp_path / f"home{number}")],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.split())
    assert found[0] == found[1] and len(set(found[0])) == 4


def test_training_again_publishes_nothing_new(ledger: Ledger) -> None:
    publish(ledger, TRAINING_SET, customers())
    for _ in range(2):
        train(ledger, spec(sla="4h"), training_set=TRAINING_SET, asset=CANDIDATE)
    assert len(list(ledger.history(CANDIDATE))) == 1


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_the_stored_base_score_is_the_one_old_readers_assume(ledger: Ledger, task: str) -> None:
    table = customers()
    if task == "regression":
        table = table.drop_columns(["label"]).append_column("label", table.column("spend_90d").fill_null(0.0))
    model = spec(task=task, promote_when={"metric": "auc" if task == "binary" else "rmse"}, exclude=["spend_90d"])
    publish(ledger, TRAINING_SET, table)
    train(ledger, model, training_set=TRAINING_SET, asset=CANDIDATE)
    scorer = load_model(ledger, CANDIDATE)
    stored = json.loads(scorer.model.booster.save_raw(raw_format="json"))  # type: ignore[attr-defined]
    # XGBoost before 3.1 cannot read "[...]" and takes 0.5 in its place
    assert float(stored["learner"]["learner_model_param"]["base_score"].strip("[]")) == 0.5
    if task == "regression":
        mean = float(np.mean(table.column("label").to_numpy()))
        assert float(scorer.score(table).mean()) == pytest.approx(mean, rel=0.05)


def test_golden_rows_hold_no_entity_and_survive_a_reload(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    with ledger.open(CHAMPION).fetched(["all"]) as files:
        golden = next(file.path for file in files["all"] if file.entry.path == "golden.parquet")
        data = golden.read_bytes()
    assert b"customer_id" not in data and b"c00001" not in data
    table = customers(seed=8)
    assert load_model(ledger, CHAMPION).score(table).tolist() == load_model(ledger, CANDIDATE).score(table).tolist()
