"""Every shipped model comes out of a demo's vault again; asked for by naming the home of a demo that was run."""

import os
from pathlib import Path

import pytest

from orchestrai.ledger.trust.trust_list import trusted_keyring
from orchestrai.pipeline.load import load_project, pipeline_folders
from orchestrai.provenance.recall.reproduce import reproduce
from orchestrai.storage.url import open_store

HOME = os.environ.get("ORCHESTRAI_TEST_DEMO_HOME", "")
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(not HOME, reason="ORCHESTRAI_TEST_DEMO_HOME names no home of a demo")]


@pytest.mark.parametrize("model", ["churn/churn", "telemetry/failure", "recommendations/next_purchase"])
def test_a_shipped_model_is_made_again_byte_for_byte(model: str, tmp_path: Path) -> None:
    found = reproduce(
        f"{model}/champion",
        None,
        vault=open_store(f"{HOME}/vault"),
        keyring=trusted_keyring(Path(HOME) / "keys"),
        home=tmp_path / "again",
        project=load_project(pipeline_folders()),
        key_folder=Path(HOME) / "keys",
    )
    assert found.first_difference is None
    assert found.ok
