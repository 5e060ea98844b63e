"""A training set that takes over rows of the one before is the set that is made from nothing, to the byte."""

import random
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrai.core.time.calendar import partition_of
from orchestrai.core.verdict import Verdict
from orchestrai.errors import NotReceipted
from orchestrai.features import run as features
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.spec import FeatureViewSpec, LabelSpec
from orchestrai.features.training_set import LabelInputs, training_set
from orchestrai.features.views.view import FeatureView, load_view
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.decisions.recalls import RECALLS, RecallRecord
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.quarantine import last_refusal
from orchestrai.ledger.receipt import Receipt
from orchestrai.ledger.report import StageReport
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.stage.making import WAY
from orchestrai.storage.local import LocalStore
from orchestrai_tests.features.worlds import (
    EVENTS,
    IN,
    START,
    TRAINING,
    Declared,
    Event,
    World,
    closed_days,
    label_of,
    moments_of,
    view_of,
    world_of,
)
from orchestrai_tests.producers import producer
from orchestrai_tests.running import context_of

# what tells how a set was made, and not of what
OWN = {"made_at", WAY, "rows_stood"}
ENGINE = DuckDbEngine(threads=1)


@dataclass
class Life:
    """A world whose events come and change, and the sets that are made of them meanwhile."""

    world: World
    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(LocalStore(self.folder / "lake"), load_or_create_signer(self.folder / "keys"))
        self.dataset = Declared(self.world.grain, closed_days(self.world))

    def publish(self, rows: dict[Event, int], keys: set[str]) -> None:
        """The rows of some partitions, as they are now."""
        session = self.ledger.session(IN, producer("restored"))
        for key in sorted(keys):
            part = [{"who": who, "ts": ts, "n": n} for (who, ts), n in sorted(rows.items()) if self.key(ts) == key]
            pq.write_table(pa.Table.from_pylist(part, EVENTS), self.folder / "rows.parquet")
            session.add_file(key, "part-00000.parquet", self.folder / "rows.parquet", rows=len(part))
        session.commit()

    def key(self, moment: Any) -> str:
        return partition_of(moment, self.world.grain)

    def features(self, behind: int = 0) -> list[tuple[Any, str]]:
        """All views, computed; a view of rows beside the first one leaves out so many of the newest partitions."""
        world, used = self.world, list[tuple[Any, str]]()
        beside = [] if world.beside is None else [others_of(world) if behind else moments_of(world, "other", world.beside)]
        for view in (view_of(world), *beside):
            asset, keys = f"p/{view.name}/features", None
            if beside and view is beside[0] and behind:
                keys = sorted(self.ledger.open(IN).partitions)[:-behind]
            task = features.FeatureTask(asset, {"events": IN}, world.grain, keys, declared={IN: self.dataset})
            assert not features.compute(context_of(self.ledger), view, task, ENGINE).refused
            used.append((view, asset))
        return used

    def report(self, name: str, used: list[tuple[Any, str]], way: str | None) -> StageReport:
        """A set as it was made; by no `way` it is made from nothing."""
        more = {asset: self.dataset for view, asset in used if view.kind == "row"}
        return training_set(
            self.ledger, asset=f"{TRAINING}/{name}", features=used, label=amount_of(self.world),
            inputs=LabelInputs({"events": IN}, self.folder), engine=ENGINE,
            declared={IN: self.dataset, **more}, noted={WAY: way} if way else {}, way=way,
        )  # fmt: skip

    def made(self, name: str, used: list[tuple[Any, str]], way: str | None) -> Receipt:
        """The receipt of a set that was published."""
        report = self.report(name, used, way)
        assert report.version is not None, report
        return self.ledger.receipt(self.ledger.open(f"{TRAINING}/{name}").head.receipt)

    def require_same(self, used: list[tuple[Any, str]] | None = None) -> bool:
        """Hold the set that takes over what stands against the one that is made from nothing; whether rows stood."""
        used = used or self.features()
        reports = [self.report(name, used, way) for name, way in (("standing", "a way"), ("whole", None))]
        assert reports[0].outcomes == reports[1].outcomes
        facts = [{name: fact for name, fact in report.facts.items() if name not in OWN} for report in reports]
        assert facts[0] == facts[1]
        assert "rows_stood" not in reports[1].facts
        if reports[0].version is not None:
            standing, whole = (
                self.ledger.receipt(self.ledger.open(f"{TRAINING}/{name}").head.receipt) for name in ("standing", "whole")
            )
            assert (standing.partitions, standing.inputs) == (whole.partitions, whole.inputs)
        return "rows_stood" in reports[0].facts


