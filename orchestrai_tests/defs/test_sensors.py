"""Landing sensors over a local folder and over S3: the right partitions, once, and an outage is a failed tick."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import dagster as dg
import pytest

from orchestrai.core.time.key_groups import contiguous
from orchestrai.defs.sensors.landing_sensors import build_sensors
from orchestrai.demo.demo_landing import LandingSummary
from orchestrai.errors import OrchestraiError, StorageError
from orchestrai.ingest.dead_letter_list import list_letters
from orchestrai.ingest.dead_letters import DeadLetter
from orchestrai.ingest.discovery.watch import ArrivalCursor
from orchestrai.pipeline.load import SHIPPED, load_project, pipeline_folders
from orchestrai_tests.defs.conftest import Project
from orchestrai_tests.defs.deploying import Daemon, deployed, keys_of, launch, record
from orchestrai_tests.servers.s3 import S3Server

SENSOR, JOB = "churn_orders_landing_sensor", "churn_orders_ingest"
RAW, RESTORED = "churn/orders/raw_events", "churn/orders/restored"
NOW = datetime(2026, 11, 5, 12, tzinfo=UTC)


class Place(Protocol):
    """Where a producer writes."""

    url: str

    def put(self, name: str, data: bytes) -> None: ...
    def delete(self, name: str) -> None: ...


@dataclass
class Folder:
    """A local folder, and the environment that names it."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return str(self.path)

    def put(self, name: str, data: bytes) -> None:
        # the way producers should: complete, then renamed into place
        part = self.path.parent / f"{name}.part"
        part.write_bytes(data)
        part.rename(self.path / name)

    def delete(self, name: str) -> None:
        (self.path / name).unlink()


@dataclass
class Prefix:
    """An S3 prefix, written with boto3 over HTTP."""

    client: Any
    bucket: str
    prefix: str = "landing/orders"

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def put(self, name: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}", Body=data)

    def delete(self, name: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}")


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.emulator)])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "folder":
        (tmp_path / "orders").mkdir()
        return Folder(tmp_path / "orders")
    moto: S3Server = request.getfixturevalue("moto")
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    return Prefix(moto.client(), moto.bucket())


@pytest.fixture
def project(tmp_path: Path, place: Place, landing: tuple[Path, LandingSummary]) -> Iterator[Project]:
    environment = {"ORDERS_URL": place.url}
    with deployed(tmp_path / "home", landing[1], environment, folders=[SHIPPED / "churn"], clock=lambda: NOW) as found:
        yield found


@pytest.fixture
def orders(landing: tuple[Path, LandingSummary]) -> Path:
    return landing[0] / "orders"


@pytest.fixture
def daemon(project: Project) -> Daemon:
    return Daemon(project, SENSOR)


def days_of(orders: Path, landed: LandingSummary, count: int) -> list[str]:
    return [path.stem for path in sorted(orders.iterdir()) if path.stem != landed.bad_day][:count]


def spans(requests: list[dg.RunRequest]) -> list[tuple[str, str]]:
    return [keys_of(request) for request in requests]


def test_new_objects_become_runs_of_exactly_their_partitions(
    daemon: Daemon, project: Project, place: Place, orders: Path
) -> None:
    # Monday to Wednesday, and a Friday: one run over a range, one of a single partition
    wanted = ["2026-10-05", "2026-10-06", "2026-10-07", "2026-10-09"]
    for day in wanted:
        place.put(f"{day}.csv", (orders / f"{day}.csv").read_bytes())
    requests = daemon.tick()
    assert spans(requests) == [("2026-10-05", "2026-10-07"), ("2026-10-09", "2026-10-09")]
    for request in requests:
        assert launch(project, JOB, request).success
    assert project.materialized(RAW) == project.materialized(RESTORED) == set(wanted)
    assert set(project.runtime.ledger.open(RESTORED).partitions) == set(wanted)
    assert daemon.tick() == []


