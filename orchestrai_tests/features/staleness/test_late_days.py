"""Days that come or change late, through real ingest, vault and restore: what they make stale is computed in the same run or told."""

import json
import random
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from orchestrai.features.by_key.online import OnlineStore, online_path
from orchestrai.features.by_key.online_http import Flags, features_app
from orchestrai.pipeline.reports.stale_assets import StaleAssets, stale_assets
from orchestrai.provenance.export.text_tree import trace_text
from orchestrai.provenance.today import Today
from orchestrai.provenance.trace import trace_records
from orchestrai.provenance.verified_records import Records
from orchestrai.stage.staleness import flags_of
from orchestrai_tests.features.shop import FEATURES, FIRST, KEPT, MODEL, RAW, RESTORED, Shop, sales_of
from orchestrai_tests.running import compute

ROLLING = "beside/rolling/features"
TRAINING = f"{MODEL}/training_set"
BESIDE = """
pipeline: beside
datasets: [{ref: late/sales}]
features:
  - name: rolling
    from: [late/sales]
    entity: customer_id
    event_time: ts
    online: true
    recompute: RECOMPUTE
    sql: "SELECT customer_id, ts, COUNT(cents) OVER w AS n, CAST(SUM(cents) OVER w AS BIGINT) AS spent FROM sales
      WINDOW w AS (PARTITION BY customer_id ORDER BY ts RANGE BETWEEN INTERVAL 3 DAYS PRECEDING AND CURRENT ROW)"
"""


def key(number: int) -> str:
    return f"{FIRST + timedelta(days=number):%Y-%m-%d}"


@dataclass
class Late(Shop):
    """The shop, with a rolling view beside it."""

    def land(self, *numbers: int, text: str = "") -> list[str]:
        """Take in some days and restore them."""
        for number in numbers:
            content = text or sales_of(FIRST + timedelta(days=number))
            (self.landing / f"{key(number)}.csv").write_text(content)
        keys = [key(number) for number in numbers]
        self.now = max(self.now, FIRST + timedelta(days=max(numbers) + 1, hours=6))
        for asset in (RAW, KEPT, RESTORED):
            self.run(asset, *keys)
        return keys

    def stale(self, *assets: str) -> StaleAssets:
        left = stale_assets(self.runtime.context(), self.runtime.project.nodes, assets or None)
        assert not left.unreadable
        return left

    def keys(self, asset: str) -> list[str]:
        return [one.partition for one in self.stale(asset).partitions]

    @property
    def online(self) -> Path:
        return online_path(self.runtime.settings.home, "beside", "rolling")


def late(folder: Path, recompute: str = "auto", more: str = "    lookback: {time: 14d}\n") -> Late:
    return Late(folder, more=more, other=BESIDE.replace("RECOMPUTE", recompute))


def test_a_late_day_makes_the_run_compute_the_days_after_it_again(tmp_path: Path) -> None:
    shop = late(tmp_path / "shop")
    shop.run(ROLLING, *shop.land(0, 1, 2, 4, 5, 6, 7))
    report = shop.run(ROLLING, *shop.land(3))
    assert [outcome.partition for outcome in report.outcomes] == [key(3), key(4), key(5), key(6)]
    assert report.facts["computed"] == 4 and "stale" not in report.facts and shop.keys(ROLLING) == []
    assert shop.run(ROLLING, *map(key, range(8))).facts["computed"] == 0
    whole = late(tmp_path / "whole")
    whole.run(ROLLING, *whole.land(*range(8)))
    assert shop.runtime.ledger.open(ROLLING).version == whole.runtime.ledger.open(ROLLING).version