def others_of(world: World) -> FeatureView:
    """A view of the same events beside the first one."""
    frame = f"PARTITION BY who ORDER BY ts RANGE BETWEEN INTERVAL {world.unit // timedelta(minutes=1)} MINUTES PRECEDING AND CURRENT ROW"
    body = {
        "name": "other", "from": ["events"], "entity": "who", "event_time": "ts",
        "sql": f"SELECT who, ts, COUNT(n) OVER ({frame}) AS other_n FROM events",
    }  # fmt: skip
    return load_view(FeatureViewSpec.model_validate(body), Path(), {"events": EVENTS})


def amount_of(world: World) -> LabelSpec:
    """What is spent within the horizon: any row that changes shows in it."""
    spec = label_of(world)
    sql = spec.sql.replace("CASE WHEN COUNT(e.n) > 0 THEN 1 ELSE 0 END", "COALESCE(CAST(SUM(e.n) AS BIGINT), 0)")
    sql = sql.replace("CASE WHEN COUNT(n) OVER", "COALESCE(CAST(SUM(n) OVER").replace(
        " > 0 THEN 1 ELSE 0 END", " AS BIGINT), 0)"
    )
    return spec.model_copy(update={"sql": sql})


def change(chance: random.Random, rows: dict[Event, int], there: list[int], world: World, life: Life) -> set[str]:
    """Something happens to what is published: more comes at the end, or late, or what is there changes; the partitions it touched."""
    kind = chance.choice(["more", "more", "late", "other", "less"])
    if kind == "more" and there[-1] + 1 < world.count:
        there.append(there[-1] + 1)
        number = there[-1]
        if chance.random() < 0.1 and number + 1 < world.count:
            there[-1] = number = number + 1  # one that stays away
        events = {event: 1 for event in world.events if life.key(event[1]) == life.key(world.span(number)[0])}
        rows |= events or {("w0", world.span(number)[0]): 1}
        return {life.key(world.span(number)[0])}
    number = chance.choice(there)
    start, _ = world.span(number)
    own = [event for event in rows if life.key(event[1]) == life.key(start)]
    if kind == "less" and len(own) > 1:
        del rows[chance.choice(own)]
    elif kind == "other":
        rows[chance.choice(own)] += 1
    else:
        rows[f"w{chance.randrange(4)}", start + chance.randrange(1, 24) * world.unit / 24] = 7
    return {life.key(start)}


def lived(seed: int, folder: Path) -> int:
    """A life in which something changes five times; how often rows stood."""
    chance, kind = random.Random(seed), ("row", "entity")[seed % 2]
    world = world_of(seed * 31 + 7)
    # what lacks something is made from nothing: most worlds lack nothing at first
    absent = world.absent if seed % 4 == 3 else set()
    world = replace(world, count=world.count + 6, kind=kind, absent=absent, closed=set())
    if kind == "entity":
        # so that a partition shows in the labels of moments that lie before all of it
        world = replace(world, horizon=2 * world.unit)
    life = Life(world, folder)
    there = [number for number in range(6) if number not in world.absent]
    rows = {("w0", world.span(number)[0]): 1 for number in there}
    rows |= {event: 1 for event in world.events if any(life.key(event[1]) == life.key(world.span(n)[0]) for n in there)}
    life.publish(rows, {life.key(ts) for _, ts in rows})
    # beside the first one a view of moments, or one of rows that is behind it by some partitions
    rows_beside = world.beside is not None and chance.random() < 0.5
    life.require_same(life.features(int(rows_beside)))
    stood = 0
    for _ in range(5):
        life.publish(rows, change(chance, rows, there, world, life))
        stood += life.require_same(life.features(chance.choice([1, 1, 2, 3]) if rows_beside else 0))
    return stood


@pytest.mark.parametrize("seed", [0, 1, 5, 6])
def test_a_set_that_takes_rows_over_is_the_set_made_from_nothing(tmp_path: Path, seed: int) -> None:
    assert lived(seed, tmp_path)


@pytest.mark.thorough("test_a_set_that_takes_rows_over_is_the_set_made_from_nothing")
def test_sets_of_many_lives_are_those_made_from_nothing(tmp_path: Path) -> None:
    assert sum(lived(seed, tmp_path / str(seed)) for seed in range(7, 19)) > 10


DAYS = World("day", timedelta(days=1), 12, set(), set(), [], "row", timedelta(days=1), 0, None, timedelta(days=1))


def daily(count: int) -> dict[Event, int]:
    return {(who, START + timedelta(days=day, hours=6)): 1 for day in range(count) for who in ("w0", "w1")}


def made_after(life: Life, days: int, way: str = "a way") -> Receipt:
    """The set once so many days are published, of which the last is new."""
    life.publish(daily(days), {life.key(START + timedelta(days=days - 1))})
    return life.made("set", life.features(), way)


