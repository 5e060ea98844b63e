"""What windows and horizons lack, over random holes, grains, look-backs and horizons, against the rule in plain words."""

import random
import tempfile
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrai.contracts.contract import ClosedDays, Contract
from orchestrai.core.time.calendar import Grain, partition_of
from orchestrai.features import run as features
from orchestrai.features.completeness.lacking import DatasetState, dataset_state, lacking
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.spec import FeatureViewSpec, IncompleteRows, LabelSpec
from orchestrai.features.training_set import LabelInputs, training_set
from orchestrai.features.views.view import FeatureView, load_view
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.local import LocalStore
from orchestrai_tests.producers import producer
from orchestrai_tests.running import context_of

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


def _world(seed: int) -> World:
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


def _moments(world: World, name: str, back: timedelta | None) -> FeatureView:
    body: dict[str, Any] = {
        "name": name, "from": ["events"], "entity": "who", "as_of": {"every": f"{int(world.unit.total_seconds()) // 3600}h"},
        "sql": f"SELECT s.who, s.as_of, COUNT(e.n) AS {name}_n FROM spine AS s JOIN events AS e ON e.who = s.who GROUP BY s.who, s.as_of",
    }  # fmt: skip
    if back is not None:
        body["lookback"] = {"time": f"{int(back.total_seconds()) // 60}m"}
    return load_view(FeatureViewSpec.model_validate(body), Path(), {"events": EVENTS})


def _view(world: World) -> FeatureView:
    if world.kind == "entity":
        return _moments(world, "first", world.back)
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


def _label(world: World) -> LabelSpec:
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


@dataclass(frozen=True)
class Expected:
    """Key of a training row -> whether its windows lack something; and the rows that have no label."""

    rows: dict[Event, bool]
    left_out: int


def _expected(world: World) -> Expected:
    """The rule in plain words, row by row."""
    end = max(ts for _, ts in world.events)
    moments = [START + n * world.unit for n in range(world.count + 1)]
    keys: dict[Event, bool] = {}
    if world.kind == "entity":
        first = START + (world.back or world.unit)
        for moment in (m for m in _grid(world) if first <= m <= moments[-1]):
            low = moment - world.back if world.back is not None else None
            for who in {who for who, ts in world.events if (low is None or low <= ts) and ts < moment}:
                keys[who, moment] = world.lacks_window(low, moment)
    else:
        for who, ts in world.events:
            before = sorted(t for other, t in world.events if other == who and t < ts)
            reached = (before[-world.rows] if len(before) >= world.rows else START) if world.rows else ts
            low = min(ts - (world.back or timedelta(0)), reached)
            keys[who, ts] = world.lacks_window(low, ts + MICRO)
    if world.beside is not None:
        keys = {key: lacks or _beside_lacks(world, *key) for key, lacks in keys.items()}
    rows, left_out = {}, 0
    for (who, moment), lacks in keys.items():
        if moment + world.horizon > end:
            continue
        if world.lack(moment, moment + world.horizon + (MICRO if world.kind == "row" else timedelta(0))):
            left_out += 1
        else:
            rows[who, moment] = lacks
    return Expected(rows, left_out)


def _grid(world: World) -> list[datetime]:
    return [START + n * world.unit for n in range(world.count + 1)]


def _beside_lacks(world: World, who: str, moment: datetime) -> bool:
    """Whether the newest row of the view beside the first lacks something, or hides a newer one."""
    back = world.beside
    assert back is not None
    grid = [at for at in _grid(world) if START + back <= at <= moment]
    taken = [at for at in grid if any(other == who and at - back <= ts < at for other, ts in world.events)]
    since = taken[-1] if taken else START
    return any(world.lacks_window(at - back, at) for at in grid if at >= since)


def _publish(ledger: Ledger, world: World, folder: Path) -> None:
    parts: dict[str, list[dict[str, Any]]] = {}
    for who, ts in world.events:
        parts.setdefault(partition_of(ts, world.grain), []).append({"who": who, "ts": ts, "n": 1})
    session = ledger.session(IN, producer("restored"))
    for key, rows in parts.items():
        pq.write_table(pa.Table.from_pylist(rows, EVENTS), folder / "rows.parquet")
        session.add_file(key, "part-00000.parquet", folder / "rows.parquet", rows=len(rows))
    session.commit()


def _closed(world: World) -> ClosedDays:
    days = [world.span(number)[0].date() for number in world.closed]
    return ClosedDays(spans=tuple((day, day) for day in days))


@pytest.fixture(scope="module")
def engine() -> DuckDbEngine:
    """One database for all examples."""
    return DuckDbEngine(threads=1)


