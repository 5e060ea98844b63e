"""Partitions that are older than a column or a wider type: read as null and cast in every view, refused where they cannot be read."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrai.conformance.generated_views import table_of
from orchestrai.contracts.contract import Column, Contract
from orchestrai.errors import FeatureViewError
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Query, Source
from orchestrai.features.engines.spark_engine import SparkEngine, job_of
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.input_table import declared_table
from orchestrai.features.views.view import FeatureView, load_view

START = datetime(2026, 1, 1, tzinfo=UTC)
MICROS = pa.timestamp("us", tz="UTC")
OLD = pa.schema([("id", pa.int64()), ("at", MICROS), ("n", pa.int32()), ("gone", pa.string())])
NEW = pa.schema([("id", pa.int64()), ("at", MICROS), ("n", pa.int64()), ("note", pa.string())])
COLUMNS = (
    Column("id", "BIGINT", "id", required=True, key=1),
    Column("at", "TIMESTAMP", "at", required=True, key=2),
    Column("n", "BIGINT", "n"),
    Column("note", "STRING", "note"),
)
SQL = "SELECT id, at, CAST(SUM(n) OVER w AS BIGINT) AS total, COUNT(note) OVER w AS notes FROM events {tail}"
WINDOW = "WINDOW w AS (PARTITION BY id ORDER BY at ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)"


def contract(*columns: Column) -> Contract:
    return Contract("events", "2.0.0", columns or COLUMNS, event_time="at")


def view_of(declared: Contract, sql: str = SQL.format(tail=WINDOW)) -> FeatureView:
    spec = {"name": "v", "entity": "id", "event_time": "at", "from": ["events"], "sql": sql}
    return load_view(FeatureViewSpec.model_validate(spec), Path(), {"events": declared_table(declared)})


def file_of(folder: Path, number: int, schema: pa.Schema, **values: Any) -> Path:
    path = folder / f"{number}.parquet"
    row = {"id": 1, "at": START + timedelta(days=number), "n": number, "note": "x", "gone": "y", **values}
    pq.write_table(pa.Table.from_pylist([{name: row[name] for name in schema.names}], schema), path)
    return path


def both(folder: Path) -> list[Path]:
    return [file_of(folder, 1, OLD), file_of(folder, 2, NEW, n=2**40), file_of(folder, 3, OLD)]


def query_of(view: FeatureView, files: list[Path]) -> Query:
    return Query(view, {"events": Source(view.tables["events"], files)})


EXPECTED = [(1, 0), (2**40 + 1, 1), (2**40 + 4, 1)]


@pytest.mark.parametrize("one_sort", [True, False])
def test_an_added_column_reads_as_null_and_a_wider_type_is_cast(tmp_path: Path, one_sort: bool) -> None:
    rows = table_of(DuckDbEngine(one_sort=one_sort), query_of(view_of(contract()), both(tmp_path))).to_pylist()
    assert [(row["total"], row["notes"]) for row in rows] == EXPECTED


def test_spark_is_told_the_same_of_each_schema(tmp_path: Path) -> None:
    job = job_of(query_of(view_of(contract()), both(tmp_path)), str, "out")
    old, new = job["tables"]["events"]
    assert [len(part["files"]) for part in (old, new)] == [2, 1]
    assert "CAST(NULL AS STRING) AS `note`" in old["select"] and "CAST(`note` AS STRING) AS `note`" in new["select"]
    assert "CAST(`n` AS BIGINT) AS `n`" in old["select"]


@pytest.mark.spark
def test_spark_reads_older_partitions_alike(tmp_path: Path, spark_session: Any) -> None:
    rows = table_of(SparkEngine(lambda: spark_session), query_of(view_of(contract()), both(tmp_path))).to_pylist()
    assert [(row["total"], row["notes"]) for row in rows] == EXPECTED


def test_a_column_that_is_required_is_not_made_up(tmp_path: Path) -> None:
    required = contract(*COLUMNS[:3], Column("note", "STRING", "note", required=True))
    for engine in (lambda query: table_of(DuckDbEngine(), query), lambda query: job_of(query, str, "out")):
        with pytest.raises(FeatureViewError, match=r"expected the column note in events, found a partition without it"):
            engine(query_of(view_of(required), both(tmp_path)))


@pytest.mark.parametrize(("stored", "declared"), [("string", "BIGINT"), ("int64", "INT"), ("double", "BIGINT")])
def test_another_or_narrower_type_is_refused_and_not_cast(tmp_path: Path, stored: str, declared: str) -> None:
    value: Any = "7" if stored == "string" else 7
    path = file_of(tmp_path, 1, NEW.set(2, pa.field("n", pa.type_for_alias(stored))), n=value)
    narrower = contract(*COLUMNS[:2], Column("n", declared, "n"), COLUMNS[3])
    with pytest.raises(FeatureViewError, match=rf"expected n of events as {declared}, found a partition that holds it as"):
        table_of(DuckDbEngine(), query_of(view_of(narrower), [path]))


def test_the_key_of_the_contract_tells_the_lint_which_orders_are_total() -> None:
    view_of(contract())
    longer = contract(*COLUMNS, Column("seq", "BIGINT", "seq", required=True, key=3))
    with pytest.raises(FeatureViewError, match=r"expected a total order, found ORDER BY events\.at"):
        view_of(longer)


def test_the_event_time_of_the_contract_is_the_clock_of_a_table_with_several() -> None:
    two = contract(*COLUMNS, Column("seen", "TIMESTAMP", "seen"))
    assert (
        load_view(
            FeatureViewSpec.model_validate(
                {
                    "name": "v",
                    "entity": "id",
                    "as_of": {"every": "7d"},
                    "from": ["events"],
                    "sql": "SELECT s.id, s.as_of, COUNT(e.n) AS n FROM spine AS s JOIN events AS e ON e.id = s.id GROUP BY s.id, s.as_of",
                }
            ),
            Path(),
            {"events": declared_table(two)},
        )
        .tables["events"]
        .event_time
        == "at"
    )
