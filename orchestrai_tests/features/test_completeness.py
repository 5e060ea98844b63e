"""What windows and horizons lack, over random holes, grains, look-backs and horizons, against the rule in plain words."""

import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrai.contracts.contract import ClosedDays
from orchestrai.features import run as features
from orchestrai.features.completeness.lacking import DatasetState, dataset_state, lacking
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.spec import IncompleteRows
from orchestrai.features.training_set import LabelInputs, training_set
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.local import LocalStore
from orchestrai_tests.features.worlds import (
    IN,
    MICRO,
    START,
    TRAINING,
    Declared,
    Event,
    World,
    closed_days,
    label_of,
    moments_of,
    publish_world,
    view_of,
    world_of,
)
from orchestrai_tests.producers import producer
from orchestrai_tests.running import context_of


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


@pytest.fixture(scope="module")
def engine() -> DuckDbEngine:
    """One database for all examples."""
    return DuckDbEngine(threads=1)


def _compare(world: World, folder: Path, engine: DuckDbEngine) -> None:
    ledger = Ledger(LocalStore(folder / "lake"), load_or_create_signer(folder / "keys"))
    publish_world(ledger, world, folder)
    dataset = Declared(world.grain, closed_days(world))
    views = [view_of(world), *([moments_of(world, "other", world.beside)] if world.beside is not None else [])]
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
            ledger, asset=f"{TRAINING}/{choice}", features=used, label=label_of(world), inputs=LabelInputs({"events": IN}, folder),
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
        _compare(world_of(seed), Path(folder), engine)


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
            publish_world(ledger, replace(body, events=hours), folder)
            keys = [key for number, key in enumerate(HOURS) if number in step]
            task = features.FeatureTask("p/first/features", {"events": IN}, "hour", keys, declared={IN: Declared("hour")})
            report = features.compute(context_of(ledger), view_of(body), task, engine)
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
