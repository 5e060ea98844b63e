"""A pipeline small enough for a thousand trials, published up to each stage, and the faults that may befall it.

Eight good days are published from landing to model. Of the ninth, each `Base` has what was published up to one stage; a trial
copies a base, breaks something, pulls a trigger, and asks what became of the ninth day.
"""

import json
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrai.errors import OrchestraiError
from orchestrai.ledger import Dataset
from orchestrai.pipeline import Runtime, load_project
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
    """A home whose ninth day was published up to `stage` (empty: only landed); `made` are the files that publishing it made."""

    stage: str
    home: Path
    made: tuple[str, ...]

    @property
    def next(self) -> str:
        return STAGES[STAGES.index(self.stage) + 1] if self.stage else RAW


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
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def _copied(home: Path, to: Path, stage: str, before: frozenset[str]) -> Base:
    made = tuple(name for name in _files(home) if name not in before) if stage else ()
    shutil.copytree(home, to)
    return Base(stage, to, made)


# -- faults: each is done to a copy of a base; True where the ninth day must then be refused by the next stage -----------------


def _landed(home: Path) -> Path:
    return home / "landing" / "readings" / f"{NINTH}.csv"


def _flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    at = chance.randrange(len(data))
    data[at] ^= 1 << chance.randrange(8)
    path.unlink()
    path.write_bytes(data)


def _pick(base: Base, home: Path, chance: random.Random, *inside: str, suffix: str = "") -> Path:
    found = [name for name in base.made if name.startswith(inside) and name.endswith(suffix)]
    assert found, (base.stage, inside, base.made)
    return home / chance.choice(found)


def _bytes_of(base: Base, home: Path, chance: random.Random) -> Path:
    """A file of the ninth day that the next stage reads."""
    if base.stage == KEPT:
        return _pick(base, home, chance, "vault/vault/packs/", "vault/vault/objects/")
    return _pick(base, home, chance, f"lake/data/{base.stage}/", suffix=".parquet")


def flipped(base: Base, home: Path, chance: random.Random) -> None:
    _flip(_bytes_of(base, home, chance), chance)


def truncated(base: Base, home: Path, chance: random.Random) -> None:
    path = _bytes_of(base, home, chance)
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[: chance.randrange(len(data))])


def missing(base: Base, home: Path, chance: random.Random) -> None:
    _bytes_of(base, home, chance).unlink()


def swapped(base: Base, home: Path, chance: random.Random) -> None:
    """An older day's file lies where the ninth's should: right format, right schema, stale bytes."""
    path = _bytes_of(base, home, chance)
    older = sorted(other for other in path.parent.parent.parent.rglob(path.name) if FIFTH in str(other))
    if base.stage == KEPT:
        older = sorted(other for other in path.parent.parent.rglob("*") if other.is_file() and other != path)
    data = chance.choice(older).read_bytes()
    assert data != path.read_bytes()
    path.unlink()
    path.write_bytes(data)


def extra(base: Base, home: Path, chance: random.Random) -> None:
    """A file nobody published lies beside the published ones."""
    path = _bytes_of(base, home, chance)
    (path.parent / f"part-{chance.randrange(10, 99):05d}{path.suffix}").write_bytes(path.read_bytes())


def receipt_flipped(base: Base, home: Path, chance: random.Random) -> None:
    _flip(_pick(base, home, chance, "lake/receipts/"), chance)


def manifest_flipped(base: Base, home: Path, chance: random.Random) -> None:
    _flip(_pick(base, home, chance, "lake/manifests/"), chance)


def head_flipped(base: Base, home: Path, chance: random.Random) -> None:
    _flip(_heads(base, home)[-1], chance)


def head_replayed(base: Base, home: Path, chance: random.Random) -> None:
    """An older head lies where the newest should."""
    heads = _heads(base, home)
    data = chance.choice(heads[:-1]).read_bytes()
    heads[-1].unlink()
    heads[-1].write_bytes(data)


def head_ahead(base: Base, home: Path, chance: random.Random) -> None:
    """An older head is put after the newest, as one who wants the old version back would."""
    heads = _heads(base, home)
    number = int(heads[-1].stem) + 1
    heads[-1].with_name(f"{number:012d}.json").write_bytes(chance.choice(heads).read_bytes())


def head_removed(base: Base, home: Path, chance: random.Random) -> None:
    """The log is cut: the version before the ninth day would be current again."""
    _heads(base, home)[-1].unlink()


def verdict_forged(base: Base, home: Path, chance: random.Random) -> None:
    """A receipt is rewritten to say what somebody wishes, under its old signature."""
    path = _pick(base, home, chance, "lake/receipts/")
    envelope = json.loads(path.read_bytes())
    text = json.dumps(envelope).replace(envelope["payload"][:8], envelope["payload"][8:16], 1)
    path.unlink()
    path.write_text(text)


def _heads(base: Base, home: Path) -> list[Path]:
    return sorted((home / "lake" / "heads" / base.stage).glob("*.json"))


def schema_break(base: Base, home: Path, chance: random.Random) -> None:
    text = _landed(home).read_text()
    column = chance.choice(["device_id", "ts", "level", "failed"])
    _landed(home).write_text(text.replace(column, f"{column}_v2", 1))


def stale_file(base: Base, home: Path, chance: random.Random) -> None:
    _landed(home).write_text(csv_of(chance.choice(GOOD)))


def volume_drop(base: Base, home: Path, chance: random.Random) -> None:
    kept = sorted(chance.sample(range(30), chance.randrange(0, 8)))
    lines = csv_of(NINTH).splitlines()
    _landed(home).write_text("\n".join([lines[0], *(lines[1 + at] for at in kept)]) + "\n")


def landing_truncated(base: Base, home: Path, chance: random.Random) -> None:
    data = _landed(home).read_bytes()
    _landed(home).write_bytes(data[: chance.randrange(len(data) // 2)])


def landing_missing(base: Base, home: Path, chance: random.Random) -> None:
    _landed(home).unlink()


def wrong_types(base: Base, home: Path, chance: random.Random) -> None:
    lines = csv_of(NINTH).splitlines()
    for at in chance.sample(range(1, len(lines)), 3):
        fields = lines[at].split(",")
        fields[2] = chance.choice(["high", "-1", "1001", "1.5.2", ""])
        lines[at] = ",".join(fields)
    _landed(home).write_text("\n".join(lines) + "\n")


def nothing(base: Base, home: Path, chance: random.Random) -> None:
    """Clean data."""


Fault = Callable[[Base, Path, random.Random], None]
LANDING_FAULTS: list[Fault] = [schema_break, stale_file, volume_drop, landing_truncated, landing_missing, wrong_types]
STORED_FAULTS: list[Fault] = [
    flipped,
    truncated,
    missing,
    swapped,
    receipt_flipped,
    verdict_forged,
    manifest_flipped,
    head_flipped,
    head_replayed,
    head_ahead,
    head_removed,
]
HARMLESS: list[Fault] = [nothing, extra]


def current(runtime: Runtime, asset: str) -> Dataset | None:
    """What anyone would be given of an asset; None where the ledger refuses to open it."""
    try:
        return runtime.ledger.find(asset)
    except OrchestraiError:
        return None