def test_a_view_that_lists_says_which_days_are_stale_and_online_reads_say_so(tmp_path: Path) -> None:
    shop = late(tmp_path / "shop", "list")
    shop.run(ROLLING, *shop.land(0, 1, 2, 4, 5))
    with OnlineStore(shop.online) as store:
        row = store.get("c0")
    assert row is not None and row.stale == "" and row.judged == shop.now
    assert row.age(row.time + timedelta(hours=5)) == timedelta(hours=5)
    shop.now += timedelta(hours=1)
    report = shop.run(ROLLING, *shop.land(3))
    assert report.facts["computed"] == 1 and report.facts["stale_partitions"] == 2
    assert shop.keys(ROLLING) == [key(4), key(5)]
    told = f"came after it was made: {RESTORED}@{key(3)}"
    assert report.facts["stale"] == {key(4): told, key(5): told}
    with OnlineStore(shop.online) as store:
        row = store.get("c0")
    assert row is not None and row.time >= FIRST + timedelta(days=5) and row.stale == told
    client = TestClient(features_app({"rolling": shop.online}, clock=lambda: row.time + timedelta(minutes=2)))
    (answer,) = client.post("/rolling", json={"keys": [["c0"]]}).json()["rows"]
    assert (answer["age_seconds"], answer["stale"], answer["why"]) == (120.0, True, told)
    shop.run(ROLLING, key(4), key(5))
    assert shop.keys(ROLLING) == []
    (answer,) = client.post("/rolling", json={"keys": [["c0"]]}).json()["rows"]
    assert (answer["stale"], answer["why"]) == (False, None)


def test_online_reads_learn_of_a_change_that_no_run_of_the_view_has_seen(tmp_path: Path) -> None:
    shop = late(tmp_path / "shop")
    shop.run(ROLLING, *shop.land(0, 1, 2))
    shop.land(1, text=sales_of(FIRST + timedelta(days=1), cents=7))
    moments = iter([shop.now, shop.now + timedelta(seconds=1), shop.now + timedelta(minutes=1)])
    asked: list[str] = []

    def stale(view: str) -> dict[str, str]:
        asked.append(view)
        return flags_of(shop.stale(ROLLING).partitions)

    client = TestClient(features_app({"rolling": shop.online}, Flags(stale, lambda: next(moments))))
    for _ in range(3):
        body = client.post("/rolling", json={"keys": [["c0"], ["nobody"]]}).json()
        assert [row["stale"] for row in body["rows"]] == [True, None]
    assert asked == ["rolling", "rolling"] and body["judged"] == (shop.now + timedelta(minutes=1)).isoformat()


def test_a_refused_day_that_is_released_later_is_a_late_day(tmp_path: Path) -> None:
    shop = late(tmp_path / "shop")
    good = sales_of(FIRST + timedelta(days=1))
    (shop.landing / f"{key(1)}.csv").write_text(good.replace("customer_id", "who", 1))
    shop.run(ROLLING, *shop.land(0, 2))
    assert shop.runtime.run(shop.runtime.project.nodes[RAW], [key(1)]).refused
    assert shop.keys(ROLLING) == []
    report = shop.run(ROLLING, *shop.land(1, text=good))
    assert report.facts["computed"] == 2 and shop.keys(ROLLING) == []


def test_raw_events_that_are_not_restored_yet_make_what_follows_stale_before_it_is_computed(tmp_path: Path) -> None:
    shop = late(tmp_path / "shop")
    shop.run(ROLLING, *shop.land(0, 1, 2, 3, 4))
    (shop.landing / f"{key(1)}.csv").write_text(sales_of(FIRST + timedelta(days=1), cents=7))
    shop.run(RAW, key(1))
    assert shop.keys(RESTORED) == [key(1)]
    left = shop.stale(ROLLING).partitions
    assert [one.partition for one in left] == [key(1), key(2), key(3), key(4)]
    assert {cause.kind for one in left for cause in one.causes} == {"upstream"}


def test_a_label_s_horizon_makes_a_training_set_stale_and_later_data_does_not(tmp_path: Path) -> None:
    shop = late(tmp_path / "shop")
    shop.land(*range(33))
    shop.run(FEATURES)
    shop.run(TRAINING)
    assert shop.keys(TRAINING) == [] == shop.keys(FEATURES)
    # features of the moments learned from end on the 26th; only a horizon reaches the 31st
    assert shop.runtime.ledger.open(TRAINING).receipt("all").facts["last_moment"][:10] < "2026-10-27"
    shop.land(33, 34)
    assert shop.keys(TRAINING) == []
    shop.land(30, text=sales_of(FIRST + timedelta(days=30), cents=7))
    (left,) = shop.stale(TRAINING).partitions
    assert [(cause.kind, cause.asset, cause.partitions) for cause in left.causes] == [("changed", RESTORED, (key(30),))]
    shop.run(FEATURES)
    shop.run(TRAINING)
    assert shop.keys(TRAINING) == []
    # within a window of features: their staleness is the set's, too
    shop.land(20, text=sales_of(FIRST + timedelta(days=20), cents=7))
    (left,) = shop.stale(TRAINING).partitions
    assert {cause.kind for cause in left.causes} == {"changed", "upstream"}


