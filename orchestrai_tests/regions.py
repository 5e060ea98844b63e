"""A pipeline of two regions, small enough to be run whole in a test: days of sales, cut by day and region."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq

from orchestrai.defs.build import build_definitions
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings

DAYS = [f"2026-03-{day:02d}" for day in range(2, 8)]
REGIONS = ("eu", "us")
NOW = datetime(2026, 3, 9, tzinfo=UTC)

PIPELINE = """
pipeline: shops
datasets:
  - name: sales
    source: {url: landing/sales/, format: csv, max_refused_share: 0.5}
    contract: sales.contract.yaml
    partitions:
      grain: day
      start: 2026-03-01
      dimension: {name: region, values: [eu, us], column: region, path: "{region}/*"}
    backup: {}
"""
RATES = """
  - name: rates
    source: {url: landing/rates/, format: csv}
    contract: rates.contract.yaml
    partitions: {grain: day, start: 2026-03-01}
    backup: {}
"""
# the entity of `spent` has no region in it, and both regions have the same customers: nothing but partitions keeps them apart
VIEWS = """
features:
  - name: spent
    from: [sales, rates]
    entity: customer
    event_time: ts
    lookback: {time: 2d}
    sql: "SELECT s.customer, s.ts, COUNT(*) OVER w AS n, CAST(SUM(s.amount) OVER w AS BIGINT) AS total FROM sales AS s
      WINDOW w AS (PARTITION BY s.customer ORDER BY s.ts RANGE BETWEEN INTERVAL 2 DAYS PRECEDING AND CURRENT ROW)"
  - name: recent
    from: [sales]
    entity: customer
    event_time: ts
    files_every: 6h
    sql: "SELECT customer, ts, CAST(SUM(amount) OVER w AS BIGINT) AS last_five FROM sales
      WINDOW w AS (PARTITION BY customer ORDER BY ts, amount ROWS BETWEEN 4 PRECEDING AND CURRENT ROW)"
  - name: ever
    from: [sales, rates]
    entity: [region, customer]
    as_of: {every: 1d, warmup: 1d}
    sql: "WITH newest AS (SELECT r.customer, MAX(r.rate) AS rate FROM rates AS r GROUP BY r.customer)
      SELECT s.region, s.customer, s.as_of, COUNT(a.ts) AS n, CAST(SUM(a.amount) AS BIGINT) AS total, MAX(newest.rate) AS rate
      FROM spine AS s JOIN sales AS a ON a.customer = s.customer 
      JOIN newest ON newest.customer = s.customer GROUP BY s.region, s.customer, s.as_of"
