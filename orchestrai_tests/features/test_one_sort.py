"""Windows by prefix sums give what DuckDB's own windows give, however the rows are cut into batches."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.features.engines import duckdb_engine
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Query, Source
from orchestrai.features.incremental import one_sort
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.view import FeatureView, load_view
from orchestrai_tests.features.conftest import PIPELINES, READINGS, START, readings

EVERY_FUNCTION = """
WITH d AS (SELECT device_id, ts, seq, {{ fixed(temperature, 1000) }} AS t, {{ fixed(vibration, 100) }} AS v
  FROM (SELECT device_id, ts, seq, temperature, vibration, ROW_NUMBER() OVER (PARTITION BY device_id, ts ORDER BY seq DESC) AS rn
        FROM readings) AS q WHERE rn = 1)
SELECT device_id, ts, {{ rolling_avg(t, 1000, w3) }} AS a3, {{ rolling_std(t, 1000, w3) }} AS s3, {{ spike(v, w3) }} AS k3,
  COUNT(t) OVER before AS n_before, CAST(SUM(t) OVER before AS BIGINT) AS s_before, MAX(t) OVER before AS x_before,
  MIN(t) OVER m5 AS low5, MAX(t) OVER m5 AS high5, COUNT(1) OVER m5 AS rows5, CAST(SUM(t * 2 - v) OVER m5 AS BIGINT) AS sum5,
  MIN(v) OVER past AS low_past, COUNT(v) OVER past AS n_past
FROM d
WHERE v > -1000000 OR v IS NULL
WINDOW w3 AS (PARTITION BY device_id ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW),
  before AS (PARTITION BY device_id ORDER BY ts ROWS BETWEEN 4 PRECEDING AND 2 PRECEDING),
  m5 AS (PARTITION BY device_id ORDER BY ts RANGE BETWEEN INTERVAL 5 SECONDS PRECEDING AND CURRENT ROW),
  past AS (PARTITION BY device_id ORDER BY ts RANGE BETWEEN INTERVAL 9 SECONDS PRECEDING AND INTERVAL 2 SECONDS PRECEDING)
