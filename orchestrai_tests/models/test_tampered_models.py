"""An outside process swaps a model's files, its training set and features whenever they are opened, and puts them back.

What is trained, predicted and served comes of the clean bytes, or of none. ORCHESTRAI_TEST_TRIALS=1000 runs that many trials.
"""

import os
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from orchestrai.errors import DigestMismatch, MissingObject, ModelError
from orchestrai.features.views.moment_partitions import PointInTime
from orchestrai.ledger.dataset import Dataset, VerifiedFile
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import FileEntry
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.models.inference import predict
from orchestrai.models.registry.serving import ServingModel
from orchestrai.models.registry.target_port import open_champion
from orchestrai.models.training import train
from orchestrai.storage.disk.sealed import SealedFiles
from orchestrai.storage.local import LocalStore
from orchestrai_tests.features.attacker import Target, attacked
from orchestrai_tests.models.conftest import CHAMPION, TRAINING_SET, customers, parquet, publish, spec

TRIALS = int(os.environ.get("ORCHESTRAI_TEST_TRIALS", "0"))
FEATURES = "churn/customer_rfm/features"
MODEL = spec(estimator={"xgboost": {"num_boost_round": 5, "max_depth": 2}})
SEEN = customers(seed=3, per_moment=60, moments=1).drop_columns(["label"])
HASHED = "to be [0-9]+ bytes of sha256|found nothing: restore the dataset again"


class World:
    """A champion, its training set and features in a lake on disk, with others of the same form to put in their places."""

    def __init__(self, folder: Path, memory: int = 2**28) -> None:
        self.folder, self.number = folder, 0
        (folder / "attack").mkdir(parents=True)
        signer = load_or_create_signer(folder / "keys")
        self.ledger = Ledger(LocalStore(folder / "lake"), signer, sealed=SealedFiles(memory))
        table = customers(per_moment=60)
        label = table.column_names.index("label")
        other = table.set_column(label, "label", pc.subtract(pa.scalar(1), table.column("label")))
        for asset, rows in ((f"{TRAINING_SET}/other", other), (TRAINING_SET, table)):
            publish(self.ledger, asset, rows)
        publish(self.ledger, FEATURES, SEEN, "2026-07-01")
        train(self.ledger, MODEL, training_set=TRAINING_SET, asset=CHAMPION)
        train(self.ledger, MODEL, training_set=f"{TRAINING_SET}/other", asset=f"{CHAMPION}/other")
        poorer = SEEN.set_column(
            SEEN.column_names.index("recency_days"), "recency_days", pc.subtract(89.0, SEEN.column("recency_days"))
        )
        self.others = {
            **self._files(TRAINING_SET, "all", {"part-0.parquet": parquet(other)}),
            **self._files(FEATURES, "2026-07-01", {"part-0.parquet": parquet(poorer)}),
            **self._files(CHAMPION, "all", self._contents(f"{CHAMPION}/other", "all")),
        }

    def path(self, entry: FileEntry) -> Path:
        """Where a recorded file lies."""
        path = self.ledger.lake.local_path(entry.key)
        assert path is not None
        return path

    def _contents(self, asset: str, partition: str) -> dict[str, bytes]:
        return {entry.path: self.path(entry).read_bytes() for entry in self.ledger.open(asset).files(partition).files}

    def _files(self, asset: str, partition: str, others: dict[str, bytes]) -> dict[Path, bytes]:
        """What to put in the place of each file of an asset."""
        return {self.path(entry): others[entry.path] for entry in self.ledger.open(asset).files(partition).files}

    def targets(self) -> list[Target]:
        """Every file that a model is made of."""
        return [Target(path, path.read_bytes(), other) for path, other in self.others.items()]

    def _next(self, stage: str) -> str:
        self.number += 1
        return f"churn/again{self.number}/{stage}"

    def trained(self) -> Any:
        """The root of a candidate, trained anew as an asset of its own."""
        asset = self._next("candidate")
        train(self.ledger, MODEL, training_set=TRAINING_SET, asset=asset)
        return self.ledger.open(asset).roots()

    def predicted(self) -> Any:
        """The root of predictions, made anew as an asset of their own."""
        asset, known = self._next("predictions"), PointInTime(self.ledger)
        predict(self.ledger, MODEL, champion=CHAMPION, features=[FEATURES], known=known, asset=asset)
        return self.ledger.open(asset).roots()

    def served(self) -> Any:
        """The scores of an endpoint that starts now."""
        return ServingModel(self.ledger, CHAMPION).current().score(SEEN).tolist()

    def registered(self) -> Any:
        """The files that a registry would be handed."""
        return dict(open_champion(self.ledger, CHAMPION).files)


DOORS = (World.trained, World.predicted, World.served, World.registered)
Door = Callable[[World], Any]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("tampered"))


def _tampered(world: World, patch: pytest.MonkeyPatch, *, sealed: bool) -> None:
    """Whatever was hashed is altered before it is read; readers without a sealed copy are handed the lake's own file."""
    verified = Dataset._verified

    @contextmanager
    def altered(dataset: Dataset, entry: FileEntry) -> Iterator[VerifiedFile]:
        path = world.path(entry)
        clean = path.read_bytes()
        with verified(dataset, entry) as file:
            path.write_bytes(world.others.get(path, clean))
            try:
                yield file if sealed else replace(file, path=path)
            finally:
                path.write_bytes(clean)

    patch.setattr(Dataset, "_verified", altered)


@pytest.mark.parametrize("door", DOORS)
def test_what_is_altered_after_it_was_hashed_reaches_no_model(
    world: World, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = door(world)
    _tampered(world, monkeypatch, sealed=True)
    assert door(world) == clean


@pytest.mark.parametrize("door", DOORS)
def test_a_model_read_from_the_lakes_own_files_would_be_another(
    world: World, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = door(world)
    _tampered(world, monkeypatch, sealed=False)
    assert door(world) != clean


@pytest.mark.parametrize("trials", [24, pytest.param(TRIALS, marks=pytest.mark.thorough("some dozens of the same trials"))])
def test_a_process_that_alters_files_at_every_open_has_no_model_and_no_prediction(tmp_path: Path, trials: int) -> None:
    worlds = [World(tmp_path / name, memory) for name, memory in (("memory", 2**28), ("disk", 0))]
    chance, attacks = random.Random(13), 0
    for number, world in enumerate(worlds):
        clean = {door: door(world) for door in DOORS}
        with attacked(world.folder / "attack", world.targets(), number) as log:
            for trial in range(trials * 20):
                # on a busy machine the attacker is late: as long as it takes until it was there often enough
                if trial >= trials // 2 and len(log.read_text().splitlines()) > trials // 8:
                    break
                door = chance.choice(DOORS)
                try:
                    assert door(world) == clean[door]
                except (DigestMismatch, MissingObject):
                    pass
                except ModelError as refusal:
                    # the endpoint says so in its own words; a model that was parsed and found odd would be another message
                    assert door is World.served and re.search(HASHED, refusal.message), refusal.message
        attacks += len(log.read_text().splitlines())
        assert {door: door(world) for door in DOORS} == clean
    assert attacks > trials // 4, "the attacker slept"
