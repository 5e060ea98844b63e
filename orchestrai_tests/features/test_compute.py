"""The features stage: what it reads, what it leaves alone, what it refuses, and that its bytes never vary."""

import math
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrai.errors import FeatureViewError, NotReceipted
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.view import FeatureView, load_view
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.local import LocalStore
from orchestrai_tests.features.conftest import (
    ORDERS,
    PIPELINES,
    READINGS,
    START,
    UTC_MICROS,
    Publish,
    by_hour,
    orders,
    readings,
)
from orchestrai_tests.producers import producer
from orchestrai_tests.running import compute

IN = "p/readings/restored"
OUT = "p/rolling/features"
RFM = FeatureViewSpec.model_validate(
    {"name": "rfm", "from": ["orders"], "entity": "customer_id", "as_of": {"every": "7d"}, "sql": "customer_rfm.sql"}
)
ROLLING = FeatureViewSpec.model_validate(
    {"name": "rolling", "from": ["readings"], "entity": "device_id", "event_time": "ts", "sql": "device_rolling.sql"}
)


def rolling() -> FeatureView:
    return load_view(ROLLING, PIPELINES / "telemetry", {"readings": READINGS})


def rfm(**changes: Any) -> FeatureView:
    return load_view(RFM.model_copy(update=changes), PIPELINES / "churn", {"orders": ORDERS})


def rows_of(ledger: Ledger, asset: str) -> list[dict[str, Any]]:
    dataset = ledger.open(asset)
    with dataset.fetched(sorted(dataset.partitions)) as files:
        return [row for part in files.values() for file in part for row in pq.read_table(file.path).to_pylist()]


def run(ledger: Ledger, partitions: Sequence[str] | None = None, asset: str = OUT, **options: Any) -> Mapping[str, Any]:
    return compute(
        ledger, rolling(), asset=asset, inputs={"readings": IN}, grain="hour", partitions=partitions, **options
    ).facts


def test_only_restored_datasets_are_read(ledger: Ledger, publish: Publish) -> None:
    publish(IN, READINGS, by_hour(readings(2, 50)), stage="raw_events")
    with pytest.raises(NotReceipted, match="found stage raw_events"):
        run(ledger)
    assert ledger.find(OUT) is None


def test_a_rolling_feature_is_what_python_computes(ledger: Ledger, publish: Publish) -> None:
    rows = readings(3, 300)
    publish(IN, READINGS, by_hour(rows))
    run(ledger)
    kept: dict[tuple[str, datetime], dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["seq"]):
        kept.setdefault((row["device_id"], row["ts"]), row)
    for device in {row["device_id"] for row in rows}:
        history = [kept[key] for key in sorted(kept) if key[0] == device]
        found = {row["ts"]: row for row in rows_of(ledger, OUT) if row["device_id"] == device}
        assert sorted(found) == [row["ts"] for row in history]
        for at, row in enumerate(history):
            window = [r["temperature"] for r in history[max(0, at - 9) : at + 1]]
            units = [math.floor(v * 1000 + 0.5) for v in window if v is not None and math.isfinite(v)]
            n, s1, s2 = len(units), sum(units), sum(unit * unit for unit in units)
            assert found[row["ts"]]["temp_avg_10"] == (s1 / (n * 1000) if n else None)
            assert found[row["ts"]]["temp_std_10"] == (
                math.sqrt((n * s2 - s1 * s1) / (n * (n - 1))) / 1000 if n > 1 else None
            )


def test_a_constant_sensor_never_spikes(ledger: Ledger, publish: Publish) -> None:
    row = {"device_id": "d", "seq": 1, "failed": False, "temperature": 20.1}
    rows = [{**row, "ts": START + timedelta(seconds=6 * n), "vibration": 1.1 if n < 79 else 4.0} for n in range(80)]
    publish(IN, READINGS, by_hour(rows))
    run(ledger)
    assert [found["vib_spike"] for found in rows_of(ledger, OUT)] == [0] * 79 + [1]


