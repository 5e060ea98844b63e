"""examples/air as docs/time.md tells it: no id, no moment and no station in the files, and months of the stations' own clock."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai_tests.docs.pages import ROOT

NOW = datetime(2026, 4, 2, tzinfo=UTC)
MONTHS = ["2026-01-01", "2026-02-01"]
DUST = "air/dust/features"


def hours(first: datetime, count: int) -> str:
    """A file of a station: rows of an hour each, by its clock; the first value is 0, each later one more by one."""
    times = [first + number * timedelta(hours=1) for number in range(count)]
    lines = [f"{t.year},{t.month},{t.day},{t.hour},{number}" for number, t in enumerate(times)]
    return "year,month,day,hour,PM2.5\n" + "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def air(tmp_path_factory: Any) -> Runtime:
    home = tmp_path_factory.mktemp("air")
    runtime = Runtime(Settings(home=home), load_project([ROOT / "examples" / "air"], {}), clock=lambda: NOW)
    for station in ("gucheng", "tiantan"):
        folder = home / "landing" / "air" / station
        folder.mkdir(parents=True)
        (folder / "2026-01.csv").write_text(hours(datetime(2026, 1, 31, 20), 4))  # noqa: DTZ001 the stations' own clock
        (folder / "2026-02.csv").write_text(hours(datetime(2026, 2, 1), 5))  # noqa: DTZ001
    for stage in ("raw_events", "snapshot", "restored"):
        assert not runtime.run(runtime.project.nodes[f"air/readings/{stage}"], MONTHS).refused
    assert not runtime.run(runtime.project.nodes[DUST], MONTHS).refused
    return runtime


def rows(runtime: Runtime, asset: str, key: str) -> list[dict[str, Any]]:
    with runtime.ledger.open(asset).fetched([key]) as files:
        return [row for file in files[key] for row in pq.read_table(file.path).to_pylist()]


def test_a_month_of_the_stations_is_one_partition_with_columns_that_no_file_has(air: Runtime) -> None:
    first = next(row for row in rows(air, "air/readings/restored", "2026-02-01") if row["station"] == "tiantan")
    assert first["at"] == datetime(2026, 1, 31, 16, tzinfo=UTC)
    assert (first["number"], first["reading_id"]) == (1, "tiantan|2026|2|1")


def test_a_view_looks_back_over_the_end_of_a_local_month(air: Runtime) -> None:
    """The last hours of January by the stations' clock, 12 to 16 o'clock of UTC, are within three hours of the first of February."""
    dust = {row["at"]: row["pm25_worst"] for row in rows(air, DUST, "2026-02-01") if row["station"] == "gucheng"}
    assert [dust[datetime(2026, 1, 31, hour, tzinfo=UTC)] for hour in range(16, 21)] == [3, 3, 3, 3, 4]
    assert len(rows(air, DUST, "2026-01-01")) == 8


def test_a_label_or_another_view_reads_the_months_as_they_were_cut(air: Runtime) -> None:
    grain = air.project.dataset("air/readings").grain
    for asset in ("air/readings/raw_events", "air/readings/snapshot", "air/readings/restored", DUST):
        assert air.ledger.open(asset).cut() == grain, asset


def test_orchestrai_backfill_takes_a_year_in_a_word(air: Runtime, tmp_path: Path) -> None:
    from orchestrai.defs.launch.backfill import span_of

    assert span_of(air.project.dataset("air/readings"), "2026-01", "2026-02") == ("2026-01-01", "2026-02-01")
