"""A small shop whose clock stands still until it is set: real ingest, vault, restore, features and training."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from orchestrai.ledger.ledger import Ledger
from orchestrai.pipeline.load import Project, load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import load_settings

FIRST = datetime(2026, 10, 1, tzinfo=UTC)
RAW, KEPT, RESTORED = (f"late/sales/{stage}" for stage in ("raw_events", "snapshot", "restored"))
FEATURES, MODEL = "late/spent/features", "late/buys"

PIPELINE = """
pipeline: late
datasets:
  - name: sales
    source: {url: landing/sales/, format: csv}
    contract: sales.contract.yaml
    partitions: {grain: day, start: 2026-10-01, end: 2026-12-01}
    backup: {every: "0 2 * * *"}
features:
  - name: spent
    from: [sales]
    entity: customer_id
    as_of: {every: 7d, warmup: 1d}
MORE
    sql: "SELECT s.customer_id, s.as_of, COUNT(a.ts) AS n, CAST(SUM(a.cents) AS BIGINT) AS cents
      FROM spine AS s JOIN sales AS a ON a.customer_id = s.customer_id GROUP BY s.customer_id, s.as_of"
models:
  - name: buys
    features: [spent]
    entity: customer_id
    label: {horizon: 7d, sql: "SELECT s.customer_id, s.as_of, CASE WHEN COUNT(a.ts) > 3 THEN 1 ELSE 0 END AS label FROM spine AS s
      LEFT JOIN sales AS a ON a.customer_id = s.customer_id GROUP BY s.customer_id, s.as_of"}
    estimator: {xgboost: {max_depth: 2, num_boost_round: 4}}
    split: {by: time, test_share: 0.25, gap: 7d}
    promote_when: {metric: auc, at_least: 0.5}
"""
CONTRACT = """
kind: DataContract
apiVersion: v3.0.2
id: sales
name: sales
version: 1.0.0
status: active
schema:
  - name: sales
    properties:
      - {name: customer_id, logicalType: string, required: true}
      - {name: ts, logicalType: timestamp, required: true}
      - {name: cents, logicalType: integer, required: true}
customProperties:
  - {property: eventTime, value: ts}
  - {property: volume, value: {method: none}}
"""


def sales_of(day: datetime, cents: int = 100) -> str:
    """Customers with an even number buy more often; the first buys every day."""
    chance = random.Random(f"{day:%Y-%m-%d}")
    buyers = [number for number in range(12) if chance.random() < (0.35, 0.65)[number % 2 == 0] or number == 0]
    return "customer_id,ts,cents\n" + "".join(
        f"c{number},{(day + timedelta(hours=number)).isoformat()},{cents}\n" for number in buyers
    )


@dataclass
class Shop:
    """A pipeline at a clock that stands still until it is set."""

    folder: Path
    more: str = ""
    other: str = ""
    now: datetime = FIRST
    runtime: Runtime = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        (self.folder / "declared").mkdir(parents=True)
        (self.folder / "declared" / "pipeline.yaml").write_text(PIPELINE.replace("MORE\n", self.more))
        (self.folder / "declared" / "sales.contract.yaml").write_text(CONTRACT)
        if self.other:
            (self.folder / "other").mkdir()
            (self.folder / "other" / "pipeline.yaml").write_text(self.other)
        self.landing.mkdir(parents=True)
        settings = load_settings(home=self.folder / "home", engine="duckdb")
        self.runtime = Runtime(settings, self.project, clock=lambda: self.now)

    @property
    def landing(self) -> Path:
        return self.folder / "home" / "landing" / "sales"

    @property
    def project(self) -> Project:
        folders = [self.folder / "declared", self.folder / "other"]
        return load_project([folder for folder in folders if folder.is_dir()], {})

    def run(self, asset: str, *keys: str) -> Any:
        report = self.runtime.run(self.runtime.project.nodes[asset], list(keys) or ["all"])
        assert not report.refused, (asset, report.refused)
        return report

    def days(self, start: int, end: int, step: int = 1) -> list[str]:
        """The files of `step` days land and are taken in the morning after them."""
        keys = []
        for number in range(start, end):
            day = FIRST + timedelta(days=number)
            keys.append(f"{day:%Y-%m-%d}")
            (self.landing / f"{keys[-1]}.csv").write_text(sales_of(day))
            if len(keys) % step == 0:
                self.now = day + timedelta(days=1, hours=6)
                self.run(RAW, *keys[-step:])
        return keys

    def restored(self, keys: list[str]) -> None:
        self.run(KEPT, *keys)
        self.run(RESTORED, *keys)

    def features(self) -> dict[str, list[dict[str, Any]]]:
        self.run(FEATURES)
        return rows_of(self.runtime.ledger, FEATURES)

    def roots(self) -> dict[str, str]:
        return self.runtime.ledger.open(FEATURES).roots()


def rows_of(ledger: Ledger, asset: str) -> dict[str, list[dict[str, Any]]]:
    dataset = ledger.open(asset)
    with dataset.fetched(sorted(dataset.partitions)) as files:
        return {key: [row for file in part for row in pq.read_table(file.path).to_pylist()] for key, part in files.items()}
