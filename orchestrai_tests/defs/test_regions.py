"""A dimension beside time in Dagster: runs of one partition, of a span, asked for by sensors and schedules."""

from pathlib import Path

from orchestrai.defs.launch.backfill import backfill
from orchestrai_tests.defs.regions import DAYS, REGIONS, Shops


def test_a_region_that_is_refused_does_not_hold_back_the_other(tmp_path: Path) -> None:
    shops = Shops(tmp_path)
    for day in DAYS:
        for region in REGIONS:
            shops.land(day, region)
    refused = f"{DAYS[2]}|eu"
    shops.land(DAYS[2], "eu", "region,customer,ts\neu,c1,2026-03-04T06:00:00Z\n")
    with shops.dagster() as (definitions, instance):
        (pipeline,) = shops.project.pipelines
        runs = list(backfill(definitions, shops.runtime, instance, pipeline, DAYS[0], DAYS[-1]))
    assert [run.success for run in runs] == [False]
    assert list(runs[0].refused) == [refused]
    every = sorted(f"{day}|{region}" for day in DAYS for region in REGIONS)
    for stage in ("raw_events", "snapshot", "restored"):
        assert shops.published(stage) == [key for key in every if key != refused]
