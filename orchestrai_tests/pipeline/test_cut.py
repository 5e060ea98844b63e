"""What decides on a row's partition is declared, and `check` says where it is not; zones and grains reach Dagster as they are declared."""

from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orchestrai.core.time.calendar import LocalGrain
from orchestrai.pipeline.check.project_check import check_project

CONTRACT = """\
kind: DataContract
apiVersion: v3.0.2
id: sales
name: sales
version: 1.0.0
status: active
schema:
  - name: sales
    properties:
      - {name: id, physicalType: BIGINT, required: true}
      - {name: at, physicalType: TIMESTAMP, required: true}
      - {name: on_day, physicalType: DATE, required: true}
"""
EVENT_TIME = "customProperties: [{property: eventTime, value: at}]\n"
VIEW = """features:
  - {name: each, from: [sales], entity: id, event_time: at, sql: "SELECT id, at, on_day FROM sales"}
"""


def mistakes(folder: Path, partitions: str, *, event_time: str = "", source: str = "", more: str = "") -> list[str]:
    folder.mkdir(exist_ok=True)
    (folder / "sales.contract.yaml").write_text(CONTRACT + event_time)
    (folder / "pipeline.yaml").write_text(
        f"""pipeline: shop
datasets:
  - name: sales
    source: {{{source or "url: landing/sales/, format: csv"}}}
    contract: sales.contract.yaml
    partitions: {{{partitions}}}
    backup: {{every: "0 2 * * *"}}
{more}"""
    )
    (check,) = check_project([folder], {})
    return [mistake.message for mistake in check.mistakes]


def test_a_dataset_cut_by_time_without_an_event_time_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (told,) = mistakes(tmp_path / "shop", "grain: month, start: 2026-01-01")
    assert told.startswith("shop/pipeline.yaml:6: datasets[0].partitions: expected the event time by which sales is cut")
    assert "eventTime in the customProperties of sales.contract.yaml, or `by: name`" in told


@pytest.mark.parametrize(
    ("partitions", "source"),
    [
        ("grain: all", ""),
        ("grain: month, by: name, start: 2026-01-01", ""),
        ("grain: month, by: name, start: 2026-01-01", 'url: "https://supplier.example/{partition}", format: http'),
        ("grain: day, by: arrival, start: 2026-01-01", "url: landing/sales/, format: csv, partition_from: modified"),
        ("grain: day, by: arrival, start: 2026-01-01", "url: log://sales, format: jsonl"),
    ],
)
def test_what_else_decides_may_be_said(tmp_path: Path, partitions: str, source: str) -> None:
    assert mistakes(tmp_path / "shop", partitions, source=source) == []


@pytest.mark.parametrize(
    ("partitions", "event_time", "source", "expected"),
    [
        ("by: name", EVENT_TIME, "", "partitions.by: expected event_time, as sales has the event time at, found name"),
        ("by: arrival", "", "", "partitions.by: expected name for objects and APIs, arrival for streams"),
        ("by: name", "", "url: log://sales, format: jsonl", "partitions.by: expected name for objects and APIs"),
        ("timezone: Mars/Olympus", EVENT_TIME, "", "partitions.timezone: expected an IANA time zone such as"),
        ("by: row", EVENT_TIME, "", "partitions.by: expected 'event_time', 'name' or 'arrival', found 'row'"),
    ],
)
def test_a_wrong_word_on_it_is_a_mistake(
    tmp_path: Path, partitions: str, event_time: str, source: str, expected: str
) -> None:
    told = mistakes(tmp_path / "shop", f"{partitions}, start: 2026-01-01", event_time=event_time, source=source)
    assert len(told) == 1 and expected in told[0]


def test_hours_of_a_zone_and_an_unknown_zone_of_a_source_are_mistakes(tmp_path: Path) -> None:
    (told,) = mistakes(tmp_path / "shop", "grain: hour, timezone: Asia/Tokyo, start: 2026-01-01", event_time=EVENT_TIME)
    assert "timezone: expected no timezone for the grain hour, found Asia/Tokyo" in told
    source = "url: landing/sales/, format: csv, timezone: Tokyo"
    (told,) = mistakes(tmp_path / "shop", "start: 2026-01-01", event_time=EVENT_TIME, source=source)
    assert "source.timezone: expected an IANA time zone such as America/Los_Angeles or UTC, found 'Tokyo'" in told


