"""What several moments of a view read is typed once, and no moment sees anything else by it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.conformance.generated_views import table_of
from orchestrai.features.engines import resident_rows
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Query, Source, Spine
from orchestrai.features.engines.resident_rows import memory_bytes
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.view import FeatureView, load_view

START = datetime(2026, 1, 1, tzinfo=UTC)
MICROS = pa.timestamp("us", tz="UTC")
SALES = pa.schema(
    [
        ("Id", pa.string()),
        ("at", MICROS),
        ("booked", MICROS),
        ("cents", pa.int64()),
        ("price", pa.float64()),
        ("note", pa.string()),
    ]
)
OLDER = pa.schema(
    [("Id", pa.string()), ("at", pa.timestamp("us")), ("booked", MICROS), ("cents", pa.int32()), ("price", pa.float64())]
)
SQL = """
SELECT s.Id, s.as_of, COUNT(o.at) AS n, CAST(SUM(o.cents) AS BIGINT) AS cents, MAX(o.price) AS dearest, COUNT(o.note) AS notes
FROM spine AS s LEFT JOIN sales AS o ON o.Id = s.Id AND o.at < s.as_of GROUP BY s.Id, s.as_of
"""


def view_of(**more: Any) -> FeatureView:
    spec = {"name": "v", "from": ["sales"], "entity": "Id", "as_of": {"every": "1d"}, "sql": SQL, **more}
    return load_view(FeatureViewSpec.model_validate(spec), Path(), {"sales": SALES})


VIEW = view_of(tables={"sales": {"event_time": "at", "known_at": "booked"}})
row = st.fixed_dictionaries(
    {
        "Id": st.sampled_from(["a", "b", "ß", None]),
        # in any file there may be rows of any time, and without one
        "at": st.one_of(st.none(), st.integers(0, 10 * 24).map(lambda hour: START + timedelta(hours=hour))),
        "booked": st.one_of(st.none(), st.integers(0, 12 * 24).map(lambda hour: START + timedelta(hours=hour))),
        "cents": st.one_of(st.none(), st.integers(-1000, 2**31 - 1)),
        "price": st.one_of(st.none(), st.floats()),
        "note": st.sampled_from([None, "x"]),
    }
)
read = st.tuples(st.integers(0, 10), st.integers(1, 11), st.sets(st.integers(0, 4)))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.lists(row, max_size=6)), min_size=5, max_size=5),
    st.lists(read, min_size=2, max_size=6),
)
def test_every_query_gives_what_it_gives_alone(
    tmp_path_factory: pytest.TempPathFactory, files: Sequence[tuple[bool, Any]], reads: Sequence[tuple[int, int, set[int]]]
) -> None:
    folder = tmp_path_factory.mktemp("sales")
    paths = [folder / f"{number}.parquet" for number in range(len(files))]
    for path, (older, rows) in zip(paths, files, strict=True):
        schema = OLDER if older else SALES
        pq.write_table(pa.Table.from_pylist([{name: one[name] for name in schema.names} for one in rows], schema), path)
    queries = []
    for since, moment, numbers in reads:
        as_of = START + timedelta(days=moment)
        low = START + timedelta(days=since) if since < moment else None
        source = Source(VIEW.tables["sales"], [paths[n] for n in sorted(numbers)], low, as_of, as_of)
        queries.append(Query(VIEW, {"sales": source}, Spine(as_of, "sales")))
    engine = DuckDbEngine()
    alone = [table_of(engine, query) for query in queries]
    with engine.resident(VIEW, {"sales": [query.sources["sales"].files for query in queries]}):
        assert [table_of(engine, query) for query in queries] == alone
    assert [table_of(engine, query) for query in queries] == alone


def sales(folder: Path, days: int) -> list[Path]:
    paths = []
    for day in range(days):
        at = START + timedelta(days=day)
        rows = [{"Id": f"c{n}", "at": at, "booked": at, "cents": n, "price": 0.5, "note": "x" * 40} for n in range(50)]
        paths.append(folder / f"{day:02d}.parquet")
        pq.write_table(pa.Table.from_pylist(rows, SALES), paths[-1])
    return paths


def moment(number: int, files: Sequence[Path]) -> Query:
    as_of = START + timedelta(days=number)
    return Query(VIEW, {"sales": Source(VIEW.tables["sales"], files, None, as_of, as_of)}, Spine(as_of, "sales"))


def test_moments_read_files_that_are_gone_by_then_from_the_database(tmp_path: Path) -> None:
    files = sales(tmp_path, 6)
    queries = [moment(number, files[:number]) for number in range(2, 7)]
    engine = DuckDbEngine()
    expected = [table_of(engine, query) for query in queries]
    with engine.resident(VIEW, {"sales": [query.sources["sales"].files for query in queries]}):
        # the last one is read by one moment alone, and is not kept
        for path in files[:5]:
            path.unlink()
        assert [table_of(engine, query) for query in queries] == expected
        assert tables(engine) == 1
    assert tables(engine) == 0


def tables(engine: DuckDbEngine) -> int:
    with engine.connect() as workspace:
        return int(workspace.connection.execute("SELECT count(*) FROM duckdb_tables()").fetchall()[0][0])


def test_what_does_not_fit_into_a_third_of_the_memory_is_read_from_its_files(tmp_path: Path) -> None:
    files = sales(tmp_path, 4)
    queries = [moment(number, files[:number]) for number in range(1, 5)]
    expected = [table_of(DuckDbEngine(), query) for query in queries]
    engine = DuckDbEngine()
    with engine.connect():
        pass
    # 50 rows of about 112 bytes a file: room for two of them, those that most moments read; the database itself has more
    engine.memory_limit = "36KB"
    with engine.resident(VIEW, {"sales": [query.sources["sales"].files for query in queries]}):
        for path in files[:2]:
            path.unlink()
        assert [table_of(engine, query) for query in queries[2:]] == expected[2:]
        files[2].unlink()
        with pytest.raises(OSError, match=r"02\.parquet"):
            table_of(engine, queries[3])


def test_a_database_without_room_for_them_goes_on_with_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = sales(tmp_path, 3)
    queries = [moment(number, files[:number]) for number in range(1, 4)]
    expected = [table_of(DuckDbEngine(), query) for query in queries]
    monkeypatch.setattr(resident_rows, "_create", lambda *_: "SELECT error('no room')")
    engine = DuckDbEngine()
    with engine.resident(VIEW, {"sales": [query.sources["sales"].files for query in queries]}):
        assert tables(engine) == 0
        assert [table_of(engine, query) for query in queries] == expected


def test_an_error_in_a_run_leaves_no_rows_behind(tmp_path: Path) -> None:
    files = sales(tmp_path, 2)
    engine = DuckDbEngine()
    with pytest.raises(ArithmeticError), engine.resident(VIEW, {"sales": [files, files]}):
        raise ArithmeticError
    assert tables(engine) == 0


@pytest.mark.parametrize(
    ("text", "expected"), [("1500MB", 1_500_000_000), ("1.5 GiB", 1_610_612_736), ("80%", 0), ("512 kib", 524_288), ("7", 7)]
)
def test_a_memory_limit_is_read_as_duckdb_does(text: str, expected: int) -> None:
    assert memory_bytes(text) == expected
