"""DuckDB and Spark give the same bits: over the shipped views, and over views generated within the subset."""

import os
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from orchestrai.conformance.generated_views import (
    battery,
    differing_bits,
    nasty_files,
    nasty_orders,
    nasty_readings,
    query_of,
    store,
    table_of,
)
from orchestrai.errors import FeatureViewError
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Query, Source, Spine
from orchestrai.features.engines.spark_engine import SparkEngine
from orchestrai.features.spec import FeatureViewSpec, LabelSpec
from orchestrai.features.views.view import FeatureView, load_label, load_view
from orchestrai_tests.features.batch import tables_of
from orchestrai_tests.features.battery import INTERPRETED, compared, differences
from orchestrai_tests.features.conftest import (
    CLICKS,
    ITEMS,
    ORDERS,
    PIPELINES,
    READINGS,
    START,
    UTC_MICROS,
)

pytestmark = pytest.mark.spark
VIEWS = int(os.environ.get("ORCHESTRAI_TEST_PARITY_VIEWS", "20"))


@pytest.fixture
def spark(spark_session: Any) -> Iterator[SparkEngine]:
    """Views on the tests' session; what a test set is taken back."""
    yield SparkEngine(lambda: spark_session)
    for name in INTERPRETED:
        spark_session.conf.unset(name)


def interpreted(spark: SparkEngine) -> None:
    for name, value in INTERPRETED.items():
        spark.session.conf.set(name, value)


def compare(view: FeatureView, files: dict[str, Path], spark: SparkEngine, as_of: datetime | None = None) -> None:
    assert differences(query_of(view, files, as_of), spark) == [], view.sql


def shipped(name: str, folder: str, **spec: Any) -> FeatureView:
    schemas = {"readings": READINGS, "orders": ORDERS, "purchases": ORDERS, "clicks": CLICKS, "items": ITEMS}
    return load_view(
        FeatureViewSpec.model_validate({"name": name, "sql": f"{name}.sql", **spec}), PIPELINES / folder, schemas
    )


