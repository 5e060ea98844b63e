"""Streams through Dagster: a micro-batch a minute becomes runs of the partitions its records name, late ones included."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from orchestrai.defs.launch.backfill import backfill
from orchestrai.demo.demo_landing import LandingSummary
from orchestrai.errors import IntegrityError, StorageError
from orchestrai.ingest.sources.stream import published_offsets
from orchestrai.ingest.sources.stream_log import StreamLog
from orchestrai.pipeline.load import SHIPPED
from orchestrai.pipeline.micro_batches.batch_run import BatchRun
from orchestrai.pipeline.micro_batches.worker_lock import as_only_worker
from orchestrai_tests.defs.conftest import Project
from orchestrai_tests.defs.deploying import Daemon, deployed, keys_of, launch

SENSOR, JOB = "telemetry_readings_stream_sensor", "telemetry_readings_ingest"
RAW, RESTORED, FEATURES = (
    "telemetry/readings/raw_events",
    "telemetry/readings/restored",
    "telemetry/device_rolling/features",
)
START = datetime(2026, 11, 5, 12, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def project(tmp_path: Path, clock: Clock, landing: tuple[Path, LandingSummary]) -> Iterator[Project]:
    folders = [SHIPPED / "telemetry"]
    with deployed(tmp_path / "home", landing[1], {}, folders=folders, clock=clock) as found:
        yield found


@pytest.fixture
def log(project: Project) -> StreamLog:
    return StreamLog(project.runtime.settings.home / "streams", "readings")


def send(log: StreamLog, clock: Clock, moments: list[datetime], *bad: bytes) -> None:
    rows = [
        {"device_id": "press-1", "ts": at.isoformat(), "seq": n, "temperature": 60.0 + n, "vibration": 2.0, "failed": False}
        for n, at in enumerate(moments)
    ]
    with log.writer(clock) as writer:
        writer.append([*(json.dumps(row).encode() for row in rows), *bad])


def minutes(hour: int, first: int, count: int) -> list[datetime]:
    return [START.replace(hour=hour, minute=first) + timedelta(seconds=20 * n) for n in range(count)]


def test_a_micro_batch_is_run_once_and_appends_a_file_to_its_hour(project: Project, log: StreamLog, clock: Clock) -> None:
    daemon = Daemon(project, SENSOR, makes_runs=True)
    send(log, clock, minutes(11, 55, 9))
    (request,) = daemon.tick()
    assert keys_of(request) == ("2026-11-05-11:00", "2026-11-05-11:00")
    assert daemon.tick() == []
    assert launch(project, JOB, request).success
    assert daemon.tick() == []
    ledger = project.runtime.ledger
    first = ledger.open(RAW).files("2026-11-05-11:00").files
    clock.now += timedelta(minutes=1)
    send(log, clock, [*minutes(11, 59, 2), *minutes(12, 0, 2)])
    (request,) = daemon.tick()
    assert keys_of(request) == ("2026-11-05-11:00", "2026-11-05-12:00")
    assert launch(project, JOB, request).success
    after = ledger.open(RAW).files("2026-11-05-11:00").files
    assert set(first) < set(after) and len(after) == len(first) + 2  # rows and archive are added, nothing is rewritten
    for stage in (RAW, RESTORED, FEATURES):
        assert project.materialized(stage) == {"2026-11-05-11:00", "2026-11-05-12:00"}
    assert ledger.open(RESTORED).version == ledger.open(RAW).version
    assert ledger.open(FEATURES).rows == 13
    assert published_offsets(ledger, RAW, "readings") == {0: 13}


def test_late_records_reach_their_hour_though_no_run_asked_for_it(project: Project, log: StreamLog, clock: Clock) -> None:
    send(log, clock, [*minutes(9, 50, 3), *minutes(11, 55, 3)])
    assert project.run(JOB, "2026-11-05-11:00").success
    ledger = project.runtime.ledger
    assert set(ledger.open(RAW).partitions) == {"2026-11-05-09:00", "2026-11-05-11:00"}
    assert set(ledger.open(RESTORED).partitions) == {"2026-11-05-11:00"}
    daemon = Daemon(project, SENSOR, makes_runs=True)
    (request,) = daemon.tick()
    assert keys_of(request) == ("2026-11-05-09:00", "2026-11-05-09:00")
    assert launch(project, JOB, request).success
    assert ledger.open(RESTORED).version == ledger.open(RAW).version
    assert daemon.tick() == []


def test_poison_is_shown_as_dead_letters_and_holds_up_nothing(project: Project, log: StreamLog, clock: Clock) -> None:
    send(log, clock, minutes(11, 55, 3), b"{", b"\xff")
    (request,) = Daemon(project, SENSOR, makes_runs=True).tick()
    assert launch(project, JOB, request).success
    assert project.runtime.ledger.open(RAW).rows == 3
    # records that tell no time lie with the record before them
    assert project.materialized("telemetry/readings/dead_letters") == {"2026-11-05-11:00"}


def test_an_hour_that_nothing_was_sent_for_is_refused(project: Project, log: StreamLog, clock: Clock) -> None:
    send(log, clock, minutes(11, 55, 3))
    assert not project.run(JOB, "2026-11-05-10:00", "2026-11-05-11:00").success
    assert project.materialized(RESTORED) == {"2026-11-05-11:00"}


def test_a_stream_that_is_gone_or_replaced_fails_the_tick(project: Project, log: StreamLog, clock: Clock) -> None:
    daemon = Daemon(project, SENSOR, makes_runs=True)
    send(log, clock, minutes(11, 55, 3))
    (request,) = daemon.tick()
    assert launch(project, JOB, request).success
    log.folder.rename(log.folder.with_name("gone"))
    with pytest.raises((StorageError, IntegrityError)):
        daemon.tick()


def test_while_a_run_is_going_no_other_is_asked_for(project: Project, log: StreamLog, clock: Clock) -> None:
    send(log, clock, minutes(11, 55, 3))
    job = project.definitions.resolve_job_def(JOB)
    project.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert Daemon(project, SENSOR, makes_runs=True).tick() == []


def test_what_stays_unread_is_asked_for_again_later(project: Project, log: StreamLog, clock: Clock) -> None:
    daemon = Daemon(project, SENSOR, makes_runs=True)
    send(log, clock, minutes(11, 55, 3))
    assert len(daemon.tick()) == 1
    assert daemon.tick() == []
    clock.now += timedelta(minutes=11)
    assert len(daemon.tick()) == 1


def test_while_a_worker_runs_dagster_is_told_once_a_span_of_minutes(project: Project, log: StreamLog, clock: Clock) -> None:
    runtime, daemon = project.runtime, Daemon(project, SENSOR, makes_runs=True)
    dataset = runtime.project.dataset("telemetry/readings")
    batch = BatchRun(runtime, dataset)
    with as_only_worker(runtime.settings.home, dataset):
        send(log, clock, minutes(11, 55, 3))
        batch.run()
        (request,) = daemon.tick()
        assert keys_of(request) == ("2026-11-05-11:00", "2026-11-05-11:00")
        version = runtime.ledger.open(FEATURES).version
        assert launch(project, JOB, request).success
        # the run told what there was, and made nothing of it anew
        assert project.materialized(FEATURES) == {"2026-11-05-11:00"} and runtime.ledger.open(FEATURES).version == version
        for _ in range(3):
            clock.now += timedelta(minutes=4)
            send(log, clock, minutes(12, 1, 3))
            # what is unread is the worker's
            assert daemon.tick() == []
            batch.run()
            assert daemon.tick() == []
        clock.now += timedelta(minutes=4)
        (request,) = daemon.tick()
        assert keys_of(request) == ("2026-11-05-12:00", "2026-11-05-12:00") and daemon.tick() == []
        clock.now += timedelta(minutes=1)
        send(log, clock, minutes(11, 59, 2))
        batch.run()
        assert daemon.tick() == []
    # the worker is gone: what it did since is told at once, and then minutes are asked for again
    (request,) = daemon.tick()
    assert keys_of(request) == ("2026-11-05-11:00", "2026-11-05-11:00")
    clock.now += timedelta(minutes=1)
    send(log, clock, minutes(12, 9, 2))
    (request,) = daemon.tick()
    assert keys_of(request) == ("2026-11-05-12:00", "2026-11-05-12:00") and "orchestrai/unread" in request.tags


def test_our_backfill_carries_on_what_the_stream_fed_beside_the_span(project: Project, log: StreamLog, clock: Clock) -> None:
    send(log, clock, [*minutes(8, 55, 3), *minutes(9, 55, 3), *minutes(11, 55, 3)])
    runtime, pipeline = project.runtime, project.runtime.project.pipeline("telemetry")
    hours = ["2026-11-05-11:00"] * 2
    runs = list(backfill(project.definitions, runtime, project.instance, pipeline, *hours, models=False))
    assert [run.success for run in runs] == [True, True]
    restored = runtime.ledger.open(RESTORED)
    assert set(restored.partitions) == {f"2026-11-05-{hour}:00" for hour in ("08", "09", "11")}
    assert restored.version == runtime.ledger.open(RAW).version
