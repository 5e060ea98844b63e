"""Estimators of scikit-learn, kept by skops."""

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import skops.io as sio

from orchestrai.errors import ModelError
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators import sklearn_estimator as sklearn_model
from orchestrai.models.estimators.artifact import load_model
from orchestrai.models.estimators.spec import SKLEARN_CLASSES
from orchestrai.models.rows import Rows, encode, infer_columns
from orchestrai.models.spec import ModelSpec
from orchestrai_tests.models.conftest import CANDIDATE, CHAMPION, customers, spec

FOREST = "sklearn.ensemble.RandomForestClassifier"


def _model(name: str = FOREST, **params: Any) -> ModelSpec:
    if name.endswith("ForestClassifier") or "Trees" in name:
        params = {"n_estimators": 5, **params}
    task = "binary" if SKLEARN_CLASSES[name] == "classifier" else "regression"
    rule = {"metric": "auc" if task == "binary" else "rmse"}
    return spec(estimator={"sklearn": {"class": name, "params": params}}, task=task, promote_when=rule)


def _rows(model: ModelSpec) -> Rows:
    table = customers(per_moment=40)
    return encode(table, infer_columns(table, model), model.entity)


def _fit(model: ModelSpec) -> sklearn_model.SklearnModel:
    assert model.estimator.sklearn is not None
    return sklearn_model.fit(model.estimator.sklearn, model.task, _rows(model))


@pytest.mark.parametrize("name", sorted(SKLEARN_CLASSES))
def test_every_class_trains_to_the_same_bytes_and_scores_the_same_once_read_back(name: str) -> None:
    model = _model(name)
    fitted = _fit(model)
    data = fitted.encode()
    assert data == _fit(model).encode()
    again = sklearn_model.decode(data, model.task, _rows(model).columns)
    assert (again.score(_rows(model)) == fitted.score(_rows(model))).all()


@pytest.mark.thorough("one process gives the same bytes twice")
def test_the_bytes_do_not_depend_on_the_process() -> None:
    script = (
        "from orchestrai_tests.models.test_sklearn import _fit, _model\nimport hashlib\n"
        "print(hashlib.sha256(_fit(_model()).encode()).hexdigest())"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    assert told == hashlib.sha256(_fit(_model()).encode()).hexdigest()


def test_it_goes_the_whole_way_to_champion_with_importances(ledger: Ledger, run: Callable[..., Any]) -> None:
    trained, _, promoted = run(_model(n_estimators=20), customers())
    assert promoted.version == trained.version
    scorer = load_model(ledger, CHAMPION)
    assert scorer.info.kind == "sklearn" and scorer.info.libraries["skops"]
    assert sum(scorer.info.importance.values()) == pytest.approx(1)
    assert max(scorer.info.importance, key=lambda name: scorer.info.importance[name]) == "recency_days"
    assert [e.path for e in ledger.open(CANDIDATE).files("all").files] == ["golden.parquet", "model.json", "model.skops"]


def test_a_file_that_names_another_type_is_refused_before_anything_is_built() -> None:
    model = _model()
    data = _fit(model).encode()
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(sink, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "schema.json":
                schema = json.loads(content)
                schema["__module__"], schema["__class__"] = "subprocess", "Popen"
                content = json.dumps(schema).encode()
            target.writestr(name, content)
    with pytest.raises(ModelError, match=r"subprocess\.Popen"):
        sklearn_model.decode(sink.getvalue(), "binary", _rows(model).columns)


@pytest.mark.parametrize("junk", [b"", b"\x80\x04.", b"PK\x03\x04", b"PK\x03\x04" + b"x" * 200])
def test_junk_is_one_clear_error(junk: bytes) -> None:
    with pytest.raises(ModelError, match="expected a scikit-learn model of skops"):
        sklearn_model.decode(junk, "binary", ())


def test_a_valid_skops_file_that_is_no_model_of_ours_is_refused() -> None:
    for thing in (np.arange(3), {"a": 1}):
        with pytest.raises(ModelError, match="expected a scikit-learn model"):
            sklearn_model.decode(sio.dumps(thing), "binary", ())
    with pytest.raises(ModelError, match="expected a model of 2 features, found one of 5"):
        sklearn_model.decode(_fit(_model()).encode(), "binary", _rows(_model()).columns[:2])


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        ({"class": "sklearn.neighbors.KNeighborsClassifier"}, "expected one of"),
        ({"class": "os.system"}, "expected one of"),
        ({"class": FOREST, "params": {"n_jobs": -1}}, "one thread is used"),
        ({"class": "sklearn.linear_model.Ridge"}, "expected a class for binary"),
    ],
)
def test_what_cannot_be_kept_safely_is_told_when_it_is_declared(estimator: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec(estimator={"sklearn": estimator})


@pytest.mark.parametrize("params", [{"n_estimator": 5}, {"max_depth": "deep"}])
def test_a_parameter_the_class_does_not_take_is_one_clear_error(params: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="RandomForestClassifier to train with"):
        _fit(_model(**params))
