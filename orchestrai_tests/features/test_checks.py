"""Declared checks on features: what closes the gate, what warns, and what the drift check shows."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrai.core.verdict import Verdict
from orchestrai.features.profile.portrait import portrait
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.view import FeatureView, load_view
from orchestrai.ledger.ledger import Ledger
from orchestrai_tests.features.conftest import PIPELINES, READINGS, START, Publish, by_hour, readings
from orchestrai_tests.running import compute

ONE = "SELECT device_id, ts, COUNT(seq) OVER (PARTITION BY device_id ORDER BY ts, seq ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS n "


def view_of(checks: dict[str, Any], where: str = "") -> FeatureView:
    sql = f"{ONE} FROM (SELECT device_id, ts, seq FROM readings {where}) AS q"
    spec = {"name": "v", "from": "readings", "entity": "device_id", "event_time": "ts", "sql": sql, "checks": checks}
    schema = READINGS.with_metadata({"primary_key": "device_id,ts,seq"})
    return load_view(FeatureViewSpec.model_validate(spec), PIPELINES, {"readings": schema})


def verdicts_of(ledger: Ledger, view: FeatureView, check: str) -> dict[str, Verdict]:
    report = compute(ledger, view, asset="t/v/features", inputs={"readings": "t/r/restored"}, grain="hour", partitions=None)
    assert not report.refused
    return {
        outcome.partition: verdict for outcome in report.outcomes for verdict in outcome.verdicts if verdict.check == check
    }


def rows_of_hours(hours: int, devices: int = 4) -> dict[str, Any]:
    rows = [
        {"device_id": f"d{device}", "ts": START + timedelta(minutes=10 * step), "seq": step, "temperature": 1.0}
        for device in range(devices)
        for step in range(6 * hours)
    ]
    return by_hour(rows)


def test_an_entity_that_a_view_loses_is_a_warning(ledger: Ledger, publish: Publish) -> None:
    publish("t/r/restored", READINGS, rows_of_hours(2))
    found = verdicts_of(ledger, view_of({"coverage": 0.8}), "coverage")
    assert [verdict.passed for verdict in found.values()] == [True, True]
    found = verdicts_of(ledger, view_of({"coverage": 0.8}, "WHERE device_id <> 'd2'"), "coverage")
    assert [(v.passed, v.severity, v.details["with_features"], v.details["entities"]) for v in found.values()] == [
        (False, "warn", 3, 4)
    ] * 2


def test_only_the_newest_features_have_to_be_fresh(ledger: Ledger, publish: Publish) -> None:
    publish("t/r/restored", READINGS, rows_of_hours(3))
    age = ledger.clock() - (START + timedelta(hours=2, minutes=50))
    for most, fresh in ((age + timedelta(hours=1), True), (age - timedelta(hours=1), False)):
        found = verdicts_of(ledger, view_of({"freshness": f"{int(most.total_seconds())}s"}), "freshness")
        assert {key: verdict.passed for key, verdict in found.items()} == {
            f"{START + timedelta(hours=2):%Y-%m-%d-%H:00}": fresh
        }


def store(path: Path, numbers: list[float | None], words: list[str]) -> list[Path]:
    pq.write_table(pa.table({"f": pa.array(numbers, pa.float64()), "w": words, "e": words}), path)
    return [path]


def test_drift_is_named_drawn_and_the_same_each_time(tmp_path: Path) -> None:
    was = store(tmp_path / "a.parquet", [float(at % 50) for at in range(1000)], ["x"] * 1000)
    now = store(tmp_path / "b.parquet", [float(at % 50) + 40 if at % 5 else None for at in range(1000)], ["x"] * 1000)
    same = portrait(was, was, ["f", "w"], 0.25, "m was trained")
    assert same.verdict.passed and all(item.psi == pytest.approx(0) for item in same.drifts)
    moved = portrait(now, was, ["f", "w"], 0.25, "m was trained")
    assert not moved.verdict.passed and moved.verdict.severity == "warn" and "f " in moved.verdict.message
    assert moved.as_markdown().splitlines()[2].startswith("| f | 20.0% |")
    assert set(moved.plots) == {"distributions", "null_rates"}
    assert moved.plots == portrait(now, was, ["f", "w"], 0.25, "m was trained").plots
    alone = portrait(now, [], ["f", "w"], 0.25, "no champion yet")
    assert alone.verdict.passed and alone.verdict.message == "no champion yet" and not alone.drifts


def test_readings_that_stay_are_counted_too(ledger: Ledger, publish: Publish) -> None:
    hour = f"{START:%Y-%m-%d-%H:00}"
    rows = sorted(readings(4, 40, gap=30), key=lambda row: row["ts"])
    sql = f"{ONE} FROM (SELECT device_id, ts, seq FROM readings) AS q"
    spec = {
        "name": "v", "from": "readings", "entity": "device_id", "event_time": "ts", "sql": sql, "checks": {"coverage": 1.0},
        "files_every": "5m",
    }  # fmt: skip
    schema = READINGS.with_metadata({"primary_key": "device_id,ts,seq"})
    view = load_view(FeatureViewSpec.model_validate(spec), PIPELINES, {"readings": schema})
    only = [row for row in rows[80:] if row["device_id"] == "d0001"]
    unique = list({(row["device_id"], row["ts"]): row for row in rows[:80]}.values())
    for files in ([unique], [unique, only]):
        publish("t/r/restored", READINGS, {hour: files})
        found = verdicts_of(ledger, view, "coverage")
    assert found[hour].passed and found[hour].details["with_features"] == 4
