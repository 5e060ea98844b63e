"""Search over parameters with a seeded budget."""

import sys
from typing import Any

import pytest

from orchestrai.errors import MissingExtra
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.models.estimators.artifact import load_model
from orchestrai.models.training import train
from orchestrai_tests.models.conftest import CANDIDATE, TRAINING_SET, customers, publish, spec

SPACE = {
    "max_depth": {"low": 2, "high": 6},
    "eta": {"low": 0.01, "high": 0.3, "log": True},
    "grow_policy": ["depthwise", "lossguide"],
}


def _train(ledger: Ledger, **search: Any) -> StageReport:
    publish(ledger, TRAINING_SET, customers())
    return train(ledger, spec(search={"space": SPACE, **search}), training_set=TRAINING_SET, asset=CANDIDATE)


def test_optuna_spends_a_seeded_budget_and_every_trial_is_in_the_receipt(ledger: Ledger) -> None:
    report = _train(ledger, trials=6, seed=3)
    found: Any = report.facts["search"]
    assert found["sampler"] == "optuna TPE, seed 3" and found["tried"] == found["wanted"] == len(found["trials"]) == 6
    assert all(2 <= one["values"]["max_depth"] <= 6 and 0.01 <= one["values"]["eta"] <= 0.3 for one in found["trials"])
    best = max(found["trials"], key=lambda one: one["metric"])
    assert found["chosen"] == best["values"] and found["value"] == best["metric"]
    kept: Any = ledger.open(CANDIDATE).receipt("all").facts["search"]
    assert kept["trials"] == found["trials"]


def test_the_same_seed_gives_the_same_model_and_another_seed_other_trials(ledger: Ledger) -> None:
    first, again, other = (_train(ledger, trials=4, seed=seed) for seed in (1, 1, 2))
    assert first.version == again.version
    told: list[Any] = [report.facts["search"] for report in (first, other)]
    assert told[0]["trials"] != told[1]["trials"]


def test_a_time_limit_ends_the_search_and_the_receipt_says_that_another_run_may_choose_otherwise(ledger: Ledger) -> None:
    report = _train(ledger, trials=1000, timeout="1s")
    found: Any = report.facts["search"]
    verdict = next(v for v in report.outcomes[0].verdicts if v.check == "search_complete")
    assert 1 <= found["tried"] < 1000 and not verdict.passed and not verdict.closes_gate
    assert "training again may choose other parameters" in verdict.message


def test_without_optuna_the_error_names_the_extra_and_lists_within_the_budget_still_work(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"orchestrai\[search\]"):
        _train(ledger, trials=3)
    found: Any = _train(ledger, space={"max_depth": [2, 3]}, trials=2).facts["search"]
    assert found["sampler"] == "grid" and [one["values"]["max_depth"] for one in found["trials"]] == [2, 3]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"eta": {"low": 0.3, "high": 0.1}}, "expected low below high"),
        ({"eta": {"low": 0.0, "high": 0.1, "log": True}}, "expected a low above 0"),
        ({"eta": {"low": 0.1, "high": 3.0}}, "less than or equal to 1"),
        ({"seed": [1, 2]}, "expected a tuning parameter"),
        ({"num_leaves": [7, 15]}, "search.space: expected a tuning parameter of xgboost, found num_leaves"),
        ({"num_leaves": [1]}, "greater than or equal to 2"),
        ({"max_depth": [-1, 4]}, "greater than or equal to 0"),
    ],
)
def test_a_space_that_cannot_be_meant_is_told_when_it_is_declared(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec(search={"space": space})


LIGHT = {"lightgbm": {"num_boost_round": 20}}


def test_lightgbm_is_searched_by_its_own_parameters_and_the_best_trains_the_candidate(ledger: Ledger) -> None:
    publish(ledger, TRAINING_SET, customers())
    space = {
        "num_leaves": {"low": 3, "high": 31},
        "learning_rate": {"low": 0.02, "high": 0.3, "log": True},
        "max_depth": [-1, 3],
    }
    model = spec(estimator=LIGHT, search={"space": space, "trials": 5, "seed": 3})
    first, again = (train(ledger, model, training_set=TRAINING_SET, asset=CANDIDATE) for _ in range(2))
    found: Any = first.facts["search"]
    assert first.version == again.version and found["tried"] == len(found["trials"]) == 5
    assert found["chosen"] == max(found["trials"], key=lambda one: one["metric"])["values"]
    booster: Any = load_model(ledger, CANDIDATE).model
    text = booster.encode().decode()
    for name, value in found["chosen"].items():
        (stated,) = [line for line in text.splitlines() if line.startswith(f"[{name}:")]
        assert float(stated.strip("[]").partition(": ")[2]) == pytest.approx(value, rel=1e-4)


def test_early_stopping_of_lightgbm_holds_in_a_search(ledger: Ledger) -> None:
    publish(ledger, TRAINING_SET, customers())
    model = spec(
        estimator={"lightgbm": {"num_boost_round": 500, "early_stopping_rounds": 5}},
        search={"space": {"num_leaves": [3, 15]}},
    )
    facts: Any = train(ledger, model, training_set=TRAINING_SET, asset=CANDIDATE).facts
    assert facts["search"]["sampler"] == "grid" and 1 <= facts["rounds"] < 500 and facts["stopping_rows"] > 0


@pytest.mark.parametrize(
    ("estimator", "space", "message"),
    [
        (LIGHT, {"grow_policy": ["lossguide"]}, "search.space: expected a tuning parameter of lightgbm, found grow_policy"),
        (LIGHT, {"alpha": [0.5, 0.9]}, "expected a tuning parameter of xgboost or lightgbm, found alpha"),
        (LIGHT, {"max_depth": {"low": -2, "high": 4}}, "greater than or equal to -1"),
        ({"logistic": {}}, {"max_depth": [3]}, "search: expected the estimator xgboost or lightgbm"),
    ],
)
def test_a_space_of_another_estimator_is_told_when_it_is_declared(
    estimator: Any, space: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        spec(estimator=estimator, search={"space": space})
