"""Restored datasets for feature tests: small, seeded, published through the ledger as the restore stage does."""

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrai.ledger.ledger import Ledger
from orchestrai_tests.producers import producer

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
CLICKS = pa.schema(
    [
        ("event_id", pa.string()),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("ts", UTC_MICROS),
        ("channel", pa.string()),
    ]
)
ITEMS = pa.schema([("item_id", pa.string()), ("category", pa.string()), ("price", pa.decimal128(12, 2)), ("ts", UTC_MICROS)])
PIPELINES = Path(__file__).resolve().parents[2] / "orchestrai" / "pipelines"
START = datetime(2026, 1, 5, tzinfo=UTC)

Rows = Sequence[Mapping[str, Any]]
Publish = Callable[..., str]


@pytest.fixture
def publish(ledger: Ledger, tmp_path: Path) -> Publish:
    """Publish rows (or several files of rows) per partition as a dataset of some stage."""

    def put(asset: str, schema: pa.Schema, partitions: Mapping[str, Rows | Sequence[Rows]], stage: str = "restored") -> str:
        session = ledger.session(asset, producer(stage))
        for key, rows in partitions.items():
            files = [rows] if not rows or isinstance(rows[0], Mapping) else rows
            for number, part in enumerate(files):
                path = tmp_path / "staged.parquet"
                pq.write_table(pa.Table.from_pylist(list(part), schema), path)
                session.add_file(key, f"part-{number:05d}.parquet", path, rows=len(part))
        session.commit()
        return asset

    return put


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


def by_hour(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    """Rows by the hour of their `ts`."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(f"{row['ts']:%Y-%m-%d-%H:00}", []).append(row)
    return found
