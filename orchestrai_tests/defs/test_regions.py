"""A dimension beside time in Dagster: runs of one partition, of a span, asked for by sensors and schedules."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from orchestrai.core.time.calendar import keys_between
from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.assets import TIME, partitions_of
from orchestrai.defs.launch.backfill import SILENT_CONSOLE, backfill, span_of
from orchestrai.defs.launch.schedules import ended_between
from orchestrai.errors import ConfigError
from orchestrai_tests.defs.deploying import keys_of
from orchestrai_tests.regions import DAYS, NOW, PIPELINE, REGIONS, WITH_RATES, WITH_VIEWS, Shops

INGEST, SENSOR = "shops_sales_ingest", "shops_sales_landing_sensor"
EVERY = sorted(f"{day}|{region}" for day in DAYS for region in REGIONS)


@pytest.fixture
def shops(tmp_path: Path) -> Shops:
    return Shops(tmp_path)


@pytest.fixture
def deployed(shops: Shops) -> Iterator[tuple[dg.Definitions, dg.DagsterInstance]]:
    with shops.dagster() as both:
        yield both


def run(
    deployed: tuple[dg.Definitions, dg.DagsterInstance], key: str | None = None, tags: dict[str, str] | None = None
) -> dg.ExecuteInProcessResult:
    definitions, instance = deployed
    job = definitions.resolve_job_def(INGEST)
    return job.execute_in_process(
        run_config=SILENT_CONSOLE, instance=instance, partition_key=key, tags=tags, raise_on_error=False
    )


def materialized(result: dg.ExecuteInProcessResult, asset: str) -> list[str]:
    events = result.get_asset_materialization_events()
    return sorted(str(event.partition) for event in events if event.asset_key == asset_key(asset))


def verdict(result: dg.ExecuteInProcessResult, check: str) -> dg.AssetCheckEvaluation:
    (evaluation,) = [one for one in result.get_asset_check_evaluations() if one.check_name == check]
    return evaluation


def test_dagster_has_the_same_keys_in_the_same_order(shops: Shops) -> None:
    (dataset,) = shops.project.pipelines[0].datasets
    known = partitions_of(dataset)
    assert isinstance(known, dg.MultiPartitionsDefinition)
    # Dagster sorts dimensions by name: time must stay first, whatever the other is called
    assert known.partition_dimension_names == [TIME, "region"] and TIME < "a"
    first, last = f"{DAYS[0]}|eu", f"{DAYS[-1]}|us"
    theirs = known.get_partition_keys_in_range(dg.PartitionKeyRange(first, last))
    assert list(theirs) == keys_between(first, last, dataset.grain) == EVERY


def test_one_partition_runs_from_landing_to_features(tmp_path: Path) -> None:
    shops = Shops(tmp_path, WITH_VIEWS)
    shops.land_rates(DAYS[0])
    shops.restore(DAYS[0], dataset="rates")
    shops.land(DAYS[0], "eu")
    key = f"{DAYS[0]}|eu"
    with shops.dagster() as deployed:
        result = run(deployed, key)
    assert result.success
    for stage in ("sales/raw_events", "sales/snapshot", "sales/restored", "spent/features"):
        assert materialized(result, f"shops/{stage}") == [key]
    told = verdict(result, "dimension_complete")
    assert not told.passed and told.severity == dg.AssetCheckSeverity.WARN
    assert told.description == (
        f"expected region eu, us of each time, found {DAYS[0]} without us: have the producer send what is lacking"
    )


def test_a_region_that_is_refused_does_not_hold_back_the_other(
    shops: Shops, deployed: tuple[dg.Definitions, dg.DagsterInstance]
) -> None:
    definitions, instance = deployed
    for day in DAYS:
        for region in REGIONS:
            shops.land(day, region)
    refused = f"{DAYS[2]}|eu"
    shops.land(DAYS[2], "eu", "region,customer,ts\neu,c1,2026-03-04T06:00:00Z\n")
    (pipeline,) = shops.project.pipelines
    (done,) = backfill(definitions, shops.runtime, instance, pipeline, DAYS[0], DAYS[-1])
    assert not done.success and list(done.refused) == [refused]
    for stage in ("raw_events", "snapshot", "restored"):
        assert shops.published(stage) == [key for key in EVERY if key != refused]


def test_a_sensor_asks_for_what_arrived_and_for_nothing_else(
    shops: Shops, deployed: tuple[dg.Definitions, dg.DagsterInstance]
) -> None:
    definitions, instance = deployed
    for day in DAYS[:3]:
        shops.land(day, "eu")
    shops.land(DAYS[1], "us")
    (shops.landing / "mars").mkdir()
    (shops.landing / "mars" / f"{DAYS[0]}.csv").write_text("region,customer,ts,amount\n")
    sensor = definitions.get_sensor_def(SENSOR)
    with dg.build_sensor_context(
        instance=instance, repository_def=definitions.get_repository_def(), resources={"orchestrai_runtime": shops.runtime}
    ) as context:
        told = sensor.evaluate_tick(context)
    assert [keys_of(request) for request in told.run_requests or ()] == [
        (f"{DAYS[0]}|eu", f"{DAYS[2]}|eu"),
        (f"{DAYS[1]}|us", f"{DAYS[1]}|us"),
    ]
    for request in told.run_requests or ():
        tags = dict(request.tags)
        key = tags.pop("dagster/partition", None) or request.partition_key
        assert run(deployed, key, tags).success
    assert shops.published("restored") == sorted([*(f"{day}|eu" for day in DAYS[:3]), f"{DAYS[1]}|us"])
    # what tells a value that nobody declared has a place too, with expected and found
    (letter,) = shops.letters("unplaced")
    assert letter["uri"].endswith(f"mars/{DAYS[0]}.csv")
    assert "expected region eu, us, found 'mars'" in letter["reason"]


def test_a_schedule_asks_for_every_value_of_what_ended(shops: Shops) -> None:
    (dataset,) = shops.project.pipelines[0].datasets
    since = datetime(2026, 3, 7, 1, tzinfo=UTC)
    assert ended_between(dataset, since, NOW.replace(hour=1)) == [
        "2026-03-07|eu",
        "2026-03-07|us",
        "2026-03-08|eu",
        "2026-03-08|us",
    ]


def test_a_span_may_be_of_one_value(tmp_path: Path) -> None:
    shops = Shops(tmp_path, WITH_RATES)
    rates, sales = shops.project.pipelines[0].datasets
    assert span_of(sales, DAYS[0], DAYS[1]) == (f"{DAYS[0]}|eu", f"{DAYS[1]}|us")
    assert span_of(sales, f"{DAYS[0]}|us", f"{DAYS[1]}|us") == (f"{DAYS[0]}|us", f"{DAYS[1]}|us")
    # what has no dimension is read by all values
    assert span_of(rates, f"{DAYS[0]}|us", f"{DAYS[1]}|us") == (DAYS[0], DAYS[1])
    with pytest.raises(ConfigError, match="expected region eu, us, found mars"):
        span_of(sales, f"{DAYS[0]}|mars", f"{DAYS[1]}|mars")


def test_a_lacking_value_turns_the_run_red_where_that_is_declared(tmp_path: Path) -> None:
    shops = Shops(tmp_path, PIPELINE.replace("values: [eu, us]", "values: [eu, us], complete: error"))
    shops.land(DAYS[0], "eu")
    with shops.dagster() as deployed:
        result = run(deployed, f"{DAYS[0]}|eu")
        assert not result.success
        assert verdict(result, "dimension_complete").severity == dg.AssetCheckSeverity.ERROR
        # it holds nothing back all the same: each value is gated alone
        assert shops.published("restored") == [f"{DAYS[0]}|eu"]
        shops.land(DAYS[0], "us")
        assert run(deployed, f"{DAYS[0]}|us").success
