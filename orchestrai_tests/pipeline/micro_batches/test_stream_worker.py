"""The worker of a stream: whatever kills it, whoever else runs, each record goes once through every stage."""

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrai.errors import ConcurrentCommit, ConfigError, TransientStorageError
from orchestrai.features.by_key.online import OnlineStore, online_path
from orchestrai.ingest.sources.stream_log import StreamLog
from orchestrai.pipeline.load import SHIPPED, load_project
from orchestrai.pipeline.micro_batches.batch_run import BatchRun
from orchestrai.pipeline.micro_batches.stream_worker import Pace, StreamWorker
from orchestrai.pipeline.micro_batches.worker_lock import as_only_worker, has_worker
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings, load_settings
from orchestrai_tests.ingest.declaring import NOW, PREFIX, RAW, RESTORED, declare, ids, opened, reading, run

LOG = "{url: 'log://readings', format: jsonl}"
BEGIN = datetime(2026, 10, 5, 10, 30, tzinfo=UTC)
ROOT = str(Path(__file__).resolve().parents[3])


def send(home: Path, numbers: range) -> None:
    with StreamLog(home / "streams", "readings").writer(lambda: NOW) as writer:
        writer.append([reading(number) for number in numbers])


class Waits:
    """Sleeps that take no time and are counted; stops the worker after some."""

    def __init__(self, stop_after: int = 1 << 30) -> None:
        self.seconds: list[float] = []
        self.stop_after = stop_after

    def __call__(self, seconds: float) -> bool:
        self.seconds.append(seconds)
        return len(self.seconds) > self.stop_after


def worker(runtime: Runtime, waits: Waits | None = None, told: list[str] | None = None) -> StreamWorker:
    lines = told if told is not None else []
    return StreamWorker(runtime, runtime.project.dataset(PREFIX), waits or Waits(), lines.append)


def test_a_batch_goes_through_every_stage_and_an_idle_one_does_nothing(tmp_path: Path) -> None:
    runtime = opened(declare(tmp_path / "p", LOG), tmp_path / "home")
    send(tmp_path / "home", range(5))
    told: list[str] = []
    done = worker(runtime, told=told).run(Pace(batches=3))
    assert (done.batches, done.records, done.refused) == (3, 5, {}) and ids(runtime) == [*range(5)]
    assert runtime.ledger.open(RESTORED).version == runtime.ledger.open(RAW).version
    heads = [head.seq for asset in (RAW, RESTORED) for head in runtime.ledger.history(asset)]
    assert heads == [1, 1] and len(told) == 1
    send(tmp_path / "home", range(5, 8))
    assert worker(runtime).run(Pace(batches=1)).records == 3 and ids(runtime) == [*range(8)]


def test_it_stops_between_two_batches_when_told(tmp_path: Path) -> None:
    runtime = opened(declare(tmp_path / "p", LOG), tmp_path / "home")
    send(tmp_path / "home", range(5))
    waits = Waits(stop_after=2)
    assert worker(runtime, waits).run(Pace(timedelta(seconds=30))).batches == 2
    # the clock stands still: each batch begins a whole pause after the one before
    assert waits.seconds == [0.0, 30.0, 30.0]


def test_what_may_pass_is_tried_again_as_declared_and_what_may_not_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = opened(declare(tmp_path / "p", LOG), tmp_path / "home")
    send(tmp_path / "home", range(5))
    real, failures = BatchRun.run, [TransientStorageError("expected an answer, found none"), ConcurrentCommit("other")]
    monkeypatch.setattr(BatchRun, "run", lambda self: real(self) if not failures else (_ for _ in ()).throw(failures.pop()))
    waits = Waits()
    done = worker(runtime, waits).run(Pace(batches=1))
    assert (done.batches, done.records, done.retried) == (1, 5, 2) and waits.seconds == [0.0, 300.0, 600.0]
    failures.append(ConfigError("expected another, found this"))
    with pytest.raises(ConfigError):
        worker(runtime).run(Pace(batches=1))
    assert not has_worker(tmp_path / "home", runtime.project.dataset(PREFIX))


def test_a_refused_batch_stays_in_the_stream_and_is_judged_again_later(tmp_path: Path) -> None:
    runtime = opened(declare(tmp_path / "p", LOG), tmp_path / "home")
    with StreamLog(tmp_path / "home" / "streams", "readings").writer(lambda: NOW) as writer:
        writer.append([b"{"] * 40)
    waits = Waits()
    done = worker(runtime, waits).run(Pace(batches=2))
    assert done.records == 0 and [place.partition("@")[0] for place in done.refused] == [RAW]
    assert waits.seconds == [0.0, 600.0] and runtime.ledger.find(RAW) is None


def test_one_worker_a_dataset_and_streams_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    runtime = opened(declare(tmp_path / "p", LOG), home)
    dataset = runtime.project.dataset(PREFIX)
    assert not has_worker(home, dataset)
    with as_only_worker(home, dataset):
        assert has_worker(home, dataset)
        with pytest.raises(ConcurrentCommit, match="end it first"):
            worker(runtime).run(Pace(batches=1))
    assert not has_worker(home, dataset)
    objects = opened(declare(tmp_path / "q", "{url: landing/, format: jsonl, partition_from: filename}"), home)
    with pytest.raises(ConfigError, match="read from a stream"):
        worker(objects)