"""


def view_of(sql: str) -> FeatureView:
    spec = {"name": "v", "from": "readings", "entity": "device_id", "event_time": "ts", "sql": sql}
    return load_view(FeatureViewSpec.model_validate(spec), PIPELINES, {"readings": READINGS})


VIEW = view_of(EVERY_FUNCTION)
EVALUATOR = duckdb.connect(config={"threads": 1})


def table_of(engine: DuckDbEngine, query: Query) -> pa.Table:
    with engine.run(query) as batches:
        return pa.Table.from_batches(list(batches), query.view.schema).combine_chunks()


ROWS = st.lists(
    st.builds(
        lambda device, second, t, v: {"device_id": device, "ts": START + timedelta(seconds=second), "temperature": t, "vibration": v},
        st.sampled_from(["", "a", "b", "é"]),
        st.integers(0, 30),
        st.one_of(st.none(), st.floats(-1e4, 1e4)),
        st.one_of(st.none(), st.floats(-1e3, 1e3)),
    ),
    min_size=1,
    max_size=60,
)  # fmt: skip


@settings(max_examples=int(os.environ.get("ORCHESTRAI_TEST_WINDOW_CASES", "20")))
@given(rows=ROWS, cut=st.integers(1, 9))
def test_every_window_equals_the_engines_own_however_rows_are_cut(rows: list[dict[str, Any]], cut: int) -> None:
    stored = pa.Table.from_pylist([{**row, "seq": number, "failed": False} for number, row in enumerate(rows)], READINGS)
    found = one_sort.plan(VIEW)
    assert found is not None
    with duckdb.connect(config={"threads": 1}) as db:
        db.execute("SET TimeZone = 'UTC'")
        columns = ", ".join(
            f"{'make_timestamp(epoch_us(ts)) AS ' if name == 'ts' else ''}{name}" for name in stored.column_names
        )
        db.execute(f"CREATE TABLE readings AS SELECT {columns} FROM stored")
        source = db.sql(found.source).to_arrow_table().combine_chunks()
        pieces = (source.slice(at, cut).to_batches()[0] for at in range(0, source.num_rows, cut))
        got = pa.concat_tables(one_sort.run(found, pieces, EVALUATOR))
        expected = db.sql(f"SELECT * FROM ({VIEW.duckdb_sql}) ORDER BY device_id, ts").to_arrow_table()
    assert got.cast(expected.schema).equals(expected)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT device_id, ts, LAG(seq) OVER (PARTITION BY device_id ORDER BY ts, seq) AS f FROM readings",
        "SELECT device_id, ts, COUNT(seq) OVER (PARTITION BY device_id, seq ORDER BY ts ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS f "
        "FROM readings",
        "SELECT device_id, ts, COUNT(seq) AS f FROM readings GROUP BY device_id, ts",
    ],
)
def test_another_shape_is_left_to_the_engine(sql: str) -> None:
    assert one_sort.plan(view_of(sql)) is None


def _query(path: Path, rows: list[dict[str, Any]], slices: timedelta | None = None) -> Query:
    pq.write_table(pa.Table.from_pylist(rows, READINGS), path)
    view = view_of(
        "SELECT device_id, ts, CAST(SUM(v) OVER w AS BIGINT) AS s, CAST(MIN(v) OVER w AS DOUBLE) AS low FROM (SELECT device_id, ts, seq, "
        "{{ fixed(temperature, 1) }} AS v FROM readings) AS q "
        "WINDOW w AS (PARTITION BY device_id ORDER BY ts, seq ROWS BETWEEN 9 PRECEDING AND CURRENT ROW)"
    )
    assert one_sort.plan(view) is not None
    return Query(view, {"readings": Source(view.tables["readings"], [path])}, slices=slices)


def test_what_prefix_sums_cannot_promise_goes_on_with_the_engines_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duckdb_engine, "BATCH_ROWS", 2048)
    rows = [
        {"device_id": f"d{at // 1000}", "ts": START + timedelta(seconds=at), "seq": at, "temperature": 1.0}
        for at in range(9000)
    ]
    # so large that ten of them might not fit, at the end: rows before it are already given out
    rows[8500]["temperature"] = 4e18
    for query in (_query(tmp_path / "a.parquet", rows), _query(tmp_path / "b.parquet", rows, timedelta(minutes=5))):
        expected = table_of(DuckDbEngine(one_sort=False), query)
        assert table_of(DuckDbEngine(), query).equals(expected) and expected.num_rows == 9000


def test_a_null_entity_is_seen_by_the_key_watch_as_before(tmp_path: Path) -> None:
    rows = [
        {"device_id": None if at % 2 else "d", "ts": START + timedelta(seconds=at), "seq": at, "temperature": 1.0}
        for at in range(6)
    ]
    query = _query(tmp_path / "a.parquet", rows)
    assert table_of(DuckDbEngine(), query).column("device_id").null_count == 3


def test_rows_by_slice_and_to_keep_are_those_of_the_engine(tmp_path: Path) -> None:
    view = view_of(EVERY_FUNCTION)
    pq.write_table(pa.Table.from_pylist(readings(5, 300, gap=4), READINGS), tmp_path / "r.parquet")
    sources = {"readings": Source(view.tables["readings"], [tmp_path / "r.parquet"])}
    keep = (START + timedelta(minutes=3), START + timedelta(minutes=11))
    for query in (
        Query(view, sources, None, keep),
        Query(view, sources, None, keep, timedelta(minutes=2)),
        Query(view, sources),
    ):
        assert table_of(DuckDbEngine(), query).equals(table_of(DuckDbEngine(one_sort=False), query))
