"""A model is made again from the vault alone, byte for byte; where it differs, the stage is named."""

import dataclasses
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError
from orchestrai.pipeline import Project, Runtime
from orchestrai.provenance import Reproduction, reproduce
from orchestrai.settings import load_settings
from orchestrai.storage import open_store

pytestmark = pytest.mark.e2e
CHAMPION = "telemetry/failure/champion"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """The shipped telemetry pipeline, run once over generated readings."""
    from orchestrai.contracts.calendar import keys_between
    from orchestrai.demo import write_landing

    settings = load_settings(home=tmp_path_factory.mktemp("origin"))
    landed = write_landing(settings.home / "landing", seed=7, days=28, click_days=1)
    runtime = Runtime(settings)
    for node in runtime.project.nodes.values():
        if node.pipeline == "telemetry" and node.executable and node.stage not in ("catalog", "predictions"):
            keys = keys_between(*landed.readings, node.grain) if node.grain != "all" else ["all"]
            report = runtime.run(node, keys)
            assert not report.refused, report.refused
    return runtime


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
