"""The landing cursor: the right partitions once, whatever is deleted, overwritten, late or simultaneous."""

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrai.contracts.contract import Contract
from orchestrai.core.time.calendar import Grain
from orchestrai.errors import ConfigError, StorageError
from orchestrai.ingest.discovery.listing import discover, landed
from orchestrai.ingest.discovery.partitioning import place
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai.storage.base import ObjectInfo
from orchestrai.storage.local import LocalStore
from orchestrai_tests.ingest.conftest import NOW
from orchestrai_tests.ingest.judging import whole
from orchestrai_tests.ingest.test_ingestion import HEADER, RAW, Shop, lines

SOURCE = SourceSpec(url="x", format="jsonl")
START = datetime(2026, 1, 1, tzinfo=UTC)


class Listing:
    """A landing that is only listed; `modified` has whole seconds, as S3 tells it."""

    url = "memory:landing"

    def __init__(self) -> None:
        self.objects: dict[str, ObjectInfo] = {}
        self.writes = 0
        self.down = False

    def put(self, key: str, at: datetime) -> str:
        self.writes += 1
        etag = f"e{self.writes}"
        self.objects[key] = ObjectInfo(key, 1, etag, at.replace(microsecond=0))
        return etag

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        if self.down:
            raise StorageError("expected a listing, found an outage")
        yield from self.objects.values()


def keys(found: object) -> list[str]:
    return sorted(info.key for infos in found.partitions.values() for info in infos)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("key", "grain", "expected"),
    [
        ("2010-12-01.csv", "day", "2010-12-01"),
        ("orders_20101201_v2.csv", "day", "2010-12-01"),
        ("2026-01-01T13-05.jsonl", "hour", "2026-01-01-13:00"),
        ("readings-2026-01-01-13.jsonl", "hour", "2026-01-01-13:00"),
        ("readings-20260101T1305.jsonl.gz", "hour", "2026-01-01-13:00"),
        ("2026-01-01T13:05:09Z.jsonl", "hour", "2026-01-01-13:00"),
        ("2026-01-01.jsonl", "hour", None),
        ("2026-01.csv", "month", "2026-01-01"),
        ("2026-01-17.csv", "month", "2026-01-01"),
        ("items.jsonl", "all", "all"),
        ("items.jsonl", "day", None),
        ("2026-13-40.csv", "day", None),
        ("a/2026/01/02/x.csv", "day", None),
    ],
)
def test_a_name_tells_its_partition(key: str, grain: Grain, expected: str | None) -> None:
    assert place(SOURCE, grain, ObjectInfo(key, 1, "e", START)) == expected


@pytest.mark.parametrize(
    ("key", "grain", "expected"),
    [
        ("a/2026/01/02/x.csv", "day", "2026-01-02"),
        ("year=2026/month=01/day=02/part-0.csv", "day", "2026-01-02"),
        ("dt=2026-01-02/part-0.csv", "day", "2026-01-02"),
        ("year=2026/month=01/day=02/hour=07/part-0.csv", "hour", "2026-01-02-07:00"),
    ],
)
def test_a_path_tells_its_partition(key: str, grain: Grain, expected: str) -> None:
    source = SOURCE.model_copy(update={"partition_from": "path"})
    assert place(source, grain, ObjectInfo(key, 1, "e", START)) == expected


def test_what_arrived_is_told_once_and_a_change_is_told_again() -> None:
    landing = Listing()
    landing.put("2026-01-01.jsonl", START)
    first = discover(landing, SOURCE, "day", None, now=NOW)  # type: ignore[arg-type]
    assert list(first.partitions) == ["2026-01-01"]
    second = discover(landing, SOURCE, "day", first.cursor, now=NOW)  # type: ignore[arg-type]
    assert second.partitions == {} and second.cursor == first.cursor
    landing.put("2026-01-01.jsonl", START)
    assert keys(discover(landing, SOURCE, "day", second.cursor, now=NOW)) == ["2026-01-01.jsonl"]  # type: ignore[arg-type]


