"""A model is made again from the vault alone, byte for byte; where it differs, the stage is named."""

import dataclasses
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError
from orchestrai.pipeline.load import Project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.provenance.recall.reproduce import Reproduction, reproduce
from orchestrai.storage.url import open_store

pytestmark = pytest.mark.e2e
CHAMPION = "telemetry/failure/champion"


def again(runtime: Runtime, home: Path, project: Project | None = None) -> Reproduction:
    return reproduce(
        CHAMPION,
        None,
        vault=open_store(runtime.settings.vault),
        keyring=runtime.ledger.keyring,
        home=home,
        project=project or runtime.project,
    )


def test_a_model_comes_out_of_the_vault_again_with_the_same_bytes(trained: Runtime, tmp_path: Path) -> None:
    vault = open_store(trained.settings.vault)
    before = {info.key: info.etag for info in vault.list()}
    found = again(trained, tmp_path / "again")
    assert found.first_difference is None
    assert [stage.asset.rsplit("/", 1)[-1] for stage in found.stages] == [
        "restored",
        "features",
        "training_set",
        "candidate",
    ]
    assert found.ok
    assert found.version == trained.ledger.open(CHAMPION).version
    assert {info.key: info.etag for info in vault.list()} == before


def test_the_first_stage_that_differs_is_named(trained: Runtime, tmp_path: Path) -> None:
    pipeline = trained.project.pipeline("telemetry")
    model = pipeline.models[0]
    params = model.spec.estimator.xgboost
    assert params is not None
    estimator = model.spec.estimator.model_copy(update={"xgboost": params.model_copy(update={"max_depth": 3})})
    changed = dataclasses.replace(model, spec=model.spec.model_copy(update={"estimator": estimator}))
    project = Project((dataclasses.replace(pipeline, models=(changed,)),))
    found = again(trained, tmp_path / "again", project)
    assert not found.ok
    assert found.first_difference is not None
    assert found.first_difference.asset == "telemetry/failure/candidate"
    assert "recipe" in found.first_difference.note


def test_a_home_that_is_not_empty_is_refused(trained: Runtime, tmp_path: Path) -> None:
    (tmp_path / "something").write_text("mine")
    with pytest.raises(ConfigError, match="empty"):
        again(trained, tmp_path)


def test_an_undeclared_model_is_refused(trained: Runtime, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no declaration"):
        again(trained, tmp_path / "again", Project(()))