def test_a_view_by_time_refuses_partitions_that_promise_nothing_of_times(tmp_path: Path) -> None:
    (told,) = mistakes(tmp_path / "shop", "grain: day, by: name, start: 2026-01-01", more=VIEW)
    assert "features[0].from[0]: expected a dataset cut by its event time, as the view reads sales by at" in told


def test_a_date_may_cut_local_days(tmp_path: Path) -> None:
    by_date = "customProperties: [{property: eventTime, value: on_day}]\n"
    assert mistakes(tmp_path / "shop", "grain: day, timezone: Asia/Tokyo, start: 2026-01-01", event_time=by_date) == []


@pytest.mark.parametrize(
    ("partitions", "first", "cron_zone"),
    [
        ("grain: week, timezone: Asia/Tokyo, start: 2026-01-01", "2026-01-05", "Asia/Tokyo"),
        ("grain: year, start: 2024-01-01", "2024-01-01", "UTC"),
        ("grain: day, timezone: America/Los_Angeles, start: 2026-03-07", "2026-03-07", "America/Los_Angeles"),
        ("grain: day, start: 2026-03-07T02:00:00+02:00", "2026-03-07", "UTC"),
    ],
)
def test_dagster_has_the_partitions_and_the_clock_that_are_declared(
    tmp_path: Path, partitions: str, first: str, cron_zone: str
) -> None:
    import dagster as dg

    from orchestrai.defs.assets import partitions_of
    from orchestrai.defs.launch.backfill import span_of
    from orchestrai.defs.launch.schedules import build_schedules, ended_between

    assert mistakes(tmp_path / "shop", partitions, event_time=EVENT_TIME) == []
    (check,) = check_project([tmp_path / "shop"], {})
    assert check.pipeline is not None
    (dataset,) = check.pipeline.datasets
    theirs = partitions_of(dataset)
    assert theirs is not None
    now = datetime(2026, 6, 1, 12, tzinfo=UTC)
    with dg.partition_loading_context(effective_dt=now):
        assert theirs.get_first_partition_key() == first
    assert span_of(dataset, first, first) == (first, first)
    schedules: Any = build_schedules([check.pipeline])
    zones = {s.name.removeprefix("shop_sales_"): s.execution_timezone for s in schedules}
    assert zones == {"daily_ingest": cron_zone, "nightly_backup": cron_zone, "drill": "UTC"}
    # a tick takes each partition once, the day that is 23 hours long too
    ticks = [datetime(2026, 3, day, 9, tzinfo=UTC) for day in range(6, 12)]
    ended = [key for since, until in pairwise(ticks) for key in ended_between(dataset, since, until)]
    if isinstance(dataset.grain, LocalGrain) and dataset.grain.zone == "America/Los_Angeles":
        assert ended == [date(2026, 3, day).isoformat() for day in (7, 8, 9, 10)]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Havana", "Australia/Lord_Howe"])
@pytest.mark.parametrize("cron", ["30 2 * * *", "0 * * * *", "15 0 * * *"])
def test_the_tick_before_is_the_one_that_dagster_fired(cron: str, zone: str) -> None:
    """Also where clocks change, on both days of the year and around them."""
    from dagster._utils.schedules import schedule_execution_time_iterator

    from orchestrai.defs.launch.schedules import tick_before

    for first in (datetime(2026, 3, 6, tzinfo=UTC), datetime(2026, 3, 27, tzinfo=UTC), datetime(2026, 10, 2, tzinfo=UTC)):
        ticks = schedule_execution_time_iterator(first.timestamp(), cron, zone, ascending=True)
        fired = [datetime.fromtimestamp(next(ticks).timestamp(), UTC) for _ in range(100)]
        assert [tick_before(cron, now, zone) for now in fired[1:]] == fired[:-1]