def test_an_object_of_the_same_second_is_found_and_a_deleted_or_overwritten_one_hides_none() -> None:
    landing = Listing()
    landing.put("2026-01-02.jsonl", START)
    cursor = discover(landing, SOURCE, "day", None, now=NOW).cursor  # type: ignore[arg-type]
    landing.put("2026-01-01.jsonl", START)
    found = discover(landing, SOURCE, "day", cursor, now=NOW)  # type: ignore[arg-type]
    assert keys(found) == ["2026-01-01.jsonl"]
    del landing.objects["2026-01-01.jsonl"]
    landing.put("2026-01-02.jsonl", START + timedelta(seconds=9))
    landing.put("2026-01-03.jsonl", START + timedelta(seconds=8))
    assert keys(discover(landing, SOURCE, "day", found.cursor, now=NOW)) == ["2026-01-02.jsonl", "2026-01-03.jsonl"]  # type: ignore[arg-type]


def test_a_limit_leaves_the_rest_for_the_next_tick() -> None:
    landing = Listing()
    for number in range(25):
        landing.put(f"2026-01-{number + 1:02d}.jsonl", START + timedelta(seconds=number % 3))
    seen: list[str] = []
    cursor, ticks, more = None, 0, True
    while more:
        found = discover(landing, SOURCE, "day", cursor, now=NOW, limit=10)  # type: ignore[arg-type]
        cursor, ticks, more = found.cursor, ticks + 1, found.more
        seen += keys(found)
    assert ticks == 3 and sorted(seen) == sorted(landing.objects) and len(seen) == 25


def test_an_outage_fails_and_is_never_nothing_new() -> None:
    landing = Listing()
    landing.down = True
    with pytest.raises(StorageError):
        discover(landing, SOURCE, "day", None, now=NOW)  # type: ignore[arg-type]


def test_a_clock_ahead_of_ours_does_not_hide_what_comes_after() -> None:
    landing = Listing()
    landing.put("2026-01-01.jsonl", NOW + timedelta(days=300))
    cursor = discover(landing, SOURCE, "day", None, now=NOW).cursor  # type: ignore[arg-type]
    landing.put("2026-01-02.jsonl", NOW)
    assert keys(discover(landing, SOURCE, "day", cursor, now=NOW)) == ["2026-01-02.jsonl"]  # type: ignore[arg-type]


def test_hidden_objects_and_other_patterns_are_passed_over_and_unplaced_ones_are_told() -> None:
    landing = Listing()
    for key in ("_SUCCESS", ".tmp/2026-01-01.jsonl", "2026-01-02.csv", "readme.jsonl", "2026-01-03.jsonl"):
        landing.put(key, START)
    found = discover(landing, SOURCE.model_copy(update={"pattern": "*.jsonl"}), "day", None, now=NOW)  # type: ignore[arg-type]
    assert keys(found) == ["2026-01-03.jsonl"]
    assert [item.uri for item in found.unplaced] == ["memory:landing/readme.jsonl"]


@pytest.mark.parametrize("text", ["x", "{}", '{"v": 9}', '{"v":1,"floor":3,"seen":[]}'])
def test_a_foreign_cursor_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="reset the sensor's cursor"):
        discover(Listing(), SOURCE, "day", text, now=NOW)  # type: ignore[arg-type]


def soak(arrivals: int, per_second: int, seed: int) -> tuple[Counter[tuple[str, str]], set[tuple[str, str]], int]:
    """Arrivals at a steady rate and in bursts, killed ticks, overwrites and deletes: told, expected, longest cursor."""
    rng = random.Random(seed)
    landing, told, recent = Listing(), Counter[tuple[str, str]](), list[str]()
    expected: set[tuple[str, str]] = set()
    now, number, cursor, biggest, more = START, 0, None, 0, True
    while number < arrivals or more:
        burst = rng.choice([1, 1, 1, 5]) * per_second * 30
        for _ in range(min(burst, arrivals - number)):
            # objects appear with a time up to 90 s in their past: uploads take time, clocks differ
            at = now + timedelta(seconds=rng.uniform(-90, 30))
            key = f"{(START + timedelta(days=number % 400)):%Y-%m-%d}-{number}.jsonl"
            expected.add((key, landing.put(key, at)))
            number += 1
        for key in rng.sample(recent, min(3, len(recent))):
            found_there = landing.objects.pop(key, None)
            if found_there is None:
                continue
            if (key, found_there.etag) not in told:
                # replaced or deleted before any tick could see it
                expected.discard((key, found_there.etag))
            if rng.random() < 0.5:
                expected.add((key, landing.put(key, now)))
        now += timedelta(seconds=30)
        found = discover(landing, SOURCE, "day", cursor, now=now, limit=per_second * 200)  # type: ignore[arg-type]
        biggest = max(biggest, len(found.cursor))
        more = found.more
        if rng.random() < 0.2:
            more = True
            continue  # killed before the cursor was kept: the same is told again
        cursor = found.cursor
        arrived = [(info.key, info.etag) for infos in found.partitions.values() for info in infos]
        told.update(arrived)
        recent = [key for key, _ in arrived[-50:]]
        # what was told and is long past leaves the landing, so that a listing stays cheap
        for key, info in list(landing.objects.items()):
            if info.modified < now - timedelta(minutes=12) and (key, info.etag) in told:
                del landing.objects[key]
    return told, expected, biggest


