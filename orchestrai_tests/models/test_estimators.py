"""What a practitioner expects of each kind of model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from orchestrai.errors import ModelError
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators.artifact import load_model
from orchestrai.models.estimators.search import grid
from orchestrai.models.spec import Search
from orchestrai.models.training import train
from orchestrai_tests.models.conftest import CANDIDATE, CHAMPION, TRAINING_SET, customers, publish, spec

Run = Callable[..., Any]


def _train(ledger: Ledger, table: pa.Table, **changes: Any) -> Any:
    publish(ledger, TRAINING_SET, table)
    return train(ledger, spec(**changes), training_set=TRAINING_SET, asset=CANDIDATE)


def _set(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def test_early_stopping_keeps_the_best_round(ledger: Ledger) -> None:
    estimator = {"xgboost": {"num_boost_round": 2000, "early_stopping_rounds": 10, "eta": 0.3}}
    report = _train(ledger, customers(), estimator=estimator)
    assert 1 <= report.facts["rounds"] < 200 and report.facts["stopping_rows"] > 0


def test_balanced_weights_raise_the_scores_of_a_rare_class(ledger: Ledger) -> None:
    table = customers(noise=2.0)
    rare = _set(table, "label", pa.array(table.column("label").to_numpy() * (np.arange(table.num_rows) % 10 == 0)))
    means = []
    for weight in (1.0, "balanced"):
        _train(ledger, rare, estimator={"xgboost": {"num_boost_round": 20, "scale_pos_weight": weight}})
        means.append(load_model(ledger, CANDIDATE).score(rare).mean())
    assert means[1] > 2 * means[0]


@pytest.mark.parametrize("kind", [{"xgboost": {"num_boost_round": 30}}, {"logistic": {}}])
def test_categories_count_whatever_their_order_of_appearance_and_unknown_ones_are_missing(
    ledger: Ledger, kind: dict[str, Any]
) -> None:
    table = customers(noise=0.2)
    _train(ledger, table, estimator=kind)
    scorer = load_model(ledger, CANDIDATE)
    phone = _set(table, "channel", pa.array(["phone"] * table.num_rows))
    web = _set(table, "channel", pa.array(["web"] * table.num_rows))
    assert scorer.score(phone).mean() > scorer.score(web).mean() + 0.05
    unknown = scorer.score(_set(table, "channel", pa.array(["fax"] * table.num_rows)))
    missing = scorer.score(_set(table, "channel", pa.nulls(table.num_rows, pa.string())))
    assert unknown.tolist() == missing.tolist()
    backwards = table.take(list(reversed(range(table.num_rows))))
    assert scorer.score(backwards).tolist()[::-1] == pytest.approx(scorer.score(table).tolist())


@pytest.mark.parametrize("kind", [{"xgboost": {"num_boost_round": 10}}, {"logistic": {}}])
def test_a_row_of_nothing_but_nulls_has_a_finite_score(ledger: Ledger, kind: dict[str, Any]) -> None:
    table = customers()
    _train(ledger, table, estimator=kind)
    empty = pa.table({name: pa.nulls(1, table.schema.field(name).type) for name in table.column_names[3:]})
    assert np.isfinite(load_model(ledger, CANDIDATE).score(empty)).all()


def test_dictionaries_and_decimals_are_read_as_categories_and_numbers(ledger: Ledger) -> None:
    table = customers()
    table = _set(table, "channel", table.column("channel").dictionary_encode())
    table = _set(table, "orders", table.column("orders").cast(pa.decimal128(24, 2)))
    _train(ledger, table)
    kinds = {column.name: column.kind for column in load_model(ledger, CANDIDATE).info.columns}
    assert (kinds["channel"], kinds["orders"], kinds["is_member"]) == ("category", "number", "bool")


def test_a_column_of_identifiers_is_warned_of(ledger: Ledger) -> None:
    table = customers().append_column("invoice", pa.array([f"i{n}" for n in range(900)]))
    verdict = _train(ledger, table).outcomes[0].verdicts[0]
    assert not verdict.passed and "invoice" in verdict.message


def test_monotone_constraints_hold_and_unknown_features_in_them_are_refused(ledger: Ledger) -> None:
    table = customers()
    _train(ledger, table, estimator={"xgboost": {"num_boost_round": 30, "monotone_constraints": {"recency_days": 1}}})
    scorer = load_model(ledger, CANDIDATE)
    days = np.linspace(0, 90, table.num_rows)
    fixed = table.take([0] * table.num_rows)
    assert (np.diff(scorer.score(_set(fixed, "recency_days", pa.array(days)))) >= 0).all()
    with pytest.raises(ModelError, match="monotone_constraints"):
        _train(ledger, table, estimator={"xgboost": {"monotone_constraints": {"age": 1}}})


SPACE = {"max_depth": [1, 3, 6], "eta": [0.05, 0.3], "min_child_weight": [1, 20]}


def test_search_tries_a_seeded_budget_on_training_rows_and_trains_with_the_best(ledger: Ledger) -> None:
    report = _train(ledger, customers(), search={"space": SPACE, "trials": 5, "seed": 4})
    found: Any = report.facts["search"]
    assert found["tried"] == 5 and set(found["chosen"]) == set(SPACE) and 0.7 < found["value"] < 1
    again = _train(ledger, customers(), search={"space": SPACE, "trials": 5, "seed": 4})
    assert again.version == report.version
    chosen = {"num_boost_round": 30, "max_depth": 3, **found["chosen"]}
    _train(ledger, customers(), estimator={"xgboost": chosen})
    plain = load_model(ledger, CANDIDATE).score(customers()).tolist()
    _train(ledger, customers(), search={"space": SPACE, "trials": 5, "seed": 4})
    assert load_model(ledger, CANDIDATE).score(customers()).tolist() == plain


def test_a_small_space_is_tried_whole_and_never_twice() -> None:
    every = grid(Search.model_validate({"space": SPACE, "trials": 12}))
    assert every is not None and len({str(one) for one in every}) == len(every) == 12
    assert grid(Search.model_validate({"space": SPACE, "trials": 11})) is None


def test_regression_is_judged_by_error_and_promoted_by_rmse(ledger: Ledger, run: Run) -> None:
    table = customers(noise=0.1)
    target = 1000 + 5 * table.column("recency_days").to_numpy()
    table = _set(table, "label", pa.array(target))
    model = spec(task="regression", promote_when={"metric": "rmse", "at_most": 20.0}, alarm_above=1.0)
    _, judged, promoted = run(model, table)
    assert judged.facts["metrics"]["rmse"]["value"] < 20 and not promoted.refused
    assert judged.facts["baseline_metrics"]["rmse"]["value"] < 1e-6
    assert not next(v for v in judged.outcomes[0].verdicts if v.check == "beats_baseline").passed


def test_folds_measure_where_there_is_no_time(ledger: Ledger, run: Run) -> None:
    model = spec(split={"folds": 5})
    _, judged, promoted = run(model, customers(moments=1, per_moment=800))
    assert judged.facts["rows"] == 800 and not promoted.refused
    assert 0.75 < judged.facts["metrics"]["auc"]["value"] < 0.95
    _, again, _ = run(spec(split={"folds": 5}, exclude=["recency_days"], baseline=None))
    assert again.facts["champion_metrics"]["auc"]["value"] == pytest.approx(judged.facts["metrics"]["auc"]["value"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"estimator": {"xgboost": {}, "logistic": {}}}, "exactly one"),
        ({"estimator": {}}, "exactly one"),
        ({"estimator": {"xgboost": {"max_dept": 3}}}, "max_dept"),
        ({"estimator": {"xgboost": {"eta": 0}}}, "greater than 0"),
        ({"promote_when": {"metric": "rmse"}}, "expected one of accuracy"),
        ({"task": "ranking", "promote_when": {"metric": "auc"}}, "two columns"),
        ({"estimator": {"cooccurrence": {"history": "orders"}}}, "task ranking"),
        ({"split": {"gap": "soon"}}, "gap"),
        ({"name": "Churn 1"}, "pattern"),
        ({"search": {"space": {"max_dept": [1]}}}, "tuning parameter of xgboost or lightgbm, found max_dept"),
        ({"search": {"space": {"eta": [2.0]}}}, "less than or equal to 1"),
        ({"search": {"space": {"eta": [0.1]}}, "estimator": {"logistic": {}}}, "expected the estimator xgboost"),
    ],
)
def test_a_mistaken_declaration_is_refused_naming_the_field(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(**changes)


def test_parameters_answer_to_the_names_of_three_libraries() -> None:
    found = spec(estimator={"xgboost": {"n_estimators": 7, "learning_rate": 0.2, "lambda": 3}}).estimator.xgboost
    assert found is not None
    assert (found.num_boost_round, found.eta, found.reg_lambda) == (7, 0.2, 3.0)


def _shop(seed: int = 1, users: int = 120, items: int = 40, moments: int = 4) -> pa.Table:
    """Pairs of users and items; users of a taste buy items of it, more so after clicks."""
    rng = np.random.default_rng(seed)
    rows = []
    for moment in range(moments):
        for user in range(users):
            for item in rng.choice(items, 20, replace=False):
                same = user % 4 == item % 4
                buys, clicks = int(rng.random() < (0.4 if same else 0.05)), int(rng.integers(0, 4) + 2 * same)
                chance = 0.03 + 0.12 * same + 0.04 * clicks * same
                rows.append((f"u{user}", f"i{item}", moment, int(rng.random() < chance), clicks, buys))
    user_id, item_id, moment_no, label, clicks_no, buys_no = zip(*rows, strict=True)
    day = pa.array([1_767_225_600_000_000 + m * 7 * 86_400_000_000 for m in moment_no], pa.int64())
    return pa.table(
        {
            "user_id": pa.array(user_id),
            "item_id": pa.array(item_id),
            "event_time": day.cast(pa.timestamp("us", "UTC")),
            "label": pa.array(label),
            "clicks": pa.array(clicks_no),
            "buys": pa.array(buys_no),
        }
    )


@pytest.mark.parametrize(
    "estimator",
    [
        {"xgboost": {"num_boost_round": 40, "max_depth": 3}},
        {"xgboost": {"num_boost_round": 40, "max_depth": 3, "objective": "rank:ndcg"}},
        {"cooccurrence": {"history": "buys"}},
        {"logistic": {}},
    ],
)
def test_every_estimator_ranks_better_than_chance_and_is_served_the_same(
    ledger: Ledger, run: Run, estimator: dict[str, Any]
) -> None:
    model = spec(
        name="next_purchase", entity=["user_id", "item_id"], task="ranking", baseline=None, estimator=estimator,
        promote_when={"metric": "recall_at_10", "at_least": 0.55},
    )  # fmt: skip
    _, judged, promoted = run(model, _shop())
    # ten of twenty items at random find half of what was bought
    assert judged.facts["metrics"]["recall_at_10"]["low"] > 0.52 and not promoted.refused
    table = _shop(seed=9, moments=1)
    assert load_model(ledger, CHAMPION).score(table).tolist() == load_model(ledger, CANDIDATE).score(table).tolist()
