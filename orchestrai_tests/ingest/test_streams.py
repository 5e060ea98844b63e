"""Streams: the embedded log and Kafka (librdkafka's mock cluster in another process), exactly once through crashes."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.contracts.contract import Column, Contract
from orchestrai.errors import ConcurrentCommit, ConfigError, IntegrityError, StorageError, TransientStorageError
from orchestrai.ingest.sources.kafka import KafkaSettings, KafkaSource, open_stream
from orchestrai.ingest.sources.stream import next_batch, offsets_at, published_offsets
from orchestrai.ingest.sources.stream_log import StreamLog
from orchestrai.ingest.sources.stream_records import (
    StreamRecord,
    decode_record,
    encode_record,
    read_archive,
    write_archive,
)
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.local import LocalStore
from orchestrai_tests.producers import producer
from orchestrai_tests.running import ingest_stream, publish_batch
from orchestrai_tests.servers.kafka import KafkaCluster, kafka_cluster
from orchestrai_tests.servers.process import ServerAbsent

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ASSET = "telemetry/readings/raw_events"
CONTRACT = Contract(
    "readings",
    "1.0.0",
    (
        Column("device_id", "STRING", "device_id", required=True),
        Column("at", "TIMESTAMP", "at", required=True),
        Column("value", "DOUBLE", "value"),
    ),
    event_time="at",
)


def reading(number: int, *, hour: int = 10) -> bytes:
    moment = datetime(2026, 11, 22, hour, number // 60 % 60, number % 60, tzinfo=UTC)
    return json.dumps({"device_id": f"d{number}", "at": moment.isoformat(), "value": number / 10}).encode()


def fill(log: StreamLog, numbers: range, *, key: bytes | None = None, hour: int = 10) -> None:
    with log.writer(lambda: NOW) as writer:
        writer.append([reading(n, hour=hour) for n in numbers], key=key)


def step(ledger: Ledger, source: Any, contract: Contract = CONTRACT, **options: Any) -> StageReport:
    return ingest_stream(ledger, asset=ASSET, source=source, contract=contract, grain="hour", now=NOW, **options)


def devices(ledger: Ledger) -> list[str]:
    import pyarrow.parquet as pq

    dataset = ledger.open(ASSET)
    found: list[str] = []
    with dataset.fetched(sorted(dataset.partitions)) as files:
        for part in files.values():
            for file in part:
                found += pq.read_table(file.path).column("device_id").to_pylist()
    return sorted(found, key=lambda name: int(name[1:]))


def archived(ledger: Ledger) -> list[StreamRecord]:
    dataset = ledger.open(ASSET)
    with dataset.fetched(sorted(dataset.partitions), role="landed") as files:
        return [record for part in files.values() for file in part for record in read_archive(file.path)]


# -- records -----------------------------------------------------------------------------------------------------

RECORDS = st.builds(
    StreamRecord,
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**63),
    st.datetimes(timezones=st.just(UTC)),
    st.none() | st.binary(),
    st.none() | st.binary(),
    st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=9)), max_size=3).map(tuple),
)


@given(RECORDS)
def test_a_record_is_read_back_as_it_was_written(record: StreamRecord) -> None:
    assert decode_record(encode_record(record)) == record


@settings(max_examples=200)
@given(st.data())
def test_every_flipped_byte_and_every_truncation_of_an_archive_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: Any
) -> None:
    path = tmp_path_factory.mktemp("archive") / "a"
    records = [StreamRecord(0, n, NOW, b"v%d" % n, b"k", (("h", None),)) for n in range(3)]
    write_archive(path, records)
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.booleans())
    path.write_bytes(whole[:at] if cut else whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
    size = len(whole) // 3
    if cut and at % size == 0:
        assert list(read_archive(path)) == records[: at // size]  # the manifest's hash and size find this one
    else:
        with pytest.raises(IntegrityError):
            list(read_archive(path))


# -- the embedded log --------------------------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path: Path) -> StreamLog:
    return StreamLog(tmp_path / "streams", "readings")


def values(log: StreamLog, offset: int = 0) -> list[bytes | None]:
    return [record.value for record in log.read({0: offset}, 10**6, 10**9, 0)]


def segment_files(log: StreamLog) -> list[Path]:
    return sorted(log.folder.rglob("*.segment"))


def test_the_log_gives_back_what_was_appended_from_any_offset(tmp_path: Path) -> None:
    log = StreamLog(tmp_path, "t", segment_bytes=200)
    written = [b"%d" % n * 5 for n in range(40)]
    for start in range(0, 40, 8):
        with log.writer(lambda: NOW) as writer:
            assert writer.append(written[start : start + 8]) == (0, start, start + 8)
    assert len(segment_files(log)) > 5 and log.bounds() == {0: (0, 40)}
    for offset in (0, 1, 17, 39, 40, 3, 25):
        assert values(log, offset) == written[offset:]


def test_a_torn_tail_is_unseen_by_readers_and_cut_by_the_next_writer(log: StreamLog) -> None:
    fill(log, range(3))
    (path,) = segment_files(log)
    whole = path.read_bytes()
    third = len(whole) - len(whole) // 3
    for cut in range(third + 1, len(whole)):
        path.write_bytes(whole[:cut])
        assert values(log) == [reading(0), reading(1)] and log.bounds() == {0: (0, 2)}
    fill(log, range(7, 8))
    assert values(log) == [reading(0), reading(1), reading(7)]


def test_damage_before_the_tail_is_told_and_never_cut(log: StreamLog) -> None:
    fill(log, range(3))
    (path,) = segment_files(log)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    with pytest.raises(IntegrityError, match="record 1"):
        values(log)
    with pytest.raises(IntegrityError, match="record 1"):
        fill(log, range(1))
    assert path.read_bytes() == whole


def test_damage_in_an_older_segment_is_told(tmp_path: Path) -> None:
    log = StreamLog(tmp_path, "t", segment_bytes=100)
    fill(log, range(6))
    first = segment_files(log)[0]
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(IntegrityError):
        values(log)


def test_a_second_writer_is_refused(log: StreamLog) -> None:
    with log.writer(lambda: NOW), pytest.raises(StorageError, match="one writer"):
        log.writer(lambda: NOW)
    fill(log, range(1))


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden"])
def test_a_topic_cannot_leave_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        StreamLog(tmp_path, name)


_WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from orchestrai.ingest.sources.stream_log import StreamLog
log = StreamLog(Path(sys.argv[1]), "t", segment_bytes=2000)
with log.writer(lambda: datetime(2026, 1, 1, tzinfo=UTC)) as writer:
    number = writer.append([])[1]
    while True:
        _, first, end = writer.append([b"%d" % n for n in range(number, number + 3)])
        number = end
        print(end, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        acknowledged = [int(child.stdout.readline()) for _ in range(20)][-1]
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        found = values(StreamLog(tmp_path, "t"))
        assert found == [b"%d" % n for n in range(len(found))] and len(found) >= acknowledged


# -- batches -----------------------------------------------------------------------------------------------------


def test_batches_are_bounded_by_records_and_by_bytes(log: StreamLog) -> None:
    fill(log, range(100))
    batch = next_batch(log, {}, limit_records=30)
    assert batch.ranges == {0: (0, 30)} and len(batch.records) == 30 and batch.lag == 70
    small = next_batch(log, {0: 30}, limit_bytes=3 * len(reading(30)))
    assert small.ranges == {0: (30, 33)}
    assert next_batch(log, {0: 100}).empty


def test_every_partition_has_its_share_of_a_batch(tmp_path: Path) -> None:
    log = StreamLog(tmp_path, "t", partitions=3)
    for key in (b"a", b"b", b"c", b"d", b"e", b"f", b"g"):
        fill(log, range(50), key=key)
    batch = next_batch(log, {}, limit_records=9)
    assert len(batch.records) <= 9 and len(batch.ranges) == len([n for n, (_, high) in log.bounds().items() if high])


def test_records_deleted_unread_are_an_error_unless_accepted(tmp_path: Path) -> None:
    log = StreamLog(tmp_path, "t", segment_bytes=100)
    fill(log, range(6))
    segment_files(log)[0].unlink()
    low = log.bounds()[0][0]
    with pytest.raises(IntegrityError, match=f"{low} records were deleted"):
        next_batch(log, {0: 0})
    assert next_batch(log, {0: 0}, accept_gaps=True).ranges == {0: (low, 6)}


def test_a_stream_shorter_than_what_was_read_is_an_error(log: StreamLog) -> None:
    fill(log, range(3))
    with pytest.raises(IntegrityError, match="replaced"):
        next_batch(log, {0: 4})


def test_a_reader_sees_all_partitions_though_it_was_told_of_fewer(tmp_path: Path) -> None:
    log = StreamLog(tmp_path, "t", partitions=4)
    for key in (b"a", b"b", b"c", b"d", b"e", b"f"):
        fill(log, range(2), key=key)
    with open_stream("log://t", tmp_path) as found:
        assert found.bounds() == log.bounds() and len(next_batch(found, {}).records) == 12


@pytest.mark.parametrize("url", ["t", "kafka://h:1", "kafka://user:pw@h:1/t", "http://h/t", "log://../t", "kafka:///t"])
def test_urls_of_streams_are_checked(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_stream(url, tmp_path)
    assert "pw" not in str(caught.value)


# -- exactly once ------------------------------------------------------------------------------------------------


def test_batches_are_published_once_with_their_bytes_and_offsets(ledger: Ledger, log: StreamLog) -> None:
    fill(log, range(25))
    fill(log, range(25, 40), hour=11)
    reports = [step(ledger, log, limit_records=15) for _ in range(4)]
    assert [report.facts["records"] for report in reports] == [15, 15, 10, 0]
    assert reports[-1].version == reports[-2].version == ledger.open(ASSET).version
    assert devices(ledger) == [f"d{n}" for n in range(40)]
    assert [record.value for record in archived(ledger)] == [reading(n, hour=10 if n < 25 else 11) for n in range(40)]
    assert published_offsets(ledger, ASSET, "readings") == {0: 40}
    assert sorted(ledger.open(ASSET).partitions) == ["2026-11-22-10:00", "2026-11-22-11:00"]


def test_poison_goes_to_the_dead_letters_and_the_archive(ledger: Ledger, log: StreamLog) -> None:
    poison = [b"\xff\xfe", b"{", b"[1]", b'{"device_id": "d9", "at": "yesterday"}', b"[" * 100_000]
    with log.writer(lambda: NOW) as writer:
        writer.append([reading(0), *poison, None, reading(1)])
    report = step(ledger, log)
    assert report.facts["dead_letters"] == 6 and devices(ledger) == ["d0", "d1"]
    assert sorted(str(r.value) for r in archived(ledger)) == sorted(map(str, [reading(0), *poison, None, reading(1)]))
    dead = ledger.open("telemetry/readings/dead_letters")
    with dataset_lines(dead) as lines:
        assert [line["offset"] for line in lines] == [1, 2, 3, 4, 5, 6]
        assert all(line["reason"].startswith("expected") for line in lines)
    with log.writer(lambda: NOW) as writer:
        writer.append([b"worse"])
    step(ledger, log)
    with dataset_lines(ledger.open("telemetry/readings/dead_letters")) as lines:
        assert [line["offset"] for line in lines] == [1, 2, 3, 4, 5, 6, 8]


class dataset_lines:
    def __init__(self, dataset: Any) -> None:
        self.context = dataset.fetched(sorted(dataset.partitions))

    def __enter__(self) -> list[Any]:
        files = self.context.__enter__()
        return [json.loads(line) for part in files.values() for file in part for line in file.path.open()]

    def __exit__(self, *raised: Any) -> None:
        self.context.__exit__(*raised)


def test_a_batch_with_one_refused_partition_is_published_not_at_all(ledger: Ledger, log: StreamLog) -> None:
    fill(log, range(3))
    with log.writer(lambda: NOW) as writer:
        writer.append([json.dumps({"device_id": "d7", "at": "2026-11-22T11:00:00Z", "value": 7}).encode()] * 2)
    unique = replace(CONTRACT, columns=(*CONTRACT.columns[:2], replace(CONTRACT.columns[2], unique=True)))
    report = step(ledger, log, contract=unique)
    assert len(report.refused) == 2 and ledger.find(ASSET) is None
    assert published_offsets(ledger, ASSET, "readings") == {}


def test_rows_that_break_a_rule_of_their_own_do_not_hold_up_the_stream(ledger: Ledger, log: StreamLog) -> None:
    bad = [
        {"device_id": None, "at": "2026-11-22T11:00:00Z"},
        {"device_id": "d1", "at": "1970-01-01T00:00:00Z"},
        {"device_id": "d2", "at": "2026-11-22T12:06:00Z"},
        {"device_id": "d3", "at": "2026-11-22T11:00:00Z", "value": -1},
        {"device_id": "far too long", "at": "2026-11-22T11:00:00Z"},
    ]
    device, at, value = CONTRACT.columns
    columns = (replace(device, max_length=5, pattern="d.*"), at, replace(value, minimum=0.0))
    with log.writer(lambda: NOW) as writer:
        writer.append([reading(0), *(json.dumps(row).encode() for row in bad), reading(9)])
    report = step(ledger, log, contract=replace(CONTRACT, columns=columns))
    assert not report.refused and report.facts["dead_letters"] == 5 and devices(ledger) == ["d0", "d9"]
    # what tells no time that can be believed lies with the record before it
    assert sorted(ledger.open(ASSET).partitions) == ["2026-11-22-10:00", "2026-11-22-11:00"]


def test_a_record_that_a_producer_sent_twice_is_a_dead_letter_by_its_key(ledger: Ledger, log: StreamLog) -> None:
    keyed = replace(CONTRACT, columns=(replace(CONTRACT.columns[0], key=1), *CONTRACT.columns[1:]))
    for numbers in (range(3), range(2, 5)):
        fill(log, numbers)
        fill(log, range(2, 3))
        step(ledger, log, contract=keyed)
    assert devices(ledger) == [f"d{n}" for n in range(5)]
    assert ledger.open("telemetry/readings/dead_letters").rows == 3 and len(archived(ledger)) == 8


def test_a_stream_of_another_format_closes_the_gate(ledger: Ledger, log: StreamLog) -> None:
    with log.writer(lambda: NOW) as writer:
        writer.append([b"<xml/>"] * 30)
    assert step(ledger, log).refused and ledger.find(ASSET) is None
    assert ledger.find("telemetry/readings/dead_letters") is None  # they stay in the stream and are judged again


def test_a_batch_that_was_published_before_is_a_no_op(ledger: Ledger, log: StreamLog) -> None:
    fill(log, range(5))
    batch = next_batch(log, {})
    first = _publish(ledger, batch)
    again = _publish(ledger, batch)
    assert again.version == first.version and len(list(ledger.history(ASSET))) == 1


def _publish(ledger: Ledger, batch: Any, session: Any = None) -> StageReport:
    session = session or ledger.session(ASSET, producer("raw_events"))
    known = offsets_at(ledger, session.fence, batch.topic)
    return publish_batch(ledger, batch, session=session, known=known, contract=CONTRACT, grain="hour", now=NOW)


def test_of_two_readers_of_one_partition_the_second_loses(ledger: Ledger, log: StreamLog) -> None:
    fill(log, range(5))
    slow = ledger.session(ASSET, producer("raw_events"))
    stale = next_batch(log, {}, limit_records=3)
    assert step(ledger, log).facts["records"] == 5
    with pytest.raises(ConcurrentCommit):
        _publish(ledger, stale, slow)
    with pytest.raises(ConcurrentCommit):
        _publish(ledger, _shifted(log))
    assert devices(ledger) == [f"d{n}" for n in range(5)]


def _shifted(log: StreamLog) -> Any:
    fill(log, range(5, 8))
    return next_batch(log, {0: 4})


def test_two_readers_of_different_partitions_both_count(ledger: Ledger, tmp_path: Path) -> None:
    log = StreamLog(tmp_path / "s", "t", partitions=2)
    keys = {crc32(key) % 2: key for key in (b"a", b"b", b"c", b"d")}
    for number in (0, 1):
        fill(log, range(10 * number, 10 * number + 5), key=keys[number], hour=10 + number)
    assert log.bounds() == {0: (0, 5), 1: (0, 5)}
    slow = ledger.session(ASSET, producer("raw_events"))
    whole = next_batch(log, {})
    one = _only(whole, 0)
    other = _only(whole, 1)
    _publish(ledger, one)
    _publish(ledger, other, slow)  # began before `one` was published, touches other hours: the ledger merges both
    assert published_offsets(ledger, ASSET, "t") == {0: 5, 1: 5}
    assert step(ledger, log).facts["records"] == 0
    assert len(devices(ledger)) == 10


def _only(batch: Any, number: int) -> Any:
    records = tuple(r for r in batch.records if r.partition == number)
    return replace(batch, ranges={number: batch.ranges[number]}, records=records)


# one interpreter that forks a reader for each moment of death: the imports cost more than the work
_READERS = """
import os, signal, sys
from pathlib import Path
root = Path(sys.argv[1])
sys.path.insert(0, sys.argv[2])
import pyarrow.compute, pyarrow.json, pyarrow.parquet
import orchestrai.ledger.publishing as publishing
from orchestrai_tests.ingest.test_streams import step
from orchestrai.ingest.sources.stream_log import StreamLog
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.local import LocalStore
real = publishing.append_head
def die(*a, **k):
    os.kill(os.getpid(), signal.SIGKILL)
