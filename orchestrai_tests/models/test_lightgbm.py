"""Trees of LightGBM: the whole way, the same bytes, and what is refused."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from orchestrai.errors import MissingExtra, ModelError
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators import lightgbm_trees
from orchestrai.models.estimators.artifact import load_model
from orchestrai.models.estimators.spec import LightGBMParams
from orchestrai.models.rows import Rows, encode, infer_columns
from orchestrai.models.spec import ModelSpec
from orchestrai_tests.models.conftest import CANDIDATE, CHAMPION, customers, spec


def declared(**params: Any) -> ModelSpec:
    return spec(estimator={"lightgbm": {"num_boost_round": 30, **params}})


def rows_of(model: ModelSpec) -> Rows:
    table = customers(per_moment=60)
    return encode(table, infer_columns(table, model), model.entity)


def fitted(**params: Any) -> bytes:
    model = declared(**params)
    assert model.estimator.lightgbm is not None
    return lightgbm_trees.fit(model.estimator.lightgbm, "binary", rows_of(model)).encode()


def test_it_goes_the_whole_way_to_champion_with_importances(ledger: Ledger, run: Callable[..., Any]) -> None:
    trained, _, promoted = run(declared(), customers())
    assert promoted.version == trained.version
    scorer = load_model(ledger, CHAMPION)
    assert scorer.info.kind == "lightgbm" and scorer.info.libraries["lightgbm"]
    assert sum(scorer.info.importance.values()) == pytest.approx(1)
    assert max(scorer.info.importance, key=lambda name: scorer.info.importance[name]) == "recency_days"
    assert [e.path for e in ledger.open(CANDIDATE).files("all").files] == ["golden.parquet", "model.json", "model.txt"]
    assert run(declared(), customers())[0].version == trained.version


@pytest.mark.thorough("one process gives the same bytes twice")
def test_the_bytes_do_not_depend_on_the_process() -> None:
    script = (
        "from orchestrai_tests.models.test_lightgbm import fitted\nimport hashlib\n"
        "print(hashlib.sha256(fitted(subsample=0.8)).hexdigest())"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()[-1]
    assert told == hashlib.sha256(fitted(subsample=0.8)).hexdigest()


def test_early_stopping_keeps_the_best_round(ledger: Ledger, run: Callable[..., Any]) -> None:
    trained, *_ = run(declared(num_boost_round=2000, early_stopping_rounds=10, eta=0.3), customers())
    assert 1 <= trained.facts["rounds"] < 300 and trained.facts["stopping_rows"] > 0


def test_a_seed_decides_what_is_drawn_and_names_of_scikit_learn_are_taken() -> None:
    assert fitted(subsample=0.5, seed=1) != fitted(subsample=0.5, seed=2)
    params = LightGBMParams.model_validate({"n_estimators": 7, "reg_lambda": 2.0, "min_child_samples": 3})
    assert (params.num_boost_round, params.lambda_l2, params.min_data_in_leaf) == (7, 2.0, 3)


def test_a_constrained_feature_only_raises_the_score(ledger: Ledger, run: Callable[..., Any]) -> None:
    table = customers(noise=2.0)
    run(declared(monotone_constraints={"recency_days": 1}), table)
    scorer = load_model(ledger, CANDIDATE)
    place = table.column_names.index("recency_days")
    kind = table.schema.field("recency_days").type
    scores = [
        scorer.score(table.slice(0, 40).set_column(place, "recency_days", pa.array([days] * 40).cast(kind)))
        for days in range(0, 200, 20)
    ]
    assert (np.diff(np.array(scores), axis=0) >= -1e-12).all()


def test_a_quantile_is_what_the_predictions_are_measured_as() -> None:
    model = spec(
        estimator={"lightgbm": {"objective": "quantile", "alpha": 0.9}},
        task="regression",
        promote_when={"metric": "pinball"},
    )
    assert model.quantile == 0.9
    with pytest.raises(ValidationError, match="alpha: expected it beside objective: quantile"):
        LightGBMParams(alpha=0.5)


@pytest.mark.parametrize("data", [b"", b"tree\n", b"{}", b"tree\nversion=v4\nend of parameters\n"])
def test_other_bytes_and_models_of_other_features_are_refused(data: bytes) -> None:
    columns = rows_of(declared()).columns
    with pytest.raises(ModelError, match="expected a LightGBM model as text"):
        lightgbm_trees.decode(data, columns)
    with pytest.raises(ModelError, match="it is another model"):
        lightgbm_trees.decode(fitted(), columns[1:])


def test_without_the_package_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(MissingExtra, match=r"install orchestrai\[lightgbm\]"):
        fitted()