@pytest.mark.parametrize("threads", [1, 2])
def test_two_runs_and_any_number_of_threads_give_equal_bytes(
    tmp_path: Path, publish: Publish, ledger: Ledger, threads: int
) -> None:
    publish(IN, READINGS, by_hour(readings(40, 400, gap=60)))
    publish("p/orders/restored", ORDERS, orders(200, 60, per_day=400))
    versions = []
    for number, engine in enumerate((DuckDbEngine(threads=1), DuckDbEngine(threads=threads, memory_limit="200MB"))):
        run(ledger, asset=f"p/rolling{number}/features", engine=engine)
        report = compute(
            ledger, rfm(), asset=f"p/rfm{number}/features", inputs={"orders": "p/orders/restored"}, grain="day", partitions=None,
            engine=engine,
        )  # fmt: skip
        versions.append((ledger.open(f"p/rolling{number}/features").version, report.version))
    assert versions[0] == versions[1]


def test_what_did_not_change_is_not_computed_again(ledger: Ledger, publish: Publish) -> None:
    days = orders(30, 40)
    publish("p/orders/restored", ORDERS, days)

    def again(**changes: Any) -> tuple[Any, Any]:
        report = compute(
            ledger,
            rfm(**changes),
            asset="p/rfm/features",
            inputs={"orders": "p/orders/restored"},
            grain="day",
            partitions=None,
        )
        return report.facts["computed"], report.facts["unchanged"]

    assert again() == (5, 0)
    assert again() == (0, 5)
    changed = sorted(days)[20]
    publish("p/orders/restored", ORDERS, {changed: days[changed][:-1]})
    assert again() == (3, 2)
    assert again(name="renamed") == (5, 0)


@pytest.mark.thorough("short windows are repaired in the next test")
def test_a_late_row_in_an_old_hour_repairs_every_window_it_reaches(ledger: Ledger, publish: Publish) -> None:
    base = {"device_id": "silent", "failed": False, "vibration": 1.0}
    rows = [{**base, "ts": START + timedelta(hours=hour), "seq": hour, "temperature": 20.0 + hour} for hour in range(30)]
    publish(IN, READINGS, by_hour(rows))
    assert run(ledger)["computed"] == 30
    late = {**base, "ts": START + timedelta(hours=5, minutes=30), "seq": 99, "temperature": 90.0}
    publish(IN, READINGS, by_hour([row for row in rows if row["seq"] == 5] + [late]))
    # the hour itself and the nine rows after it, one an hour; hours 6 to 14
    assert run(ledger)["computed"] == 10
    incremental = rows_of(ledger, OUT)
    run(ledger, asset="p/full/features")
    assert incremental == rows_of(ledger, "p/full/features")


def test_earlier_data_that_arrives_last_repairs_short_windows(ledger: Ledger, publish: Publish) -> None:
    rows = readings(2, 30, gap=900)
    hours = by_hour(rows)
    first = sorted(hours)[0]
    publish(IN, READINGS, {key: part for key, part in hours.items() if key != first})
    run(ledger)
    publish(IN, READINGS, {first: hours[first]})
    run(ledger)
    incremental = ledger.open(OUT).version
    run(ledger, asset="p/full/features")
    assert incremental == ledger.open("p/full/features").version


@given(seed=st.integers(0, 10**6), batches=st.integers(2, 4), gap=st.sampled_from([30.0, 600.0, 2400.0]))
@settings(max_examples=int(os.environ.get("ORCHESTRAI_TEST_EXAMPLES", "2")), suppress_health_check=list(HealthCheck))
def test_incremental_equals_a_full_recompute(
    tmp_path_factory: pytest.TempPathFactory, seed: int, batches: int, gap: float
) -> None:
    """Rows arrive in any order, over several runs; the result is that of one run over everything."""
    home = tmp_path_factory.mktemp("run")
    ledger = Ledger(LocalStore(home / "lake"), load_or_create_signer(home / "keys"))
    rng = random.Random(seed)
    rows = readings(rng.randrange(1, 4), rng.randrange(5, 40), seed, gap=gap)
    arrived: list[dict[str, Any]] = []
    for number in range(batches):
        fresh = [row for row in rows if row["seq"] % batches == number]
        arrived += fresh
        _publish(ledger, IN, by_hour(arrived), {f"{row['ts']:%Y-%m-%d-%H:00}" for row in fresh}, home)
        run(ledger)
    incremental = rows_of(ledger, OUT)
    _publish(ledger, "p/all/restored", {"all": rows}, {"all"}, home)
    compute(ledger, rolling(), asset="p/full/features", inputs={"readings": "p/all/restored"}, grain="all", partitions=None)
    full = rows_of(ledger, "p/full/features")
    assert sorted(incremental, key=lambda row: (row["device_id"], row["ts"])) == full


