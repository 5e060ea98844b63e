"""Small worlds of events with holes, as tests of completeness and of what stands need them: views, a label, and how they are published."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.contracts.contract import ClosedDays, Contract
from orchestrai.core.time.calendar import Grain, partition_of
from orchestrai.features.spec import FeatureViewSpec, LabelSpec
from orchestrai.features.views.view import FeatureView, load_view
from orchestrai.ledger.ledger import Ledger
from orchestrai_tests.producers import producer

UTC_MICROS = pa.timestamp("us", tz="UTC")
EVENTS = pa.schema([("who", pa.string()), ("ts", UTC_MICROS), ("n", pa.int64())]).with_metadata({"primary_key": "who,ts"})
START = datetime(2026, 3, 2, tzinfo=UTC)
IN, TRAINING = "p/events/restored", "p/m/training_set"
MICRO = timedelta(microseconds=1)
Event = tuple[str, datetime]


@dataclass(frozen=True)
class Declared:
    """A dataset as its declaration has it."""

    grain: Grain
    closed: ClosedDays = field(default_factory=ClosedDays)
    positioned: bool = False
    gates: tuple[str, ...] = ("p/events/raw_events", "p/events/restored")
    kind: Literal["dataset"] = "dataset"
    pipeline: str = "p"
    prefix: str = "p/events"
    about: str = ""
    source_files: tuple[Path, ...] = ()

    @property
    def contract(self) -> Contract:
        return Contract("events", "1", (), closed=self.closed)

    def asset(self, stage: str) -> str:
        return f"p/events/{stage}"


@dataclass
class World:
    """Events by partition, what is absent of them, a first view, perhaps another beside it, and a label."""

    grain: Grain
    unit: timedelta
    count: int
    absent: set[int]
    closed: set[int]
    events: list[Event]
    kind: Literal["row", "entity"]
    back: timedelta | None
    rows: int
    beside: timedelta | None
    horizon: timedelta

    def span(self, number: int) -> tuple[datetime, datetime]:
        return START + number * self.unit, START + (number + 1) * self.unit

    def lack(self, low: datetime, high: datetime) -> bool:
        """Whether an instant of [low, high) lies in a due partition that is absent."""
        return any(max(self.span(n)[0], low) < min(self.span(n)[1], high) for n in self.absent - self.closed)

    def lacks_window(self, low: datetime | None, high: datetime) -> bool:
        return self.lack(low if low is not None else START, high)


def world_of(seed: int) -> World:
    chance = random.Random(seed)
    grain: Grain = chance.choice(["day", "hour"])
    unit = timedelta(days=1) if grain == "day" else timedelta(hours=1)
    count = chance.randrange(8, 13)
    inner = range(1, count - 1)
    absent = set(chance.sample(inner, chance.randrange(0, 4)))
    closed = {n for n in absent if chance.random() < 0.3} if grain == "day" else set()
    events = {
        (f"w{chance.randrange(3)}", START + n * unit + chance.choice([0, 1, 2, 3]) * unit / 4)
        for n in range(count)
        if n not in absent
        for _ in range(chance.randrange(1, 5))
    }
    # every partition that is there has a file, and the data ends where the last one does
    events |= {("w0", START + n * unit) for n in range(count) if n not in absent} | {("w1", START + count * unit - MICRO)}
    return World(
        grain, unit, count, absent, closed, sorted(events),
        chance.choice(["row", "entity"]),
        chance.choice([None, unit / 2, unit, 2 * unit, 3 * unit]),
        chance.choice([0, 1, 3]),
        chance.choice([None, unit, 2 * unit]),
        chance.choice([unit / 2, unit, 2 * unit]),
    )  # fmt: skip


def _sql(span: timedelta) -> str:
    return f"INTERVAL {int(span.total_seconds()) // 60} MINUTES"


def moments_of(world: World, name: str, back: timedelta | None) -> FeatureView:
    body: dict[str, Any] = {
        "name": name, "from": ["events"], "entity": "who", "as_of": {"every": f"{int(world.unit.total_seconds()) // 3600}h"},
        "sql": f"SELECT s.who, s.as_of, COUNT(e.n) AS {name}_n FROM spine AS s JOIN events AS e ON e.who = s.who GROUP BY s.who, s.as_of",
    }  # fmt: skip
    if back is not None:
        body["lookback"] = {"time": f"{int(back.total_seconds()) // 60}m"}
    return load_view(FeatureViewSpec.model_validate(body), Path(), {"events": EVENTS})


def view_of(world: World) -> FeatureView:
    if world.kind == "entity":
        return moments_of(world, "first", world.back)
    windows = []
    if world.rows:
        windows.append(
            f"COUNT(n) OVER (PARTITION BY who ORDER BY ts ROWS BETWEEN {world.rows} PRECEDING AND CURRENT ROW) AS by_rows"
        )
    if world.back is not None:
        span = f"RANGE BETWEEN {_sql(world.back)} PRECEDING AND CURRENT ROW"
        windows.append(f"COUNT(n) OVER (PARTITION BY who ORDER BY ts {span}) AS by_time")
    sql = f"SELECT who, ts, {', '.join([*windows, 'n AS own'])} FROM events"
    body = {"name": "first", "from": ["events"], "entity": "who", "event_time": "ts", "sql": sql}
    return load_view(FeatureViewSpec.model_validate(body), Path(), {"events": EVENTS})


def label_of(world: World) -> LabelSpec:
    horizon = f"{int(world.horizon.total_seconds()) // 60}m"
    if world.kind == "entity":
        sql = (
            "SELECT s.who, s.as_of, CASE WHEN COUNT(e.n) > 0 THEN 1 ELSE 0 END AS label FROM spine AS s LEFT JOIN events AS e "
            "ON e.who = s.who GROUP BY s.who, s.as_of"
        )
    else:
        frame = f"RANGE BETWEEN INTERVAL 1 MINUTE FOLLOWING AND {_sql(world.horizon)} FOLLOWING"
        sql = f"SELECT who, ts, CASE WHEN COUNT(n) OVER (PARTITION BY who ORDER BY ts {frame}) > 0 THEN 1 ELSE 0 END AS label FROM events"
    return LabelSpec(sql=sql, horizon=horizon)


def publish_world(ledger: Ledger, world: World, folder: Path) -> None:
    parts: dict[str, list[dict[str, Any]]] = {}
    for who, ts in world.events:
        parts.setdefault(partition_of(ts, world.grain), []).append({"who": who, "ts": ts, "n": 1})
    session = ledger.session(IN, producer("restored"))
    for key, rows in parts.items():
        pq.write_table(pa.Table.from_pylist(rows, EVENTS), folder / "rows.parquet")
        session.add_file(key, "part-00000.parquet", folder / "rows.parquet", rows=len(rows))
    session.commit()


def closed_days(world: World) -> ClosedDays:
    days = [world.span(number)[0].date() for number in world.closed]
    return ClosedDays(spans=tuple((day, day) for day in days))