def _compare(world: World, folder: Path, engine: DuckDbEngine) -> None:
    ledger = Ledger(LocalStore(folder / "lake"), load_or_create_signer(folder / "keys"))
    _publish(ledger, world, folder)
    dataset = Declared(world.grain, _closed(world))
    views = [_view(world), *([_moments(world, "other", world.beside)] if world.beside is not None else [])]
    used, declared = [], {IN: dataset}
    for view in views:
        asset = f"p/{view.name}/features"
        task = features.FeatureTask(asset, {"events": IN}, world.grain, None, declared=declared)
        report = features.compute(context_of(ledger), view, task, engine)
        assert not report.refused
        used.append((view, asset))
    more = {"p/first/features": dataset} if world.kind == "row" else {}

    def trained(choice: Literal["keep", "drop"]) -> tuple[set[Event], StageReport]:
        report = training_set(
            ledger, asset=f"{TRAINING}/{choice}", features=used, label=_label(world), inputs=LabelInputs({"events": IN}, folder),
            engine=engine, declared={**declared, **more}, incomplete=IncompleteRows(windows=choice),
        )  # fmt: skip
        if report.version is None:
            return set(), report
        dataset = ledger.open(f"{TRAINING}/{choice}")
        with dataset.fetched(["all"]) as files:
            rows = [row for file in files["all"] for row in pq.read_table(file.path).to_pylist()]
        return {(row["who"], row["event_time"]) for row in rows}, report

    expected = _expected(world)
    kept, report = trained("keep")
    verdicts = {verdict.check: verdict for outcome in report.outcomes for verdict in outcome.verdicts}
    assert kept == set(expected.rows)
    assert verdicts["horizons_complete"].details.get("left_out_rows", 0) == expected.left_out
    assert verdicts["windows_complete"].details.get("incomplete_rows", 0) == sum(expected.rows.values())
    dropped, _ = trained("drop")
    assert dropped == {key for key, lacks in expected.rows.items() if not lacks}


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_rows_know_what_they_lack(engine: DuckDbEngine, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _compare(_world(seed), Path(folder), engine)


HOURS = [f"2026-03-02-{hour:02d}:00" for hour in range(6)]


def test_the_hours_after_one_that_came_late_are_computed_again_with_it(tmp_path: Path, engine: DuckDbEngine) -> None:
    events = [("w0", START + number * timedelta(minutes=20)) for number in range(18)]
    body = World(
        "hour", timedelta(hours=1), 6, {2}, set(), events, "row", timedelta(minutes=90), 5, None, timedelta(hours=1)
    )
    made = {}
    for name, steps in {"late": [{0, 1, 3, 4, 5}, {2}], "whole": [{0, 1, 2, 3, 4, 5}]}.items():
        folder = tmp_path / name
        folder.mkdir()
        ledger = Ledger(LocalStore(folder / "lake"), load_or_create_signer(folder / "keys"))
        for step in steps:
            hours = [event for event in events if event[1].hour in step]
            _publish(ledger, replace(body, events=hours), folder)
            keys = [key for number, key in enumerate(HOURS) if number in step]
            task = features.FeatureTask("p/first/features", {"events": IN}, "hour", keys, declared={IN: Declared("hour")})
            report = features.compute(context_of(ledger), _view(body), task, engine)
        made[name] = (ledger.open("p/first/features").version, [outcome.partition for outcome in report.outcomes])
    # 90 minutes and five rows back: every later hour but the last looked through the missing one
    assert made["late"] == (made["whole"][0], HOURS[2:5])


# -- the rule itself ---------------------------------------------------------------------------------------------


def test_a_span_lacks_what_it_overlaps_and_not_what_it_touches() -> None:
    day = timedelta(days=1)
    state = DatasetState("a", {"2026-03-05": (START + 3 * day, START + 4 * day)})
    assert lacking(state, START + 4 * day, None) == () == lacking(state, None, START + 3 * day)
    assert lacking(state, START + 4 * day - MICRO, None) == ("2026-03-05",) == lacking(state, None, START + 3 * day + MICRO)


def test_nothing_is_due_before_the_first_partition_nor_on_closed_days(tmp_path: Path) -> None:
    ledger = Ledger(LocalStore(tmp_path / "lake"), load_or_create_signer(tmp_path / "keys"))
    session = ledger.session(IN, producer("restored"))
    for key in ("2026-03-04", "2026-03-08"):
        session.add_bytes(key, "part", b"x", rows=1)
    session.commit()
    dataset = ledger.open(IN)
    closed = ClosedDays(frozenset({5}), ((date(2026, 3, 6), date(2026, 3, 6)),))
    state = dataset_state(dataset, Declared("day", closed), datetime(2026, 3, 10, tzinfo=UTC))
    # the 6th is a closed date, the 7th a Saturday; what comes after the newest is due as well
    assert list(state.absent) == ["2026-03-05", "2026-03-09"]
    assert dataset_state(dataset, None, datetime(2026, 3, 10, tzinfo=UTC)).absent == {}
