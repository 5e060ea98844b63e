"""One conformance suite for everything that is read on from a position: a stream, a table, an API by number and by link."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from orchestrai.errors import IntegrityError, StorageError
from orchestrai.ingest.ports import Batch, PositionedSource
from orchestrai.ingest.sources.http import HttpPages
from orchestrai.ingest.sources.kafka import KafkaSettings, KafkaSource
from orchestrai.ingest.sources.stream import StreamFeed
from orchestrai.ingest.sources.stream_log import StreamLog
from orchestrai.ingest.sources.table_batch import TableFeed
from orchestrai.ingest.sources.table_reader import TableReader
from orchestrai.ingest.sources.table_source import SqlSource
from orchestrai.ingest.spec import StreamOptions
from orchestrai_tests.ingest.conftest import CLICKS, NOW, contract_of
from orchestrai_tests.ingest.test_pull import TODAY, Api, api, spec
from orchestrai_tests.servers.kafka import kafka_cluster
from orchestrai_tests.servers.process import ServerAbsent

__all__ = ["api"]
FIRST = list(range(25))
OPTIONS = StreamOptions(batch_records=7, wait_seconds=2)


@dataclass
class Case:
    """A source of the numbers 0 to 24, how to read them, and how to add to it and break it."""

    source: PositionedSource[Batch]
    numbers: Callable[[Any], list[int]]
    add: Callable[[list[int]], None] | None
    stop: Callable[[], None]
    # whether what was given before may be given again
    again: bool = False


def record(number: int) -> bytes:
    return json.dumps({"n": number}).encode()


def records_of(batch: Any) -> list[int]:
    return [json.loads(record.value)["n"] for record in batch.records]


@pytest.fixture
def log(tmp_path: Path) -> Case:
    stream = StreamLog(tmp_path / "streams", "numbers")

    def add(numbers: list[int]) -> None:
        with stream.writer(lambda: NOW) as writer:
            writer.append([record(number) for number in numbers], key=b"k")

    add(FIRST)

    def stop() -> None:
        (segment,) = (tmp_path / "streams").rglob("*.segment")
        data = bytearray(segment.read_bytes())
        data[30] ^= 1
        segment.write_bytes(data)

    return Case(StreamFeed(stream, OPTIONS), records_of, add, stop)


@pytest.fixture
def kafka() -> Iterator[Case]:
    try:
        with kafka_cluster() as cluster:
            cluster.produce("numbers", [record(number) for number in FIRST])
            with KafkaSource(KafkaSettings(cluster.servers, timeout=3), "numbers") as stream:

                def add(numbers: list[int]) -> None:
                    cluster.produce("numbers", [record(number) for number in numbers])

                yield Case(StreamFeed(stream, OPTIONS), records_of, add, cluster.stop)
    except ServerAbsent as exc:
        pytest.skip(str(exc))


@pytest.fixture
def table(tmp_path: Path) -> Case:
    path = tmp_path / "shop.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE t (user_id TEXT, item INTEGER, ts TEXT, weight REAL)")

    def add(numbers: list[int]) -> None:
        values = [("u", number, f"2026-11-22T10:{number:02d}:00+00:00", 1.0) for number in numbers]
        database.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", values)
        database.commit()

    add(FIRST)
    source = SqlSource(f"sqlite:///{path}", "t", "item", overlap_ids=3, limit_rows=7, key=("user_id", "item"))
    reader = TableReader(source, contract_of(CLICKS, tmp_path), "day")

    def numbers(batch: Any) -> list[int]:
        return sorted(n for writer in batch.rows.values() for n in pq.read_table(writer.path)["item"].to_pylist())

    def stop() -> None:
        database.close()
        path.unlink()

    return Case(TableFeed(reader, tmp_path / "slices", sleep=lambda _: None), numbers, add, stop, again=True)


def _pages(api: Api, **options: Any) -> Case:
    opened = HttpPages(spec(api, retries=0, timeout_seconds=2, **options), TODAY, lambda _: None)

    def numbers(page: Any) -> list[int]:
        return [] if page.empty else [item["item"] for item in json.loads(page.body)["data"]]

    def stop() -> None:
        api.troubles = [503] * 9

    return Case(opened, numbers, None, stop)


@pytest.fixture
def pages_by_number(api: Api) -> Case:
    return _pages(api, next="", page_param="page")


@pytest.fixture
def pages_by_link(api: Api) -> Case:
    return _pages(api)


@pytest.fixture(
    params=[
        "log",
        pytest.param("kafka", marks=(pytest.mark.emulator, pytest.mark.thorough("the embedded log first"))),
        "table",
        "pages_by_number",
        "pages_by_link",
    ]
)
def case(request: pytest.FixtureRequest) -> Case:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Case)
    return found


def read(case: Case, after: Any = None) -> list[tuple[list[int], Any]]:
    """Every batch behind a position: its numbers, and where it ends as a manifest would keep it."""
    batches: list[tuple[list[int], Any]] = []
    more = True
    while more:
        batch = case.source.next_batch(after)
        after, more = json.loads(json.dumps(batch.end)), batch.more
        batches.append((case.numbers(batch), after))
        assert len(batches) < 20
    return batches


def test_all_is_read_once_in_bounded_batches(case: Case) -> None:
    batches = read(case)
    assert [number for numbers, _ in batches for number in numbers] == FIRST
    assert len(batches) > 2 and max(len(numbers) for numbers, _ in batches) < 25


def test_reading_goes_on_behind_any_position_and_leaves_nothing_out(case: Case) -> None:
    done: list[int] = []
    for numbers, end in read(case):
        done += numbers
        rest = [number for later, _ in read(case, end) for number in later]
        wanted = FIRST[len(done) :]
        assert ((set(rest) >= set(wanted) and rest[-1:] == wanted[-1:]) or not wanted) if case.again else rest == wanted


def test_the_same_position_gives_the_same_batch(case: Case) -> None:
    for _, end in [([], None), *read(case)[:2]]:
        first, second = case.source.next_batch(end), case.source.next_batch(end)
        assert (case.numbers(first), first.end) == (case.numbers(second), second.end)


def test_behind_the_last_position_is_nothing_new_and_the_position_stays(case: Case) -> None:
    *_, (_, end) = read(case)
    batch = case.source.next_batch(end)
    assert not batch.more
    if case.again:
        assert set(case.numbers(batch)) <= set(FIRST)
    else:
        assert batch.empty and case.numbers(batch) == [] and json.loads(json.dumps(batch.end)) == end


def test_what_comes_later_lies_behind_the_last_position(case: Case) -> None:
    if case.add is None:
        return  # an API tells one moment, and each partition anew
    *_, (_, end) = read(case)
    case.add([30, 31])
    numbers = [number for later, _ in read(case, end) for number in later]
    assert [number for number in numbers if number not in FIRST] == [30, 31]


def test_an_outage_or_damage_is_never_nothing_new(case: Case) -> None:
    (_, end), *_ = read(case)
    case.stop()
    with pytest.raises((StorageError, IntegrityError)):
        for _ in range(3):
            case.source.next_batch(None)
            case.source.next_batch(end)


def test_where_it_is_holds_no_secret(case: Case) -> None:
    assert "://" in case.source.uri and "@" not in case.source.uri and "?" not in case.source.uri
