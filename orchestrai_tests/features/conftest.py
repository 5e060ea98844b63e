"""Restored datasets for feature tests: small, seeded, published through the ledger as the restore stage does."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrai.conformance.generated_views import ORDERS as ORDERS
from orchestrai.conformance.generated_views import READINGS as READINGS
from orchestrai.conformance.generated_views import START as START
from orchestrai.conformance.generated_views import UTC_MICROS as UTC_MICROS
from orchestrai.conformance.generated_views import orders as orders
from orchestrai.conformance.generated_views import readings as readings
from orchestrai.ledger.ledger import Ledger
from orchestrai_tests.producers import producer

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


def by_hour(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    """Rows by the hour of their `ts`."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(f"{row['ts']:%Y-%m-%d-%H:00}", []).append(row)
    return found
