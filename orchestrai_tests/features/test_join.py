"""The point-in-time join: what is scored at a moment is, bit for bit, what a training set made for that moment holds."""

import os
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orchestrai.errors import FeatureViewError, NotReceipted
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.point_in_time_join import ViewFiles, joined
from orchestrai.features.spec import FeatureViewSpec, LabelSpec
from orchestrai.features.training_set import LabelInputs, training_set
from orchestrai.features.views.moment_partitions import PointInTime
from orchestrai.features.views.view import FeatureView, load_view
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.models.ports import LearnedView, read_views
from orchestrai.storage.local import LocalStore
from orchestrai_tests.producers import producer

UTC_MICROS = pa.timestamp("us", tz="UTC")
EVENTS = pa.schema(
    [("site", pa.string()), ("device", pa.string()), ("ts", UTC_MICROS), ("n", pa.int64()), ("x", pa.float64())]
)
START = datetime(2026, 3, 2, tzinfo=UTC)
TRAINING, LABELS = "p/m/training_set", "p/events/restored"
FINE, COARSE = ("site", "device"), ("site",)


def _view(name: str, kind: str, entity: tuple[str, ...], table: str) -> FeatureView:
    keys = ", ".join(f"t.{column}" for column in entity)
    body: dict[str, Any] = {"name": name, "from": [table], "entity": list(entity)}
    if kind == "row":
        body |= {"event_time": "ts", "sql": f"SELECT {keys}, t.ts, t.n AS {name}_n, t.x AS {name}_x FROM {table} AS t"}
    else:
        body |= {
            "as_of": {"every": "6h"},
            "sql": f"SELECT {keys}, t.as_of, CAST(SUM(r.n) AS BIGINT) AS {name}_n, MAX(r.x) AS {name}_x FROM spine AS t JOIN {table} AS r "
            f"ON {' AND '.join(f'r.{column} = t.{column}' for column in entity)} GROUP BY {keys}, t.as_of",
        }
    return load_view(FeatureViewSpec.model_validate(body), Path(), {table: EVENTS})


# loaded when they are used: what DuckDB made while tests were collected would outlive it
@cache
def _first(kind: str) -> FeatureView:
    return _view(f"first_{kind}", kind, FINE, "events")


@cache
def _beside(kind: str, entity: tuple[str, ...], table: str) -> FeatureView:
    return _view(f"{kind}_{'_'.join(entity)}_{table}", kind, entity, table)


BESIDE = [(kind, entity, table) for kind in ("row", "entity") for entity in (FINE, COARSE) for table in ("events", "others")]
LABEL = {
    "row": LabelSpec(
        horizon="1m", sql="SELECT t.site, t.device, t.ts, CASE WHEN t.n > 0 THEN 1 ELSE 0 END AS label FROM events AS t"
    ),
    "entity": LabelSpec(
        horizon="1m",
        sql="SELECT s.site, s.device, s.as_of, CASE WHEN COUNT(t.ts) > 0 THEN 1 ELSE 0 END AS label FROM spine AS s LEFT JOIN "
        "events AS t ON t.site = s.site AND t.device = s.device GROUP BY s.site, s.device, s.as_of",
    ),
}
Row = dict[str, Any]


@pytest.fixture(scope="module")
def engine() -> DuckDbEngine:
    """One database for all examples."""
    return DuckDbEngine(threads=1)


@dataclass(frozen=True)
class World:
    """Feature tables by view, in partitions; the first view gives the rows."""

    views: tuple[FeatureView, ...]
    tables: tuple[Mapping[str, Sequence[Row]], ...]


def _asset(view: FeatureView) -> str:
    return f"p/{view.name}/features"


def _rows(view: FeatureView, chance: random.Random) -> dict[str, list[Row]]:
    """Rows on a grid so coarse that moments tie, with nulls; of moments every six hours, of events at any quarter of them."""
    cells: dict[tuple[Any, ...], Row] = {}
    for _ in range(chance.randrange(1, 40)):
        step = chance.randrange(0, 12)
        moment = START + timedelta(hours=6 * step) + timedelta(minutes=90 * chance.randrange(4) if view.kind == "row" else 0)
        who = (f"s{chance.randrange(2)}", f"d{chance.randrange(3)}")[: len(view.entity)]
        values = (
            chance.choice([None, chance.randrange(-9, 9)]),
            chance.choice([None, 0.1 * chance.randrange(-9, 9), float("nan")]),
        )
        cells[(*who, moment)] = dict(zip(view.schema.names, (*who, moment, *values), strict=True))
    parts: dict[str, list[Row]] = {}
    for key in sorted(cells):
        moment = key[-1]
        parts.setdefault(f"{moment:%Y-%m-%d}" if view.kind == "row" else f"{moment:%Y-%m-%d-%H:%M}", []).append(cells[key])
    return parts


