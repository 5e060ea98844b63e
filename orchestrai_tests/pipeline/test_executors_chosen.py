"""Who stores, reads back and restores a vault's bytes follows from the settings, as the engine of features does."""

from pathlib import Path
from typing import Any

import pytest

from orchestrai.cli.lookup import open_existing
from orchestrai.pipeline.engines import vault_spread
from orchestrai.pipeline.load import Project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai.storage.local import LocalStore


def never() -> object:
    raise AssertionError("no session is opened before there is work for it")


@pytest.mark.parametrize(
    ("given", "least"),
    [
        ({}, None),
        ({"engine": "duckdb", "spark_threshold_bytes": 5}, None),
        ({"engine": "spark"}, 1),
        ({"engine": "spark", "spark_url": "local[2]", "spark_threshold_bytes": 50}, 1),
        ({"spark_threshold_bytes": 50, "spark_url": "spark://here:7077"}, 50),
        # what takes jobs alone has no executors for it, and a Connect server places rows itself
        ({"engine": "spark", "spark_url": "sc://here:15002"}, None),
        ({"engine": "spark", "spark_url": "databricks:cluster.yaml"}, None),
        ({"engine": "spark", "spark_url": "subprocess:"}, None),
    ],
)
def test_the_settings_choose_from_which_size_on(tmp_path: Path, given: dict[str, Any], least: int | None) -> None:
    spread = vault_spread(Settings(home=tmp_path, **given), never, LocalStore(tmp_path / "vault"))
    if least is None:
        assert spread is None
    else:
        assert spread is not None and spread.takes_bytes(least) and not spread.takes_bytes(least - 1)


def test_the_vault_of_a_run_has_the_executors_of_its_settings(tmp_path: Path) -> None:
    runtime = Runtime(Settings(home=tmp_path, engine="spark"), Project(()))
    runtime.spark_session = never  # type: ignore[method-assign]
    assert runtime.vault.spread is not None and runtime.vault.spread.store is runtime.vault.store
    assert Runtime(Settings(home=tmp_path), Project(())).vault.spread is None


def test_the_command_line_reads_back_by_the_same_executors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path))
    Runtime(Settings(home=tmp_path), Project(())).vault.establish()
    assert open_existing(None).spread is None
    monkeypatch.setenv("ORCHESTRAI_ENGINE", "spark")
    spread = open_existing(None).spread
    assert spread is not None and spread.takes_bytes(1)
