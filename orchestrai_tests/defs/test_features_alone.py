"""A pipeline without models still makes its features at moments."""

from datetime import timedelta
from pathlib import Path

import dagster as dg

from orchestrai.defs.build import build_definitions
from orchestrai.defs.launch.backfill import backfill
from orchestrai.pipeline.load import load_project
from orchestrai_tests.features.shop import FEATURES, FIRST, Shop, sales_of


def test_a_backfill_makes_features_at_moments_without_a_model(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    declared = shop.folder / "declared" / "pipeline.yaml"
    declared.write_text(declared.read_text().split("models:")[0])
    shop.runtime._project = load_project([declared.parent], {})
    for number in range(14):
        day = FIRST + timedelta(days=number)
        (shop.landing / f"{day:%Y-%m-%d}.csv").write_text(sales_of(day))
    shop.now = FIRST + timedelta(days=15)
    definitions = build_definitions(shop.runtime)
    with dg.DagsterInstance.ephemeral() as instance:
        (pipeline,) = shop.runtime.project.pipelines
        runs = list(backfill(definitions, shop.runtime, instance, pipeline, "2026-10-01", "2026-10-14"))
    assert [(run.job, run.success) for run in runs] == [("late_sales_ingest", True), ("late_features", True)]
    assert sorted(shop.runtime.ledger.open(FEATURES).partitions) == ["2026-10-05", "2026-10-12"]
