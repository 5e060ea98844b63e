"""Streams by declaration: Kafka and the embedded log to restored data, through SIGKILL, and dead letters replayed."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrai.errors import DeclarationError
from orchestrai.ingest.dead_letter_list import list_letters
from orchestrai.ingest.incremental import pending
from orchestrai.ingest.sources.stream import published_offsets
from orchestrai.ingest.sources.stream_log import StreamLog
from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.ingest.declaring import NOW, PREFIX, RAW, RESTORED, declare, hour, ids, opened, reading, rows, run
from orchestrai_tests.running import replay
from orchestrai_tests.servers.kafka import KafkaCluster, kafka_cluster
from orchestrai_tests.servers.process import ServerAbsent

LOG = "{url: 'log://readings', format: jsonl}"


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaCluster]:
    try:
        with kafka_cluster() as cluster:
            yield cluster
    except ServerAbsent as exc:
        pytest.skip(str(exc))


def fill(home: Path, *values: bytes) -> None:
    with StreamLog(home / "streams", "readings").writer(lambda: NOW) as writer:
        writer.append(values)


# one interpreter that forks a run for each moment of death: the imports cost more than the work
_RUNS = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
folder, home = Path(sys.argv[2]), Path(sys.argv[3])
import pyarrow.compute, pyarrow.json, pyarrow.parquet
import orchestrai.ledger.publishing as publishing
from orchestrai_tests.ingest.declaring import hour, opened, run
real = publishing.append_head
def die(*a, **k):
    os.kill(os.getpid(), signal.SIGKILL)
def after(*a, **k):
    real(*a, **k)
    die()
for moment in sys.argv[4:]:
    pid = os.fork()
    if pid == 0:
        publishing.append_head = {"before": die, "after": after, "never": real}[moment]
        run(opened(folder, home), [hour(10)], *(["raw_events"] if moment != "never" else []))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.mark.thorough("the embedded log is, and its readers die")
@pytest.mark.emulator
def test_a_kafka_topic_is_restored_exactly_once_though_runs_are_killed_around_the_commit(
    tmp_path: Path, kafka: KafkaCluster
) -> None:
    topic = "declared"
    for partition in range(3):
        values = [reading(100 * partition + n) for n in range(20)]
        kafka.produce(topic, [*values, b"{torn"] if partition == 1 else values, partition=partition)
    source = f"{{url: 'kafka://{kafka.servers}/{topic}', format: jsonl, stream: {{batch_records: 25}}}}"
    folder, home = declare(tmp_path / "plant", source), tmp_path / "home"
    root = str(Path(__file__).resolve().parents[2])
    moments = ("before", "after", "before", "after", "never")
    command = [sys.executable, "-c", _RUNS, root, str(folder), str(home), *moments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    assert done.stdout.split() == ["-9", "-9", "-9", "-9", "0"]
    runtime = opened(folder, home)
    assert ids(runtime) == [100 * partition + n for partition in range(3) for n in range(20)]
    assert runtime.ledger.open(RESTORED).version == runtime.ledger.open(RAW).version
    offsets = published_offsets(runtime.ledger, RAW, topic)
    assert {n: end for n, end in offsets.items() if end} == {0: 20, 1: 21, 2: 20}
    (letter,) = list_letters(runtime.ledger, RAW)
    assert (letter.line, letter.offset) == (1, 20) and letter.uri.endswith("/declared/1")


def test_the_same_stream_in_another_home_has_the_same_version(tmp_path: Path) -> None:
    folder = declare(tmp_path / "plant", LOG)
    versions = set()
    for name in ("one", "two"):
        fill(tmp_path / name, *(reading(n) for n in range(30)), reading(31, at=11))
        runtime = opened(folder, tmp_path / name)
        assert not run(runtime, [hour(10), hour(11)]).refused
        versions.add(runtime.ledger.open(RESTORED).version)
    assert len(versions) == 1


def test_what_is_pending_is_told_without_taking_it(tmp_path: Path) -> None:
    folder, home = declare(tmp_path / "plant", LOG), tmp_path / "home"
    runtime = opened(folder, home)
    node = runtime.project.dataset(PREFIX)

    def look() -> tuple[str, ...]:
        found = pending(runtime.ledger, asset=RAW, source=node.spec.source, home=home, contract=node.contract, grain="hour")
        return found.partitions if found else ()

    assert look() == ()
    fill(home, reading(1), reading(2, at=8), b"{")
    assert look() == look() == (hour(8), hour(10))
    run(runtime, [hour(10)])
    assert look() == ()


def test_a_batch_that_breaks_its_contract_stays_in_the_stream_and_may_be_waived_by_nobody_else(tmp_path: Path) -> None:
    folder, home = declare(tmp_path / "plant", LOG), tmp_path / "home"
    fill(home, *[b"<xml/>"] * 30)
    runtime = opened(folder, home)
    report = run(runtime, [hour(12)], "raw_events")
    assert report.refused and runtime.ledger.find(RAW) is None
    assert "refused records" in report.refused[0].verdicts[-1].message
    assert report.facts["lag"] == 0 and list_letters(runtime.ledger, RAW) == []


def replayed(runtime: Runtime) -> None:
    node = runtime.project.dataset(PREFIX)
    replay(runtime.ledger, asset=RAW, landing=None, source=node.spec.source, contract=node.contract, grain="hour", now=NOW)


def test_dead_letters_of_a_stream_land_once_after_the_contract_is_mended(tmp_path: Path) -> None:
    folder, home = declare(tmp_path / "plant", LOG), tmp_path / "home"
    fill(home, reading(1), reading(2, value=500), reading(3, at=8, value=700), b"{", reading(4))
    runtime = opened(folder, home)
    run(runtime, [hour(8), hour(10)], "raw_events")
    assert ids(runtime, RAW) == [1, 4] and len(list_letters(runtime.ledger, RAW)) == 3
    declare(folder, LOG, maximum=600, version="1.1.0")
    runtime = opened(folder, home)
    for _ in range(2):
        replayed(runtime)
        assert ids(runtime, RAW) == [1, 2, 4]
        left = {letter.offset: letter for letter in list_letters(runtime.ledger, RAW)}
        assert sorted(left) == [2, 3] and {x.contract_version for x in left.values()} == {"1.1.0"}
        assert "at most 600" in left[2].reason
    declare(folder, LOG, maximum=1000, version="1.2.0")
    runtime = opened(folder, home)
    replayed(runtime)
    assert ids(runtime, RAW) == [1, 2, 3, 4] and rows(runtime, RAW)[2]["value"] == 700
    # the offsets stand: nothing is read again, and what follows is read on
    fill(home, reading(5))
    run(runtime, [hour(8), hour(10)])
    assert ids(runtime) == [1, 2, 3, 4, 5] and published_offsets(runtime.ledger, RAW, "readings") == {0: 6}
    assert runtime.ledger.open(RESTORED).version == runtime.ledger.open(RAW).version


def test_a_replay_that_died_before_its_letters_were_taken_away_adds_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, home = declare(tmp_path / "plant", LOG), tmp_path / "home"
    fill(home, reading(1), reading(2, value=500))
    run(opened(folder, home), [hour(10)], "raw_events")
    declare(folder, LOG, maximum=600)
    runtime = opened(folder, home)
    with monkeypatch.context() as patched:
        patched.setattr("orchestrai.ingest.replay.publish_letters", _die)
        with pytest.raises(KeyboardInterrupt):
            replayed(runtime)
    assert ids(runtime, RAW) == [1, 2] and len(list_letters(runtime.ledger, RAW)) == 1
    replayed(runtime)
    assert ids(runtime, RAW) == [1, 2] and list_letters(runtime.ledger, RAW) == []


def _die(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{url: 'log://readings', format: csv}", "expected the format jsonl for a stream"),
        ("{url: 'kafka://h:1/t', format: jsonl, stream: {password: hunter2}}", "secret reference"),
        ("{url: 'kafka://h:1/t', format: jsonl, stream: {mechanism: MAGIC}}", "SCRAM"),
        ("{url: 'log://t', format: jsonl, notifications: {queue: 'sqs://h/1/q'}}", "notifications for objects only"),
        ("{url: 'landing/', format: jsonl, notifications: {queue: 'http://h/q'}}", "queue"),
        ("{url: 'postgresql://h/db', format: sql}", r"sql\.table or sql\.query"),
        ("{url: 'postgresql://h/db', format: sql, sql: {table: t, overlap: soon}}", "duration"),
        ("{url: 'postgresql://h/db', format: sql, sql: {table: t}}", r"sql\.key"),
        ("{url: 'postgresql://h/db', format: sql, sql: {table: t, key: [id], watermark: value}}", "TIMESTAMP or BIGINT"),
        (
            "{url: 'postgresql://u:hunter2@h/db', format: sql, sql: {table: t, key: [id]}}",
            "without credentials, found a password",
        ),
        ("{url: 'log://a/b', format: jsonl}", "plain topic name"),
        ("{url: 'kafka://hunter2@h:1/t', format: jsonl}", "without credentials"),
        ("{url: 'kafka://h:1/t', format: jsonl, stream: {options: {group.id: x}}}", r"group\.id"),
    ],
)
def test_a_wrong_source_is_told_in_one_line_and_shows_no_secret(tmp_path: Path, source: str, told: str) -> None:
    with pytest.raises(DeclarationError, match=told) as caught:
        opened(declare(tmp_path / "plant", source), tmp_path / "home")
    assert "hunter2" not in str(caught.value) and "\n" not in str(caught.value)