def begun(folder: Path, world: World = DAYS) -> Life:
    """Six days, and a set of them."""
    life = Life(world, folder)
    life.publish(daily(6), {life.key(ts) for _, ts in daily(6)})
    assert "rows_stood" not in life.made("set", life.features(), "a way").facts
    return life


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    """The partitions whose files were handed out since."""
    found: set[tuple[str, str]] = set()
    before = Dataset.fetched

    def fetched(dataset: Dataset, keys: Any, **more: Any) -> Any:
        found.update((dataset.asset, key) for key in keys)
        return before(dataset, keys, **more)

    monkeypatch.setattr(Dataset, "fetched", fetched)
    return found


@pytest.mark.parametrize("kind", ["row", "entity"])
def test_a_new_day_reads_what_it_can_reach(tmp_path: Path, kind: Any, read: set[tuple[str, str]]) -> None:
    life = begun(tmp_path, replace(DAYS, kind=kind))
    life.publish(daily(7), {"2026-03-08"})
    used = life.features()
    read.clear()
    receipt = life.made("set", used, "a way")
    told = receipt.facts["rows_stood"]
    assert isinstance(told, dict) and told["before"] == "2026-03-06T06:00:00.000001+00:00"
    assert {key for asset, key in read if asset == IN} == {"2026-03-06", "2026-03-07", "2026-03-08"}
    assert min(key for asset, key in read if asset == "p/first/features") >= "2026-03-06"


def test_nothing_is_taken_over_that_was_made_in_another_way(tmp_path: Path) -> None:
    life = begun(tmp_path)
    assert "rows_stood" not in made_after(life, 7, "another way").facts
    assert "rows_stood" in made_after(life, 8, "another way").facts


def test_a_late_row_in_the_first_day_makes_all_anew(tmp_path: Path) -> None:
    life = begun(tmp_path)
    life.publish(daily(6) | {("w2", START + timedelta(hours=1)): 1}, {"2026-03-02"})
    assert not life.require_same()


def test_a_set_whose_bytes_were_altered_is_not_built_upon(tmp_path: Path) -> None:
    life = begun(tmp_path)
    current = life.ledger.open(f"{TRAINING}/set")
    entry = next(iter(current.files("all").files))
    path = life.folder / "lake" / entry.key
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "rows_stood" not in made_after(life, 7).facts
    assert life.made("set", life.features(), "a way").partitions == life.made("whole", life.features(), None).partitions


@pytest.mark.parametrize(("asset", "key"), [(IN, "2026-03-03"), ("p/first/features", "2026-03-03")])
def test_a_partition_that_is_not_read_again_still_has_to_count(tmp_path: Path, asset: str, key: str) -> None:
    life = begun(tmp_path)
    life.publish(daily(7), {"2026-03-08"})
    used = life.features()
    entry = life.ledger.open(asset).partitions[key]
    record = RecallRecord("p", "a test", "2026-03-09T00:00:00+00:00", {entry.receipt: (key,)})
    RECALLS.put([life.ledger.lake], life.ledger.signer, record)
    with pytest.raises(NotReceipted, match="recalled"):
        life.made("set", used, "a way")


def test_what_a_person_let_through_may_lie_anywhere(tmp_path: Path) -> None:
    life = Life(DAYS, tmp_path)
    life.publish(daily(5), {life.key(ts) for _, ts in daily(5)})
    failed = Verdict("partition", False, "expected events of the day, found one of another")
    for waived in (False, True):
        session = life.ledger.session(IN, producer("restored"))
        pq.write_table(pa.Table.from_pylist([{"who": "w9", "ts": START, "n": 1}], EVENTS), life.folder / "rows.parquet")
        session.add_file("2026-03-07", "part-00000.parquet", life.folder / "rows.parquet", rows=1)
        root = last_refusal(life.ledger.lake, IN, "2026-03-07").root if waived else ""
        given = [Override(IN, "2026-03-07", root, ("partition",), "a clock was off", "ann")] if waived else []
        session.commit({"2026-03-07": [failed]}, overrides=given)
    life.made("set", life.features(), "a way")
    assert "rows_stood" not in made_after(life, 7).facts


def test_a_hole_in_another_view_that_shows_later_is_told_of_rows_that_stood(tmp_path: Path) -> None:
    life = begun(tmp_path)
    life.publish(daily(8), {f"2026-03-0{day}" for day in range(2, 10)})
    (first,) = life.features()
    other = others_of(DAYS)
    used = [first, (other, "p/other/features")]
    for keys in ([f"2026-03-0{day}" for day in range(2, 7)], ["2026-03-09"]):
        # the days between are lacking once a later one is there
        task = features.FeatureTask("p/other/features", {"events": IN}, "day", keys, declared={IN: life.dataset})
        assert not features.compute(context_of(life.ledger), other, task, ENGINE).refused
        life.require_same(used)
