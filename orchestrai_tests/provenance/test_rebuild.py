"""Losing the lake loses no lineage, and what a snapshot holds comes back byte for byte."""

from pathlib import Path

import pytest

from orchestrai.errors import IntegrityError
from orchestrai.ledger.ledger import Ledger
from orchestrai.provenance.index import ReceiptIndex
from orchestrai.provenance.recall.rebuild import rebuild, recover_bytes
from orchestrai.provenance.recall.recall import apply_recall, plan_recall
from orchestrai.provenance.trace import trace
from orchestrai.provenance.verify.audit import audit
from orchestrai.storage.memory import MemoryStore
from orchestrai_tests.copies import copies
from orchestrai_tests.provenance.builder import MODEL, ORDERS, VIEW, World


def records(store: MemoryStore) -> dict[str, bytes]:
    return {
        i.key: store.read(i.key)
        for i in store.list()
        if i.key.split("/")[0] in ("heads", "receipts", "manifests", "recalls")
    }


def lost(world: World) -> Ledger:
    """The same world with an empty lake."""
    return Ledger(MemoryStore(), world.signer, vault=world.store, clock=world.ledger.clock, new_id=world.ledger.new_id)


def test_an_empty_lake_gets_every_record_back(world: World) -> None:
    world.whole()
    before = trace(world.ledger, f"{MODEL}/champion")
    ledger = lost(world)
    report = rebuild(ledger)
    assert records(ledger.lake) == records(world.lake)
    assert trace(ledger, f"{MODEL}/champion") == before
    assert report.heads == report.copied["heads"] > 0


def test_rebuilding_twice_copies_nothing_more(world: World) -> None:
    world.whole()
    ledger = lost(world)
    rebuild(ledger)
    assert set(rebuild(ledger).copied.values()) == {0}


def test_a_single_lost_record_is_put_back(world: World) -> None:
    world.whole()
    victim = next(info.key for info in world.lake.list("receipts/"))
    world.lake.delete(victim)
    copied = rebuild(world.ledger).copied
    assert {kind: count for kind, count in copied.items() if count} == {"receipts": 1}


def test_a_damaged_vault_record_is_refused_and_no_head_is_written(world: World) -> None:
    world.whole()
    victim = next(info.key for info in world.store.list("receipts/"))
    world.store.write(victim, world.store.read(victim)[:-1])
    ledger = lost(world)
    with pytest.raises(IntegrityError):
        rebuild(ledger)
    assert list(ledger.lake.list("heads/")) == []


def test_bytes_come_back_under_their_own_keys_and_the_rest_is_dropped(world: World, tmp_path: Path) -> None:
    world.whole()
    ledger = lost(world)
    rebuild(ledger)
    found = recover_bytes(ledger, world.vault)
    assert found.files == 12
    for stage in ("raw_events", "restored"):
        dataset = ledger.open(f"{ORDERS}/{stage}")
        assert dataset.version == world.ledger.open(f"{ORDERS}/{stage}").version
        for day in dataset.partitions:
            copies(dataset, day, tmp_path / stage / day, role=None)
    assert sorted(found.dropped) == sorted(
        [VIEW, *(f"{MODEL}/{s}" for s in ("training_set", "candidate", "evaluation", "champion"))]
    )
    assert recover_bytes(ledger, world.vault).files == 0


def test_what_was_dropped_is_computed_again_to_the_same_version(world: World) -> None:
    days = ("2026-01-01", "2026-01-02")
    world.whole(days)
    before = world.ledger.open(f"{MODEL}/champion").version
    world.ledger = lost(world)
    rebuild(world.ledger)
    recover_bytes(world.ledger, world.vault)
    world.features(days)
    world.train()
    assert world.ledger.open(f"{MODEL}/champion").version == before


def test_an_audit_of_a_sound_lake_and_vault_finds_nothing(world: World) -> None:
    world.whole()
    found = audit(world.lake, world.keyring, witness=world.store)
    assert found.ok
    assert {check.name: check.passed for check in found.checks}["witness"]


def test_an_audit_finds_a_head_removed_from_one_of_the_two(world: World) -> None:
    world.whole()
    world.lake.delete(f"heads/{MODEL}/champion/000000000001.json")
    found = audit(world.lake, world.keyring, witness=world.store)
    assert [problem.check for problem in found.problems] == ["witness"]


def test_an_audit_finds_a_recall_removed_from_the_lake(world: World) -> None:
    world.whole()
    plan = plan_recall(world.ledger, ReceiptIndex.build(world.lake, world.keyring), f"{ORDERS}/raw_events@2026-01-01")
    apply_recall(world.ledger, plan, lambda *_: None)  # type: ignore[arg-type, return-value]
    for info in list(world.lake.list("recalls/")):
        world.lake.delete(info.key)
    found = audit(world.lake, world.keyring, witness=world.store)
    assert any(problem.check == "witness" and problem.where.startswith("recalls/") for problem in found.problems)


@pytest.mark.parametrize("prefix", ["heads/", "receipts/", "manifests/"])
def test_an_audit_finds_every_flipped_byte(world: World, prefix: str) -> None:
    world.whole(("2026-01-01",))
    for info in list(world.lake.list(prefix)):
        data = world.lake.read(info.key)
        place = len(data) // 3
        world.lake.write(info.key, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert not audit(world.lake, world.keyring).ok, info.key
        world.lake.write(info.key, data)


@pytest.mark.parametrize("prefix", ["receipts/", "manifests/"])
def test_an_audit_reads_the_witness_too(world: World, prefix: str) -> None:
    world.whole(("2026-01-01",))
    for info in list(world.store.list(prefix))[:3]:
        data = world.store.read(info.key)
        world.store.write(info.key, data[:-1] + bytes([data[-1] ^ 1]))
        found = audit(world.lake, world.keyring, witness=world.store)
        assert [problem for problem in found.problems if problem.where.startswith("vault: ")], info.key
        assert audit(world.lake, world.keyring).ok
        world.store.write(info.key, data)
