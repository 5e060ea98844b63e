"""`orchestrai landing status` and what `doctor` says of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import ConfigError
from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.cli.conftest import DATASET, command, run


def status() -> tuple[int, dict[str, Any]]:
    code, text = command("landing", "status", DATASET, "--json")
    (facts,) = json.loads(text)
    assert facts["sum"] == facts["landed"]
    return code, facts


def places(facts: dict[str, Any]) -> tuple[int, ...]:
    return tuple(facts[place] for place in ("raw_events", "dead_letters", "waiting", "passed_over"))


def test_each_object_is_counted_in_one_place_and_the_oldest_that_waits_is_named(
    shop: Runtime, days: list[str], landing: Path
) -> None:
    code, facts = status()
    assert (code, places(facts), facts["due"]) == (0, (3, 0, 1, 0), days[3:])
    assert facts["oldest_waiting"]["key"].endswith(".csv")
    (landing / "readme.csv").write_text("x")
    (landing / "_SUCCESS").write_text("")
    assert status()[0] == 1  # it is no dead letter yet
    run(shop, days, "raw_events")
    code, facts = status()
    assert (code, places(facts), facts["due"]) == (0, (4, 1, 0, 1), [])
    code, text = command("landing", "status")
    assert code == 0 and "dead letters: expected a name that tells its day, for example 'readme.csv'" in " ".join(
        text.split()
    )


def test_objects_refused_with_their_day_wait_for_a_person(shop: Runtime, days: list[str], landing: Path) -> None:
    header = (landing / f"{days[0]}.csv").read_text().splitlines()[0]
    (landing / f"{days[0]}.csv").write_text(header + "\n")
    run(shop, days[:1], "raw_events")
    code, facts = status()
    assert (code, facts["held_up"], facts["due"]) == (1, 1, days[3:])
    told = {finding["name"]: finding for finding in json.loads(command("doctor", "--json")[1])["findings"]}
    finding = told[f"landing of {DATASET}"]
    assert not finding["ok"] and "2 raw events, 2 waiting; 1 wait for you" in finding["detail"]


def test_a_source_without_objects_is_refused(shop: Runtime) -> None:
    with pytest.raises(ConfigError):
        command("landing", "status", "churn/nothing")
