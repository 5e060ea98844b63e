"""`orchestrai stale` and what `report`, `doctor`, `model trace` and `backfill` say of stale features."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrai_tests.cli.conftest import command
from orchestrai_tests.features.shop import FEATURES, FIRST, KEPT, MODEL, RAW, RESTORED, Shop, sales_of

TRAINING = f"{MODEL}/training_set"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Two weeks of sales with their features, as the settings of this process name them."""
    made = Shop(tmp_path / "shop", more="    lookback: {time: 7d}\n")
    monkeypatch.setenv("ORCHESTRAI_HOME", str(made.folder / "home"))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(made.folder / "declared"))
    made.restored(made.days(0, 24, 24))
    made.run(FEATURES)
    made.run(TRAINING)
    return made


def test_nothing_stale_ends_with_0_and_a_day_that_changed_late_with_1(shop: Shop) -> None:
    assert command("stale") == (0, "current: nothing is stale\n")
    day = f"{FIRST + timedelta(days=9):%Y-%m-%d}"
    (shop.landing / f"{day}.csv").write_text(sales_of(FIRST + timedelta(days=9), cents=7))
    for asset in (RAW, KEPT, RESTORED):
        shop.run(asset, day)
    code, text = command("stale", "late")
    assert code == 1 and f"stale {FEATURES} 2026-10-12 (changed): another version of {RESTORED}@{day}" in text
    code, text = command("stale", FEATURES, "--json")
    (told,) = json.loads(text)["stale"]
    assert code == 1 and (told["asset"], told["partition"]) == (FEATURES, "2026-10-12")
    assert told["causes"] == [{"kind": "changed", "asset": RESTORED, "partitions": [day]}]
    (report,) = json.loads(command("report", "--json")[1])["pipelines"]
    assert report["stale"] == {FEATURES: 1, TRAINING: 1}
    findings = {one["name"]: one for one in json.loads(command("doctor", "--json")[1])["findings"]}
    assert not findings["stale"]["ok"] and f"{FEATURES}: 1 partitions" in findings["stale"]["detail"]
    nodes = json.loads(command("model", "trace", TRAINING, "--json")[1])["nodes"]
    assert any(line.startswith("stale by now: 2026-10-12") for node in nodes for line in node["outdated"])
    shop.run(FEATURES)
    shop.run(TRAINING)
    assert command("stale")[0] == 0
    findings = {one["name"]: one for one in json.loads(command("doctor", "--json")[1])["findings"]}
    assert findings["stale"]["ok"]


def test_a_name_that_is_neither_a_pipeline_nor_an_asset_is_told(shop: Shop) -> None:
    from orchestrai.errors import ConfigError

    with pytest.raises(ConfigError, match="expected a pipeline among late"):
        command("stale", "nothing")


def test_a_backfill_that_leaves_features_stale_says_so_and_ends_with_1(shop: Shop) -> None:
    day = f"{FIRST + timedelta(days=9):%Y-%m-%d}"
    (shop.landing / f"{day}.csv").write_text(sales_of(FIRST + timedelta(days=9), cents=7))
    code, text = command("backfill", "late", "--from", day, "--to", day, "--no-models")
    assert code == 1 and f"stale {FEATURES} 2026-10-12 (changed)" in text and "failed" not in text
    assert f"replaced {RAW} {day}: what landed of it is not what was taken before" in text
    shop.runtime.ledger.forget()
    shop.run(FEATURES)
    code, text = command("backfill", "late", "--from", day, "--to", day, "--no-models", "--json")
    assert code == 0 and json.loads(text)["stale"] == [] and json.loads(text)["replaced"] == {}
