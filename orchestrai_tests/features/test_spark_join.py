"""The join of training sets on Spark: the rows of the join in one process, in its order and types, whatever the views are."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrai.errors import FeatureViewError
from orchestrai.features.engines.spark_engine import SparkEngine
from orchestrai.features.engines.spark_join import joined_on_spark
from orchestrai.features.point_in_time_join import LABEL, Clocked, LabelFiles, ViewFiles, joined

TIME = pa.timestamp("us", tz="UTC")
START = datetime(2026, 3, 2, tzinfo=UTC)
FINE, COARSE = ("site", "device"), ("site",)
TRIALS = 4


@dataclass(frozen=True)
class View:
    """What the join must know of a view."""

    name: str
    kind: str
    entity: tuple[str, ...]
    first_table: str
    features: tuple[str, ...]
    time: str = "at"


def view(name: str, kind: str, entity: tuple[str, ...], table: str) -> View:
    return View(name, kind, entity, table, (f"{name} n", f"{name}.x", f"{name}_word"))


def rows_of(rng: random.Random, one: Clocked, count: int) -> pa.Table:
    """Rows of a view: few entities, few moments, so that many meet; each key once; nulls among values and in keys beside the first."""
    keys: dict[tuple[Any, ...], None] = {}
    for _ in range(count):
        at = START + timedelta(minutes=rng.randrange(40))
        entity = [rng.choice(["a", "b", "ä", None if one.name != "first" else "c"]) for _ in one.entity]
        keys.setdefault((*entity, at))
    drawn = sorted(keys, key=str)
    columns: dict[str, Any] = {
        name: pa.array([key[place] for key in drawn], pa.string()) for place, name in enumerate(one.entity)
    }
    columns[one.time] = pa.array([key[-1] for key in drawn], TIME)
    numbers, floats, words = one.features
    columns[numbers] = pa.array([rng.choice([None, rng.randrange(100)]) for _ in drawn], pa.int64())
    columns[floats] = pa.array([rng.choice([None, -0.0, rng.random(), 1e300]) for _ in drawn], pa.float64())
    columns[words] = pa.array([rng.choice([None, "x", "ß", ""]) for _ in drawn], pa.string())
    return pa.table(columns)


def files_of(folder: Path, one: Clocked, table: pa.Table) -> ViewFiles:
    """In two files, as partitions have them."""
    middle, paths = table.num_rows // 2, []
    for number, part in enumerate((table.slice(0, middle), table.slice(middle))):
        paths.append(folder / f"{one.name}-{number}.parquet")
        pq.write_table(part, paths[-1])
    return ViewFiles(one, paths)


def labels_of(folder: Path, rng: random.Random, first: Clocked, table: pa.Table) -> LabelFiles:
    """Labels of most rows."""
    some = table.filter(pa.array([rng.random() < 0.8 for _ in range(table.num_rows)]))
    named = some.select([*first.entity, first.time]).append_column(
        LABEL, pa.array([rng.randrange(2) for _ in range(some.num_rows)])
    )
    pq.write_table(named, folder / "labels.parquet")
    return LabelFiles(first.entity, first.time, [folder / "labels.parquet"])


def same(one: pa.Table, other: pa.Table) -> bool:
    """Equal to the bit, -0.0 and 0.0 told apart."""
    return one.column_names == other.column_names and repr(one.to_pylist()) == repr(other.cast(one.schema).to_pylist())


@pytest.mark.spark
def test_rows_are_those_of_one_process_for_views_of_every_kind(spark_session: Any, tmp_path: Path) -> None:
    engine, compared = SparkEngine(lambda: spark_session), 0
    for seed in range(TRIALS):
        rng, folder = random.Random(seed), tmp_path / str(seed)
        folder.mkdir()
        first = view("first", rng.choice(["row", "entity"]), FINE, "events")
        views: Sequence[View] = [
            first,
            view("moments", "entity", rng.choice([FINE, COARSE]), "events"),
            view("events", "row", FINE, "events"),
            view("others", "row", rng.choice([FINE, COARSE]), "others"),
        ]
        tables = {one.name: rows_of(rng, one, 60) for one in views}
        files = [files_of(folder, one, tables[one.name]) for one in views]
        labels = labels_of(folder, rng, first, tables["first"])
        back = [0, 1, 2, 3] if seed % 2 else None
        with joined(files, labels, back=back) as batches:
            here = batches.read_all()
        with joined_on_spark(engine, files, labels, back) as batches:
            there = batches.read_all()
        assert same(here, there), f"seed {seed}"
        compared += here.num_rows
    assert compared > 120


@pytest.mark.spark
def test_a_column_that_files_lack_is_told_as_by_one_process(spark_session: Any, tmp_path: Path) -> None:
    rng = random.Random(1)
    first = view("first", "row", FINE, "events")
    table = rows_of(rng, first, 20)
    files, labels = files_of(tmp_path, first, table), labels_of(tmp_path, rng, first, table)
    lacking = ViewFiles(View("other", "row", FINE, "others", ("nothing",)), files.files)
    told = []
    for join in (
        lambda: joined([files, lacking], labels),
        lambda: joined_on_spark(SparkEngine(lambda: spark_session), [files, lacking], labels),
    ):
        with pytest.raises(FeatureViewError, match="expected the columns nothing") as caught, join():
            pass
        told.append(caught.value.message)
    assert told[0] == told[1]