def test_an_overwritten_object_requests_its_partition_again(
    daemon: Daemon, project: Project, place: Place, orders: Path
) -> None:
    day = "2026-10-05"
    text = (orders / f"{day}.csv").read_bytes()
    place.put(f"{day}.csv", text)
    (first,) = daemon.tick()
    assert launch(project, JOB, first).success
    before = project.runtime.ledger.open(RESTORED)
    place.put(f"{day}.csv", b"\n".join(text.split(b"\n")[:-2]) + b"\n")
    (second,) = daemon.tick()
    assert keys_of(second) == (day, day)
    assert second.run_key != first.run_key
    assert launch(project, JOB, second).success
    assert project.runtime.ledger.open(RESTORED).rows == before.rows - 1
    assert daemon.tick() == []


def test_a_deleted_object_that_the_cursor_knows_is_survived(
    daemon: Daemon, project: Project, place: Place, orders: Path
) -> None:
    for day in ("2026-10-05", "2026-10-06"):
        place.put(f"{day}.csv", (orders / f"{day}.csv").read_bytes())
        (request,) = daemon.tick()
        assert keys_of(request) == (day, day)
        assert launch(project, JOB, request).success
        place.delete(f"{day}.csv")
    assert daemon.tick() == []


def test_an_object_of_the_same_second_that_lands_after_the_tick_is_found(
    daemon: Daemon, project: Project, place: Place, orders: Path
) -> None:
    names = ["2026-10-05", "2026-10-07", "2026-10-09"]
    place.put(f"{names[1]}.csv", (orders / f"{names[1]}.csv").read_bytes())
    requests = daemon.tick()
    for request in requests:
        record(project, JOB, request, dg.DagsterRunStatus.STARTED)
    # on S3 these have the time of the one before, to the second; on a folder it is set so
    for name in (names[0], names[2]):
        place.put(f"{name}.csv", (orders / f"{name}.csv").read_bytes())
    if isinstance(place, Folder):
        moment = (place.path / f"{names[1]}.csv").stat().st_mtime_ns
        for name in (names[0], names[2]):
            os.utime(place.path / f"{name}.csv", ns=(moment, moment))
    assert sorted([*spans(requests), *spans(daemon.tick())]) == [(name, name) for name in names]


def test_a_lost_cursor_loses_nothing_and_asks_for_nothing_twice(
    daemon: Daemon, project: Project, place: Place, orders: Path
) -> None:
    place.put("2026-10-05.csv", (orders / "2026-10-05.csv").read_bytes())
    (request,) = daemon.tick()
    record(project, JOB, request, dg.DagsterRunStatus.STARTING)
    daemon.cursor = None
    assert daemon.tick() == []
    place.put("2026-10-07.csv", (orders / "2026-10-07.csv").read_bytes())
    daemon.cursor = "of another release"
    assert spans(daemon.tick()) == [("2026-10-07", "2026-10-07")]


