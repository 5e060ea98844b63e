"""Days of a view that share a query have the rows that each day's own query gives, and only views share one of which that is so."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.conformance.generated_views import differing_bits, table_of
from orchestrai.features.engines import neighbours
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Query, Source
from orchestrai.features.engines.neighbours import Neighbours, side_by_side
from orchestrai.features.plan import Task
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.view import FeatureView, load_view
from orchestrai.features.views.view_inputs import Inputs
from orchestrai_tests.features.conftest import PIPELINES, READINGS, START
from orchestrai_tests.pipeline.growing import ROLLING, Growing

DAY = timedelta(days=1)
SQL = """
WITH d AS (SELECT device_id, ts, v FROM (SELECT device_id, ts, {{ fixed(temperature, 1000) }} AS v,
  ROW_NUMBER() OVER (PARTITION BY device_id, ts ORDER BY seq DESC) AS rn FROM readings) AS q WHERE rn = 1)
SELECT device_id, ts, COUNT(v) OVER w AS n, CAST(SUM(v) OVER w AS BIGINT) AS s, MAX(v) OVER w AS x FROM d
WINDOW w AS (PARTITION BY device_id ORDER BY ts RANGE BETWEEN INTERVAL 2 DAYS PRECEDING AND CURRENT ROW)
"""
TWO_DAYS = "RANGE BETWEEN INTERVAL 2 DAYS PRECEDING AND CURRENT ROW"
ENGINE = DuckDbEngine(threads=1)


def view_of(sql: str, **more: Any) -> FeatureView:
    spec = {"name": "v", "from": "readings", "entity": "device_id", "event_time": "ts", "sql": sql, **more}
    return load_view(FeatureViewSpec.model_validate(spec), PIPELINES, {"readings": READINGS})


VIEW = view_of(SQL)


def task_of(view: FeatureView, number: int, there: Sequence[int]) -> Task:
    """A day that sees the days behind it that the view looks back on."""
    start, back = START + number * DAY, view.lookback.time or timedelta()
    reads = [f"{one:02d}" for one in there if one <= number and START + (one + 1) * DAY > start - back]
    return Task(f"{number:02d}", {"readings": start - back}, start + DAY, {"readings": reads}, (start, start + DAY))


def opened(rows: Mapping[str, int]) -> Inputs:
    partitions = {key: SimpleNamespace(rows=count) for key, count in rows.items()}
    return Inputs({"readings": SimpleNamespace(partitions=partitions)}, {})  # type: ignore[dict-item]


READING = st.fixed_dictionaries(
    {
        "device_id": st.sampled_from(["", "a", "é"]),
        # the first and the last moment of a day too
        "ts": st.integers(0, 8).map(lambda part: min(part * timedelta(hours=3), DAY - timedelta(microseconds=1))),
        "temperature": st.one_of(st.none(), st.floats(-1e4, 1e4)),
    }
)


@settings(max_examples=25, deadline=None)
@given(
    # None: a day that is not there
    st.lists(st.one_of(st.none(), st.lists(READING, max_size=5)), min_size=3, max_size=7),
    # days that are there, and that nobody asks for
    st.sets(st.integers(0, 6), max_size=3),
    st.integers(1, 30),
)
def test_days_side_by_side_have_the_rows_that_each_has_alone(
    tmp_path_factory: pytest.TempPathFactory, days: Sequence[list[dict[str, Any]] | None], others: set[int], most: int
) -> None:
    folder = tmp_path_factory.mktemp("days")
    there = [number for number, rows in enumerate(days) if rows is not None]
    for number in there:
        rows = [{**row, "ts": START + number * DAY + row["ts"], "seq": seq} for seq, row in enumerate(days[number] or [])]
        pq.write_table(pa.Table.from_pylist(rows, READINGS), folder / f"{number:02d}.parquet")

    def query(task: Task) -> Query:
        files = [folder / f"{key}.parquet" for key in task.partitions["readings"]]
        source = Source(VIEW.tables["readings"], files, task.since["readings"], task.until)
        return Query(VIEW, {"readings": source}, keep=task.keep)

    tasks = [task_of(VIEW, number, there) for number in there if number not in others]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "MOST_ROWS", most)
        groups = side_by_side(VIEW, ENGINE, opened({f"{number:02d}": len(days[number] or []) for number in there}), tasks)
    together = Neighbours(ENGINE, query, groups)
    grouped = {task.key for group in groups for task in group}
    for task in tasks:
        rows = together.rows(task)
        assert (rows is not None) == (task.key in grouped)
        if rows is not None:
            assert differing_bits(pa.Table.from_batches(list(rows), VIEW.schema), table_of(ENGINE, query(task))) == []


@pytest.mark.parametrize(
    ("sql", "more"),
    [
        # what a frame of rows finds depends on how far one looks
        (SQL.replace(TWO_DAYS, "ROWS BETWEEN 9 PRECEDING AND CURRENT ROW"), {"lookback": {"time": "3d", "rows": 9}}),
        # files by time are sorted otherwise
        (SQL, {"files_every": "1h"}),
    ],
)
def test_a_view_whose_rows_may_see_more_in_a_longer_stretch_has_a_query_a_day(sql: str, more: dict[str, Any]) -> None:
    view = view_of(sql, **more)
    tasks = [task_of(view, number, range(4)) for number in range(4)]
    there = opened({f"{number:02d}": 1 for number in range(4)})
    assert side_by_side(view, ENGINE, there, tasks) == []
    assert [len(group) for group in side_by_side(VIEW, ENGINE, there, [task_of(VIEW, n, range(4)) for n in range(4)])] == [4]
    assert side_by_side(VIEW, DuckDbEngineElsewhere(), there, [task_of(VIEW, n, range(4)) for n in range(4)]) == []


class DuckDbEngineElsewhere:
    """An engine of another kind, which may pay for each query otherwise."""

    name = "elsewhere"

    def resident(self, view: FeatureView, reads: object) -> AbstractContextManager[None]:
        raise NotImplementedError

    def run(self, query: Query) -> AbstractContextManager[Any]:
        raise NotImplementedError


def test_many_small_days_are_one_query_and_the_table_that_days_alone_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries: list[Query] = []
    run = DuckDbEngine.run
    monkeypatch.setattr(DuckDbEngine, "run", lambda engine, query: (queries.append(query), run(engine, query))[1])
    versions = {}
    for most, expected in ((250_000, 1), (0, 12)):
        monkeypatch.setattr(neighbours, "MOST_ROWS", most)
        shop = Growing(tmp_path / f"{most}")
        queries.clear()
        shop.grow(12, ["raw events", "snapshot", "restored", "features, windows"])
        assert len(queries) == expected
        versions[most] = shop.runtime.ledger.open(f"{ROLLING}/features").version
    assert versions[250_000] == versions[0]
