"""A pipeline of two regions, small enough to be run whole in a test: days of sales, cut by day and region."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

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


def csv_of(day: str, region: str, *, rows: int = 8, lines: tuple[str, ...] = ()) -> str:
    """One region's day: the same customers in each region, with other amounts."""
    base = 1 if region == "eu" else 1000
    made = [f"{region},c{n % 4},{day}T{n + 6:02d}:00:00Z,{base + n}" for n in range(rows)]
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
        self.project = load_project([declared], {})
        self.runtime = Runtime(Settings(home=self.home), self.project, clock=lambda: NOW)

    def land(self, day: str, region: str, text: str | None = None) -> None:
        (self.landing / region / f"{day}.csv").write_text(csv_of(day, region) if text is None else text)

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