def test_two_that_work_at_once_publish_each_record_once(tmp_path: Path) -> None:
    folder, home = (
        declare(tmp_path / "p", "{url: 'log://readings', format: jsonl, stream: {batch_records: 3}}"),
        tmp_path / "home",
    )
    send(home, range(3))
    # the first snapshot makes the vault
    worker(opened(folder, home)).run(Pace(batches=1))
    send(home, range(3, 30))
    lost: list[ConcurrentCommit] = []
    ended: list[bool] = []
    both = threading.Barrier(2)

    def work() -> None:
        runtime = opened(folder, home)
        batch = BatchRun(runtime, runtime.project.dataset(PREFIX))
        both.wait()
        for _ in range(60):
            try:
                if batch.run().idle:
                    ended.append(True)
                    return
            except ConcurrentCommit as error:
                lost.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [True, True]
    runtime = opened(folder, home)
    run(runtime, sorted(runtime.ledger.open(RAW).partitions), "snapshot", "restored")
    assert ids(runtime, RAW) == ids(runtime) == [*range(30)]


# one interpreter that forks a worker for each moment of death: the imports cost more than the work
_WORKERS = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
home = Path(sys.argv[2])
import pyarrow.compute, pyarrow.json, pyarrow.parquet
import orchestrai.ledger.publishing as publishing
import orchestrai_tests.pipeline.micro_batches.test_stream_worker as test
real, published = publishing.append_head, []
def counted(last):
    def append(*a, **k):
        if len(published) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        published.append(a)
        return real(*a, **k)
    return append
for number, moment in enumerate(sys.argv[3:]):
    test.telemetry_minute(home, number)
    pid = os.fork()
    if pid == 0:
        publishing.append_head = counted(int(moment))
        runtime = test.telemetry(home)
        worker = test.StreamWorker(runtime, runtime.project.dataset("telemetry/readings"), test.Waits())
        os._exit(len(worker.run(test.Pace(batches=1)).refused))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


def telemetry(home: Path) -> Runtime:
    project = load_project([SHIPPED / "telemetry"], {})
    return Runtime(load_settings(home=home, engine="duckdb"), project, clock=lambda: BEGIN + timedelta(minutes=10))


def telemetry_minute(home: Path, number: int) -> None:
    rows = [
        {"device_id": f"press-{device}", "ts": (BEGIN + timedelta(minutes=number, seconds=device)).isoformat(), "seq": number,
         "temperature": 60.0 + device, "vibration": 2.0, "failed": False}
        for device in range(4)
    ]  # fmt: skip
    with StreamLog(home / "streams", "readings").writer(lambda: BEGIN + timedelta(minutes=10)) as writer:
        writer.append([json.dumps(row).encode() for row in rows])


def test_killed_before_any_of_its_commits_the_next_goes_on_with_nothing_lost_or_doubled(tmp_path: Path) -> None:
    home = tmp_path / "home"
    # raw events, snapshot, restored, features: killed before the head of the first, the second, ... of them
    moments = ("0", "1", "2", "3", "99")
    command = [sys.executable, "-c", _WORKERS, ROOT, str(home), *moments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == ["-9", "-9", "-9", "-9", "0"], done.stderr
    ledger = telemetry(home).ledger
    raw, restored, features = (
        ledger.open(f"telemetry/{name}") for name in ("readings/raw_events", "readings/restored", "device_rolling/features")
    )
    assert raw.rows == restored.rows == features.rows == 4 * len(moments) and raw.version == restored.version
    with OnlineStore(online_path(home, "telemetry", "device_rolling")) as store:
        row = store.get("press-3")
    assert row is not None and row.version == features.version
    assert row.time == BEGIN + timedelta(minutes=len(moments) - 1, seconds=3)


def test_the_command_stops_at_sigterm_with_what_it_had_begun_done(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", declare(tmp_path / "pipelines" / "plant", LOG)
    send(home, range(5))
    environment = {
        **os.environ, "ORCHESTRAI_HOME": str(home), "ORCHESTRAI_PIPELINES": str(folder.parent), "PYTHONPATH": ROOT,
    }  # fmt: skip
    command = [
        sys.executable,
        "-c",
        "from orchestrai.cli import main; main()",
        "stream",
        "run",
        PREFIX,
        "--every",
        "0.1",
        "--json",
    ]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None and child.stdout is not None
        assert "5 records" in child.stderr.readline()
        dataset = opened(folder, home).project.dataset(PREFIX)
        assert has_worker(home, dataset)
        child.send_signal(signal.SIGTERM)
        told = child.stdout.read()
        assert child.wait(60) == 0
    assert json.loads(told)["records"] == 5 and not has_worker(home, dataset)
    assert ids(Runtime(Settings(home=home), load_project([folder], {}))) == [*range(5)]
