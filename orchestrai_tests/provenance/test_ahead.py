"""Records in a cloud are read ahead of what is checked next, and found the same."""

import threading
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import ObjectNotFound
from orchestrai.provenance.index import ReceiptIndex
from orchestrai.provenance.recall.recall import recall
from orchestrai.provenance.verify.audit import audit
from orchestrai.provenance.verify.findings import Verification
from orchestrai.provenance.verify.model_proof import verify_model
from orchestrai.provenance.verify.read_ahead import WINDOW, ReadAhead
from orchestrai.storage.memory import MemoryStore
from orchestrai.storage.retry import RetryingStore
from orchestrai_tests.provenance.builder import World, written

DAYS = [f"2026-01-{day:02d}" for day in range(1, 13)]


class Distant(MemoryStore):
    """A store that answers only once several reads are under way, or none other comes for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.most = 0
        self._under_way = 0
        self._changed = threading.Condition()

    def read(self, key: str, **how: Any) -> bytes:
        with self._changed:
            self.asked.append(key)
            self._under_way += 1
            self.most = max(self.most, self._under_way)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._under_way > 2, timeout=0.01)
        try:
            return super().read(key, **how)
        finally:
            with self._changed:
                self._under_way -= 1


def far(world: World) -> Distant:
    store = Distant()
    for info in world.store.list():
        store.write(info.key, world.store.read(info.key))
    return store


def facts(found: Verification) -> dict[str, Any]:
    return {name: value for name, value in found.as_json().items() if name != "seconds"}


@pytest.fixture
def model(world: World, tmp_path: Path) -> Path:
    return written(tmp_path, world.whole(DAYS))


def test_a_model_is_verified_in_a_cloud_as_on_a_disk_with_several_reads_at_once_and_none_twice(
    world: World, model: Path
) -> None:
    store = far(world)
    found = verify_model(model, vault=RetryingStore(store), keyring=world.keyring)
    assert found.ok and facts(found) == facts(verify_model(model, vault=world.store, keyring=world.keyring))
    assert store.most > 2
    records = [key for key in store.asked if key.startswith(("heads/", "receipts/"))]
    assert len(records) == len(set(records))


@pytest.mark.parametrize("prefix", ["heads/", "receipts/", "manifests/", "vault/snapshots/"])
def test_what_is_changed_or_gone_in_a_cloud_is_told_as_on_a_disk(world: World, model: Path, prefix: str) -> None:
    keys = [info.key for info in world.store.list(prefix)]
    assert keys
    for key, data in ((keys[0], b"{}"), (keys[-1], None)):
        kept = world.store.read(key)
        if data is None:
            world.store.delete(key)
        else:
            world.store.write(key, data)
        near = verify_model(model, vault=world.store, keyring=world.keyring)
        assert not near.ok
        assert facts(verify_model(model, vault=RetryingStore(far(world)), keyring=world.keyring)) == facts(near)
        world.store.write(key, kept)


def test_no_more_than_a_window_is_read_ahead_and_what_is_missing_is_raised_when_asked_for() -> None:
    store = Distant()
    keys = [f"k{number:04d}" for number in range(3 * WINDOW)]
    for key in keys[1:]:
        store.write(key, key.encode())
    ahead = ReadAhead(store)
    ahead.plan(keys)
    with pytest.raises(ObjectNotFound):
        ahead.read(keys[0])
    assert len(store.asked) <= WINDOW + 1
    assert [ahead.read(key) for key in keys[1:]] == [key.encode() for key in keys[1:]]
    assert sorted(store.asked) == keys
    assert ahead.read("k0005") == b"k0005"


def test_index_and_audit_of_a_cloud_are_those_of_a_disk(world: World, model: Path) -> None:
    store = far(world)
    near, distant = (ReceiptIndex.build(s, world.keyring) for s in (world.store, RetryingStore(store)))
    assert store.most > 2
    target = "churn/orders/raw_events@2026-01-03"
    assert recall(near, target) == recall(distant, target)
    checked = [audit(s, world.keyring) for s in (world.store, RetryingStore(store))]
    assert checked[0].checks == checked[1].checks and checked[0].ok
