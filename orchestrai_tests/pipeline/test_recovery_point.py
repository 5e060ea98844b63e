"""RPO: how old the oldest landed thing is that no counted snapshot protects, whatever the schedules did."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrai.errors import StorageError
from orchestrai.ledger.receipt import Material
from orchestrai.pipeline.reports.recovery_point import RecoveryPoint, landed_at, recovery_point
from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.cli.conftest import DATASET, KEPT, RAW, MakeRuntime, run

LATER = timedelta(days=3)


def point_of(runtime: Runtime, after: timedelta = timedelta()) -> RecoveryPoint:
    runtime.clock = lambda: datetime.now(UTC) + after
    return recovery_point(runtime, runtime.project.dataset(DATASET))


def test_an_object_that_landed_and_was_never_ingested_fails_the_rpo(
    make: MakeRuntime, days: list[str], landing: Path
) -> None:
    runtime = make()
    run(runtime, days[:-1])
    late = landing / f"{days[-1]}.csv"
    landed = datetime.now(UTC) - LATER
    os.utime(late, (landed.timestamp(), landed.timestamp()))
    point = point_of(runtime)
    assert not point.passed and point.oldest is not None and point.oldest.name == late.name
    assert point.age >= LATER and "no run has taken it" in point.message
    drilled = runtime.run(runtime.project.nodes[f"{DATASET}/drill"], ["all"])
    assert not next(v for v in drilled.outcomes[0].verdicts if v.check == "rpo").passed
    assert isinstance(seconds := drilled.facts["rpo_seconds"], float) and seconds >= LATER.total_seconds()


def test_what_was_ingested_and_not_snapshotted_fails_the_rpo(make: MakeRuntime, days: list[str]) -> None:
    runtime = make()
    run(runtime, days, "raw_events")
    assert point_of(runtime).passed
    point = point_of(runtime, LATER)
    assert not point.passed and point.count == len(days) and "in no counted snapshot" in point.message


def test_a_vault_that_does_not_answer_protects_nothing(
    make: MakeRuntime, days: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = make()
    run(runtime, days)

    def down(*_: object) -> None:
        raise StorageError("expected an answer, found none")

    monkeypatch.setattr(type(runtime.vault.catalog), "recent", down)
    point = point_of(runtime)
    assert not point.passed and "found none" in point.message


def test_a_snapshot_that_was_forgotten_protects_nothing(make: MakeRuntime, days: list[str]) -> None:
    runtime = make()
    run(runtime, days)
    assert point_of(runtime, LATER).passed
    runtime.vault.forget(runtime.vault.latest(RAW).snapshot_id, reason="a test")
    assert not point_of(make(), LATER).passed


def test_when_all_is_protected_nothing_would_be_lost(make: MakeRuntime, days: list[str]) -> None:
    runtime = make()
    run(runtime, days)
    point = point_of(runtime, timedelta(days=300))
    assert point.passed and point.age == timedelta() and point.count == 0 and "all that landed" in point.message


def test_where_nothing_landed_it_says_so(make: MakeRuntime, landing: Path) -> None:
    for path in landing.iterdir():
        path.unlink()
    point = point_of(make())
    assert point.passed and "nothing landed yet" in point.message


def test_of_a_day_that_grew_only_what_came_since_the_snapshot_counts(
    make: MakeRuntime, days: list[str], landing: Path
) -> None:
    runtime = make()
    run(runtime, days)
    text = (landing / f"{days[0]}.csv").read_text().splitlines()
    (landing / f"{days[0]}-b.csv").write_text("\n".join([text[0], text[-1].replace(",1,", ",2,"), text[-2]]) + "\n")
    run(runtime, days[:1], "raw_events")
    point = point_of(runtime, LATER)
    assert point.count == 1 and point.oldest is not None and point.oldest.name.endswith("-b.csv")
    assert runtime.ledger.open(KEPT).version != runtime.ledger.open(RAW).version


def test_the_older_of_store_and_first_sight_is_when_an_object_landed() -> None:
    early, late = "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"
    for modified, arrived in ((early, late), (late, early), (early, "")):
        material = Material("file://a", "00", 1, modified=modified, arrived=arrived)
        assert landed_at(material).isoformat() == early
    assert landed_at(Material("file://a", "00", 1), late).isoformat() == late
