"""The tail of a view: new rows computed from what is remembered of earlier ones give the bytes of a full recompute, always."""

import os
import random
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrai.errors import NotReceipted
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Source
from orchestrai.features.incremental.tail_slices import shape_of
from orchestrai.features.incremental.window_chain import Plan
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.view import FeatureView, load_view
from orchestrai.ledger.decisions.recalls import RECALLS, RecallRecord
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.local import LocalStore
from orchestrai_tests.features.conftest import PIPELINES, READINGS, START, Publish, by_hour, readings
from orchestrai_tests.producers import producer
from orchestrai_tests.running import compute

IN, OUT, FULL = "p/readings/restored", "p/rolling/features", "p/full/features"
HOUR = "2026-01-05-00:00"
# frames that end before the row, windows of rows and of time of several lengths, rows left out by a WHERE
FRAMES = """
SELECT device_id, ts, COUNT(t) OVER before AS n_before, CAST(SUM(t) OVER before AS BIGINT) AS s_before, MAX(t) OVER before AS x_before,
  MIN(t) OVER m5 AS low5, MAX(v) OVER m5 AS high5, COUNT(1) OVER m5 AS rows5, CAST(SUM(t * 2 - v) OVER m5 AS BIGINT) AS sum5,
  MIN(v) OVER past AS low_past, COUNT(v) OVER past AS n_past, CAST(SUM(v) OVER last3 AS BIGINT) AS s3
FROM (SELECT device_id, ts, {{ fixed(temperature, 1000) }} AS t, {{ fixed(vibration, 100) }} AS v
      FROM (SELECT device_id, ts, seq, temperature, vibration, ROW_NUMBER() OVER (PARTITION BY device_id, ts ORDER BY seq DESC) AS rn
            FROM readings WHERE seq % 5 > 0) AS q WHERE rn = 1) AS d
WINDOW before AS (PARTITION BY device_id ORDER BY ts ROWS BETWEEN 4 PRECEDING AND 2 PRECEDING),
  last3 AS (PARTITION BY device_id ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW),
  m5 AS (PARTITION BY device_id ORDER BY ts RANGE BETWEEN INTERVAL 5 MINUTES PRECEDING AND CURRENT ROW),
  past AS (PARTITION BY device_id ORDER BY ts RANGE BETWEEN INTERVAL 9 MINUTES PRECEDING AND INTERVAL 2 MINUTES PRECEDING)
"""


def view_of(sql: str = "device_rolling.sql", every: str = "5m") -> FeatureView:
    spec = {
        "name": "rolling",
        "from": "readings",
        "entity": "device_id",
        "event_time": "ts",
        "sql": sql,
        "files_every": every,
    }
    return load_view(FeatureViewSpec.model_validate(spec), PIPELINES / "telemetry", {"readings": READINGS})


def run(
    ledger: Ledger, tails: Path | None, view: FeatureView | None = None, asset: str = OUT, keys: Any = None
) -> Mapping[str, Any]:
    report = compute(
        ledger,
        view or view_of(),
        asset=asset,
        inputs={"readings": IN},
        grain="hour",
        partitions=keys,
        engine=ENGINE,
        tails=tails,
    )
    return report.facts


ENGINE = DuckDbEngine(threads=1)


def put(ledger: Ledger, hours: Mapping[str, Any], changed: Any, folder: Path) -> None:
    session = ledger.session(IN, producer("restored"))
    for key in sorted(changed):
        for at, file in enumerate(hours[key]):
            pq.write_table(pa.Table.from_pylist(list(file), READINGS), folder / "staged.parquet")
            session.add_file(key, f"part-{at:05d}.parquet", folder / "staged.parquet", rows=len(file))
    session.commit()


def same_as_full(ledger: Ledger, view: FeatureView | None = None) -> bool:
    run(ledger, None, view, FULL)
    return ledger.open(OUT).version == ledger.open(FULL).version


