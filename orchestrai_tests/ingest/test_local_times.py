"""Times as their source means them: a day of the shop's own clock is one partition, a time without a zone is read by it."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrai.contracts.checks import check_partition
from orchestrai.contracts.contract import ClosedDays, Column, Contract
from orchestrai.core.time.calendar import Grain, LocalGrain
from orchestrai.errors import ConfigError
from orchestrai.ingest.discovery.partitioning import place, sightings_for
from orchestrai.ingest.readers.object_reader import ObjectOutcome, Typing
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai.storage.base import ObjectInfo
from orchestrai.storage.local import LocalStore
from orchestrai_tests.running import ingest

pytestmark = pytest.mark.usefixtures("by_arrow")

SALES = Contract(
    "sales",
    "1",
    (
        Column("id", "BIGINT", "id", required=True),
        Column("at", "TIMESTAMP", "at", required=True),
        Column("day", "DATE", "day"),
    ),
    event_time="at",
)
ANGELES = LocalGrain("day", "America/Los_Angeles")
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def typed(folder: Path, times: list[str], **options: Any) -> tuple[list[datetime], list[str]]:
    """The moments that are read of some times, and the reasons of those that are not."""
    path, outcome = folder / "sales.csv", ObjectOutcome()
    path.write_text("id,at\n" + "".join(f"{number},{time}\n" for number, time in enumerate(times)))
    source = SourceSpec(url="x", **{"format": "csv", "timezone": "America/Los_Angeles", "max_refused_share": 1, **options})
    rows = [row for batch in Typing(source, SALES).batches(path, outcome) for row in batch.to_pylist()]
    assert not outcome.unreadable
    return [row["at"] for row in rows], [refused.reason for refused in outcome.refused]


def test_a_time_without_a_zone_is_read_by_the_clock_of_its_source(tmp_path: Path) -> None:
    moments, refused = typed(tmp_path, ["2026-01-02 20:00:00", "2026-07-02T20:00:00", "2026-01-02T20:00:00Z", ""])
    assert moments[:3] == [
        datetime(2026, 1, 3, 4, tzinfo=UTC),
        datetime(2026, 7, 3, 3, tzinfo=UTC),
        datetime(2026, 1, 2, 20, tzinfo=UTC),
    ]
    assert not refused


@pytest.mark.parametrize("options", [{}, {"timestamp_formats": ["%d.%m.%Y %H:%M"]}])
def test_a_time_that_the_clocks_skip_or_show_twice_is_a_dead_letter(tmp_path: Path, options: Any) -> None:
    times = ["2026-03-08 02:30", "2026-11-01 01:30", "2026-11-01 03:30"]
    if options:
        times = ["08.03.2026 02:30", "01.11.2026 01:30", "01.11.2026 03:30"]
    moments, refused = typed(tmp_path, times, **options)
    assert moments == [datetime(2026, 11, 1, 11, 30, tzinfo=UTC)]
    assert refused == [
        f"expected TIMESTAMP, found {times[0]!r}, a time that the clocks of America/Los_Angeles skip: have the producer send "
        "times with their zone",
        f"expected TIMESTAMP, found {times[1]!r}, a time that the clocks of America/Los_Angeles show twice: declare "
        "source.ambiguous, or have times sent with their zone",
    ]


@pytest.mark.parametrize(("rule", "hour"), [("earlier", 8), ("later", 9)])
def test_a_declared_rule_tells_which_reading_counts(tmp_path: Path, rule: str, hour: int) -> None:
    moments, refused = typed(tmp_path, ["2026-11-01 01:30", "2026-03-08 02:30"], ambiguous=rule)
    assert moments == [datetime(2026, 11, 1, hour, 30, tzinfo=UTC)] and len(refused) == 1


def test_json_and_parquet_are_read_by_the_same_clock(tmp_path: Path) -> None:
    expected = [datetime(2026, 1, 3, 4, tzinfo=UTC)]
    lines, columns = tmp_path / "a.jsonl", tmp_path / "a.parquet"
    lines.write_text('{"id": 1, "at": "2026-01-02T20:00:00"}\n')
    pq.write_table(pa.table({"id": [1], "at": pa.array([1_767_384_000_000], pa.timestamp("ms"))}), columns)
    for path, form in ((lines, "jsonl"), (columns, "parquet")):
        source = SourceSpec(url="x", format=form, timezone="America/Los_Angeles")  # type: ignore[arg-type]
        rows = [row["at"] for batch in Typing(source, SALES).batches(path, ObjectOutcome()) for row in batch.to_pylist()]
        assert rows == expected


def shop(ledger: Ledger, landing: LocalStore, files: dict[str, str], grain: Grain, **options: Any) -> Any:
    for name, text in files.items():
        landing.write(name, [text.encode()])
    source = SourceSpec(url="x", format="csv", **options)
    keys = sorted({key for name in files if (key := place(source, grain, ObjectInfo(name, 1, NOW, "e")))})
    return ingest(
        ledger,
        asset="t/sales/raw_events",
        landing=landing,
        source=source,
        contract=SALES,
        grain=grain,
        partitions=keys,
        now=NOW,
    )


def test_the_day_of_a_shop_is_one_partition(ledger: Ledger, tmp_path: Path) -> None:
    rows = "id,at\n1,2026-01-02T10:00:00-08:00\n2,2026-01-02T20:00:00-08:00\n"
    report = shop(ledger, LocalStore(tmp_path / "landing"), {"2026-01-02.csv": rows}, ANGELES)
    assert not report.refused
    published = ledger.open("t/sales/raw_events")
    assert {key: entry.rows for key, entry in published.partitions.items()} == {"2026-01-02": 2}
    assert published.cut() == ANGELES


def test_a_day_of_another_zone_is_refused_with_the_remedy(ledger: Ledger, tmp_path: Path) -> None:
    rows = "id,at\n1,2026-01-02T10:00:00-08:00\n2,2026-01-02T20:00:00-08:00\n"
    report = shop(ledger, LocalStore(tmp_path / "landing"), {"2026-01-02.csv": rows}, "day")
    messages = [
        verdict.message for outcome in report.refused for verdict in outcome.verdicts if verdict.check == "partition"
    ]
    assert messages == [
        "expected at inside 2026-01-02 00:00 to 2026-01-03 00:00, found 2026-01-02 18:00:00 to 2026-01-03 04:00:00: a file of "
        "another day, or late events, or days of another zone than UTC: declare partitions.timezone"
    ]


@pytest.mark.parametrize(("key", "hours"), [("2026-03-08", 23), ("2026-11-01", 25)])
def test_a_day_on_which_clocks_change_holds_all_its_hours_and_no_other(
    ledger: Ledger, tmp_path: Path, key: str, hours: int
) -> None:
    begins = datetime.fromisoformat(key).replace(hour=8 if hours == 23 else 7, tzinfo=UTC).timestamp()
    times = [datetime.fromtimestamp(begins + 3600 * number, UTC) for number in range(hours)]
    rows = "id,at\n" + "".join(f"{number},{time.isoformat()}\n" for number, time in enumerate(times))
    after = datetime.fromtimestamp(begins + 3600 * hours, UTC).isoformat()
    landing = LocalStore(tmp_path / "landing")
    assert not shop(ledger, landing, {f"{key}.csv": rows}, ANGELES).refused
    assert shop(ledger, landing, {f"{key}.csv": rows + f"99,{after}\n"}, ANGELES).refused


def test_a_date_as_the_event_time_is_a_day_of_the_zone(ledger: Ledger, tmp_path: Path) -> None:
    by_date = replace(SALES, event_time="day")
    for grain in (ANGELES, LocalGrain("day", "Asia/Tokyo")):
        path = tmp_path / f"{grain.zone[:4]}.parquet"
        pq.write_table(pa.table({"id": [1], "at": [NOW], "day": [date(2026, 1, 2)]}, schema=by_date.arrow_schema()), path)
        verdicts = check_partition(by_date, [path], partition="2026-01-02", grain=grain, history={}, now=NOW)
        assert all(verdict.passed for verdict in verdicts)
        verdicts = check_partition(by_date, [path], partition="2026-01-03", grain=grain, history={}, now=NOW)
        assert [verdict.check for verdict in verdicts if not verdict.passed] == ["partition"]


def test_a_dataset_is_not_cut_anew_under_its_name(ledger: Ledger, tmp_path: Path) -> None:
    landing = LocalStore(tmp_path / "landing")
    rows = "id,at\n1,2026-01-02T10:00:00Z\n"
    shop(ledger, landing, {"2026-01-02.csv": rows}, "day")
    with pytest.raises(ConfigError, match="declare it under another name"):
        shop(ledger, landing, {"2026-01-02.csv": rows}, ANGELES)


def test_the_closed_days_of_a_zone_are_its_own(tmp_path: Path) -> None:
    sundays = ClosedDays(frozenset({6}))
    assert not sundays.due("2026-03-08", ANGELES) and sundays.due("2026-03-09", ANGELES)
    assert sundays.due("2026-03-02", LocalGrain("week", "Asia/Tokyo"))


@pytest.mark.parametrize(
    ("name", "grain", "options", "expected"),
    [
        ("2026-01-02.csv", ANGELES, {}, "2026-01-02"),
        ("sales-20260102T2300.csv", ANGELES, {}, "2026-01-02"),
        ("2026-W05.csv", "week", {}, "2026-01-26"),
        ("2026-01-28.csv", LocalGrain("week", "Asia/Tokyo"), {}, "2026-01-26"),
        ("2026.csv", "year", {}, "2026-01-01"),
        ("2026-05.csv", "year", {}, "2026-01-01"),
        ("2026-W54.csv", "week", {}, None),
        ("2026-01-02-23.csv", "hour", {"timezone": "America/Los_Angeles"}, "2026-01-03-07:00"),
        ("2026-11-01-01.csv", "hour", {"timezone": "America/Los_Angeles"}, None),
        ("2026-11-01-01.csv", "hour", {"timezone": "America/Los_Angeles", "ambiguous": "later"}, "2026-11-01-09:00"),
        ("20260102-2330+0900.csv", "day", {"partition_format": "%Y%m%d-%H%M%z"}, "2026-01-02"),
        ("20260102-0330+0900.csv", "day", {"partition_format": "%Y%m%d-%H%M%z"}, "2026-01-01"),
    ],
)
def test_a_name_tells_a_time_of_its_zone(name: str, grain: Grain, options: Any, expected: str | None) -> None:
    assert place(SourceSpec(url="x", format="csv", **options), grain, ObjectInfo(name, 1, NOW, "e")) == expected


def test_a_local_day_is_listed_under_its_own_prefix(tmp_path: Path) -> None:
    landing = LocalStore(tmp_path)
    for day in ("01", "02", "03"):
        landing.write(f"dt=2026-01-{day}/a.csv", [b"id,at\n"])
    source = SourceSpec(url="x", format="csv", partition_from="path", key_prefix="dt=%Y-%m-%d/")
    for grain in (ANGELES, LocalGrain("day", "Asia/Tokyo")):
        assert [sighting.info.key for sighting in sightings_for(landing, source, grain, ["2026-01-02"])] == [
            "dt=2026-01-02/a.csv"
        ]


def test_streams_place_times_of_their_source(tmp_path: Path) -> None:
    from orchestrai.core.time.local_clock import LocalClock
    from orchestrai.ingest.sources.stream import MicroBatch
    from orchestrai.ingest.sources.stream_records import StreamRecord
    from orchestrai.ingest.sources.stream_rows import sliced

    body = json.dumps({"id": 1, "at": "2026-01-02T20:00:00"}).encode()
    batch = MicroBatch("log", "t", {}, (StreamRecord(0, 0, NOW, body, None, ()),))
    slices = sliced(batch, SALES, ANGELES, lambda _: set(), LocalClock("America/Los_Angeles"))
    assert list(slices) == ["2026-01-02"] and slices["2026-01-02"].rows.num_rows == 1
