"""The end of a log is found without listing it, however long it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrai.errors import IntegrityError
from orchestrai.ledger import heads
from orchestrai.ledger.heads import head_numbers, head_prefix, last_number
from orchestrai.ledger.ledger import Ledger
from orchestrai.storage.base import ObjectInfo, Store
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai_tests.producers import producer

ASSET = "churn/orders/raw_events"
DAY = "2026-01-01"


def log_of(store: Store, count: int) -> Store:
    for seq in range(1, count + 1):
        store.write(f"{head_prefix(ASSET)}{seq:012d}.json", b"{}")
    return store


@pytest.mark.parametrize("kind", ["folder", "paged"])
def test_the_last_number_is_that_of_a_listing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "PAGE", 4)
    for count in [*range(12), 33]:
        store = log_of(LocalStore(tmp_path / str(count)) if kind == "folder" else MemoryStore(), count)
        assert head_numbers(store, ASSET) == list(range(1, count + 1))
        assert {last_number(store, ASSET, known) for known in range(count + 1)} == {count}


@pytest.mark.parametrize("kind", ["folder", "paged"])
def test_a_long_log_costs_few_looks(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = log_of(LocalStore(tmp_path / "lake") if kind == "folder" else MemoryStore(), 3_000)
    looks: list[str] = []
    listed: list[int] = []
    found, listing = store.head, store.list

    def head(key: str, *, version: str | None = None) -> ObjectInfo:
        looks.append(key)
        return found(key, version=version)

    def listed_one_by_one(prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        for number, info in enumerate(listing(prefix, start_after=start_after)):
            listed.append(number)
            yield info

    monkeypatch.setattr(store, "head", head)
    monkeypatch.setattr(store, "list", listed_one_by_one)
    assert last_number(store, ASSET) == 3_000
    assert len(looks) < 30 and len(listed) <= heads.PAGE


def publish(ledger: Ledger, data: bytes) -> None:
    session = ledger.session(ASSET, producer("raw_events"))
    session.add_bytes(DAY, "part-00000.parquet", data, rows=1)
    session.commit({})


def test_a_lake_made_anew_beneath_a_process_is_read_as_it_is(ledger: Ledger) -> None:
    for data in (b"1", b"2", b"3"):
        publish(ledger, data)
    ledger.vault = None
    newest = ledger.head(ASSET)
    assert newest is not None and newest.seq == 3
    for seq in (2, 3):
        ledger.lake.delete(f"{head_prefix(ASSET)}{seq:012d}.json")
    oldest = ledger.head(ASSET)
    assert oldest is not None and oldest.seq == 1


def test_an_entry_lost_from_the_middle_of_the_log_is_told_by_the_vault(ledger: Ledger) -> None:
    for data in (b"1", b"2", b"3", b"4"):
        publish(ledger, data)
    ledger.lake.delete(f"{head_prefix(ASSET)}{3:012d}.json")
    with pytest.raises(IntegrityError, match="orchestrai rebuild"):
        Ledger(ledger.lake, ledger.signer, vault=ledger.vault).head(ASSET)
    with pytest.raises(IntegrityError, match="orchestrai rebuild"):
        list(ledger.history(ASSET))