"""
MODEL = """
models:
  - name: buys
    task: binary
    features: [ever]
    entity: [region, customer]
    label: {horizon: 1d, sql: "SELECT s.region, s.customer, s.as_of, CASE WHEN MAX(a.amount) >= 1006 THEN 1 ELSE 0 END AS label
      FROM spine AS s LEFT JOIN sales AS a ON a.customer = s.customer GROUP BY s.region, s.customer, s.as_of"}
    estimator: {xgboost: {max_depth: 1, num_boost_round: 30}}
    split: {by: time, test_share: 0.3, gap: 1d}
    promote_when: {metric: log_loss, at_most: 10}
    alarm_above: 1.0
"""
# rates first: what views read beside sales is restored before them
WITH_RATES = PIPELINE.replace("datasets:\n", f"datasets:{RATES}", 1)
WITH_VIEWS = WITH_RATES + VIEWS
WITH_MODEL = WITH_VIEWS + MODEL
CONTRACT = """
kind: DataContract
apiVersion: v3.0.2
id: shops-sales
name: sales
version: 1.0.0
status: active
schema:
  - name: sales
    physicalType: table
    quality:
      - {metric: rowCount, mustBeGreaterThan: 0}
    properties:
      - {name: region, logicalType: string, required: true}
      - {name: customer, logicalType: string, required: true}
      - {name: ts, logicalType: timestamp, required: true}
      - {name: amount, logicalType: integer, required: true}
slaProperties:
  - {property: latency, value: 48, unit: h, element: sales.ts}
customProperties:
  - {property: volume, value: {method: none}}
"""
RATES_CONTRACT = """
kind: DataContract
apiVersion: v3.0.2
id: shops-rates
name: rates
version: 1.0.0
status: active
schema:
  - name: rates
    physicalType: table
    properties:
      - {name: customer, logicalType: string, required: true}
      - {name: ts, logicalType: timestamp, required: true}
      - {name: rate, logicalType: integer, required: true}
customProperties:
  - {property: eventTime, value: ts}
  - {property: volume, value: {method: none}}
"""


def csv_of(day: str, region: str, *, rows: int = 8, lines: tuple[str, ...] = ()) -> str:
    """One region's day: the same customers in each region, with other amounts."""
    base, chance = 1 if region == "eu" else 1000, random.Random(day + region)
    made = [f"{region},c{n % 4},{day}T{n % 16 + 6:02d}:{n // 16:02d}:00Z,{base + chance.randrange(8)}" for n in range(rows)]
    return "\n".join(["region,customer,ts,amount", *made, *lines]) + "\n"


class Shops:
    """The pipeline in a home of its own."""

    def __init__(self, folder: Path, pipeline: str = PIPELINE, contract: str = CONTRACT) -> None:
        self.home, declared = folder / "home", folder / "declared"
        self.landing = self.home / "landing" / "sales"
        for place in (*(self.landing / region for region in REGIONS), declared):
            place.mkdir(parents=True, exist_ok=True)
        (declared / "pipeline.yaml").write_text(pipeline)
        (declared / "sales.contract.yaml").write_text(contract)
        (declared / "rates.contract.yaml").write_text(RATES_CONTRACT)
        self.project = load_project([declared], {})
        self.runtime = Runtime(Settings(home=self.home), self.project, clock=lambda: NOW)

    def land(self, day: str, region: str, text: str | None = None) -> None:
        (self.landing / region / f"{day}.csv").write_text(csv_of(day, region) if text is None else text)

    def land_rates(self, day: str) -> None:
        rates = self.home / "landing" / "rates"
        rates.mkdir(exist_ok=True)
        lines = [f"c{n},{day}T00:00:00Z,{int(day[-2:])}" for n in range(4)]
        (rates / f"{day}.csv").write_text("\n".join(["customer,ts,rate", *lines]) + "\n")

    def restore(self, *partitions: str, dataset: str = "sales") -> None:
        """Landing to restored for some partitions."""
        for stage in ("raw_events", "snapshot", "restored"):
            self.run(f"shops/{dataset}/{stage}", *partitions)

    def rows(self, asset: str, partition: str) -> list[dict[str, Any]]:
        with self.runtime.ledger.open(asset).fetched([partition]) as files:
            return [row for file in files[partition] for row in pq.read_table(file.path).to_pylist()]

    def letters(self, partition: str) -> list[dict[str, Any]]:
        """The dead letters of a partition."""
        dataset = self.runtime.ledger.find("shops/sales/dead_letters")
        if dataset is None or partition not in dataset.partitions:
            return []
        with dataset.fetched([partition]) as files:
            lines = [line for file in files[partition] for line in file.path.read_text("utf-8").splitlines()]
        return [json.loads(line) for line in lines]

    def run(self, asset: str, *partitions: str) -> dict[str, bool]:
        """Run one stage; which partitions were published."""
        report = self.runtime.run(self.project.nodes[asset], partitions)
        return {outcome.partition: outcome.published for outcome in report.outcomes}

    def published(self, stage: str) -> list[str]:
        dataset = self.runtime.ledger.find(f"shops/sales/{stage}")
        return sorted(dataset.partitions) if dataset else []

    @contextmanager
    def dagster(self) -> Iterator[tuple[dg.Definitions, dg.DagsterInstance]]:
        with dg.DagsterInstance.ephemeral() as instance:
            yield build_definitions(self.runtime), instance
