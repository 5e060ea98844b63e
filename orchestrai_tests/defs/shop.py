"""A pipeline small enough for a thousand trials, published up to each stage.

Eight good days are published from landing to model. Of the ninth, each `Base` has what was published up to one stage; a trial
breaks something in a base's home, pulls a trigger, asks what became of the ninth day, and puts the home back as it was.
"""

import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrai.errors import OrchestraiError
from orchestrai.ledger.dataset import Dataset
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings

DAYS = [f"2026-10-{day:02d}" for day in range(1, 10)]
GOOD, NINTH = DAYS[:-1], DAYS[-1]
FIFTH = DAYS[4]
RAW, KEPT, RESTORED = (f"shop/readings/{stage}" for stage in ("raw_events", "snapshot", "restored"))
FEATURES, TRAINING, CANDIDATE = "shop/levels/features", "shop/alarm/training_set", "shop/alarm/candidate"
STAGES = [RAW, KEPT, RESTORED, FEATURES, TRAINING, CANDIDATE]
PARTITIONED = STAGES[:4]
NOW = datetime(2026, 11, 1, tzinfo=UTC)

PIPELINE = """
pipeline: shop
datasets:
  - name: readings
    source: {url: landing/readings/, format: csv}
    contract: readings.contract.yaml
    partitions: {grain: day, start: 2026-10-01, end: 2026-11-01}
    backup: {every: "0 2 * * *"}
features:
  - {name: levels, from: [readings], entity: device_id, event_time: ts,
     sql: "SELECT device_id, ts, level * 2 AS twice, level + 1 AS more FROM readings"}
models:
  - name: alarm
    features: [levels]
    entity: device_id
    label: {sql: "SELECT device_id, ts, CASE WHEN failed THEN 1 ELSE 0 END AS label FROM readings", horizon: 1m}
    task: binary
    estimator: {xgboost: {max_depth: 1, num_boost_round: 2}}
    split: {by: time, test_share: 0.25, gap: 1m}
    promote_when: {metric: auc, at_least: 0.5}
"""
CONTRACT = """
kind: DataContract
apiVersion: v3.0.2
id: shop-readings
name: readings
version: 1.0.0
status: active
schema:
  - name: readings
    physicalType: table
    quality:
      - {metric: rowCount, mustBeGreaterThan: 0}
    properties:
      - {name: device_id, logicalType: string, required: true}
      - {name: ts, logicalType: timestamp, required: true}
      - {name: level, logicalType: integer, required: true, logicalTypeOptions: {minimum: 0, maximum: 1000}}
      - {name: failed, logicalType: boolean, required: true}
slaProperties:
  - {property: latency, value: 6, unit: h, element: readings.ts}
customProperties:
  - {property: volume, value: {method: mean7d, gross_below: 0.5}}
"""


def rows_of(day: str) -> list[str]:
    """One day of readings, the same for the same day."""
    chance = random.Random(day)
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    lines = []
    for number in range(30):
        level = chance.randrange(100)
        moment = start + timedelta(minutes=47 * number, seconds=chance.randrange(60))
        lines.append(f"d{number % 3},{moment.isoformat()},{level},{str(level > 60).lower()}")
    return lines


def csv_of(day: str) -> str:
    return "\n".join(["device_id,ts,level,failed", *rows_of(day)]) + "\n"


def declared(folder: Path) -> Path:
    """The pipeline's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.yaml").write_text(PIPELINE)
    (folder / "readings.contract.yaml").write_text(CONTRACT)
    return folder


class Workshop:
    """One runtime that is moved from home to home, so that Dagster's definitions are built once."""

    def __init__(self, folder: Path) -> None:
        self.project = load_project([declared(folder)], {})
        self.runtime = Runtime(Settings(home=folder), self.project, clock=lambda: NOW)

    def move(self, home: Path) -> Runtime:
        for name in ("ledger", "vault"):
            self.runtime.__dict__.pop(name, None)
        self.runtime.settings = Settings(home=home)
        return self.runtime

    def run(self, asset: str, day: str = NINTH) -> bool:
        """Run one stage as the command line and Dagster do; False when it refused, in whole or for the day."""
        node = self.project.nodes[asset]
        try:
            report = self.runtime.run(node, [day] if asset in PARTITIONED else ["all"])
        except OrchestraiError:
            return False
        return not report.refused


@dataclass(frozen=True)
class Base:
    """A home whose ninth day was published up to `stage` (empty: only landed).

    `files` is what lies in it, and `made` are the files that publishing the stage made.
    """

    stage: str
    home: Path
    files: Mapping[str, bytes]
    made: tuple[str, ...]

    @property
    def next(self) -> str:
        return STAGES[STAGES.index(self.stage) + 1] if self.stage else RAW

    def mend(self) -> None:
        """Put the home back as it was; comparing is many times as fast as copying it anew."""
        found = set(_files(self.home))
        for name in found - set(self.files):
            (self.home / name).unlink()
        for name, data in self.files.items():
            path = self.home / name
            if name not in found or path.read_bytes() != data:
                path.unlink(missing_ok=True)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)


@dataclass(frozen=True)
class World:
    """All bases, and what the ninth day's partition roots are when nothing goes wrong."""

    workshop: Workshop
    bases: Mapping[str, Base]
    clean: Mapping[str, Mapping[str, str]]


def build(folder: Path) -> World:
    """Publish eight days whole, then the ninth stage by stage, keeping a copy after each."""
    workshop = Workshop(folder / "declared")
    home = folder / "home"
    landing = home / "landing" / "readings"
    landing.mkdir(parents=True)
    for day in DAYS:
        (landing / f"{day}.csv").write_text(csv_of(day))
    workshop.move(home)
    for asset in STAGES:
        for day in GOOD if asset in PARTITIONED else ["all"]:
            assert workshop.run(asset, day), (asset, day)
    bases = {"": _copied(home, folder / "base-landed", "", frozenset())}
    for number, asset in enumerate(STAGES):
        before = frozenset(_files(home))
        assert workshop.run(asset), asset
        if asset != CANDIDATE:
            bases[asset] = _copied(home, folder / f"base-{number}", asset, before)
    ledger = workshop.runtime.ledger
    return World(workshop, bases, {asset: ledger.open(asset).roots() for asset in STAGES})


def _files(home: Path) -> list[str]:
    start = len(str(home)) + 1
    return sorted(os.path.join(folder, name)[start:] for folder, _, names in os.walk(home) for name in names)


def _copied(home: Path, to: Path, stage: str, before: frozenset[str]) -> Base:
    names = _files(home)
    shutil.copytree(home, to)
    return Base(
        stage,
        to,
        {name: (home / name).read_bytes() for name in names},
        tuple(name for name in names if name not in before) if stage else (),
    )


def current(runtime: Runtime, asset: str) -> Dataset | None:
    """What anyone would be given of an asset; None where the ledger refuses to open it."""
    try:
        return runtime.ledger.find(asset)
    except OrchestraiError:
        return None