def test_shipped_views_are_equal_bit_for_bit(spark: SparkEngine, tmp_path: Path) -> None:
    rng = random.Random(2)
    clicks = [
        {
            "event_id": f"e{number}", "user_id": f"c{rng.randrange(8):03d}", "item_id": f"s{rng.randrange(15)}",
            "ts": START + timedelta(minutes=rng.randrange(40 * 1440) // 7 * 7), "channel": rng.choice(["mail", None, "ads"]),
        }
        for number in range(600)
    ]  # fmt: skip
    items = [
        {"item_id": f"s{n % 15}", "category": None if n % 4 else "k", "price": Decimal(n), "ts": START} for n in range(20)
    ]
    files = {
        "readings": store(tmp_path, "readings", nasty_readings(), READINGS),
        "orders": store(tmp_path, "orders", nasty_orders(), ORDERS),
        "purchases": store(tmp_path, "purchases", nasty_orders(), ORDERS),
        "clicks": store(tmp_path, "clicks", clicks, CLICKS),
        "items": store(tmp_path, "items", items, ITEMS),
    }
    compare(
        shipped("device_rolling", "telemetry", **{"from": "readings"}, entity="device_id", event_time="ts"), files, spark
    )
    moment = START + timedelta(days=49)
    weekly = {"every": "7d"}
    compare(shipped("customer_rfm", "churn", **{"from": "orders"}, entity="customer_id", as_of=weekly), files, spark, moment)
    affinity = shipped(
        "user_item_affinity",
        "recommendations",
        **{"from": ["clicks", "purchases", "items"]},
        entity=["user_id", "item_id"],
        as_of=weekly,
    )
    compare(affinity, files, spark, moment)
    spine = pa.schema([("device_id", pa.string()), ("as_of", UTC_MICROS)])
    label = LabelSpec(sql="failure_soon.sql", horizon="30m")
    schemas = {"readings": READINGS}
    compare(load_label(label, PIPELINES / "telemetry", schemas, ("device_id",), "ts", spine), files, spark)
    keys = [{"customer_id": f"c{number:03d}", "as_of": START + timedelta(days=7)} for number in range(9)]
    spine = pa.schema([("customer_id", pa.string()), ("as_of", UTC_MICROS)])
    label = LabelSpec(sql="no_order_within_60d.sql", horizon="60d")
    view = load_label(label, PIPELINES / "churn", {"orders": ORDERS}, ("customer_id",), "as_of", spine)
    query = Query(
        view, {"orders": Source(view.tables["orders"], [files["orders"]])}, Spine(files=[store(tmp_path, "s", keys, spine)])
    )
    assert differing_bits(table_of(DuckDbEngine(), query), table_of(spark, query)) == []


def test_rows_by_slice_come_in_the_same_order_from_both(spark: SparkEngine, tmp_path: Path) -> None:
    view = shipped("device_rolling", "telemetry", **{"from": "readings"}, entity="device_id", event_time="ts")
    files = [store(tmp_path, "readings", nasty_readings(), READINGS)]
    query = Query(view, {"readings": Source(view.tables["readings"], files)}, slices=timedelta(minutes=5))
    expected = table_of(DuckDbEngine(), query)
    assert differing_bits(expected, table_of(spark, query)) == []
    assert expected["ts"].to_pylist() != sorted(expected["ts"].to_pylist())


def test_generated_views_are_equal_bit_for_bit_as_the_engine_runs_them(spark: SparkEngine, tmp_path: Path) -> None:
    files = nasty_files(tmp_path)
    for view, as_of in battery(0, max(4, VIEWS // 20)):
        compare(view, files, spark, as_of)


@pytest.mark.parametrize("block", range(1, 5))
def test_generated_views_are_equal_bit_for_bit(spark: SparkEngine, tmp_path: Path, block: int) -> None:
    files = nasty_files(tmp_path)
    # without generated code, which costs a second a view and runs once
    interpreted(spark)
    queries = [query_of(view, files, as_of) for view, as_of in battery(block, VIEWS // 4)]
    for query, rows in zip(queries, tables_of(spark, queries), strict=True):
        assert not isinstance(rows, FeatureViewError), (query.view.sql, rows)
        assert compared(query, rows) == [], query.view.sql


def test_many_views_in_one_job_give_what_each_gives_alone(spark: SparkEngine, tmp_path: Path) -> None:
    files = nasty_files(tmp_path)
    interpreted(spark)
    queries = [query_of(view, files, as_of) for view, as_of in battery(9, 4)]
    for query, rows in zip(queries, tables_of(spark, queries), strict=True):
        assert isinstance(rows, pa.Table) and rows.equals(table_of(spark, query))
    # a bit that differs is seen: the comparison is of what Spark wrote
    wrong = rows.set_column(
        rows.num_columns - 1, rows.schema.field(rows.num_columns - 1), pa.nulls(rows.num_rows, rows.schema.types[-1])
    )
    assert compared(query, wrong) == [rows.column_names[-1]]


def test_an_overflow_is_the_same_error_by_name_on_both(spark: SparkEngine, tmp_path: Path) -> None:
    from orchestrai.errors import FeatureViewError

    row = {"device_id": "d", "seq": 1, "failed": False, "temperature": 1e300, "vibration": 1.0, "ts": START}
    files = {"readings": store(tmp_path, "readings", [row], READINGS)}
    view = shipped("device_rolling", "telemetry", **{"from": "readings"}, entity="device_id", event_time="ts")
    query = Query(view, {"readings": Source(view.tables["readings"], [files["readings"]])})
    for engine in (DuckDbEngine(), spark):
        with pytest.raises(FeatureViewError, match="fixed-point scale"):
            table_of(engine, query)


def test_an_empty_input_gives_an_empty_result_on_both(spark: SparkEngine) -> None:
    view = shipped("device_rolling", "telemetry", **{"from": "readings"}, entity="device_id", event_time="ts")
    query = Query(view, {"readings": Source(view.tables["readings"], [])})
    assert [table_of(engine, query).num_rows for engine in (DuckDbEngine(), spark)] == [0, 0]
