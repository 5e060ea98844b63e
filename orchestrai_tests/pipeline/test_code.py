"""Which code made what: every receipt names it, and what other code made is stale by itself."""

from pathlib import Path

import pytest

from orchestrai.core import code_identity
from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.backup.kept_shop import FEATURES, PUBLISHED, fresh, materialize


def test_no_receipt_of_a_whole_pipeline_is_without_code(shop: Runtime) -> None:
    for node in shop.project.nodes.values():
        if node.executable and node.pipeline == "shop":
            materialize(shop, node.asset, PUBLISHED if node.grain != "all" else None)
    codes = {
        (asset, shop.ledger.receipt(head.receipt).code_version)
        for asset in shop.ledger.assets()
        for head in shop.ledger.history(asset)
    }
    assert {asset.rsplit("/", 1)[-1] for asset, _ in codes} >= {
        "raw_events", "snapshot", "restored", "drill", "features", "training_set", "candidate", "evaluation",
        "champion", "predictions", "catalog", "feature_backup", "model_backup", "dump",
    }  # fmt: skip
    assert [asset for asset, code in codes if not code.startswith(f"{asset.rsplit('/', 1)[-1]}:")] == []


def test_features_that_other_code_made_are_stale(shop: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shop.ledger.open(FEATURES)
    assert materialize(shop, FEATURES, PUBLISHED).facts["computed"] == 0
    assert shop.ledger.open(FEATURES).head.seq == before.head.seq
    monkeypatch.setattr(code_identity, "identity", lambda modules: "0123456789abcdef")
    upgraded = fresh(shop.settings.home, tmp_path / "declared")
    assert materialize(upgraded, FEATURES, PUBLISHED).facts["computed"] == len(PUBLISHED)
    after = upgraded.ledger.open(FEATURES)
    assert after.version == before.version
    assert after.receipt(PUBLISHED[0]).code_version == "features:0123456789abcdef"
    assert materialize(upgraded, FEATURES, PUBLISHED).facts["computed"] == 0
