"""Views that are generated within the portable subset, on data that no float sum survives: what engines are compared by."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.features.engines.engine import Engine, Query, Source, Spine
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.view import FeatureView, load_view

UTC_MICROS = pa.timestamp("us", tz="UTC")
READINGS = pa.schema(
    [
        ("device_id", pa.string()), ("ts", UTC_MICROS), ("seq", pa.int64()), ("temperature", pa.float64()),
        ("vibration", pa.float64()), ("failed", pa.bool_()),
    ]
)  # fmt: skip
ORDERS = pa.schema(
    [
        ("invoice_no", pa.string()), ("stock_code", pa.string()), ("description", pa.string()), ("quantity", pa.int64()),
        ("invoice_date", UTC_MICROS), ("unit_price", pa.decimal128(12, 3)), ("customer_id", pa.string()), ("country", pa.string()),
    ]
)  # fmt: skip
START = datetime(2026, 1, 5, tzinfo=UTC)


def readings(devices: int, count: int, seed: int = 1, start: datetime = START, gap: float = 6.0) -> list[dict[str, Any]]:
    """Readings with gaps, duplicates, NULLs, NaN, infinities and a failure flag, out of order."""
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for device in range(devices):
        moment = start + timedelta(seconds=rng.random() * gap)
        for _ in range(count):
            moment += timedelta(microseconds=1 + int(rng.expovariate(1 / gap) * 1e6))
            row = {
                "device_id": f"d{device:04d}", "ts": moment, "seq": len(rows), "failed": rng.random() < 0.01,
                "temperature": rng.choice([None, float("nan"), float("inf")]) if rng.random() < 0.03 else rng.gauss(20, 4),
                "vibration": None if rng.random() < 0.02 else rng.gauss(1, 0.1) + (3 if rng.random() < 0.02 else 0),
            }  # fmt: skip
            rows.append(row)
            if rng.random() < 0.02:
                rows.append({**row, "seq": len(rows), "temperature": rng.gauss(20, 4)})
    rng.shuffle(rows)
    return rows


def orders(
    customers: int, days: int, seed: int = 1, start: datetime = START, per_day: int = 20
) -> dict[str, list[dict[str, Any]]]:
    """Order lines by day, with cancellations, lines without a customer, and repeated lines."""
    rng = random.Random(seed)
    found: dict[str, list[dict[str, Any]]] = {}
    for day in range(days):
        date = start + timedelta(days=day)
        rows = []
        for number in range(per_day):
            returned = rng.random() < 0.1
            rows.append(
                {
                    "invoice_no": f"{'C' if returned else ''}{day:03d}{number // 3:03d}", "stock_code": f"s{rng.randrange(15)}",
                    "description": None, "quantity": rng.randrange(1, 9) * (-1 if returned else 1),
                    "invoice_date": date + timedelta(minutes=rng.randrange(1440)),
                    "unit_price": Decimal(rng.randrange(1, 20000)).scaleb(-3),
                    "customer_id": None if rng.random() < 0.2 else f"c{rng.randrange(customers):03d}",
                    "country": rng.choice(["United Kingdom", "France", None]),
                }
            )  # fmt: skip
        found[f"{date:%Y-%m-%d}"] = rows
    return found


def table_of(engine: Engine, query: Query) -> pa.Table:
    with engine.run(query) as batches:
        return pa.Table.from_batches(list(batches), query.view.schema).combine_chunks()


def differing_bits(left: pa.Table, right: pa.Table) -> list[str]:
    """The columns in which two tables differ, down to the bits of a double."""
    if left.num_rows != right.num_rows:
        return [f"{left.num_rows} rows against {right.num_rows}"]
    found = []
    for name in left.column_names:
        one, two = left[name], right[name]
        if pa.types.is_floating(one.type):
            bits = [np.where(c.is_null(), 1, np.asarray(c.fill_null(0.0)).view(np.int64)) for c in (one, two)]
            if not (one.is_null().equals(two.is_null()) and np.array_equal(bits[0], bits[1])):
                found.append(name)
        elif not one.equals(two):
            found.append(name)
    return found


def query_of(view: FeatureView, files: dict[str, Path], as_of: datetime | None = None) -> Query:
    """The view over whole files."""
    sources = {name: Source(table, [files[name]], until=as_of) for name, table in view.tables.items()}
    if as_of is None:
        return Query(view, sources)
    assert isinstance(view.spec, FeatureViewSpec)
    spine = Spine(as_of=as_of, table=view.spec.spine_table)
    return Query(view, sources, spine)


def nasty_readings() -> list[dict[str, Any]]:
    """Readings at leap days, year ends and clock changes, with ties, extremes and values that no float sum survives."""
    rows = readings(4, 60, seed=5, gap=90)
    edges = [
        datetime(2024, 2, 28, 23, 59, 59, 999999, UTC), datetime(2024, 2, 29, tzinfo=UTC), datetime(2023, 12, 31, 23, 30, tzinfo=UTC),
        datetime(2024, 1, 1, 0, 30, tzinfo=UTC), datetime(2026, 3, 8, 6, 59, 59, 1, UTC), datetime(2026, 3, 8, 7, 0, tzinfo=UTC),
        datetime(2026, 11, 1, 5, 30, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, 1, UTC), datetime(1970, 1, 1, tzinfo=UTC),
    ]  # fmt: skip
    values = [0.0, -0.0, 0.1, -0.5, 0.0005, 1e4, -1e4, 1e-9, float("nan"), float("inf"), float("-inf"), None, 2.675, 1.005]
    for number in range(80):
        rows.append(
            {
                "device_id": ["edge", "édge", "", "d0001"][number % 4], "ts": edges[number % len(edges)], "seq": 10_000 + number,
                "temperature": values[number % len(values)], "vibration": values[(number * 3) % len(values)],
                "failed": number % 5 == 0,
            }
        )  # fmt: skip
    return rows


def nasty_orders() -> list[dict[str, Any]]:
    rows = [row for day in orders(8, 60, seed=7).values() for row in day]
    for number, row in enumerate(list(rows[:60])):
        rows.append(
            {
                **row,
                "invoice_no": f"X{number}",
                "quantity": [0, -1, 10**9, None][number % 4],
                "customer_id": ["c000", ""][number % 2],
            }
        )
        rows.append(
            {
                **row,
                "invoice_no": None if number % 2 else "C",
                "unit_price": None if number % 3 else Decimal("999999999.999"),
            }
        )
    for number, row in enumerate(rows[-120:]):
        row["quantity"] = row["quantity"] if row["unit_price"] is None or row["unit_price"] < 10**6 else 1
        row["invoice_date"] = START + timedelta(days=number % 50)
    return [row for row in rows if row["invoice_no"] is not None]


def store(folder: Path, name: str, rows: list[dict[str, Any]], schema: pa.Schema) -> Path:
    path = folder / f"{name} of 13:00 {{a}}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    return path


# expressions of one reading `t`, `v` (BIGINT), and of windows over them
_ROW = [
    "{{ rolling_avg(t, 1000, W) }}", "{{ rolling_std(t, 1000, W) }}", "{{ rolling_std(v, 10000, W) }}", "{{ spike(v, W) }}",
    "{{ spike(t, W, 3) }}",
    "{{ spike(v, W, 2, others) }}", "COUNT(v) OVER W", "CAST(SUM(t) OVER W AS BIGINT)", "MAX(t) OVER W - MIN(t) OVER W",
    "LAG(t, 2) OVER (PARTITION BY device_id ORDER BY ts, seq)", "COALESCE(t, -1)", "CASE WHEN t > v THEN t END",
    "LAST_VALUE(v) IGNORE NULLS OVER (PARTITION BY device_id ORDER BY ts ROWS BETWEEN 5 PRECEDING AND CURRENT ROW)",
    "FIRST_VALUE(t) OVER (PARTITION BY device_id ORDER BY ts ROWS BETWEEN 3 PRECEDING AND CURRENT ROW)",
    "GREATEST(t, v)", "LEAST(t, v, 7)", "ABS(t - v)", "t % 7", "CAST(FLOOR(CAST(t AS DOUBLE) / CAST(3 AS DOUBLE)) AS BIGINT)",
    "SQRT(CAST(ABS(t) AS DOUBLE))", "CAST(t AS DOUBLE) / CAST(NULLIF(v, 0) AS DOUBLE)", "t IS NULL OR v > 3", "MD5(device_id)",
    "DATE_TRUNC('DAY', ts)", "DATE_TRUNC('MONTH', ts)", "DATE_TRUNC('HOUR', ts)", "CAST(ts AS DATE)", "UNIX_MICROS(ts)",
    "ts - INTERVAL 36 HOURS", "ts >= TIMESTAMP '2024-02-29 00:00:00'", "CONCAT(device_id, '-', CAST(t AS STRING))",
    "SUBSTRING(device_id, 2, 2)", "LENGTH(device_id)", "device_id LIKE 'd0%'", "STARTSWITH(device_id, 'ed')",
    "CASE WHEN t BETWEEN -5 AND 25000 THEN 'in' WHEN t IS NULL THEN NULL ELSE 'out' END", "t IN (1, 2, 20000) OR NOT v < 5",
    "(CAST(FLOOR(UNIX_MICROS(ts) / 86400000000) AS BIGINT) + 3) % 7", "SHA2(device_id, 256)", "t * 3 - v", "-t", "v <=> t",
    "NULLIF(t, 0)", "raw", "raw * 1.5", "raw > 1", "CAST(SUM(CASE WHEN v > 0 THEN 1 END) OVER W AS BIGINT)",
]  # fmt: skip
_FRAMES = [
    "ROWS BETWEEN 9 PRECEDING AND CURRENT ROW", "ROWS BETWEEN 4 PRECEDING AND 1 PRECEDING", "ROWS BETWEEN 2 PRECEDING AND CURRENT ROW",
    "RANGE BETWEEN INTERVAL 10 MINUTES PRECEDING AND CURRENT ROW", "RANGE BETWEEN INTERVAL 1 DAY PRECEDING AND CURRENT ROW",
    "RANGE BETWEEN INTERVAL 120 MINUTES PRECEDING AND INTERVAL 1 MINUTE PRECEDING",
]  # fmt: skip
_GROUP = [
    "COUNT(*)", "COUNT(o.country)", "COUNT(DISTINCT o.stock_code)", "CAST(SUM(o.quantity) AS BIGINT)", "MAX(o.invoice_date)",
    "CAST(SUM({{ fixed(o.unit_price, 1000) }}) AS BIGINT)", "MIN(o.unit_price)", "MAX(o.country)", "{{ avg_of(o.quantity, 1) }}",
    "MAX_BY(COALESCE(o.country, '?'), STRUCT(o.invoice_date, o.invoice_no, o.stock_code))", "CAST(MAX(o.invoice_date) AS DATE)",
    "MIN_BY(COALESCE(o.quantity, 0), STRUCT(o.invoice_date, o.invoice_no, o.stock_code, o.quantity))",
    "CAST(FLOOR((UNIX_MICROS(s.as_of) - MAX(UNIX_MICROS(o.invoice_date))) / 86400000000) AS BIGINT)",
    "COUNT(CASE WHEN o.invoice_date >= s.as_of - INTERVAL 30 DAYS THEN 1 END)",
    "CAST(SUM(o.quantity) FILTER (WHERE o.quantity > 0) AS BIGINT)",
    "CAST(COUNT(o.country) AS DOUBLE) / CAST(NULLIF(COUNT(*), 0) AS DOUBLE)", "MAX(CAST(o.unit_price AS DOUBLE))",
    "CAST(MAX(o.unit_price * 1000) AS DECIMAL(18,3))", "MIN(SUBSTRING(o.stock_code, 1, 2))",
    "MAX(CASE WHEN o.country IS NULL THEN 1 ELSE 0 END)",
]  # fmt: skip


def generated(rng: random.Random, number: int) -> FeatureView:
    """A view within the subset: row-level or entity-level, with one to six features."""
    if rng.random() < 0.6:
        window = f"WINDOW W AS (PARTITION BY device_id ORDER BY ts {rng.choice(_FRAMES)})"
        columns = ", ".join(f"{text} AS f{at}" for at, text in enumerate(rng.sample(_ROW, rng.randrange(1, 7))))
        order = rng.choice(["seq", "seq DESC"])
        sql = (
            "WITH d AS (SELECT device_id, ts, seq, temperature AS raw, {{ fixed(temperature, 1000) }} AS t, "
            "{{ fixed(vibration, 10000) }} AS v "
            f"FROM (SELECT *, 1 AS x FROM readings) AS q WHERE rn = 1) SELECT device_id, ts, {columns} FROM d {window}"
        ).replace(
            "(SELECT *, 1 AS x FROM readings)",
            "(SELECT device_id, ts, seq, temperature, vibration, "
            f"ROW_NUMBER() OVER (PARTITION BY device_id, ts ORDER BY {order}) AS rn FROM readings)",
        )
        spec: dict[str, Any] = {"from": "readings", "entity": "device_id", "event_time": "ts", "sql": sql}
    else:
        columns = ", ".join(f"{text} AS f{at}" for at, text in enumerate(rng.sample(_GROUP, rng.randrange(1, 7))))
        join = rng.choice(["JOIN", "LEFT JOIN"])
        extra = rng.choice(["", " AND o.invoice_date < s.as_of", " AND o.quantity > 0", " AND NOT o.invoice_no LIKE 'C%'"])
        having = rng.choice(["", " HAVING COUNT(o.invoice_no) > 1"])
        sql = (
            f"SELECT s.customer_id, s.as_of, {columns} FROM spine AS s {join} orders AS o ON o.customer_id = s.customer_id{extra} "
            f"GROUP BY s.customer_id, s.as_of{having}"
        )
        spec = {"from": "orders", "entity": "customer_id", "as_of": {"every": "7d"}, "sql": sql}
    parsed = FeatureViewSpec.model_validate({"name": f"g{number}", **spec})
    return load_view(parsed, Path(), {"readings": READINGS, "orders": ORDERS})


def battery(seed: int, views: int) -> Iterator[tuple[FeatureView, datetime | None]]:
    """Generated views, each with its moment."""
    rng = random.Random(seed)
    for number in range(views):
        view = generated(rng, number)
        yield view, None if view.kind == "row" else START + timedelta(days=45)


def nasty_files(folder: Path) -> dict[str, Path]:
    """What the battery reads."""
    return {
        "readings": store(folder, "readings", nasty_readings(), READINGS),
        "orders": store(folder, "orders", nasty_orders(), ORDERS),
    }
