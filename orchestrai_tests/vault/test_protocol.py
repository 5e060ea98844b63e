"""No committed snapshot is lost or torn, whatever runs beside it and whatever dies."""

import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrai.errors import ObjectExists
from orchestrai.ledger.signing import Signer
from orchestrai.storage.base import ObjectInfo
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.vault import Vault
from orchestrai_tests.vault.contents import files
from orchestrai_tests.vault.directed import DIRECTED
from orchestrai_tests.vault.mutants import MUTANTS
from orchestrai_tests.vault.simulation import SOUND, Parts, play

HISTORIES = int(os.environ.get("ORCHESTRAI_TEST_HISTORIES", "500"))
CHUNK = 500


def _violations(first: int) -> list[tuple[int, list[str]]]:
    return [(seed, found.problems) for seed in range(first, first + CHUNK) if (found := play(seed)).problems]


def test_random_histories_lose_and_tear_nothing() -> None:
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        found = [bad for chunk in pool.map(_violations, range(0, HISTORIES, CHUNK)) for bad in chunk]
    assert found == []


def test_a_seed_replays_its_history() -> None:
    assert [(h.steps, h.acked, h.forgotten) for h in map(play, range(20))] == [
        (h.steps, h.acked, h.forgotten) for h in map(play, range(20))
    ]


def test_histories_are_about_something() -> None:
    played = [play(seed) for seed in range(200)]
    assert sum(len(h.acked) - 2 for h in played) > 200
    assert sum(len(h.forgotten) for h in played) > 200


@pytest.mark.parametrize("name", DIRECTED)
def test_directed_histories_end_well(name: str) -> None:
    found = DIRECTED[name](SOUND)
    assert found.problems == []


class _MeetsItself(MemoryStore):
    """Does a conditional write, then says that the key is taken: a repeat below us met its own bytes, and nothing above may retry."""

    commits = 0

    def write(self, key: str, data: bytes | Iterable[bytes], *, create: bool = False) -> ObjectInfo:
        info = super().write(key, data, create=create)
        if key.startswith("vault/snapshots/"):
            # the note that opens the chain is at 0
            self.commits += not key.endswith("/000000000000.json")
            raise ObjectExists(f"expected no object {key!r}, found one", key=key)
        return info


def test_a_commit_that_meets_its_own_bytes_is_done_without_any_help_of_the_store(signer: Signer) -> None:
    store = _MeetsItself()
    vault = Vault(store, signer, workers=0)
    # tagged: an untagged one would be found again as the newest snapshot, which holds the same
    commit = vault.commit("d", {"p": files(a=b"a")}, tags=["kept"])
    assert (commit.seq, store.commits) == (1, 1)
    assert [found.digest for found in vault.snapshots("d")] == [commit.digest]


def test_without_any_wait_nothing_is_lost_either() -> None:
    # times only delay a prune: what runs beside it stores its bytes again
    impatient = replace(SOUND, wait=timedelta(seconds=-(10**9)))
    assert [(seed, found.problems) for seed in range(100) if (found := play(seed, impatient)).problems] == []


def _finds(parts: Parts) -> bool:
    return any(run(parts).problems for run in DIRECTED.values()) or any(play(seed, parts).problems for seed in range(3000))


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_each_planted_defect_is_found(name: str) -> None:
    assert _finds(MUTANTS[name])


def test_there_are_enough_planted_defects() -> None:
    assert len(MUTANTS) >= 35