def test_a_soak_of_arrivals_is_told_each_exactly_once() -> None:
    count = int(os.environ.get("ORCHESTRAI_TEST_ARRIVALS", "20000"))
    told, expected, biggest = soak(count, per_second=50, seed=7)
    assert set(told) == expected
    assert set(told.values()) == {1}
    assert biggest < 1_000_000


def test_the_ledger_finds_what_no_cursor_saw(
    ledger: Ledger, landing: LocalStore, orders: Contract, csv_source: SourceSpec, tmp_path: Path
) -> None:
    shop = Shop(ledger, landing, orders, csv_source)
    shop.put("2011-03-01.csv", HEADER + lines(50))
    assert list(whole(ledger, RAW, landing, csv_source).due) == ["2011-03-01"]
    cursor = discover(landing, csv_source, "day", None, now=NOW).cursor
    shop.run("2011-03-01")
    assert whole(ledger, RAW, landing, csv_source).due == {}
    shop.put("2011-03-02.csv", HEADER + lines(50, "2011-03-02"))
    # a copy that kept its old time is behind the cursor's floor
    os.utime(tmp_path / "landing" / "2011-03-02.csv", (1, 1))
    assert discover(landing, csv_source, "day", cursor, now=NOW).partitions == {}
    assert list(whole(ledger, RAW, landing, csv_source).due) == ["2011-03-02"]


def test_a_cursor_is_plain_json() -> None:
    landing = Listing()
    landing.put("2026-01-01.jsonl", START)
    assert json.loads(discover(landing, SOURCE, "day", None, now=NOW).cursor)["v"] == 1  # type: ignore[arg-type]


class Sorted(Listing):
    """A listing in order of key that begins where it is told to, and counts what it gives."""

    given = 0

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        for key in sorted(self.objects):
            if key.startswith(prefix) and (start_after is None or key > start_after):
                self.given += 1
                yield self.objects[key]


def test_a_promised_prefix_spares_the_old_objects_and_what_breaks_it_is_seen_by_no_tick() -> None:
    source = SOURCE.model_copy(update={"key_prefix": "dt=%Y-%m-%d/", "partition_from": "path", "late": timedelta(days=2)})
    landing = Sorted()
    for day in range(30):
        at = START + timedelta(days=day)
        for number in range(10):
            landing.put(f"dt={at:%Y-%m-%d}/{number}.jsonl", at)
    first = discover(landing, source, "day", None, now=NOW)  # type: ignore[arg-type]
    assert len(keys(first)) == landing.given == 300
    landing.given = 0
    for day in (29, 28, 3):
        landing.put(f"dt={START + timedelta(days=day):%Y-%m-%d}/new.jsonl", START + timedelta(days=30))
    second = discover(landing, source, "day", first.cursor, now=NOW)  # type: ignore[arg-type]
    assert keys(second) == ["dt=2026-01-29/new.jsonl", "dt=2026-01-30/new.jsonl"]
    assert landing.given == 42
    landing.given = 0
    found = landed(landing, source, "day", ["2026-01-04", "2026-01-30"]).objects  # type: ignore[arg-type]
    assert [len(found[key]) for key in found] == [11, 11]
    assert landing.given == 22
    assert len(landed(landing, source, "month", ["2026-01-01"]).objects["2026-01-01"]) == 303  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["%d-%m-%Y/", "%-m/%-d/", "%b/%d", "data/"])
def test_a_prefix_that_does_not_sort_by_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="sort in order of time"):
        SourceSpec(url="x", format="jsonl", key_prefix=text)
