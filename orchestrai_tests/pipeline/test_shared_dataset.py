"""A dataset that two pipelines use is one dataset: its stages run once, and what happens to it reaches both."""

from collections import Counter
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError
from orchestrai.pipeline.load import load_project
from orchestrai.provenance.index import ReceiptIndex
from orchestrai.provenance.recall.recall import plan_recall
from orchestrai_tests.dagster_names import ledger_name
from orchestrai_tests.features.shop import FEATURES, KEPT, RAW, RESTORED, Shop, rows_of

OTHER = """
pipeline: reports
datasets:
  - ref: late/sales
features:
  - name: turnover
    from: [sales]
    entity: customer_id
    as_of: {every: 7d, warmup: 1d}
    sql: "SELECT s.customer_id, s.as_of, CAST(SUM(a.cents) AS BIGINT) AS turnover FROM spine AS s
      JOIN sales AS a ON a.customer_id = s.customer_id GROUP BY s.customer_id, s.as_of"
"""
TURNOVER = "reports/turnover/features"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop", other=OTHER)


def test_both_pipelines_read_the_one_restored_version_that_ran_once(shop: Shop) -> None:
    shop.restored(shop.days(0, 14, 14))
    mine = shop.features()
    shop.run(TURNOVER)
    ledger = shop.runtime.ledger
    assert [asset for asset in ledger.assets() if "sales" in asset] == sorted([RAW, KEPT, RESTORED])
    assert {ledger.head(asset).seq for asset in (RAW, KEPT, RESTORED)} == {1}  # type: ignore[union-attr]
    theirs = rows_of(ledger, TURNOVER)
    assert {key: [row["turnover"] for row in rows] for key, rows in theirs.items()} == {
        key: [row["cents"] for row in rows] for key, rows in mine.items()
    }
    version = ledger.open(RESTORED).version
    for asset in (FEATURES, TURNOVER):
        assert [ref.version for ref in ledger.open(asset).receipt("2026-10-12").inputs] == [version]
    plan = plan_recall(ledger, ReceiptIndex.build(ledger.lake, ledger.keyring), f"{RAW}@2026-10-08")
    assert {FEATURES, TURNOVER} <= set(plan.drop) and plan.drop[FEATURES] == plan.drop[TURNOVER] == ("2026-10-12",)


def test_the_graph_has_its_stages_checks_and_triggers_once(shop: Shop) -> None:
    from orchestrai.defs.build import build_definitions

    nodes = shop.runtime.project.nodes
    assert Counter(node.stage.name for asset, node in nodes.items() if asset.split("/")[1] == "sales") == Counter(
        {asset.split("/")[2]: 1 for asset in nodes if asset.startswith("late/sales/")}
    )
    assert not [asset for asset in nodes if asset.startswith("reports/sales")]
    repository = build_definitions(shop.runtime).get_repository_def()
    graph = repository.asset_graph
    named = {ledger_name(key): key for key in graph.get_all_asset_keys()}
    assert {ledger_name(parent) for parent in graph.get(named[TURNOVER]).parent_keys} == {RESTORED}
    triggers = [*repository.sensor_defs, *repository.schedule_defs, *repository.get_all_jobs()]
    assert not [trigger.name for trigger in triggers if "reports_sales" in trigger.name]


def test_a_reference_to_a_dataset_that_nobody_declares_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(OTHER)
    with pytest.raises(ConfigError, match=r"pipeline.yaml:4: datasets\[0\].ref: expected one of .*, found 'late/sales'"):
        load_project([tmp_path], {})
