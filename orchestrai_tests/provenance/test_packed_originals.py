"""Originals that lie compressed in the lake: all that is done with originals is done with them, to the same versions."""

from pathlib import Path

import pytest

from orchestrai.errors import DigestMismatch, UnknownFormatVersion
from orchestrai.ledger.dataset import Dataset, as_recorded
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import FileEntry, decode_partition, make_partition
from orchestrai.provenance.recall.rebuild import rebuild, recover_bytes
from orchestrai.restore.folder import restore_folder
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai_tests.copies import copies
from orchestrai_tests.provenance.builder import ORDERS, World

DAY = "2026-01-01"
CSV = b"".join(b"%d,LAMP RED,%d,17850,2026-01-01\n" % (536000 + n, n % 7) for n in range(3000))
STAGES = ("raw_events", "restored")


@pytest.fixture(params=["memory", "disk"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """A day that landed, was backed up and restored; its lake in memory, as a store elsewhere is, or on disk."""
    world = World(lake=MemoryStore() if request.param == "memory" else LocalStore(tmp_path / "lake"))
    world.prove({DAY: CSV})
    return world


def original(dataset: Dataset) -> FileEntry:
    return next(file for file in dataset.files(DAY).files if file.role == "landed")


@pytest.mark.parametrize("stage", STAGES)
def test_an_original_lies_compressed_and_is_read_as_it_landed(shop: World, stage: str) -> None:
    dataset = shop.ledger.open(f"{ORDERS}/{stage}")
    entry = original(dataset)
    assert entry.size == len(CSV) and 0 < entry.packed == shop.lake.head(entry.key).size < len(CSV) / 4
    with dataset.fetched([DAY], role="landed") as files:
        assert files[DAY][0].path.read_bytes() == CSV
    assert as_recorded(shop.ledger, [entry])


def test_raw_events_snapshot_and_restored_have_one_version_however_they_lie(shop: World) -> None:
    stages = [shop.ledger.open(f"{ORDERS}/{stage}") for stage in (*STAGES, "snapshot")]
    assert len({dataset.version for dataset in stages}) == 1
    plain = [(e.path, e.size, e.rows, e.sha256, "") for e in stages[0].files(DAY).files]
    assert make_partition(DAY, [FileEntry(*entry) for entry in plain]).root == stages[0].partitions[DAY].root


@pytest.mark.parametrize("times", [1, 4], ids=["in a pack", "as an object"])
def test_the_vault_stands_alone_when_the_lake_is_gone(shop: World, tmp_path: Path, times: int) -> None:
    shop.prove({DAY: CSV * times})
    for info in list(shop.lake.list()):
        shop.lake.delete(info.key)
    restore_folder(shop.vault, shop.vault.latest(f"{ORDERS}/raw_events"), tmp_path / "back", sync=False)
    assert (tmp_path / "back" / DAY / "landed" / f"{DAY}.csv").read_bytes() == CSV * times


@pytest.mark.parametrize("stage", STAGES)
def test_a_damaged_one_is_found_and_hurts_no_other_copy(shop: World, stage: str) -> None:
    entry = original(shop.ledger.open(f"{ORDERS}/{stage}"))
    data = shop.lake.read(entry.key)
    shop.lake.write(entry.key, data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :])
    with pytest.raises(DigestMismatch):
        shop.ledger.open(f"{ORDERS}/{stage}").require_whole(DAY)
    other = shop.ledger.open(f"{ORDERS}/{STAGES[1 - STAGES.index(stage)]}")
    other.require_whole(DAY)
    if shop.lake.local_path(entry.key) is not None:
        # on a disk a restore looks at what lies there by its hash, and makes it again
        shop.restore([DAY])
        shop.ledger.open(f"{ORDERS}/restored").require_whole(DAY)


def test_what_is_lost_of_it_comes_back_from_the_vault_as_its_list_says(shop: World, tmp_path: Path) -> None:
    ledger = Ledger(MemoryStore(), shop.signer, vault=shop.store, clock=shop.ledger.clock, new_id=shop.ledger.new_id)
    rebuild(ledger)
    recover_bytes(ledger, shop.vault)
    for stage in STAGES:
        dataset = ledger.open(f"{ORDERS}/{stage}")
        assert dataset.version == shop.ledger.open(f"{ORDERS}/{stage}").version
        copies(dataset, DAY, tmp_path / stage, role=None)
        assert ledger.lake.head(original(dataset).key).size < len(CSV) / 4


def test_a_second_look_at_what_is_there_writes_nothing(shop: World) -> None:
    before = {info.key for info in shop.lake.list("heads/")}
    shop.prove({DAY: CSV})
    assert {info.key for info in shop.lake.list("heads/")} == before


def test_a_list_without_them_is_that_of_format_1_to_the_byte_and_one_with_them_is_not_taken_for_it() -> None:
    plain = make_partition(DAY, [FileEntry("a.csv", 5, 0, "0" * 64, "data/a", "lake", "landed")])
    assert b'"format":1' in plain.encode() and b"packed" not in plain.encode()
    packed = make_partition(DAY, [FileEntry("a.csv", 5, 0, "0" * 64, "data/a", "lake", "landed", 3)])
    assert b'"format":2' in packed.encode() and packed.root == plain.root
    assert decode_partition(packed.encode()) == packed and decode_partition(plain.encode()) == plain
    with pytest.raises(UnknownFormatVersion):
        decode_partition(packed.encode().replace(b'"format":2', b'"format":3'))