SLICED = ROLLING.model_copy(update={"files_every": timedelta(minutes=5)})


def sliced(ledger: Ledger, asset: str = OUT, **changes: Any) -> Mapping[str, Any]:
    view = load_view(SLICED.model_copy(update=changes), PIPELINES / "telemetry", {"readings": READINGS})
    report = compute(ledger, view, asset=asset, inputs={"readings": IN}, grain="hour", partitions=None)
    assert not report.refused
    return report.facts


def test_new_rows_rewrite_only_the_files_from_theirs_on(ledger: Ledger, publish: Publish) -> None:
    rows = sorted(readings(3, 80, gap=40), key=lambda row: row["ts"])
    rows = [row for row in rows if row["ts"] < START + timedelta(hours=1)]
    cut = START + timedelta(minutes=42)
    old, new = [row for row in rows if row["ts"] < cut], [row for row in rows if row["ts"] >= cut]
    publish(IN, READINGS, {"2026-01-05-00:00": [old]})
    sliced(ledger)
    before = {entry.path: entry for entry in ledger.open(OUT).files("2026-01-05-00:00").files}
    publish(IN, READINGS, {"2026-01-05-00:00": [old, new]})
    assert sliced(ledger)["mended"] == 1
    after = {entry.path: entry for entry in ledger.open(OUT).files("2026-01-05-00:00").files}
    stay = [name for name in before if name < "part-20260105T0040"]
    assert len(stay) == 8 and all(after[name].key == before[name].key for name in stay)
    assert after["part-20260105T0040-00000.parquet"] != before["part-20260105T0040-00000.parquet"]
    sliced(ledger, asset="p/full/features")
    assert ledger.open(OUT).version == ledger.open("p/full/features").version
    assert "mended" not in sliced(ledger)