def after(*a, **k):
    real(*a, **k)
    die()
for moment in sys.argv[3:]:
    pid = os.fork()
    if pid == 0:
        publishing.append_head = {"before": die, "after": after, "never": real}[moment]
        ledger = Ledger(LocalStore(root / "lake"), load_or_create_signer(root / "keys"), vault=LocalStore(root / "vault"))
        step(ledger, StreamLog(root / "s", "t"), limit_records=7)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.mark.thorough("faults at each write are injected in one process")
def test_readers_killed_before_and_after_the_commit_neither_lose_nor_repeat(tmp_path: Path) -> None:
    log = StreamLog(tmp_path / "s", "t")
    fill(log, range(21))
    root = str(Path(__file__).resolve().parents[2])
    moments = ("before", "after", "before", "after", "never", "never")
    command = [sys.executable, "-c", _READERS, str(tmp_path), root, *moments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["-9", "-9", "-9", "-9", "0", "0"]
    ledger = Ledger(
        LocalStore(tmp_path / "lake"), load_or_create_signer(tmp_path / "keys"), vault=LocalStore(tmp_path / "vault")
    )
    assert devices(ledger) == [f"d{n}" for n in range(21)]
    assert len(archived(ledger)) == 21 and published_offsets(ledger, ASSET, "t") == {0: 21}


def test_after_a_rollback_the_records_taken_back_are_read_again(ledger: Ledger, log: StreamLog) -> None:
    fill(log, range(5))
    step(ledger, log)
    good = ledger.open(ASSET)
    fill(log, range(5, 9))
    step(ledger, log)
    session = ledger.session(ASSET, producer("raw_events"))
    for key in good.partitions:
        files = good.files(key)
        for entry in files.files:
            session.add_entry(key, entry)
        session.add_stats(key, **files.stats)
    session.commit(action="rollback", reason="test")
    assert published_offsets(ledger, ASSET, "readings") == {0: 5}
    step(ledger, log)
    assert devices(ledger) == [f"d{n}" for n in range(9)]


# -- Kafka -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaCluster]:
    try:
        with kafka_cluster() as cluster:
            yield cluster
    except ServerAbsent as exc:
        pytest.skip(str(exc))


@pytest.fixture
def topic() -> str:
    return f"readings-{uuid.uuid4().hex[:8]}"


@pytest.mark.emulator
def test_kafka_records_are_published_once_across_consumers(ledger: Ledger, kafka: KafkaCluster, topic: str) -> None:
    for partition in range(3):
        kafka.produce(topic, [reading(100 * partition + n) for n in range(20)], partition=partition, key=b"k")
    taken = []
    for _ in range(6):
        with KafkaSource(KafkaSettings(kafka.servers), topic) as source:
            taken.append(step(ledger, source, limit_records=25).facts["records"])
    assert sum(int(str(n)) for n in taken) == 60 and taken[-1] == 0 and max(int(str(n)) for n in taken) <= 25
    assert devices(ledger) == [f"d{100 * p + n}" for p in range(3) for n in range(20)]
    assert published_offsets(ledger, ASSET, topic) == {0: 20, 1: 20, 2: 20}
    assert {(r.partition, r.offset) for r in archived(ledger)} == {(p, n) for p in range(3) for n in range(20)}


@pytest.mark.emulator
def test_kafka_keeps_bytes_headers_keys_and_times(kafka: KafkaCluster, topic: str) -> None:
    stamp = int(datetime(2026, 1, 2, tzinfo=UTC).timestamp() * 1000)
    kafka.produce(topic, [b"\x00\xff", None], key=b"\x01", headers=[("h", b"\xfe"), ("n", None)], timestamp=stamp)
    with KafkaSource(KafkaSettings(kafka.servers), topic) as source:
        batch = next_batch(source, {})
    expected = (("h", b"\xfe"), ("n", None))
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    assert list(batch.records) == [
        StreamRecord(0, n, moment, v, b"\x01", expected) for n, v in enumerate([b"\x00\xff", None])
    ]


@pytest.mark.emulator
def test_kafka_batches_end_at_their_byte_limit(kafka: KafkaCluster, topic: str) -> None:
    kafka.produce(topic, [b"x" * 1000] * 50)
    with KafkaSource(KafkaSettings(kafka.servers), topic) as source:
        batch = next_batch(source, {0: 10}, limit_bytes=5_000)
    assert batch.ranges == {0: (10, 15)}


@pytest.mark.emulator
def test_a_missing_topic_is_an_error_and_not_nothing_new(kafka: KafkaCluster) -> None:
    with KafkaSource(KafkaSettings(kafka.servers, timeout=3), "no-such-topic") as source:
        with pytest.raises(StorageError):
            next_batch(source, {0: 0})


@pytest.mark.emulator
def test_a_cluster_that_is_gone_is_a_transient_error(topic: str) -> None:
    with kafka_cluster() as cluster:
        cluster.produce(topic, [b"x"] * 5)
        with KafkaSource(KafkaSettings(cluster.servers, timeout=2), topic) as source:
            assert len(next_batch(source, {}).records) == 5
            cluster.stop()
            with pytest.raises(TransientStorageError):
                next_batch(source, {0: 2})
            with pytest.raises(TransientStorageError):
                source.read({0: 2}, 10, 10, 0.5)


def test_kafka_secrets_are_references_and_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "hunter2-canary"
    with pytest.raises(ConfigError) as caught:
        KafkaSettings("h:9093", password=canary)
    assert canary not in str(caught.value)
    monkeypatch.setenv("KAFKA_PASSWORD", canary)
    found = KafkaSettings("h:9093", "SASL_SSL", "PLAIN", "env://KAFKA_PASSWORD", "env://KAFKA_PASSWORD")
    assert canary not in repr(found) and found.properties()["sasl.password"] == canary
    with pytest.raises(ConfigError, match=r"auto\.offset\.reset"):
        KafkaSettings("h:9093", options={"auto.offset.reset": "latest"})
    wrong = KafkaSettings("h:9093", "SASL_SSL", "NO-SUCH", "env://KAFKA_PASSWORD", "env://KAFKA_PASSWORD")
    with pytest.raises(ConfigError) as caught:
        KafkaSource(wrong, "t")
    assert canary not in str(caught.value)
