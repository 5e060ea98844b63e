"""A day that a table fed batch by batch is judged when it is over: held, it leaves the restored dataset until somebody says yes."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrai.core.verdict import Verdict
from orchestrai.features.completeness.lacking import reasons
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.quarantine import closed_gates, last_refusal
from orchestrai.ledger.report import StageReport
from orchestrai.pipeline.runtime import Runtime
from orchestrai.restore.open_partitions.pending_restores import pending_restores
from orchestrai_tests.ingest.declaring import PREFIX, RAW, RESTORED, declare, ids, opened, run

FIRST, ODD = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 29, tzinfo=UTC)
DAY = f"{ODD:%Y-%m-%d}"
PER_DAY, NOON, OVER = 40, ODD + timedelta(hours=12), ODD + timedelta(days=1, hours=1)


class Plant:
    """Four weeks of a table that were restored, and the day after them."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.home, self.count = folder / "home", 0
        self.folder = declare(
            folder / "plant", "{url: 'sqlite:///plant.sqlite', format: sql, sql: {table: readings}}", key=True
        )
        pipeline, contract = self.folder / "pipeline.yaml", self.folder / "readings.contract.yaml"
        pipeline.write_text(
            pipeline.read_text().replace("grain: hour, start: 2026-11-22", f"grain: day, start: {FIRST:%Y-%m-%d}")
        )
        contract.write_text(contract.read_text().replace("value: at}]", f"value: at}}{more}]"))
        self.home.mkdir()
        with sqlite3.connect(self.home / "plant.sqlite") as database:
            database.execute("CREATE TABLE readings (id bigint PRIMARY KEY, at TEXT NOT NULL, value double precision)")
        days = [FIRST + timedelta(days=number) for number in range((ODD - FIRST).days)]
        for number, day in enumerate(days):
            self.add(day, PER_DAY + number % 3)
        report = self.run(ODD + timedelta(hours=1), [f"{day:%Y-%m-%d}" for day in days])
        assert not report.refused

    def add(self, since: datetime, count: int, seconds: int = 2_100) -> None:
        """Rows of a day from `since` on, so many seconds apart."""
        rows = [
            (self.count + n, f"{since + timedelta(seconds=1 + seconds * n):%Y-%m-%d %H:%M:%S}", n % 7) for n in range(count)
        ]
        self.count += count
        with sqlite3.connect(self.home / "plant.sqlite") as database:
            database.executemany("INSERT INTO readings VALUES (?, ?, ?)", rows)

    def at(self, now: datetime) -> Runtime:
        return opened(self.folder, self.home, now)

    def run(self, now: datetime, days: list[str] | None = None) -> StageReport:
        return run(self.at(now), days or [DAY])

    def published(self, now: datetime = OVER) -> bool:
        dataset = self.at(now).ledger.find(RESTORED)
        return dataset is not None and DAY in dataset.partitions

    def tasks(self, now: datetime) -> dict[str, str]:
        runtime = self.at(now)
        return pending_restores(runtime.ledger, runtime.project.dataset(PREFIX), now)


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


def ordinary(report: StageReport) -> Verdict:
    return next(verdict for outcome in report.outcomes for verdict in outcome.verdicts if verdict.check == "ordinary")


def test_a_day_that_grows_is_published_as_it_grows_and_judged_when_it_is_over(plant: Plant) -> None:
    plant.add(ODD, 8)
    report = plant.run(NOON)
    assert not report.refused and ordinary(report).details == {"over": False} and plant.tasks(NOON) == {}
    assert list(plant.tasks(OVER)) == [DAY]
    report = plant.run(OVER)
    assert [outcome.partition for outcome in report.refused] == [DAY] and not ordinary(report).passed
    assert not plant.published() and plant.tasks(OVER) == {}
    runtime = plant.at(OVER)
    # it is backed up all the same, and the reading of the table goes on
    assert DAY in runtime.ledger.open(RAW).partitions and DAY in runtime.ledger.open(f"{PREFIX}/snapshot").partitions
    assert closed_gates(runtime.ledger, RESTORED, runtime.ledger.find(RESTORED))[DAY].held
    why = reasons(runtime.ledger, {RESTORED: runtime.project.dataset(PREFIX)}, {RESTORED: [DAY]})
    assert why[f"{RESTORED}@{DAY}"].state == "held"


def test_more_rows_have_a_held_day_judged_anew(plant: Plant) -> None:
    plant.add(ODD, 8)
    assert plant.run(OVER).refused and not plant.published()
    plant.add(ODD + timedelta(seconds=8 * 2_100), PER_DAY - 8)
    assert not plant.run(OVER).refused and plant.published()
    head = plant.at(OVER).ledger.open(RESTORED).head.seq
    assert not plant.run(OVER + timedelta(days=1)).refused
    assert plant.at(OVER).ledger.open(RESTORED).head.seq == head


def test_a_person_releases_a_held_day_and_it_stays_published(plant: Plant) -> None:
    plant.add(ODD, 8)
    plant.run(OVER)
    runtime = plant.at(OVER)
    given = Override(RESTORED, DAY, last_refusal(runtime.ledger.lake, RESTORED, DAY).root, ("ordinary",), "a strike", "ann")
    runtime.run(runtime.project.nodes[RESTORED], [DAY], overrides=[given])
    assert plant.published() and not plant.run(OVER).refused
    assert plant.at(OVER).ledger.open(RESTORED).receipt(DAY).override(DAY) == given


def test_a_late_row_does_not_take_back_a_day_that_was_judged(plant: Plant) -> None:
    plant.add(ODD, PER_DAY)
    assert not plant.run(OVER).refused
    before = ids(plant.at(OVER))
    plant.add(ODD + timedelta(seconds=PER_DAY * 2_100 - 60), 2 * PER_DAY, seconds=1)
    # three times its rows: held, and what stood before it stands
    assert plant.run(OVER).refused and plant.published() and ids(plant.at(OVER)) == before


def test_the_declared_rule_releases_what_nobody_decided_on(tmp_path: Path) -> None:
    plant = Plant(tmp_path, ", {property: hold, value: {release_after: 2d}}")
    plant.add(ODD, 8)
    assert plant.run(OVER).refused and plant.tasks(OVER + timedelta(days=1)) == {}
    later = OVER + timedelta(days=2)
    assert list(plant.tasks(later)) == [DAY]
    assert not plant.run(later).refused and plant.published() and plant.tasks(later) == {}
    override = plant.at(later).ledger.open(RESTORED).receipt(DAY).override(DAY)
    assert override is not None and override.by == "the rule hold.release_after"


def test_a_table_that_is_not_held_has_no_such_check(tmp_path: Path) -> None:
    plant = Plant(tmp_path, ", {property: hold, value: 'off'}")
    plant.add(ODD, 8)
    assert not plant.run(OVER).refused and plant.published()


def test_the_report_and_doctor_tell_what_is_held(plant: Plant) -> None:
    from orchestrai.cli.reports.doctor_commands import _held
    from orchestrai.pipeline.reports.summary import summarize

    plant.add(ODD, 8)
    plant.run(OVER)
    runtime = plant.at(OVER)
    (data,) = summarize(runtime.ledger, runtime.project.pipelines[0]).datasets
    assert data.refused == (DAY,)
    name, ok, told = _held(runtime.project.dataset(PREFIX), runtime)
    assert name == f"restored {PREFIX}" and not ok and told.startswith("1 held since ")