def test_what_is_made_of_a_stale_training_set_is_stale_and_a_trace_says_so(tmp_path: Path) -> None:
    shop = late(tmp_path / "shop")
    shop.land(*range(33))
    stages = [FEATURES, TRAINING, *(f"{MODEL}/{stage}" for stage in ("candidate", "evaluation", "champion", "predictions"))]
    for asset in stages:
        shop.run(asset)
    assert shop.stale().partitions == ()
    shop.land(10, text=sales_of(FIRST + timedelta(days=10), cents=7))
    assert set(shop.stale().by_asset) == {FEATURES, TRAINING, f"{MODEL}/candidate"}
    ledger = shop.runtime.ledger
    records, today = Records(ledger.lake, ledger.keyring), Today(ledger.find, shop.stale().of)
    traced = trace_records(records, f"{MODEL}/champion", None, today)
    told = [(node.asset, line) for node in traced.nodes for line in node.outdated]
    assert any(asset == RESTORED and line.endswith(f"partitions: {key(10)}") for asset, line in told)
    assert any(asset == FEATURES and line.startswith("stale by now: 2026-10-12") for asset, line in told)
    assert "! stale by now: 2026-10-12" in trace_text(traced) and json.dumps(traced.as_json())
    shop.run(FEATURES)
    traced = trace_records(records, f"{MODEL}/champion", None, Today(ledger.find, shop.stale().of))
    told = [(node.asset, line) for node in traced.nodes for line in node.outdated]
    assert any(asset == FEATURES and line.startswith("another version is published by now of") for asset, line in told)


def test_an_edited_text_makes_all_partitions_stale_and_no_run_computes_what_it_was_not_asked_for(tmp_path: Path) -> None:
    shop = late(tmp_path / "shop")
    shop.run(ROLLING, *shop.land(0, 1, 2))
    path = shop.folder / "other" / "pipeline.yaml"
    path.write_text(path.read_text().replace("COUNT(cents)", "COUNT(ts)"))
    shop.runtime.__dict__.pop("project", None)
    shop.runtime._project = shop.project
    left = shop.stale(ROLLING)
    assert [one.why for one in left.partitions] == ["made by other code or from another definition"] * 3
    assert not left.by_inputs and flags_of(left.partitions) == {}
    assert shop.run(ROLLING, *shop.land(3)).facts["computed"] == 1
    assert shop.keys(ROLLING) == [key(0), key(1), key(2)]
    assert shop.run(ROLLING, *map(key, range(4))).facts["computed"] == 3 and shop.keys(ROLLING) == []


@pytest.mark.parametrize("at_most", [1, 2])
def test_no_more_than_declared_is_computed_beside_what_was_asked_for(tmp_path: Path, at_most: int) -> None:
    shop = late(tmp_path / "shop", f"{{at_most: {at_most}}}")
    shop.run(ROLLING, *shop.land(0, 2, 3, 4))
    report: Any = shop.run(ROLLING, *shop.land(1))
    # the newest are served: they come first
    assert report.facts["computed"] == 1 + at_most
    assert shop.keys(ROLLING) == [key(2), key(3)][: 3 - at_most]


@pytest.mark.parametrize("seed", range(2))
def test_every_partition_whose_bytes_a_full_recompute_changes_is_told(tmp_path: Path, seed: int) -> None:
    """Over days that come and change in any order, with the real engine."""
    rng = random.Random(seed)
    shop = late(tmp_path / "shop", "list")
    there: set[int] = set()
    for step in range(4):
        some = rng.sample(range(9), 3)
        for number in some:
            shop.land(number, text=sales_of(FIRST + timedelta(days=number), cents=rng.choice([100, 200])))
        there.update(some)
        shop.run(ROLLING, *(key(number) for number in rng.sample(sorted(there), rng.randint(1, len(there)))))
        fresh = shop.runtime.ledger.open(ROLLING).roots()
        told = set(shop.keys(ROLLING))
        view, inputs = shop.runtime.project.nodes[ROLLING].subject.view, {"sales": RESTORED}
        full = compute(shop.runtime.ledger, view, asset=f"full{step}/features", inputs=inputs, grain="day", partitions=None)
        roots = {outcome.partition: outcome.root for outcome in full.outcomes}
        differ = {day for day, root in fresh.items() if roots[day] != root}
        assert differ <= told, (differ, told)
