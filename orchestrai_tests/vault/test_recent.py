"""What a snapshot costs does not grow with the snapshots before it, and the newest are found among any others."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.errors import IntegrityError
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.format.layout import SNAPSHOTS, commit_key
from orchestrai.vault.vault import Vault
from orchestrai_tests.vault.conftest import Clock
from orchestrai_tests.vault.simulation import DATASET, SOUND, SimStore, make_vault, sources


def many(store: SimStore, count: int) -> Vault:
    vault = make_vault(store, SOUND, "many")
    for number in range(count):
        store.time += 0.01
        vault.commit(DATASET, {"p": sources(f"c{number}")})
    return make_vault(store, SOUND, "later")


@given(st.integers(1, 40), st.sets(st.integers(1, 40)), st.integers(1, 6), st.integers(0, 40))
@settings(max_examples=40)
def test_the_recent_ones_are_the_last_of_all_that_count(count: int, gone: set[int], limit: int, last: int) -> None:
    store = SimStore()
    vault = many(store, count)
    for seq in sorted(seq for seq in gone if seq <= count):
        vault.forget_record(DATASET, seq, reason="")
    found = vault.catalog.recent(DATASET, limit, min(last, count))
    every = vault.catalog.visible(DATASET)
    assert found == every[len(every) - len(found) :]
    assert len(found) == min(limit, len(every)) or (found and len(gone) >= limit)
    for seq in range(1, count + 2):
        assert vault.catalog.at(DATASET, seq) == next((c for c in every if c.seq == seq), None)


def test_a_snapshot_after_many_reads_few_records(monkeypatch: pytest.MonkeyPatch) -> None:
    store = SimStore()
    vault = many(store, 300)
    read: list[str] = []
    reading: Callable[..., bytes] = store.read
    monkeypatch.setattr(store, "read", lambda key, **rest: read.append(key) or reading(key, **rest))
    listed: list[str] = []
    listing = store.list

    def told(prefix: str = "", *, start_after: str | None = None):  # type: ignore[no-untyped-def]
        for info in listing(prefix, start_after=start_after):
            listed.append(info.key)
            yield info

    monkeypatch.setattr(store, "list", told)
    assert vault.commit(DATASET, {"p": sources("new")}, after=300).seq == 301
    assert len([key for key in read if key.startswith(SNAPSHOTS)]) < 40
    assert len([key for key in listed if key.startswith(SNAPSHOTS)]) < 400


def test_a_number_that_is_not_there_is_not_built_upon(vault: Vault, clock: Clock) -> None:
    first = vault.commit("d", {"p": sources("a")})
    assert vault.commit("d", {"p": sources("b")}, after=7).seq == first.seq + 1


def test_a_record_of_another_place_is_told_when_it_is_looked_up(vault: Vault, clock: Clock) -> None:
    assert isinstance(vault.store, MemoryStore)
    vault.commit("d", {"p": sources("a")})
    clock.now += timedelta(seconds=1)
    vault.store.write(commit_key("d", 2), vault.store.read(commit_key("d", 1)))
    with pytest.raises(IntegrityError, match="moved or replayed"):
        vault.catalog.at("d", 2)
