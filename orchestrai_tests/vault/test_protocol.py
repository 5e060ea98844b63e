"""No committed snapshot is lost or torn, whatever runs beside it and whatever dies."""

import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from orchestrai_tests.vault.directed import DIRECTED
from orchestrai_tests.vault.mutants import MUTANTS
from orchestrai_tests.vault.simulation import SOUND, Parts, play

HISTORIES = int(os.environ.get("ORCHESTRAI_TEST_HISTORIES", "4000"))
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


def _finds(parts: Parts) -> bool:
    return any(run(parts).problems for run in DIRECTED.values()) or any(play(seed, parts).problems for seed in range(3000))


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_each_planted_defect_is_found(name: str) -> None:
    assert _finds(MUTANTS[name])


def test_there_are_enough_planted_defects() -> None:
    assert len(MUTANTS) >= 25
