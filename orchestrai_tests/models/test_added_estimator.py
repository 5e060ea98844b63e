"""Estimators of other packages go the whole way to a champion; what they keep is no pickle, and their version is told."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrai.core import plugins
from orchestrai.errors import ConfigError, ModelError
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators import added_estimator
from orchestrai.models.estimators.artifact import load_model
from orchestrai.models.spec import ModelAssets, ModelSpec
from orchestrai.models.staleness.step_makings import candidate_making
from orchestrai_tests.models.conftest import CANDIDATE, CHAMPION, EVALUATION, TRAINING_SET, customers, spec
from orchestrai_tests.plugins.acme.linear import Fit
from orchestrai_tests.plugins.installing import importable, install

ASSETS = ModelAssets(TRAINING_SET, CANDIDATE, EVALUATION, CHAMPION)
# the list [1.0], by the protocols 0, 2 and 4
PICKLES = (
    b"(lp0\nF1.0\na.",
    b"\x80\x02]q\x00G?\xf0\x00\x00\x00\x00\x00\x00a.",
    b"\x80\x04\x95\x0d\x00\x00\x00\x00\x00\x00\x00]\x94G?\xf0\x00\x00\x00\x00\x00\x00a.",
)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path in which the package acme is installed."""
    with importable(install(tmp_path / "site"), monkeypatch, "acme") as folder:
        yield folder


def declared(**params: Any) -> ModelSpec:
    return spec(estimator={"plugin": {"name": "acme-linear", "params": params}})


def test_it_goes_the_whole_way_to_champion_and_says_whose_it_is(site: Path, ledger: Ledger, run: Callable[..., Any]) -> None:
    trained, _, promoted = run(declared(penalty=3.0), customers())
    assert promoted.version == trained.version
    scorer = load_model(ledger, CHAMPION)
    assert scorer.info.kind == "plugin" and scorer.info.libraries["acme-orchestrai"] == "1.2"
    assert max(scorer.info.importance, key=lambda name: scorer.info.importance[name]) == "recency_days"
    assert [e.path for e in ledger.open(CANDIDATE).files("all").files] == ["golden.parquet", "model.bin", "model.json"]
    assert run(declared(penalty=3.0), customers())[0].version == trained.version


def test_another_version_of_the_package_makes_a_candidate_anew(site: Path, ledger: Ledger, run: Callable[..., Any]) -> None:
    run(declared(), customers())

    def making() -> str:
        made = candidate_making(ledger, declared(), ASSETS)
        assert made is not None
        return made.digest

    before = making()
    assert making() == before
    (site / "acme_orchestrai-1.2.dist-info").rename(site / "acme_orchestrai-1.3.dist-info")
    metadata = site / "acme_orchestrai-1.3.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.2", "1.3"))
    plugins.installed.cache_clear()
    assert making() != before


def test_without_the_package_nothing_is_trained_and_no_model_is_read(
    site: Path, ledger: Ledger, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(declared(), customers())
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(site)])
    plugins.installed.cache_clear()
    with pytest.raises(ConfigError, match=r"of an installed package \(none\), found acme-linear: install"):
        load_model(ledger, CHAMPION)
    with pytest.raises(ConfigError, match="found acme-linear: install the package that adds it"):
        run(declared(), customers(seed=2))


def test_parameters_that_the_package_does_not_take_are_told(site: Path, ledger: Ledger, run: Callable[..., Any]) -> None:
    with pytest.raises(
        ConfigError, match=r"acme-orchestrai 1\.2 .*found ValueError: expected the parameter penalty, found depth"
    ):
        run(declared(depth=3), customers())


def test_a_model_that_is_kept_as_a_pickle_is_refused(
    site: Path, ledger: Ledger, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import acme.linear  # type: ignore[import-not-found]

    for data in PICKLES:
        monkeypatch.setattr(acme.linear.Fit, "encode", lambda self, data=data: data)
        with pytest.raises(ModelError, match=r"of acme-orchestrai 1\.2 in a format that runs no code, found a pickle"):
            run(declared(), customers())


def test_a_model_that_scores_otherwise_once_read_is_refused(
    site: Path, ledger: Ledger, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import acme.linear

    read = acme.linear.Linear.decode

    def other(self: Any, *given: Any) -> Any:
        fit = read(self, *given)
        return acme.linear.Fit(fit.task, fit.names, fit.centre, fit.spread, [w + 0.1 for w in fit.weights], fit.mean)

    monkeypatch.setattr(acme.linear.Linear, "decode", other)
    with pytest.raises(ModelError, match="to be the same once read, found another"):
        run(declared(), customers())


def test_scores_of_another_shape_are_refused() -> None:
    class Two(Fit):
        def score(self, rows: Any) -> Any:
            return np.zeros((len(rows), 2))

    model = added_estimator.AddedModel(Two("binary", ("a",), [0.0], [1.0], [0.0], 0.0), "acme 1")
    from orchestrai.models.rows import Column, Rows

    rows = Rows((Column("a", "number"),), np.zeros((3, 1), np.float32), (), np.zeros(3, np.int64), np.zeros(3))
    with pytest.raises(ModelError, match=r"expected scores of shape \(3,\) of acme 1, found \(3, 2\)"):
        model.score(rows)