def test_an_outage_fails_the_tick_and_keeps_the_cursor(
    daemon: Daemon, place: Place, orders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.put("2026-10-05.csv", (orders / "2026-10-05.csv").read_bytes())
    assert len(daemon.tick()) == 1
    cursor = daemon.cursor
    if isinstance(place, Folder):
        place.path.rename(place.path.with_name("gone"))
    else:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens on the port of `discard`
    with pytest.raises(StorageError) as caught:
        daemon.tick()
    assert isinstance(caught.value, OrchestraiError)
    assert daemon.cursor == cursor


def test_each_object_is_accounted_for_in_one_place(daemon: Daemon, project: Project, place: Place, orders: Path) -> None:
    text = (orders / "2026-10-05.csv").read_bytes()
    for name in ("1999-01-01.csv", "2031-01-01.csv", "2026-10-05.csv", "2026-10-06.csv", "readme.csv", "_SUCCESS"):
        place.put(name, text.replace(b"2026-10-05", b"2026-10-06") if name == "2026-10-06.csv" else text)
    (request,) = daemon.tick()
    assert keys_of(request) == ("2026-10-05", "2026-10-06")
    # the object whose name tells no day is a dead letter by now, and what opens later waits for it
    assert [letter.uri.rsplit("/", 1)[1] for letter in letters(project)] == ["readme.csv"]
    assert launch(project, JOB, request).success
    assert daemon.tick() == []
    daemon.cursor = None
    assert daemon.tick() == []
    told = {name: value.value for name, value in daemon.checks[-1].metadata.items() if name != "why"}
    counts = {"listed": 6, "raw_events": 2, "dead_letters": 1, "waiting": 1, "passed_over": 2}
    assert {**told, **counts} == told and told["oldest_waiting"] == "2031-01-01.csv"
    assert daemon.checks[-1].passed


def letters(project: Project) -> list[DeadLetter]:
    return list_letters(project.runtime.ledger, RAW)


def test_a_day_that_lands_before_it_is_over_is_requested_when_dagster_has_its_partition(
    tmp_path: Path, place: Place, landing: tuple[Path, LandingSummary], orders: Path
) -> None:
    moment = [datetime(2026, 10, 5, 18, tzinfo=UTC)]
    environment, folders = {"ORDERS_URL": place.url}, [SHIPPED / "churn"]
    with deployed(tmp_path / "home", landing[1], environment, folders=folders, clock=lambda: moment[0]) as project:
        daemon = Daemon(project, SENSOR)
        place.put("2026-10-05.csv", (orders / "2026-10-05.csv").read_bytes())
        assert daemon.tick() == []
        assert ArrivalCursor.decode(daemon.cursor).waiting.keys() == {"2026-10-05"}
        moment[0] = datetime(2026, 10, 5, 18, 30, tzinfo=UTC)
        assert daemon.tick() == []
        moment[0] = datetime(2026, 10, 5, 23, 59, tzinfo=UTC)
        assert daemon.tick() == []
        moment[0] = datetime(2026, 10, 6, 0, 1, tzinfo=UTC)
        (request,) = daemon.tick()
        assert keys_of(request) == ("2026-10-05", "2026-10-05")
        assert launch(project, JOB, request).success
        assert daemon.tick() == []
        assert ArrivalCursor.decode(daemon.cursor).waiting == {}


def test_a_planted_bad_day_is_requested_like_any_other_and_refused_in_its_run(
    daemon: Daemon, project: Project, place: Place, orders: Path
) -> None:
    bad = project.landed.bad_day
    place.put(f"{bad}.csv", (orders / f"{bad}.csv").read_bytes())
    (request,) = daemon.tick()
    assert not launch(project, JOB, request).success
    assert project.runtime.ledger.find(RAW) is None
    for cursor in (daemon.cursor, None):
        daemon.cursor = cursor
        assert daemon.tick() == []  # it was refused with just these objects: nobody asks until they change
    assert not daemon.checks[-1].passed
    # the producer sends the day again: another etag, so another run, and it is taken
    good = days_of(orders, project.landed, 1)[0]
    text = (orders / f"{good}.csv").read_bytes().replace(good.encode(), bad.encode())
    place.put(f"{bad}.csv", text)
    (request,) = daemon.tick()
    assert launch(project, JOB, request).success
    assert project.materialized(RESTORED) == {bad}


def test_hourly_micro_batches_are_requested_by_the_hour(tmp_path: Path, landing: tuple[Path, LandingSummary]) -> None:
    folder = tmp_path / "readings"
    folder.mkdir()
    batches = sorted((landing[0] / "readings").iterdir())
    for path in batches[:24]:
        shutil.copyfile(path, folder / path.name)
    environment, folders = {"READINGS_URL": str(folder)}, [SHIPPED / "telemetry"]
    with deployed(tmp_path / "home", landing[1], environment, folders=folders, clock=lambda: NOW) as project:
        daemon = Daemon(project, "telemetry_readings_landing_sensor")
        (request,) = daemon.tick()
        first = project.landed.readings[0]
        assert keys_of(request)[0] == first
        assert launch(project, "telemetry_readings_ingest", request).success
        hours = project.materialized("telemetry/readings/restored")
        shutil.copyfile(batches[24], folder / batches[24].name)
        (later,) = daemon.tick()
        assert keys_of(later)[0] == keys_of(later)[1]
        assert len(hours) == 2
        assert keys_of(later)[0] not in hours


def test_each_dataset_has_the_sensor_of_its_kind_and_what_is_pulled_has_none() -> None:
    names = {sensor.name for sensor in build_sensors(load_project(pipeline_folders(), {}).pipelines)}
    streams = {"recommendations_clicks_stream_sensor", "telemetry_readings_stream_sensor"}
    assert names == {SENSOR, *streams, "recommendations_purchases_late_sensor"}


def test_groups_end_at_each_gap() -> None:
    days = ["2026-01-01", "2026-01-02", "2026-01-04", "2026-02-28", "2026-03-01"]
    assert contiguous(days, "day") == [days[:2], [days[2]], days[3:]]
    assert contiguous(["2026-01-01-22:00", "2026-01-01-23:00", "2026-01-02-00:00"], "hour") == [
        ["2026-01-01-22:00", "2026-01-01-23:00", "2026-01-02-00:00"]
    ]
    assert contiguous(["all"], "all") == [["all"]]


class Moving:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def moving() -> Moving:
    return Moving()


@pytest.fixture
def shop(tmp_path: Path, landing: tuple[Path, LandingSummary], moving: Moving) -> Iterator[Project]:
    """The shipped orders over a folder, three days of them landed, on a clock that the test moves."""
    folder = tmp_path / "orders"
    folder.mkdir()
    for day in ("2026-10-05", "2026-10-06", "2026-10-07"):
        shutil.copyfile(landing[0] / "orders" / f"{day}.csv", folder / f"{day}.csv")
    environment, folders = {"ORDERS_URL": str(folder)}, [SHIPPED / "churn"]
    with deployed(tmp_path / "home", landing[1], environment, folders=folders, clock=moving) as found:
        yield found


def test_what_was_asked_for_and_never_began_is_asked_for_again(shop: Project) -> None:
    daemon = Daemon(shop, SENSOR)
    for _ in range(3):  # the cursor is kept each time, and no run ever has a record
        assert spans(daemon.tick()) == [("2026-10-05", "2026-10-07")]
    assert spans(daemon.tick(keep=False)) == [("2026-10-05", "2026-10-07")]
    (request,) = daemon.tick()
    assert launch(shop, JOB, request).success
    assert daemon.tick() == []


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
def test_a_run_that_ended_badly_is_asked_for_again_with_back_off(
    shop: Project, moving: Moving, status: dg.DagsterRunStatus
) -> None:
    daemon = Daemon(shop, SENSOR)
    keys, waits = [], []
    for _ in range(4):
        asked = moving.now
        while not (requests := daemon.tick()):
            moving.now += timedelta(seconds=30)
        waits.append(moving.now - asked)
        (request,) = requests
        keys.append(request.run_key)
        record(shop, JOB, request, status)
    assert waits == [timedelta(minutes=minutes) for minutes in (0, 1, 2, 4)]
    assert len(set(keys)) == 4 and [request.tags["orchestrai/attempt"] for request in requests] == ["4"]
    moving.now += timedelta(hours=1)
    (request,) = daemon.tick()
    assert launch(shop, JOB, request).success
    assert daemon.tick() == []


def test_a_partition_has_one_open_request_and_what_came_meanwhile_is_asked_for_after_it(
    shop: Project, moving: Moving, tmp_path: Path, orders: Path
) -> None:
    daemon = Daemon(shop, SENSOR)
    (request,) = daemon.tick()
    run = record(shop, JOB, request, dg.DagsterRunStatus.STARTED)
    shutil.copyfile(orders / "2026-10-05.csv", tmp_path / "orders" / "2026-10-05-late.csv")
    shutil.copyfile(orders / "2026-10-09.csv", tmp_path / "orders" / "2026-10-09.csv")
    assert spans(daemon.tick()) == [("2026-10-09", "2026-10-09")]
    shop.instance.report_run_failed(run)
    # others than those that were tried: nothing to wait for; the rest of that run backs off
    assert spans(daemon.tick()) == [("2026-10-05", "2026-10-05"), ("2026-10-09", "2026-10-09")]
    moving.now += timedelta(minutes=1)
    assert spans(daemon.tick()) == [("2026-10-05", "2026-10-07"), ("2026-10-09", "2026-10-09")]


def test_a_run_that_was_made_and_never_begun_holds_up_nobody_for_long(shop: Project, moving: Moving) -> None:
    daemon = Daemon(shop, SENSOR)
    (request,) = daemon.tick()
    record(shop, JOB, request, dg.DagsterRunStatus.NOT_STARTED)
    moving.now += timedelta(minutes=14)
    assert daemon.tick() == []
    moving.now += timedelta(minutes=2)
    assert spans(daemon.tick()) == [("2026-10-05", "2026-10-07")]


def test_a_worker_that_died_with_its_host_holds_up_nobody_for_ever(
    shop: Project, moving: Moving, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(shop, SENSOR)
    (request,) = daemon.tick()
    record(shop, JOB, request, dg.DagsterRunStatus.STARTED)
    moving.now += timedelta(hours=4)
    assert daemon.tick() == []
    moving.now += timedelta(hours=1)
    assert spans(daemon.tick()) == [("2026-10-05", "2026-10-07")]


def test_a_file_that_keeps_its_old_date_is_found_by_the_whole_look(
    shop: Project, moving: Moving, tmp_path: Path, orders: Path
) -> None:
    daemon = Daemon(shop, SENSOR)
    (request,) = daemon.tick()
    assert launch(shop, JOB, request).success
    shutil.copyfile(orders / "2026-10-09.csv", tmp_path / "orders" / "2026-10-09.csv")
    os.utime(tmp_path / "orders" / "2026-10-09.csv", (1, 1))
    moving.now += timedelta(minutes=59)
    assert daemon.tick() == []
    moving.now += timedelta(minutes=2)
    assert spans(daemon.tick()) == [("2026-10-09", "2026-10-09")]


def test_a_run_that_met_an_outage_of_the_landing_is_asked_for_again(shop: Project, moving: Moving, tmp_path: Path) -> None:
    daemon = Daemon(shop, SENSOR)
    (request,) = daemon.tick()
    (tmp_path / "orders").rename(tmp_path / "gone")
    assert not launch(shop, JOB, request).success
    (tmp_path / "gone").rename(tmp_path / "orders")
    assert daemon.tick() == []
    moving.now += timedelta(minutes=1)
    (request,) = daemon.tick()
    assert launch(shop, JOB, request).success
    assert daemon.tick() == []
    assert set(shop.runtime.ledger.open(RAW).partitions) == {"2026-10-05", "2026-10-06", "2026-10-07"}


def test_what_comes_to_be_older_than_the_rpo_is_told_by_the_next_tick_though_no_whole_look_is_due(
    tmp_path: Path, landing: tuple[Path, LandingSummary], moving: Moving
) -> None:
    pipeline, folder = tmp_path / "churn", tmp_path / "orders"
    shutil.copytree(SHIPPED / "churn", pipeline)
    declared = (pipeline / "pipeline.yaml").read_text()
    source = "format: csv, partition_from: filename"
    (pipeline / "pipeline.yaml").write_text(declared.replace(source, f"{source}, reconcile_every: 30d"))
    folder.mkdir()
    with deployed(tmp_path / "home", landing[1], {"ORDERS_URL": str(folder)}, folders=[pipeline], clock=moving) as shop:
        daemon = Daemon(shop, SENSOR)
        daemon.tick()
        shutil.copyfile(landing[0] / "orders" / "2026-10-05.csv", folder / "2026-10-05.csv")
        os.utime(folder / "2026-10-05.csv", (moving.now.timestamp(), moving.now.timestamp()))
        assert len(daemon.tick()) == 1
        looks = len(daemon.checks)
        moving.now += timedelta(hours=25)
        daemon.tick()
        assert len(daemon.checks) == looks
        moving.now += timedelta(hours=2)
        daemon.tick()
        # looked at as a whole, which told the RPO too, and not again before the next whole look
        assert len(daemon.checks) == looks + 1
        moving.now += timedelta(hours=1)
        daemon.tick()
        assert len(daemon.checks) == looks + 1
