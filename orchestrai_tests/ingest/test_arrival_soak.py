"""In Dagster's real order, with everything dying in between: each arrival is accounted for exactly once at the end."""

import os
from pathlib import Path

import pytest

from orchestrai_tests.ingest.arrival_world import FAULTS, WRONG, World

ARRIVALS = int(os.environ.get("ORCHESTRAI_TEST_ARRIVALS_WHOLE", "300"))


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.thorough("the other seeds say the same")) for seed in (1, 2, 3))]
)
def test_every_arrival_is_accounted_for_once_whatever_dies(seed: int, tmp_path: Path) -> None:
    world = World(tmp_path, seed)
    world.live(ARRIVALS)
    assert world.settle() < 400
    verdict = world.verdict()
    assert {name: verdict[name] for name in WRONG if verdict[name]} == {}, world.told
    assert sum(verdict[name] for name in ("raw_events", "dead_letters", "waiting", "passed_over")) == verdict["landed"]
    assert sum(world.told[fault] > 0 for fault in FAULTS) >= 3 and world.told["moved"] and world.told["cleaned"]