@st.composite
def worlds(draw: st.DrawFn) -> World:
    chance = random.Random(draw(st.integers(0, 2**32)))
    views = (
        _first(draw(st.sampled_from(["row", "entity"]))),
        *(_beside(*one) for one in draw(st.lists(st.sampled_from(BESIDE), min_size=0, max_size=2, unique=True))),
    )
    return World(views, tuple(_rows(view, chance) for view in views))


def _publish(ledger: Ledger, view: FeatureView, parts: Mapping[str, Sequence[Row]], folder: Path) -> None:
    session = ledger.session(_asset(view), producer("features"))
    for key, rows in parts.items():
        pq.write_table(pa.Table.from_pylist(list(rows), view.schema), folder / "rows.parquet", store_schema=False)
        session.add_file(key, "part-00000.parquet", folder / "rows.parquet", rows=len(rows))
    session.commit(parameters={"view_hash": view.hash})


def _known(view: FeatureView, first: FeatureView, rows: Sequence[Row], at: Row) -> Row:
    """The rule in plain words, row by row: what the join must come to."""
    moment = at[first.time]
    mine = [row for row in rows if all(row[name] == at[name] for name in view.entity)]
    if view.kind == first.kind == "row" and next(iter(view.tables)) == next(iter(first.tables)):
        mine = [row for row in mine if row[view.time] == moment]
    elif view.kind == "entity":
        mine = [row for row in mine if row[view.time] <= moment]
    else:
        mine = [row for row in mine if row[view.time] < moment]
    newest = max(mine, key=lambda row: row[view.time], default={})
    return {name: newest.get(name) for name in view.features}


def _exact(rows: Sequence[Row]) -> list[str]:
    """Every digit of every value, in the columns' order; times apart from the class of their zone."""
    plain = [{n: v.isoformat() if isinstance(v, datetime) else v for n, v in row.items()} for row in rows]
    return [repr(row) for row in plain]


def _ledger(folder: Path) -> Ledger:
    return Ledger(LocalStore(folder / "lake"), load_or_create_signer(folder / "keys"), vault=LocalStore(folder / "vault"))


def _labelled(ledger: Ledger, world: World, folder: Path, engine: DuckDbEngine) -> list[Row]:
    """The training set of every row of the first view: its events lie at those moments, and one long after ends the data."""
    first = world.views[0]
    moments = [row for part in world.tables[0].values() for row in part]
    events = [{"site": r["site"], "device": r["device"], "ts": r[first.time], "n": 1, "x": None} for r in moments]
    session = ledger.session(LABELS, producer("restored"))
    last = {"site": "s9", "device": "d9", "ts": START + timedelta(days=9), "n": 1, "x": None}
    pq.write_table(pa.Table.from_pylist([*events, last], EVENTS), folder / "events.parquet")
    session.add_file("all", "part-00000.parquet", folder / "events.parquet", rows=len(events) + 1)
    session.commit()
    report = training_set(
        ledger,
        asset=TRAINING,
        features=[(view, _asset(view)) for view in world.views],
        label=LABEL[first.kind],
        inputs=LabelInputs({"events": LABELS}, folder),
        engine=engine,
    )
    assert not report.refused, report.refused
    with ledger.open(TRAINING).fetched(["all"]) as files:
        return [row for file in files["all"] for row in pq.read_table(file.path).to_pylist()]


