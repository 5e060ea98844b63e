"""An outside process swaps and edits the lake's files whenever they are opened, and puts them back: no result comes of other bytes.

ORCHESTRAI_TEST_TRIALS=1000 runs that many trials; without it some dozens run.
"""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrai.core.code_identity import Producer
from orchestrai.errors import DigestMismatch, MissingObject
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.run import FeatureTask, compute
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.view import FeatureView, load_view
from orchestrai.ledger.dataset import Dataset, VerifiedFile
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import FileEntry
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.stage.context import RunContext
from orchestrai.storage.disk.sealed import SealedFiles
from orchestrai.storage.local import LocalStore
from orchestrai_tests.features.attacker import Target, attacked

TRIALS = int(os.environ.get("ORCHESTRAI_TEST_TRIALS", "0"))
RESTORED, DAYS = "p/readings/restored", [f"2026-01-0{number}" for number in range(1, 4)]
SCHEMA = pa.schema([("device_id", pa.string()), ("ts", pa.timestamp("us", tz="UTC")), ("value", pa.int64())])
SQL = "SELECT device_id, ts, value, value + 1 AS more FROM readings"


def rows_of(day: str, factor: int) -> pa.Table:
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    times = [start + timedelta(minutes=number) for number in range(600)]
    return pa.table(
        {"device_id": [f"d{n % 7}" for n in range(600)], "ts": times, "value": [n * factor for n in range(600)]}, SCHEMA
    )


class World:
    """Three restored days in a lake on disk, with altered files of the same size beside it."""

    def __init__(self, folder: Path, memory: int) -> None:
        signer = load_or_create_signer(folder / "keys")
        self.folder, self.altered = folder, folder / "altered"
        self.ledger = Ledger(LocalStore(folder / "lake"), signer, sealed=SealedFiles(memory))
        self.altered.mkdir()
        session = self.ledger.session(RESTORED, Producer("restored", "orchestrai.restore.run"))
        for day in DAYS:
            for name, factor in (("clean", 1), ("altered", 3)):
                pq.write_table(rows_of(day, factor), folder / f"{name}.parquet", compression="none", use_dictionary=False)
            entry = session.add_file(day, "part-00000.parquet", folder / "clean.parquet", rows=600)
            (folder / "altered.parquet").rename(self.altered / entry.key.replace("/", "+"))
            assert (self.altered / entry.key.replace("/", "+")).stat().st_size == entry.size
        session.commit()
        self.engine = DuckDbEngine(threads=1)
        spec = {"name": "totals", "from": "readings", "entity": "device_id", "event_time": "ts", "sql": SQL}
        self.view: FeatureView = load_view(FeatureViewSpec.model_validate(spec), folder, {"readings": SCHEMA})
        self.number = 0

    def features(self) -> dict[str, str]:
        """The roots of the features, computed anew as an asset of its own."""
        self.number += 1
        task = FeatureTask(f"p/totals{self.number}/features", {"readings": RESTORED}, "day", None)
        compute(RunContext(self.ledger), self.view, task, self.engine)
        return self.ledger.open(task.asset).roots()

    def table(self) -> Any:
        """What Arrow reads, as training does."""
        with self.ledger.open(RESTORED).fetched(DAYS) as files:
            return pa.concat_tables([pq.read_table(file.path) for day in DAYS for file in files[day]])

    def total(self) -> Any:
        """What DuckDB reads."""
        with self.ledger.open(RESTORED).fetched(DAYS) as files, self.engine.connect() as workspace:
            paths = workspace.paths([file.path for day in DAYS for file in files[day]])
            return workspace.connection.execute(f"SELECT sum(value) FROM read_parquet({paths})").fetchall()


@pytest.fixture(params=[256 * 1024 * 1024, 0], ids=["memory", "disk"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(tmp_path, request.param)


def _swap(world: World, entry: FileEntry) -> None:
    path = world.ledger.lake.local_path(entry.key)
    assert path is not None
    altered = world.altered / entry.key.replace("/", "+")
    copy = world.folder / "swap"
    copy.write_bytes(altered.read_bytes())
    os.replace(copy, path)


def _edit(world: World, entry: FileEntry) -> None:
    path = world.ledger.lake.local_path(entry.key)
    assert path is not None
    with path.open("r+b") as file:
        file.write((world.altered / entry.key.replace("/", "+")).read_bytes())


@pytest.mark.parametrize("tamper", [_swap, _edit])
@pytest.mark.parametrize("door", [World.features, World.table, World.total])
def test_what_is_altered_after_it_was_hashed_reaches_no_reader(
    world: World, tamper: Callable[[World, FileEntry], None], door: Callable[[World], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = door(world)
    verified = Dataset._verified

    @contextmanager
    def tampered(dataset: Dataset, entry: FileEntry) -> Iterator[VerifiedFile]:
        with verified(dataset, entry) as file:
            tamper(world, entry)
            yield file

    monkeypatch.setattr(Dataset, "_verified", tampered)
    assert door(world) == clean
    with pytest.raises(DigestMismatch):
        door(world)


def test_a_reader_that_opened_the_lakes_own_file_would_be_deceived(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clean, verified = world.table(), Dataset._verified

    @contextmanager
    def in_place(dataset: Dataset, entry: FileEntry) -> Iterator[VerifiedFile]:
        with verified(dataset, entry) as file:
            path = dataset.ledger.lake.local_path(entry.key)
            assert path is not None
        _edit(world, entry)
        yield replace(file, path=path)

    monkeypatch.setattr(Dataset, "_verified", in_place)
    assert world.table() != clean


@pytest.mark.parametrize("trials", [24, pytest.param(TRIALS, marks=pytest.mark.thorough("some dozens of the same trials"))])
def test_a_process_that_alters_files_at_every_open_has_nothing_published(tmp_path: Path, trials: int) -> None:
    worlds = [World(_made(tmp_path / name), memory) for name, memory in (("memory", 2**28), ("disk", 0))]
    clean = {(number, door): door(world) for number, world in enumerate(worlds) for door in (World.features, World.table)}
    assert clean[0, World.features] == clean[1, World.features]
    chance, refused, attacks = random.Random(13), 0, 0
    for number, world in enumerate(worlds):
        with attacked(_made(world.folder / "attack"), targets(world), number) as log:
            for trial in range(trials * 20):
                # on a busy machine the attacker is late: as long as it takes until it was there often enough
                if trial >= trials // 2 and len(log.read_text().splitlines()) > trials // 8:
                    break
                door = chance.choice([World.features, World.table])
                try:
                    assert door(world) == clean[number, door]
                except (DigestMismatch, MissingObject):
                    refused += 1
        attacks += len(log.read_text().splitlines())
        assert world.features() == clean[number, World.features]
    assert attacks > trials // 4, "the attacker slept"
    # refused or equal to the clean result: nothing else came of it
    assert refused <= trials * 40


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def targets(world: World) -> list[Target]:
    """The restored files, each with the same rows of other values."""
    listed = []
    for day in DAYS:
        (entry,) = world.ledger.open(RESTORED).files(day).files
        path = world.ledger.lake.local_path(entry.key)
        assert path is not None
        listed.append(Target(path, path.read_bytes(), (world.altered / entry.key.replace("/", "+")).read_bytes()))
    return listed
