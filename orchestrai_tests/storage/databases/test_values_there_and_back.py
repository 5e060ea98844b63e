"""Any value of a declared type, written by a target's bulk path and read by a source's, is the same value; on each real server."""

import os
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrai.contracts.contract import Column, Contract
from orchestrai.ingest.conversions.convert import convert
from orchestrai.storage.databases.open_table import Place, table_snapshot
from orchestrai.storage.databases.table_port import Paging, Relation, Wanted, Window
from orchestrai.warehouse.mysql_target import MysqlTarget
from orchestrai.warehouse.target import STAGED, DuckdbTarget, PostgresTarget

EXAMPLES = int(os.environ.get("ORCHESTRAI_TEST_TABLE_EXAMPLES", "25"))
CONTRACT = Contract(
    "values",
    "1.0.0",
    tuple(
        Column(name, kind, name)
        for name, kind in (
            ("id", "BIGINT"),
            ("whole", "BIGINT"),
            ("number", "DOUBLE"),
            ("money", "DECIMAL(12,2)"),
            ("exact", "DECIMAL(38,9)"),
            ("yes", "BOOLEAN"),
            ("words", "STRING"),
            ("day", "DATE"),
            ("moment", "TIMESTAMP"),
        )
    ),
)
DAYS = st.dates(date(1, 1, 1), date(9999, 12, 31))
MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999))  # noqa: DTZ001
TEXTS = st.one_of(
    st.sampled_from(
        ["", " ", "NULL", "null", "\\N", '"', "'", "\\", "\\.", "%s", ",", "\r\n", "\n", "a\tb", "x ", "é", "😀"]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
)


def _decimals(digits: int, places: int) -> st.SearchStrategy[Decimal]:
    most = 10**digits - 1
    return st.integers(-most, most).map(lambda number: Decimal(number).scaleb(-places))


def _money() -> st.SearchStrategy[Decimal]:
    return _decimals(12, 2)


def _exact() -> st.SearchStrategy[Decimal]:
    import decimal

    context = decimal.Context(prec=60)
    most = 10**38 - 1
    return st.integers(-most, most).map(lambda number: context.scaleb(Decimal(number), -9))


ROWS = st.lists(
    st.tuples(
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.none() | _money(),
        st.none() | _exact(),
        st.none() | st.booleans(),
        st.none() | TEXTS,
        st.none() | DAYS,
        st.none() | MOMENTS.map(lambda moment: moment.replace(tzinfo=UTC)),
    ),
    min_size=1,
    max_size=12,
)
Row = tuple[Any, ...]
Keep = Callable[[Sequence[Row]], None]


def table(rows: Sequence[Row]) -> pa.Table:
    """Numbered rows as the contract has them."""
    columns = zip(*((number, *row) for number, row in enumerate(rows)), strict=True)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, CONTRACT.arrow_schema(), strict=True)]
    return pa.table(arrays, schema=CONTRACT.arrow_schema())


def read(place: Place) -> list[Row]:
    """All rows, typed as declared; a value that would not be taken fails the test."""
    texts = frozenset(column.source for column in CONTRACT.columns if column.type == "STRING")
    exact = frozenset(column.source for column in CONTRACT.columns if column.type.startswith(("DECIMAL", "TIMESTAMP")))
    wanted = Wanted(tuple(CONTRACT.names), texts, ("id",), timed=False, exact=exact)
    found: list[Row] = []
    with table_snapshot(place, Relation("things")) as opened:
        for batch in opened.batches(wanted, Window(), Paging(page_rows=5)):
            arrays = dict(zip(CONTRACT.names, batch.columns, strict=False))
            typed, misfits = convert(CONTRACT, arrays, batch.num_rows)
            assert misfits == []
            found += [tuple(row.values())[1:] for row in typed.to_pylist()]
        assert opened.count(wanted, Window()) == len(found)
    return found


def by_target(target: Any, folder: Path) -> Keep:
    """Kept as a load keeps rows: files, staging table, insert."""

    def keep(rows: Sequence[Row]) -> None:
        path = folder / "rows.parquet"
        pq.write_table(table(rows), path)
        with target.transaction() as on:
            columns = ", ".join(f'"{field.name}" {on.type_of(field.type)}' for field in CONTRACT.arrow_schema())
            on.run("DROP TABLE IF EXISTS things")
            on.run(f"CREATE TABLE things ({columns}){on.dialect.table_options}")
            on.run(f"CREATE TEMPORARY TABLE {STAGED} ({columns}){on.dialect.table_options}")
            on.stage(CONTRACT.names, [path])
            on.run(f"INSERT INTO things SELECT * FROM {STAGED}")
            on.run(on.dialect.drop_staged.format(STAGED))

    return keep


# the same values each time, unless more are asked for than a run needs
CHECKED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="ORCHESTRAI_TEST_TABLE_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize(
    "engine",
    [
        "duckdb",
        pytest.param("postgres", marks=pytest.mark.emulator),
        pytest.param("mariadb", marks=pytest.mark.emulator),
    ],
)
def test_values_are_the_same_there_and_back(
    engine: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    target: Any
    if engine == "duckdb":
        target, place = DuckdbTarget(tmp_path / "v.duckdb", "things"), Place(f"duckdb:///{tmp_path / 'v.duckdb'}")
    else:
        monkeypatch.setenv("VALUES_URL", request.getfixturevalue(engine).database())
        place = Place("env://VALUES_URL")
        target = (PostgresTarget if engine == "postgres" else MysqlTarget)("env://VALUES_URL", "things")
    keep = by_target(target, tmp_path)

    @given(rows=ROWS)
    @CHECKED
    def there_and_back(rows: list[Row]) -> None:
        keep(rows)
        assert read(place) == [tuple(row) for row in rows]

    there_and_back()


def test_values_of_sqlite_are_what_a_program_put_there(tmp_path: Path) -> None:
    """Decimals as texts in columns of text: a column declared DECIMAL keeps fifteen digits at most, before anybody reads it."""
    path = tmp_path / "v.sqlite"
    kinds = "id integer, whole integer, number real, money decimal(12,2), exact text, yes boolean, words text, day date, moment text"

    @given(rows=ROWS)
    @CHECKED
    def there_and_back(rows: list[Row]) -> None:
        with sqlite3.connect(path) as opened:
            opened.execute("DROP TABLE IF EXISTS things")
            opened.execute(f"CREATE TABLE things ({kinds})")
            for number, row in enumerate(rows):
                values = [value if value is None or isinstance(value, bool | int | float) else _text(value) for value in row]
                opened.execute(f"INSERT INTO things VALUES ({', '.join('?' * 9)})", [number, *values])
        opened.close()
        assert read(Place(f"sqlite:///{path}")) == [tuple(row) for row in rows]

    there_and_back()


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else format(value, "f") if isinstance(value, Decimal) else str(value)