@settings(
    max_examples=2 * int(os.environ.get("ORCHESTRAI_TEST_EXAMPLES", "4")),
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(world=worlds(), seed=st.integers(0, 2**32))
def test_features_at_a_moment_are_those_of_a_training_set_made_for_it(engine: DuckDbEngine, world: World, seed: int) -> None:
    chance = random.Random(seed)
    first, *others = world.views
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ledger = _ledger(folder)
        for view, parts in zip(world.views, world.tables, strict=True):
            # a correction: some partition was published with fewer rows before, and came late with all of them
            key = chance.choice(sorted(parts))
            _publish(ledger, view, {**parts, key: parts[key][: len(parts[key]) // 2]}, folder)
            _publish(ledger, view, {key: parts[key]}, folder)
        learned = _labelled(ledger, world, folder, engine)
        views = read_views(ledger.open(TRAINING).receipt("all").parameters["views"])
        assert views is not None and len(views) == len(world.views)
        known = PointInTime(ledger, engine)
        scored: list[Row] = []
        for key in world.tables[0]:
            found = known.rows(views, key)
            assert {ref.asset: ref.version for ref in found.inputs}.keys() <= {view.asset for view in views}
            scored += found.table.to_pylist()
        wanted = []
        for row in sorted(
            (row for part in world.tables[0].values() for row in part), key=lambda row: [row[name] for name in first.key]
        ):
            joined_row = {name: row[name] for name in first.entity} | {"event_time": row[first.time]}
            joined_row |= {name: row[name] for name in first.features}
            for view, parts in zip(others, world.tables[1:], strict=True):
                joined_row |= _known(view, first, [r for part in parts.values() for r in part], row)
            wanted.append(joined_row)
        ordered = sorted(scored, key=lambda row: [*(row[name] for name in first.entity), row["event_time"]])
        assert _exact(ordered) == _exact(wanted)
        assert _exact([{name: row[name] for name in row if name != "label"} for row in learned]) == _exact(wanted)


def _stored(folder: Path, view: FeatureView, rows: Sequence[Row]) -> ViewFiles:
    path = folder / f"{view.name}.parquet"
    pq.write_table(pa.Table.from_pylist(list(rows), view.schema), path)
    return ViewFiles(view, [path])


def _row(view: FeatureView, hours: float, n: int) -> Row:
    who = ("s0", "d0")[: len(view.entity)]
    return dict(zip(view.schema.names, (*who, START + timedelta(hours=hours), n, None), strict=True))


@pytest.mark.parametrize(
    ("first", "beside", "known"),
    [
        ("entity", ("entity", FINE, "events"), 2),
        ("entity", ("row", FINE, "events"), 1),
        ("row", ("entity", FINE, "events"), 2),
        ("row", ("row", FINE, "others"), 1),
        ("row", ("row", FINE, "events"), 2),
        ("row", ("row", COARSE, "events"), 2),
    ],
)
def test_what_ties_with_the_moment_counts_where_it_was_known_by_then(
    tmp_path: Path, first: str, beside: tuple[str, tuple[str, ...], str], known: int
) -> None:
    other = _beside(*beside)
    tables = [
        _stored(tmp_path, _first(first), [_row(_first(first), 12, 0)]),
        _stored(tmp_path, other, [_row(other, 6, 1), _row(other, 12, 2), _row(other, 18, 3)]),
    ]
    with joined(tables) as batches:
        (row,) = batches.read_all().to_pylist()
    assert row[f"{other.name}_n"] == known


def _learned(view: FeatureView, **changes: Any) -> LearnedView:
    fields = {
        "name": view.name, "asset": _asset(view), "hash": view.hash, "kind": view.kind, "time": view.time,
        "entity": view.entity, "first_table": view.first_table, "features": view.features,
    }  # fmt: skip
    return LearnedView(**{**fields, **changes})


def test_only_as_many_partitions_are_read_back_as_rows_need(ledger: Ledger, tmp_path: Path) -> None:
    first, other = _first("entity"), _beside("row", FINE, "others")
    days = {f"{START + timedelta(days=day):%Y-%m-%d}": [_row(other, 24 * day + 1, day)] for day in range(20)}
    _publish(ledger, other, days, tmp_path)
    _publish(ledger, first, {"2026-03-12-06:00": [_row(first, 24 * 10 + 6, 0)]}, tmp_path)
    views = [_learned(first), _learned(other)]
    found = PointInTime(ledger).rows(views)
    assert [row[f"{other.name}_n"] for row in found.table.to_pylist()] == [10]
    assert sorted(found.inputs[1].partitions) == ["2026-03-12"]
    # one that was never seen is looked for in all that went before, and in nothing that came after
    _publish(ledger, first, {"2026-03-12-06:00": [{**_row(first, 24 * 10 + 6, 0), "device": "new"}]}, tmp_path)
    found = PointInTime(ledger).rows(views)
    assert [row[f"{other.name}_n"] for row in found.table.to_pylist()] == [None]
    assert sorted(found.inputs[1].partitions) == sorted(days)[:11]


def test_a_view_without_anything_known_by_then_gives_nulls(ledger: Ledger, tmp_path: Path) -> None:
    first, other = _first("entity"), _beside("entity", COARSE, "others")
    _publish(ledger, first, {"2026-03-02-06:00": [_row(first, 6, 0)]}, tmp_path)
    _publish(ledger, other, {"2026-03-02-12:00": [_row(other, 12, 1)]}, tmp_path)
    found = PointInTime(ledger).rows([_learned(first), _learned(other)])
    assert [row[f"{other.name}_n"] for row in found.table.to_pylist()] == [None]
    assert [ref.asset for ref in found.inputs] == [_asset(first)]


def test_what_cannot_be_joined_is_refused_as_at_training(ledger: Ledger, tmp_path: Path) -> None:
    first, other = _first("entity"), _beside("entity", COARSE, "others")
    _publish(ledger, first, {"2026-03-02-06:00": [_row(first, 6, 0)]}, tmp_path)
    _publish(ledger, other, {"2026-03-02-00:00": [_row(other, 0, 1)]}, tmp_path)
    known = PointInTime(ledger)
    with pytest.raises(FeatureViewError, match="entity among site, device"):
        known.rows([_learned(first), _learned(other, entity=("street",))])
    for taken in (first.features[0], "event_time", "device"):
        with pytest.raises(FeatureViewError, match="feature name of its own"):
            known.rows([_learned(first), _learned(other, features=(taken,))])
    with pytest.raises(FeatureViewError, match="expected the columns gone"):
        known.rows([_learned(first), _learned(other, features=("gone",))])
    with pytest.raises(NotReceipted, match="another definition"):
        known.rows([_learned(first), _learned(other, hash="0" * 64)])