def test_a_file_that_was_replaced_means_the_whole_partition(ledger: Ledger, publish: Publish) -> None:
    rows = sorted(readings(2, 80, gap=40), key=lambda row: row["ts"])
    rows = [row for row in rows if row["ts"] < START + timedelta(hours=1)]
    early, late = [row for row in rows if row["ts"].minute < 30], [row for row in rows if row["ts"].minute >= 30]
    publish(IN, READINGS, {"2026-01-05-00:00": [early, late]})
    sliced(ledger)
    publish(IN, READINGS, {"2026-01-05-00:00": [early, late[len(late) // 2 :]]})
    assert "mended" not in sliced(ledger)
    sliced(ledger, asset="p/full/features")
    assert ledger.open(OUT).version == ledger.open("p/full/features").version


def test_declared_checks_see_the_files_that_stay(ledger: Ledger, publish: Publish) -> None:
    from orchestrai.features.spec import FeatureChecks

    row = {"device_id": "d", "failed": False, "vibration": 1.0}
    rows = [
        {**row, "ts": START + timedelta(minutes=n), "seq": n, "temperature": None if n < 50 else 20.0} for n in range(60)
    ]
    view = load_view(
        SLICED.model_copy(update={"checks": FeatureChecks(null_rate={"temp_avg_10": 0.9})}),
        PIPELINES / "telemetry",
        {"readings": READINGS},
    )
    for count, most in ((55, 50 / 55), (60, 50 / 60)):
        publish(IN, READINGS, {"2026-01-05-00:00": [[r] for r in rows[:count]]})
        report = compute(ledger, view, asset=OUT, inputs={"readings": IN}, grain="hour", partitions=None)
        assert bool(report.refused) == (most > 0.9)
        sliced(ledger, checks=FeatureChecks())
    publish(IN, READINGS, {"2026-01-05-00:00": [[r] for r in rows[:52]]})
    sliced(ledger)
    publish(IN, READINGS, {"2026-01-05-00:00": [[r] for r in rows[:53]]})
    report = compute(ledger, view, asset=OUT, inputs={"readings": IN}, grain="hour", partitions=None)
    # the file that was computed anew holds 3 rows of 53 without a null; only all files together are above the limit
    assert [verdict.check for verdict in report.refused[0].verdicts if verdict.closes_gate] == ["null_rate"]


@pytest.mark.thorough("the incremental and the late row are tried alone")
@given(
    seed=st.integers(0, 10**6),
    batches=st.integers(2, 5),
    gap=st.sampled_from([20.0, 120.0, 900.0]),
    late=st.sampled_from([0, 5, 60, 400]),
)
@settings(max_examples=int(os.environ.get("ORCHESTRAI_TEST_EXAMPLES", "2")), suppress_health_check=list(HealthCheck))
def test_mended_partitions_equal_a_full_recompute(
    tmp_path_factory: pytest.TempPathFactory, seed: int, batches: int, gap: float, late: int
) -> None:
    """Micro-batches append files to their hours, some rows late by `late` minutes; every state equals one run over it."""
    home = tmp_path_factory.mktemp("run")
    ledger = Ledger(LocalStore(home / "lake"), load_or_create_signer(home / "keys"))
    rng = random.Random(seed)
    rows = readings(rng.randrange(1, 4), rng.randrange(20, 90), seed, gap=gap)
    arrival = {id(row): row["ts"] + timedelta(minutes=rng.random() * late if rng.random() < 0.1 else 0) for row in rows}
    rows.sort(key=lambda row: arrival[id(row)])
    arrived: dict[str, list[Any]] = {}
    for number in range(batches):
        part = by_hour(rows[len(rows) * number // batches : len(rows) * (number + 1) // batches])
        for key, fresh in part.items():
            arrived.setdefault(key, []).append(fresh)
        session = ledger.session(IN, producer("restored"))
        for key in part:
            for at, file in enumerate(arrived[key]):
                pq.write_table(pa.Table.from_pylist(list(file), READINGS), home / "staged.parquet")
                session.add_file(key, f"part-{at:05d}.parquet", home / "staged.parquet", rows=len(file))
        session.commit()
        sliced(ledger)
        sliced(ledger, asset=f"p/full{number}/features")
        assert ledger.open(OUT).version == ledger.open(f"p/full{number}/features").version


def _publish(ledger: Ledger, asset: str, hours: Mapping[str, Any], changed: set[str], folder: Path) -> None:
    session = ledger.session(asset, producer("restored"))
    for key in sorted(changed):
        pq.write_table(pa.Table.from_pylist(list(hours[key]), READINGS), folder / "staged.parquet")
        session.add_file(key, "part-00000.parquet", folder / "staged.parquet", rows=len(hours[key]))
    session.commit()


def test_a_null_entity_closes_the_gate(ledger: Ledger, publish: Publish) -> None:
    row = {"device_id": None, "ts": START, "seq": 1, "failed": False, "vibration": 1.0, "temperature": 2.0}
    publish(IN, READINGS, by_hour([row]))
    report = compute(ledger, rolling(), asset=OUT, inputs={"readings": IN}, grain="hour", partitions=None)
    assert [verdict.check for verdict in report.refused[0].verdicts if verdict.closes_gate] == ["entity_not_null"]
    assert ledger.find(OUT) is None


def test_a_join_that_multiplies_rows_closes_the_gate(ledger: Ledger, publish: Publish) -> None:
    publish("p/orders/restored", ORDERS, orders(5, 10))
    spec = FeatureViewSpec.model_validate(
        {
            "name": "wide", "from": ["orders"], "entity": "customer_id", "as_of": {"every": "7d"},
            "sql": "SELECT s.customer_id, s.as_of, o.quantity AS f FROM spine AS s JOIN orders AS o ON o.customer_id = s.customer_id",
        }
    )  # fmt: skip
    view = load_view(spec, Path(), {"orders": ORDERS})
    report = compute(
        ledger, view, asset="p/wide/features", inputs={"orders": "p/orders/restored"}, grain="day", partitions=None
    )
    closing = [verdict for verdict in report.refused[0].verdicts if verdict.closes_gate]
    assert [verdict.check for verdict in closing] == ["unique_key"] and "a join multiplies rows" in closing[0].message


@pytest.mark.parametrize("value", [1e300, 5e15])
def test_a_value_beyond_the_scale_is_an_error_by_name(ledger: Ledger, publish: Publish, value: float) -> None:
    row = {"device_id": "d", "seq": 1, "failed": False, "temperature": value, "vibration": 1.0}
    publish(IN, READINGS, by_hour([{**row, "ts": START + timedelta(seconds=n)} for n in range(3)]))
    with pytest.raises(FeatureViewError, match="fixed-point scale"):
        run(ledger)
    assert ledger.find(OUT) is None


def test_declared_checks_close_the_gate(ledger: Ledger, publish: Publish) -> None:
    publish("p/orders/restored", ORDERS, orders(5, 10))
    from orchestrai.features.spec import FeatureChecks

    checks = FeatureChecks(null_rate={"recency_days": 0.0}, ranges={"tenure_days": (0, 1), "is_uk": (0, 1)})
    report = compute(
        ledger,
        rfm(checks=checks),
        asset="p/rfm/features",
        inputs={"orders": "p/orders/restored"},
        grain="day",
        partitions=None,
    )
    closing = {verdict.check: verdict.message for verdict in report.refused[0].verdicts if verdict.closes_gate}
    assert "value_range" in closing and "tenure_days" in closing["value_range"] and "is_uk" not in closing["value_range"]


CORRECTED = ORDERS.append(pa.field("known", UTC_MICROS))
KNOWN = {
    "name": "known", "from": ["orders"], "entity": "customer_id", "as_of": {"every": "7d"}, "lookback": {"time": "28d"},
    "tables": {"orders": {"event_time": "invoice_date", "known_at": "known"}},
    "sql": """SELECT s.customer_id, s.as_of, COUNT(o.invoice_no) AS n, MAX(o.invoice_date) AS newest, MAX(o.known) AS learnt,
      CAST(SUM(o.quantity) AS BIGINT) AS quantity
      FROM spine AS s JOIN orders AS o ON o.customer_id = s.customer_id GROUP BY s.customer_id, s.as_of""",
}  # fmt: skip


def test_no_late_correction_leaks_into_an_earlier_moment(ledger: Ledger, publish: Publish) -> None:
    count = int(os.environ.get("ORCHESTRAI_TEST_LEAK_ROWS", "20000"))
    days, rng = 56, random.Random(3)
    found: dict[str, list[dict[str, Any]]] = {}
    blank = {"stock_code": "s", "description": None, "unit_price": Decimal(1), "country": None, "quantity": 1}
    for number in range(count):
        ts = START + timedelta(seconds=rng.randrange(days * 86400))
        known = ts + timedelta(days=rng.choice([0, 0, 1, 3, 10, 30]), seconds=rng.randrange(1, 3600))
        row = {**blank, "invoice_no": f"i{number}", "invoice_date": ts, "customer_id": f"c{number % 50}", "known": known}
        found.setdefault(f"{ts:%Y-%m-%d}", []).append(row)
    publish("p/orders/restored", CORRECTED, found)
    view = load_view(FeatureViewSpec.model_validate(KNOWN), Path(), {"orders": CORRECTED})
    compute(ledger, view, asset="p/known/features", inputs={"orders": "p/orders/restored"}, grain="day", partitions=None)
    rows = rows_of(ledger, "p/known/features")
    assert len({row["as_of"] for row in rows}) == 5
    leaked = [row for row in rows if row["newest"] >= row["as_of"] or row["learnt"] >= row["as_of"]]
    assert leaked == []
    flat = [row for part in found.values() for row in part]
    for as_of in {row["as_of"] for row in rows}:
        since = as_of - timedelta(days=28)
        expected = sum(1 for row in flat if since <= row["invoice_date"] < as_of and row["known"] < as_of)
        assert sum(row["n"] for row in rows if row["as_of"] == as_of) == expected


def test_moments_lie_on_a_grid_that_never_moves(ledger: Ledger, publish: Publish) -> None:
    publish("p/orders/restored", ORDERS, orders(5, 30, start=datetime(2026, 1, 8, tzinfo=UTC)))
    compute(ledger, rfm(), asset="p/rfm/features", inputs={"orders": "p/orders/restored"}, grain="day", partitions=None)
    before = set(ledger.open("p/rfm/features").partitions)
    publish("p/orders/restored", ORDERS, orders(5, 3, start=datetime(2026, 1, 2, tzinfo=UTC)))
    compute(ledger, rfm(), asset="p/rfm/features", inputs={"orders": "p/orders/restored"}, grain="day", partitions=None)
    assert before < set(ledger.open("p/rfm/features").partitions)
    assert {datetime.fromisoformat(key).weekday() for key in before} == {0}


def test_the_receipt_names_inputs_and_view(ledger: Ledger, publish: Publish) -> None:
    publish("p/orders/restored", ORDERS, orders(5, 30))
    view = rfm()
    compute(
        ledger, view, asset="p/rfm/features", inputs={"orders": "p/orders/restored"}, grain="day", partitions=["2026-01-19"]
    )
    receipt = ledger.open("p/rfm/features").receipt("2026-01-19")
    source = ledger.open("p/orders/restored")
    assert (
        receipt.stage == "features"
        and receipt.code_version == producer("features").code
        and receipt.parameters["view_hash"] == view.hash
    )
    assert [ref.asset for ref in receipt.inputs] == ["p/orders/restored"] and receipt.inputs[0].version == source.version
    assert receipt.inputs[0].partitions == source.roots([key for key in sorted(source.partitions) if key < "2026-01-19"])


def test_a_partition_that_is_not_a_moment_is_refused(ledger: Ledger, publish: Publish) -> None:
    publish("p/orders/restored", ORDERS, orders(5, 10))
    with pytest.raises(FeatureViewError, match="as-of partitions"):
        compute(ledger, rfm(), asset="x", inputs={"orders": "p/orders/restored"}, grain="day", partitions=["January"])
    with pytest.raises(FeatureViewError, match="expected an asset for orders"):
        compute(ledger, rfm(), asset="x", inputs={}, grain="day", partitions=None)
    assert replace(rfm()).features[0] == "recency_days"


def test_windows_over_windows_get_a_tail_for_every_row_they_read(ledger: Ledger, publish: Publish) -> None:
    sql = """WITH d AS (SELECT device_id, ts, {{ fixed(temperature, 1000) }} AS t FROM readings),
      a AS (SELECT device_id, ts, CAST(SUM(t) OVER w AS BIGINT) AS s FROM d
            WINDOW w AS (PARTITION BY device_id ORDER BY ts ROWS BETWEEN 3 PRECEDING AND CURRENT ROW))
      SELECT device_id, ts, MAX(s) OVER (PARTITION BY device_id ORDER BY ts
        RANGE BETWEEN INTERVAL 2 HOURS PRECEDING AND CURRENT ROW) AS f FROM a"""
    schema = READINGS.with_metadata({"primary_key": "device_id,ts"})
    spec = FeatureViewSpec.model_validate(
        {"name": "c", "from": "readings", "entity": "device_id", "event_time": "ts", "sql": sql}
    )
    view = load_view(spec, Path(), {"readings": schema})
    assert view.chained and view.lookback.rows == 3
    rows = [row for row in readings(3, 40, gap=1500) if row["temperature"] is not None and math.isfinite(row["temperature"])]
    unique = list({(row["device_id"], row["ts"]): row for row in rows}.values())
    publish(IN, READINGS, by_hour(unique))
    publish("p/all/restored", READINGS, {"all": unique})
    compute(ledger, view, asset=OUT, inputs={"readings": IN}, grain="hour", partitions=None)
    compute(ledger, view, asset="p/full/features", inputs={"readings": "p/all/restored"}, grain="all", partitions=None)
    by_key = sorted(rows_of(ledger, OUT), key=lambda row: (row["device_id"], row["ts"]))
    assert by_key == rows_of(ledger, "p/full/features")


def test_rows_that_a_filter_leaves_out_do_not_count_among_the_last_rows(ledger: Ledger, publish: Publish) -> None:
    sql = """WITH d AS (SELECT device_id, ts, {{ fixed(temperature, 1000) }} AS t FROM readings WHERE seq % 7 = 0)
      SELECT device_id, ts, COUNT(t) OVER w AS n, CAST(SUM(t) OVER w AS BIGINT) AS s FROM d
      WINDOW w AS (PARTITION BY device_id ORDER BY ts ROWS BETWEEN 3 PRECEDING AND CURRENT ROW)"""
    schema = READINGS.with_metadata({"primary_key": "device_id,ts"})
    spec = {"name": "c", "from": "readings", "entity": "device_id", "event_time": "ts", "sql": sql}
    view = load_view(FeatureViewSpec.model_validate(spec), Path(), {"readings": schema})
    unique = list({(row["device_id"], row["ts"]): row for row in readings(3, 200, gap=60)}.values())
    publish(IN, READINGS, by_hour(unique))
    publish("p/all/restored", READINGS, {"all": unique})
    compute(ledger, view, asset=OUT, inputs={"readings": IN}, grain="hour", partitions=None)
    compute(ledger, view, asset="p/full/features", inputs={"readings": "p/all/restored"}, grain="all", partitions=None)
    by_key = sorted(rows_of(ledger, OUT), key=lambda row: (row["device_id"], row["ts"]))
    assert by_key == rows_of(ledger, "p/full/features")


def test_a_spike_may_be_told_by_the_other_rows_of_its_window_alone(ledger: Ledger, publish: Publish) -> None:
    sql = """WITH d AS (SELECT device_id, ts, {{ fixed(vibration, 10000) }} AS v FROM readings)
      SELECT device_id, ts, {{ spike(v, w) }} AS with_it, {{ spike(v, w, 2, others) }} AS without_it FROM d
      WINDOW w AS (PARTITION BY device_id ORDER BY ts ROWS BETWEEN 4 PRECEDING AND CURRENT ROW)"""
    schema = READINGS.with_metadata({"primary_key": "device_id,ts"})
    spec = {"name": "s", "from": "readings", "entity": "device_id", "event_time": "ts", "sql": sql}
    view = load_view(FeatureViewSpec.model_validate(spec), Path(), {"readings": schema})
    rng, row = random.Random(4), {"device_id": "d", "failed": False, "temperature": None}
    values = [1.1] * 8 + [rng.choice([None, 1.0, 1.1, 1.2, 1.3, 4.0, 0.1]) for _ in range(300)]
    rows = [{**row, "ts": START + timedelta(seconds=9 * n), "seq": n, "vibration": value} for n, value in enumerate(values)]
    publish(IN, schema, by_hour(rows))
    compute(ledger, view, asset=OUT, inputs={"readings": IN}, grain="hour", partitions=None)
    found = rows_of(ledger, OUT)
    wanted = []
    for at, value in enumerate(values):
        others = [round(v * 10000) for v in values[max(0, at - 4) : at] if v is not None]
        n, s1, s2 = len(others), sum(others), sum(v * v for v in others)
        above = -1 if value is None else round(value * 10000) * n - s1
        wanted.append(int(n > 1 and above > 0 and above * above * (n - 1) > 4 * n * (n * s2 - s1 * s1)))
    assert [row["without_it"] for row in found] == wanted and wanted[:8] == [0] * 8 and 10 < sum(wanted) < 200
    # five rows are too few for any of them to stand out among themselves
    assert {row["with_it"] for row in found} == {0}
