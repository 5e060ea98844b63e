"""Whoever dies or loses a race while it commits to a table leaves one that the next run brings to the same state."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import ConcurrentCommit, OrchestraiError
from orchestrai.ledger.decisions.recalls import RECALLS, RecallRecord
from orchestrai.storage.base import ObjectInfo, Store
from orchestrai.storage.local import LocalStore
from orchestrai.warehouse.tables.follow import follow
from orchestrai.warehouse.tables.iceberg import store_io
from orchestrai_tests.storage.faults import Died, FaultStore
from orchestrai_tests.warehouse.tables.conftest import ASSET, FORMS, World, some


@dataclass
class ChangesFail(FaultStore):
    """Writes and deletes fail, one at a time; what only looks is not counted. pyiceberg does both from several threads."""

    one: Any = field(default_factory=threading.RLock)

    def write(self, key: str, data: bytes | Iterable[bytes], *, create: bool = False) -> ObjectInfo:
        with self.one:
            return super().write(key, data, create=create)

    def delete(self, key: str, *, version: str | None = None) -> None:
        with self.one:
            super().delete(key, version=version)

    def head(self, key: str, *, version: str | None = None) -> ObjectInfo:
        return self._alive().head(key, version=version)

    def read(self, key: str, **more: Any) -> bytes:
        return self._alive().read(key, **more)

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        return self._alive().list(prefix, start_after=start_after)

    def _alive(self) -> Store:
        if self.dead:
            raise Died
        return self.base


def dying(world: World, patch: pytest.MonkeyPatch, n: int, mode: str) -> FaultStore:
    """The lake, as a table sees it, with a fault."""
    store = ChangesFail(LocalStore(world.folder / "lake"), n, mode)  # type: ignore[arg-type]
    world.lake = store
    patch.setattr(store_io, "open_store", lambda address: store)
    return store


def prepared(folder: Path, form: str) -> tuple[World, list[str], Callable[[World], None]]:
    """A table with two versions, and then a recall, a changed partition and a new one; all but the newest two go."""
    world = World(folder, form, LocalStore(folder / "lake"))
    versions = [world.publish({"a": some(1, 2), "b": some(3)})]
    world.follow()
    versions.append(world.publish({"c": some(4)}))
    world.follow()
    bad = world.ledger.open(ASSET).partitions["c"]
    record = RecallRecord("landing/c", "wrong", world.now.isoformat(), {}, ((ASSET, "c", bad.root),))
    RECALLS.put((world.lake,), world.ledger.signer, record)
    versions.append(world.publish({"b": some(5, 6), "d": some(7)}))

    def run(one: World) -> None:
        one.follow(lambda published: {*sorted(published)[-2:]})

    return world, versions, run


@pytest.mark.parametrize("form", FORMS)
def test_a_run_that_dies_anywhere_is_finished_by_the_next(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, versions, run = prepared(tmp_path / "whole", form)
    store = dying(world, monkeypatch, 0, "before")
    run(world)
    monkeypatch.undo()
    changes = range(1, store.count + 1)
    # the recalled version went, with those before it where the log can only be trimmed
    whole = world.versions()
    assert whole == [versions[2]] and [row["id"] for row in world.read(versions[2])] == [1, 2, 5, 6, 7]
    assert len(changes) >= (3 if form == "delta" else 6)
    for number in changes:
        for mode in ("before", "after"):
            world, _, run = prepared(tmp_path / f"{number}-{mode}", form)
            dying(world, monkeypatch, number, mode)
            with pytest.raises(Died):
                run(world)
            monkeypatch.undo()
            world.lake = LocalStore(world.folder / "lake")
            run(world)
            assert world.versions() == whole, (number, mode)
            assert [row["id"] for row in world.read(versions[2])] == [1, 2, 5, 6, 7], (number, mode)
            assert world.follow().committed == 0


@pytest.mark.parametrize("form", FORMS)
def test_a_first_run_that_dies_anywhere_is_finished_by_the_next(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = count = 0
    while number <= count:
        world = World(tmp_path / str(number), form, LocalStore(tmp_path / str(number) / "lake"))
        version = world.publish({"a": some(1, 2)})
        store = dying(world, monkeypatch, number, "after")
        if number:
            with pytest.raises(Died):
                world.follow()
        else:
            world.follow()
            count = store.count
        monkeypatch.undo()
        world.lake = LocalStore(world.folder / "lake")
        world.follow()
        assert world.versions() == [version] and world.read(version) == world.rows_of(version), number
        number += 1
    assert count >= (1 if form == "delta" else 3)


def test_who_loses_to_another_writer_goes_on_after_it(world: World) -> None:
    first = world.publish({"a": some(1, 2)})
    world.follow()
    second = world.publish({"b": some(3)})
    table = world.table()
    commit = table.commit
    seen: list[int] = []

    def late(change: object) -> int:
        if not seen:
            seen.append(world.follow().committed)
        return commit(change)  # type: ignore[arg-type]

    table.commit = late  # type: ignore[method-assign]
    done = follow(world.ledger, ASSET, table, set)
    table.close()
    assert (seen, done.committed, done.version.version) == ([1], 0, second)
    assert world.versions() == [first, second]


def test_who_always_loses_says_so(world: World) -> None:
    world.publish({"a": some(1)})
    table = world.table()

    def lost(change: object) -> int:
        raise ConcurrentCommit("expected to win, found another: run it again")

    table.commit = lost  # type: ignore[method-assign]
    with pytest.raises(ConcurrentCommit, match="run it again"):
        follow(world.ledger, ASSET, table, set)
    table.close()


def test_many_writers_at_once_make_each_version_once(world: World) -> None:
    versions = [world.publish({"a": some(1)})]
    world.follow()
    versions += [world.publish({f"k{number}": some(number, number + 1), "a": some(number + 9)}) for number in range(4)]
    errors: list[OrchestraiError] = []

    def run() -> None:
        try:
            world.follow()
        except OrchestraiError as exc:
            errors.append(exc)

    writers = [threading.Thread(target=run) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert errors == []
    assert world.versions() == versions
    for version in versions:
        assert world.read(version) == world.rows_of(version)


def test_two_that_begin_a_table_at_once_make_one(world: World) -> None:
    version = world.publish({"a": some(1, 2)})
    errors: list[OrchestraiError] = []
    gate = threading.Barrier(3)

    def run() -> None:
        gate.wait()
        try:
            world.follow()
        except OrchestraiError as exc:
            errors.append(exc)

    writers = [threading.Thread(target=run) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert errors == []
    assert world.versions() == [version] and world.read(version) == world.rows_of(version)


def test_metadata_of_an_expired_snapshot_is_deleted_and_no_other(tmp_path: Path) -> None:
    world = World(tmp_path, "iceberg", LocalStore(tmp_path / "lake"))
    for number in range(4):
        world.publish({"a": some(number)})
        world.follow()
    metadata = tmp_path / "lake" / "tables" / "p" / "readings" / "metadata"
    before = {path.name for path in metadata.glob("*.avro")}
    world.follow(lambda published: {max(published)})
    after = {path.name for path in metadata.glob("*.avro")}
    assert after < before and len([name for name in after if name.startswith("snap-")]) == 1
    assert [row["id"] for row in world.read(world.versions()[0])] == [3]