@given(
    seed=st.integers(0, 10**6),
    batches=st.integers(3, 9),
    gap=st.sampled_from([5.0, 20.0, 120.0, 900.0]),
    late=st.sampled_from([0, 3, 15, 400]),
    view=st.sampled_from([("device_rolling.sql", "5m"), ("device_rolling.sql", "1m"), (FRAMES, "4m"), (FRAMES, "30m")]),
)
@settings(max_examples=int(os.environ.get("ORCHESTRAI_TEST_EXAMPLES", "2")), suppress_health_check=list(HealthCheck))
def test_every_state_of_a_stream_equals_a_full_recompute(
    tmp_path_factory: pytest.TempPathFactory, seed: int, batches: int, gap: float, late: int, view: tuple[str, str]
) -> None:
    """Micro-batches, some rows late, devices that come and go; at times a run is lost, or a file replaced."""
    home = tmp_path_factory.mktemp("run")
    ledger = Ledger(LocalStore(home / "lake"), load_or_create_signer(home / "keys"))
    rng, made = random.Random(seed), view_of(*view)
    begin = START + timedelta(minutes=rng.choice([0, 20, 50]))
    rows = readings(rng.randrange(1, 5), rng.randrange(20, 150), seed, start=begin, gap=gap)
    rows += [
        {**row, "device_id": f"silent{row['device_id']}"} for row in readings(3, 6, seed + 1, start=begin, gap=20 * gap)
    ]
    rows = [row for row in rows if row["ts"] < begin + timedelta(hours=4)]
    arrival = {id(row): row["ts"] + timedelta(minutes=rng.random() * late if rng.random() < 0.05 else 0) for row in rows}
    rows.sort(key=lambda row: arrival[id(row)])
    arrived: dict[str, list[Any]] = {}
    for number in range(batches):
        part = by_hour(rows[len(rows) * number // batches : len(rows) * (number + 1) // batches])
        for key, fresh in part.items():
            arrived.setdefault(key, []).append(fresh)
        if part and rng.random() < 0.1:
            key = rng.choice(sorted(part))
            arrived[key][0] = arrived[key][0][:-1] or arrived[key][0]
            part[key] = arrived[key]
        put(ledger, arrived, part, home)
        if rng.random() < 0.15:
            continue
        run(ledger, home / "tails", made)
        assert same_as_full(ledger, made)


def minutes(count: int, devices: int = 3, every: float = 7) -> list[list[dict[str, Any]]]:
    """Rows by the minute, of devices that all report."""
    rows = sorted(readings(devices, int(count * 60 / every * 1.5) + 5, gap=every), key=lambda row: row["ts"])
    found: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    for row in rows:
        at = int((row["ts"] - START).total_seconds() // 60)
        if at < count:
            found[at].append(row)
    return found


def test_a_new_minute_is_read_alone(
    ledger: Ledger, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, parts = view_of(every="1m"), minutes(30)
    publish(IN, READINGS, {HOUR: parts[:25]})
    run(ledger, tmp_path / "tails", view)
    opened: list[int] = []
    read = DuckDbEngine.prepared

    def prepared(self: DuckDbEngine, view: FeatureView, found: Plan, source: Source) -> pa.Table:
        opened.append(len(source.files))
        return read(self, view, found, source)

    for count in (26, 27, 28):
        publish(IN, READINGS, {HOUR: parts[:count]})
        with monkeypatch.context() as patched:
            patched.setattr(DuckDbEngine, "prepared", prepared)
            assert run(ledger, tmp_path / "tails", view)["from_tail"] == 1
        assert same_as_full(ledger, view)
    assert opened == [1, 1, 1]


def test_the_first_minute_of_an_hour_goes_on_from_the_hour_before(ledger: Ledger, publish: Publish, tmp_path: Path) -> None:
    parts, following = minutes(63), "2026-01-05-01:00"
    publish(IN, READINGS, {HOUR: parts[:59]})
    run(ledger, tmp_path / "tails")
    publish(IN, READINGS, {HOUR: parts[:60]})
    run(ledger, tmp_path / "tails")
    for count in (61, 62, 63):
        publish(IN, READINGS, {following: parts[60:count]})
        facts = run(ledger, tmp_path / "tails")
        assert (facts["from_tail"], facts["computed"]) == (1, 1)
        assert same_as_full(ledger)


def test_an_hour_before_that_changed_is_read_again(ledger: Ledger, publish: Publish, tmp_path: Path) -> None:
    parts, following = minutes(62), "2026-01-05-01:00"
    publish(IN, READINGS, {HOUR: parts[:60]})
    run(ledger, tmp_path / "tails")
    publish(IN, READINGS, {HOUR: parts[:59]})
    publish(IN, READINGS, {following: parts[60:61]})
    # that hour alone: the one before is not computed first
    run(ledger, tmp_path / "tails", keys=[following])
    run(ledger, None, asset=FULL, keys=[following])
    assert ledger.open(OUT).roots([following]) == ledger.open(FULL).roots([following])


def test_a_late_row_takes_the_files_of_its_minute_and_later_ones_with_it(
    ledger: Ledger, publish: Publish, tmp_path: Path
) -> None:
    view, parts = view_of(every="1m"), minutes(30)
    publish(IN, READINGS, {HOUR: parts[:25]})
    run(ledger, tmp_path / "tails", view)
    late = {**parts[22][0], "ts": parts[22][0]["ts"] + timedelta(milliseconds=1), "seq": 10**6, "temperature": 90.0}
    publish(IN, READINGS, {HOUR: [*parts[:25], [late, *parts[25]]]})
    assert run(ledger, tmp_path / "tails", view)["from_tail"] == 1
    assert same_as_full(ledger, view)


def test_a_device_that_was_silent_longer_than_the_tail_gets_its_last_rows(
    ledger: Ledger, publish: Publish, tmp_path: Path
) -> None:
    view, parts = view_of(every="1m"), minutes(59)
    silent = [{**row, "device_id": "silent", "seq": 10**6 + at} for at, row in enumerate(parts[0][:5])]
    publish(IN, READINGS, {HOUR: [[*parts[0], *silent], *parts[1:50]]})
    run(ledger, tmp_path / "tails", view)
    publish(IN, READINGS, {HOUR: [[*parts[0], *silent], *parts[1:58]]})
    run(ledger, tmp_path / "tails", view)
    again = {**parts[58][0], "device_id": "silent", "seq": 10**7}
    publish(IN, READINGS, {HOUR: [[*parts[0], *silent], *parts[1:58], [*parts[58], again]]})
    assert run(ledger, tmp_path / "tails", view)["from_tail"] == 1
    assert same_as_full(ledger, view)


def _spoilt(folder: Path) -> None:
    for path in folder.glob("*.arrow"):
        body = bytearray(path.read_bytes())
        body[len(body) // 2] ^= 1
        path.write_bytes(body)


def _gone(folder: Path) -> None:
    for path in folder.glob("*.arrow"):
        path.unlink()


def _forged(folder: Path) -> None:
    index = folder / "index.json"
    index.write_bytes(index.read_bytes().replace(b'"sig":"', b'"sig":"AAAA', 1))


def _torn(folder: Path) -> None:
    index = folder / "index.json"
    index.write_bytes(index.read_bytes()[:100])


@pytest.mark.parametrize("harm", [_spoilt, _gone, _forged, _torn])
def test_a_tail_that_was_altered_is_not_used(ledger: Ledger, publish: Publish, tmp_path: Path, harm: Any) -> None:
    view, parts = view_of(every="1m"), minutes(26)
    publish(IN, READINGS, {HOUR: parts[:25]})
    run(ledger, tmp_path / "tails", view)
    harm(tmp_path / "tails")
    publish(IN, READINGS, {HOUR: parts[:26]})
    run(ledger, tmp_path / "tails", view)
    assert same_as_full(ledger, view)


def test_a_tail_of_another_view_or_another_key_is_not_used(ledger: Ledger, publish: Publish, tmp_path: Path) -> None:
    view, parts = view_of(every="1m"), minutes(26)
    publish(IN, READINGS, {HOUR: parts[:25]})
    run(ledger, tmp_path / "tails", view)
    run(ledger, None, view_of(FRAMES, "1m"), "p/frames/features")
    publish(IN, READINGS, {HOUR: parts[:26]})
    run(ledger, tmp_path / "tails", view_of(FRAMES, "1m"), "p/frames/features")
    run(ledger, None, view_of(FRAMES, "1m"), FULL)
    assert ledger.open("p/frames/features").version == ledger.open(FULL).version


def test_a_recalled_hour_is_not_looked_back_on(ledger: Ledger, publish: Publish, tmp_path: Path) -> None:
    parts = minutes(63)
    publish(IN, READINGS, {HOUR: parts[:60]})
    run(ledger, tmp_path / "tails")
    entry = ledger.open(IN).partitions[HOUR]
    record = RecallRecord(
        "a sensor batch", "broken", "2026-01-05T02:00:00Z", {entry.receipt: (HOUR,)}, ((IN, HOUR, entry.root),)
    )
    RECALLS.put([ledger.lake], ledger.signer, record)
    publish(IN, READINGS, {"2026-01-05-01:00": parts[60:61]})
    with pytest.raises(NotReceipted, match="recalled"):
        run(ledger, tmp_path / "tails")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT device_id, ts, CAST(SUM(n) OVER w AS BIGINT) AS f FROM (SELECT device_id, ts, seq, COUNT(seq) OVER (PARTITION BY device_id "
        "ORDER BY ts, seq ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS n FROM readings) AS q "
        "WINDOW w AS (PARTITION BY device_id ORDER BY ts, seq ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)",
        "SELECT device_id, ts, ROW_NUMBER() OVER (PARTITION BY device_id, ts ORDER BY seq) AS f FROM readings",
    ],
)
def test_a_view_whose_windows_read_windows_has_no_tail(sql: str) -> None:
    assert shape_of(view_of(sql)) is None


def test_values_that_might_overflow_are_left_to_the_engine(ledger: Ledger, publish: Publish, tmp_path: Path) -> None:
    sql = """SELECT device_id, ts, seq, CAST(SUM(v) OVER w AS BIGINT) AS s FROM (SELECT device_id, ts, seq,
      {{ fixed(temperature, 1) }} AS v FROM readings) AS q WINDOW w AS (PARTITION BY device_id ORDER BY ts
      RANGE BETWEEN INTERVAL 10 MINUTES PRECEDING AND CURRENT ROW)"""
    view, parts = view_of(sql, "1m"), minutes(22)
    parts = [list({(row["device_id"], row["ts"]): row for row in part}.values()) for part in parts]
    parts = [[{**row, "temperature": 9e15 * (-1) ** at} for at, row in enumerate(part)] for part in parts]
    parts[15][0]["temperature"] = 4e18
    publish(IN, READINGS, {HOUR: parts[:14]})
    run(ledger, tmp_path / "tails", view)
    for count in (15, 16, 17, 18):
        publish(IN, READINGS, {HOUR: parts[:count]})
        run(ledger, tmp_path / "tails", view)
        assert same_as_full(ledger, view)
