"""The smallest whole pipeline: real ingest, vault, restore, features, training and promotion in a second or two."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from orchestrai.ledger.report import StageReport
from orchestrai.pipeline.load import Project, load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import load_settings

DAYS = [f"2026-10-{day:02d}" for day in range(1, 10)]
NOW = datetime(2026, 10, 30, tzinfo=UTC)
RAW, KEPT, RESTORED = (f"small/readings/{stage}" for stage in ("raw_events", "snapshot", "restored"))
FEATURES = "small/levels/features"
TRAINING, CANDIDATE, EVALUATION, CHAMPION, PREDICTIONS = (
    f"small/alarm/{stage}" for stage in ("training_set", "candidate", "evaluation", "champion", "predictions")
)
DATA, MODEL = (RAW, KEPT, RESTORED, FEATURES), (TRAINING, CANDIDATE, EVALUATION, CHAMPION)

PIPELINE = """
pipeline: small
datasets:
  - name: readings
    source: {url: landing/readings/, format: csv}
    contract: readings.contract.yaml
    partitions: {grain: day, start: 2026-10-01, end: 2026-11-01}
    backup: {every: "0 2 * * *"ENCRYPT}
features:
  - {name: levels, from: [readings], entity: device_id, event_time: ts,
     sql: "SELECT device_id, ts, level * 2 AS twice, level + 1 AS more FROM readings"}
models:
  - name: alarm
    features: [levels]
    entity: device_id
    label: {sql: "SELECT device_id, ts, CASE WHEN failed THEN 1 ELSE 0 END AS label FROM readings", horizon: 1m}
    estimator: {xgboost: {max_depth: 2, num_boost_round: 4}}
    split: {by: time, test_share: 0.25, gap: 1m}
    promote_when: {metric: auc, at_least: 0.5}
"""
CONTRACT = """
kind: DataContract
apiVersion: v3.0.2
id: small-readings
name: readings
version: 1.0.0
status: active
schema:
  - name: readings
    physicalType: table
    properties:
      - {name: device_id, logicalType: string, required: true}
      - {name: ts, logicalType: timestamp, required: true}
      - {name: level, logicalType: integer, required: true}
      - {name: failed, logicalType: boolean, required: true}
customProperties:
  - {property: eventTime, value: ts}
  - {property: volume, value: {method: none}}
"""


def csv_of(day: str, *, poisoned: bool = False) -> str:
    """One day of readings, the same for the same day; a poisoned one has most labels the wrong way round."""
    chance = random.Random(day)
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    lines = ["device_id,ts,level,failed"]
    for number in range(30):
        level = chance.randrange(100)
        failed = (level > 60) ^ (chance.random() < 0.1) ^ (poisoned and number % 3 > 0)
        moment = start + timedelta(minutes=47 * number, seconds=chance.randrange(60))
        lines.append(f"d{number % 3},{moment.isoformat()},{level},{str(failed).lower()}")
    return "\n".join(lines) + "\n"


def declared(folder: Path, *, sealed: bool = False) -> Project:
    """The pipeline, read from its folder as a user's is."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.yaml").write_text(PIPELINE.replace("ENCRYPT", ", encrypt: true" if sealed else ""))
    (folder / "readings.contract.yaml").write_text(CONTRACT)
    return load_project([folder], {})


@dataclass
class Small:
    """The pipeline on a home of its own."""

    runtime: Runtime

    @classmethod
    def at(cls, folder: Path, *, sealed: bool = False) -> "Small":
        (folder / "home" / "landing" / "readings").mkdir(parents=True, exist_ok=True)
        project = declared(folder / "declared", sealed=sealed)
        moments = (NOW + timedelta(milliseconds=number) for number in count(time.monotonic_ns() // 1_000_000 % 10**8))
        return cls(Runtime(load_settings(home=folder / "home"), project, clock=lambda: next(moments)))

    @property
    def home(self) -> Path:
        return self.runtime.settings.home

    def land(self, *days: str, poisoned: bool = False) -> list[Path]:
        """Write a landing object for each day."""
        paths = [self.home / "landing" / "readings" / f"{day}.csv" for day in days]
        for path in paths:
            path.write_text(csv_of(path.stem, poisoned=poisoned))
        return paths

    def run(self, asset: str, keys: Sequence[str] = ("all",)) -> StageReport:
        report = self.runtime.run(self.runtime.project.nodes[asset], list(keys))
        assert not report.refused, (asset, report.refused)
        return report

    def publish(self, *days: str) -> None:
        """Every stage up to features for some days."""
        for asset in DATA:
            self.run(asset, days)

    def train(self, *more: str) -> str:
        """Every stage up to the champion; its version."""
        for asset in (*MODEL, *more):
            report = self.run(asset)
        return self.runtime.ledger.open(CHAMPION).version if more else str(report.version)
