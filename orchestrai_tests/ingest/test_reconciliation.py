"""Every landed object is in one of four places, and one that cannot be taken ends nothing."""

import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrai.contracts.contract import Column, Contract
from orchestrai.core.time.calendar import partition_of
from orchestrai.errors import AccessRefused, StorageError
from orchestrai.ingest.dead_letter_list import list_letters
from orchestrai.ingest.dead_letters import UNPLACED, Unplaced, publish_unplaced
from orchestrai.ingest.discovery.asking import PastRun, back_off, choose, digest
from orchestrai.ingest.discovery.opening import Span
from orchestrai.ingest.discovery.watch import LETTERS, ArrivalCursor, look
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.decisions.skips import SKIPS, Skip
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.quarantine import last_refusal
from orchestrai.storage.base import ObjectInfo
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.storage.url import open_store
from orchestrai_tests.ingest.conftest import NOW
from orchestrai_tests.ingest.judging import counts, judge_for, whole
from orchestrai_tests.ingest.test_ingestion import DAY, HEADER, RAW, Shop, lines, reasons, shop
from orchestrai_tests.running import ingest, replay
from orchestrai_tests.servers.s3 import S3Server

__all__ = ["shop"]
NEXT = "2011-03-02"
HOUR = timedelta(hours=1)
ITEMS = Contract("d", "1.0.0", (Column("n", "BIGINT", "n", required=True),))


def look_at(shop: Shop, **options: Any) -> Any:
    return whole(shop.ledger, RAW, shop.landing, shop.source, **options)


def told(found: Any) -> dict[str, tuple[str, int]]:
    return {reason.example: (reason.place, reason.count) for reason in found.reasons}


def test_an_object_waits_until_its_receipt_names_it_and_then_is_in_the_raw_events(shop: Shop) -> None:
    shop.put(f"{DAY}.csv", HEADER + lines(20))
    shop.put(f"{NEXT}.csv", HEADER + lines(20, NEXT))
    before = look_at(shop)
    assert counts(before) == (0, 0, 2, 0) and list(before.due) == [DAY, NEXT] and before.oldest is not None
    shop.run(DAY)
    after = look_at(shop)
    assert counts(after) == (1, 0, 1, 0) and list(after.due) == [NEXT]


def test_a_rule_that_passes_an_object_over_is_shown(shop: Shop) -> None:
    for key in ("_SUCCESS", ".tmp/x.csv", f"{DAY}.txt", "1999-01-01.csv", "2011-03-09.csv"):
        shop.put(key, "x")
    shop.source = shop.source.model_copy(update={"pattern": "*.csv"})
    start, now = datetime(2011, 1, 1, tzinfo=UTC), datetime(2011, 3, 9, 6, tzinfo=UTC)
    found = look_at(shop, start=start, now=now)
    assert counts(found) == (0, 0, 1, 4) and not found.due and list(found.early) == ["2011-03-09"]
    assert told(found) == {
        "_SUCCESS": ("passed_over", 1),
        ".tmp/x.csv": ("passed_over", 1),
        f"{DAY}.txt": ("passed_over", 1),
        "1999-01-01.csv": ("passed_over", 1),
        "2011-03-09.csv": ("waiting", 1),
    }


def test_an_object_that_no_partition_can_take_becomes_a_dead_letter_and_the_rest_goes_on(shop: Shop, tmp_path: Path) -> None:
    shop.put(f"{DAY}.csv", HEADER + lines(20))
    shop.put("readme.csv", "x")
    folder = tmp_path / "landing"
    (folder / f"{DAY}\nforged.csv").write_text(HEADER + lines(20))
    (folder / f"{DAY}-a\\b.csv").write_text(HEADER + lines(20))
    with open(os.fsencode(folder) + b"/" + DAY.encode() + b"-\xff.csv", "w") as file:
        file.write(HEADER + lines(20))
    before = look_at(shop)
    assert counts(before) == (0, 0, 5, 0) and len(before.unplaced) == 4
    assert not shop.run().refused
    assert counts(look_at(shop)) == (1, 4, 0, 0)
    letters = list_letters(shop.ledger, RAW)
    assert {letter.partition for letter in letters} == {UNPLACED} and len({letter.id for letter in letters}) == 4
    assert sorted(letter.uri.rsplit("/", 1)[1] for letter in letters) == sorted(
        [f"{DAY}\nforged.csv", f"{DAY}-a\\b.csv", f"{DAY}-\\xff.csv", "readme.csv"]
    )
    # nothing of it is written twice, and a tick that sees them adds none
    head = shop.ledger.head("shop/orders/dead_letters")
    shop.run()
    assert publish_unplaced(shop.ledger, RAW, shop.contract, before.unplaced, LETTERS) == 0
    assert shop.ledger.head("shop/orders/dead_letters") == head


def test_a_dead_letter_is_replayed_when_the_declaration_tells_its_partition(shop: Shop) -> None:
    shop.put("orders of 1 March 2011.csv", HEADER + lines(20))
    shop.run()
    assert counts(look_at(shop)) == (0, 1, 0, 0)
    shop.source = shop.source.model_copy(update={"partition_format": "orders of %d %B %Y"})
    assert counts(look_at(shop)) == (0, 0, 1, 0)
    report = replay(
        shop.ledger, asset=RAW, landing=shop.landing, source=shop.source, contract=shop.contract, grain="day", now=NOW
    )
    assert report is not None and report.rows == 20
    assert counts(look_at(shop)) == (1, 0, 0, 0) and list_letters(shop.ledger, RAW) == []


def test_what_was_refused_is_asked_for_again_only_when_its_objects_change(shop: Shop) -> None:
    shop.put(f"{DAY}.csv", HEADER + lines(20))
    shop.put(f"{DAY}-bad.csv", b"\x00" * 1000)
    assert list(look_at(shop).due) == [DAY]
    assert reasons(shop.run()).keys() >= {"schema"}
    found = look_at(shop)
    # the one that cannot be read is a dead letter, the good one waits with its day
    assert counts(found) == (0, 1, 1, 0) and not found.due and found.held_up == 1
    judge = judge_for(shop.ledger, RAW, shop.landing, shop.source)
    good, bad = (judge.identity(info) for info in sorted(shop.landing.list(), key=lambda info: -info.size))
    assert judge.still_waiting(DAY, {good, bad}) == set() and judge.still_waiting(DAY, {good, 7}) == {good, 7}
    shop.landing.delete(f"{DAY}-bad.csv")
    found = look_at(shop)
    assert list(found.due) == [DAY]
    assert not shop.run().refused
    assert counts(look_at(shop)) == (1, 0, 0, 0)


def test_a_day_left_out_by_a_person_is_passed_over_by_that(shop: Shop) -> None:
    shop.put(f"{DAY}.csv", b"\x00" * 1000)
    shop.put(f"{DAY}-good.csv", HEADER + lines(20))
    shop.run()
    root = last_refusal(shop.ledger.lake, RAW, DAY).root
    skip = Skip(shop.ledger.new_id(), RAW, DAY, root, "never sent whole", "ada", NOW.isoformat())
    SKIPS.put([shop.ledger.lake], shop.ledger.signer, skip)
    found = look_at(shop)
    assert counts(found) == (0, 1, 0, 1) and not found.due and not found.held_up


def test_the_same_bytes_sent_again_wait_for_nothing_after_their_run(shop: Shop, tmp_path: Path) -> None:
    shop.put(f"{DAY}.csv", HEADER + lines(20))
    version = shop.run().version
    shop.put(f"{DAY}.csv", HEADER + lines(20))
    assert list(look_at(shop).due) == [DAY]
    assert shop.run().version == version
    assert counts(look_at(shop)) == (1, 0, 0, 0)
    assert shop.ledger.open(RAW).rows == 20


def test_an_older_object_is_passed_over_where_the_newest_counts(shop: Shop, tmp_path: Path) -> None:
    shop.source = shop.source.model_copy(update={"objects": "newest"})
    for number, key in enumerate((f"{DAY}-1.csv", f"{DAY}-2.csv")):
        shop.put(key, HEADER + lines(20 + number))
        os.utime(tmp_path / "landing" / key, (number + 1, number + 1))
    assert counts(look_at(shop)) == (0, 0, 1, 1)
    shop.run()
    assert counts(look_at(shop)) == (1, 0, 0, 1) and not look_at(shop).due


class Denying(LocalStore):
    """A landing that lists some objects and does not hand them out."""

    denied: tuple[str, ...] = ()

    def stream(self, key: str, *, version: str | None = None, if_match: str | None = None) -> Iterator[bytes]:
        if key in self.denied:
            raise AccessRefused(f"expected access to {key!r}, found it refused: check the policy", key=key)
        return super().stream(key, version=version, if_match=if_match)


def test_an_object_that_is_not_handed_out_closes_its_own_day_only(shop: Shop, tmp_path: Path) -> None:
    shop.landing = landing = Denying(tmp_path / "landing")
    for day in (DAY, NEXT):
        shop.put(f"{day}.csv", HEADER + lines(20, day))
    shop.put(f"{DAY}-sealed.csv", HEADER + lines(20))
    landing.denied = (f"{DAY}-sealed.csv",)
    report = shop.run(DAY, NEXT)
    assert [outcome.partition for outcome in report.refused] == [DAY] and "refused" in reasons(report)["schema"]
    found = look_at(shop)
    assert counts(found) == (1, 1, 1, 0) and not found.due and found.held_up == 1
    # where nothing is handed out that is an outage, and nothing of it is written
    landing.denied = (f"{DAY}-sealed.csv", f"{DAY}.csv", f"{NEXT}.csv", "2011-03-03.csv")
    shop.put("2011-03-03.csv", HEADER + lines(20, "2011-03-03"))
    with pytest.raises(AccessRefused):
        shop.run("2011-03-03")
    assert list(look_at(shop).due) == ["2011-03-03"]


@pytest.mark.emulator
@pytest.mark.parametrize(
    "odd",
    [
        "a//2011-03-01.csv",
        "a/./2011-03-01.csv",
        "a/../2011-03-01.csv",
        "2011-03-01\t.csv",
        "/2011-03-01.csv",
        "2011-03-01.csv/",
    ],
)
def test_an_odd_key_of_a_bucket_is_a_dead_letter_and_hides_nothing(
    odd: str, moto: S3Server, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    bucket, client = moto.bucket(), moto.client()
    for key in ("2011-03-01-a.csv", odd, "b/2011-03-02.csv", "~2011-03-01.csv"):
        client.put_object(Bucket=bucket, Key=f"in/{key}", Body=b"n\n1\n")
    landing, source = open_store(f"s3://{bucket}/in"), SourceSpec(url="in/", format="csv")
    found = whole(ledger, "p/d/raw_events", landing, source)
    assert counts(found) == (0, 0, 4, 0)
    options: Any = {"landing": landing, "source": source, "contract": ITEMS, "grain": "day", "now": NOW}
    for _ in range(2):
        report = ingest(ledger, asset="p/d/raw_events", partitions=[DAY, NEXT], **options)
        assert not report.refused
        found = whole(ledger, "p/d/raw_events", landing, source)
        assert counts(found) == (3, 1, 0, 0) and not found.due
    (letter,) = list_letters(ledger, "p/d/raw_events")
    assert letter.kind == "object" and "rename the object" in letter.reason


@pytest.mark.emulator
def test_an_object_below_another_of_its_day_is_a_dead_letter(
    moto: S3Server, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    bucket, client = moto.bucket(), moto.client()
    keys = ("2011-03-01.csv", "2011-03-01.csv-x", "2011-03-01.csv/2011-03-01.csv", "2011-03-01.csv/2011-03-02.csv")
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=b"n\n1\n")
    landing, source = open_store(f"s3://{bucket}"), SourceSpec(url="in/", format="csv")
    options: Any = {"landing": landing, "source": source, "contract": ITEMS, "grain": "day", "now": NOW}
    assert not ingest(ledger, asset="p/d/raw_events", partitions=[DAY, NEXT], **options).refused
    assert counts(whole(ledger, "p/d/raw_events", landing, source)) == (3, 1, 0, 0)
    assert [letter.uri for letter in list_letters(ledger, "p/d/raw_events")] == [f"s3://{bucket}/{keys[2]}"]


# -- hints, back-off, spans ------------------------------------------------------------------------------------------


def ticks(shop: Shop, cursor: ArrivalCursor, now: datetime = NOW, every: timedelta = HOUR) -> Any:
    return look(judge_for(shop.ledger, RAW, shop.landing, shop.source, now=now), cursor, every, limit=5_000)


def test_between_whole_looks_hints_are_held_against_the_ledger(shop: Shop) -> None:
    first = ticks(shop, ArrivalCursor())
    assert first.whole is not None and not first.due
    shop.put(f"{DAY}.csv", HEADER + lines(20))
    cursor = first.cursor
    for minute in range(3):  # asked for again and again: the cursor keeps it until the ledger has it
        found = ticks(shop, ArrivalCursor.decode(cursor.encode()), NOW + timedelta(minutes=minute))
        assert list(found.due) == [DAY] and found.whole is None
        cursor = found.cursor
    shop.run()
    found = ticks(shop, cursor, NOW + timedelta(minutes=4))
    assert not found.due and not found.cursor.waiting
    assert ticks(shop, found.cursor, NOW + HOUR).whole is not None


@pytest.mark.parametrize(
    "text", [None, "", "x", "[]", "{}", '{"v":1,"floor":"2026-01-01T00:00:00+00:00","seen":[]}', '{"v":2}']
)
def test_a_cursor_that_is_lost_or_of_another_kind_means_a_whole_look(shop: Shop, text: str | None) -> None:
    shop.put(f"{DAY}.csv", HEADER + lines(20))
    found = ticks(shop, ArrivalCursor.decode(text))
    assert found.whole is not None and list(found.due) == [DAY]


def test_a_backlog_too_long_for_a_cursor_is_carried_on_by_whole_looks(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrai.ingest.discovery.watch.MAX_WAITING", 1)
    for day in (DAY, NEXT):
        shop.put(f"{day}.csv", HEADER + lines(20, day))
    first = ticks(shop, ArrivalCursor())
    assert list(first.due) == [DAY, NEXT] and list(first.cursor.waiting) == [DAY] and first.cursor.rest
    shop.run(DAY)
    second = ticks(shop, first.cursor, NOW + timedelta(minutes=1))
    assert not second.due
    third = ticks(shop, second.cursor, NOW + timedelta(minutes=2))
    assert third.whole is not None and list(third.due) == [NEXT]


def test_the_back_off_doubles_to_an_hour_and_counts_only_the_same_arrivals() -> None:
    minute = timedelta(minutes=1)
    assert [back_off(minute, tries) for tries in (0, 1, 2, 3, 40)] == [0 * minute, minute, 2 * minute, 4 * minute, HOUR]
    name = digest({1, 2})
    failed = PastRun([DAY], [name], NOW - 30 * timedelta(seconds=1), False)
    going = PastRun([NEXT], [name], NOW, True)
    asking = choose({DAY: {1, 2}, NEXT: {5}, "2011-03-03": {9}}, [failed, going], now=NOW, first=minute, limit=10)
    assert list(asking.due) == ["2011-03-03"] and asking.later == (DAY,) and asking.open == (NEXT,)
    other = choose({DAY: {1, 2, 3}}, [failed], now=NOW, first=minute, limit=10)
    assert list(other.due) == [DAY] and other.attempt == 1
    again = choose({DAY: {1, 2}}, [failed], now=NOW + minute, first=minute, limit=10)
    assert again.attempt == 2
    limited = choose({DAY: {*range(8)}, NEXT: {*range(8)}}, [], now=NOW, first=minute, limit=10)
    assert list(limited.due) == [DAY] and limited.later == (NEXT,)


@pytest.mark.parametrize("grain", ["hour", "day", "month"])
def test_a_partition_is_open_when_dagster_offers_it(grain: Any) -> None:
    import dagster as dg

    kinds = {
        "hour": dg.HourlyPartitionsDefinition,
        "day": dg.DailyPartitionsDefinition,
        "month": dg.MonthlyPartitionsDefinition,
    }
    chance = random.Random(grain)
    start, end = datetime(2026, 1, 10, tzinfo=UTC), datetime(2026, 4, 20, tzinfo=UTC)
    offset = int(grain == "hour")
    for stop in (None, end):
        offers = kinds[grain](start_date=start, end_date=stop, timezone="UTC", end_offset=offset)
        for _ in range(150):
            now = datetime(2025, 12, 1, tzinfo=UTC) + timedelta(
                hours=chance.randrange(24 * 200), minutes=chance.randrange(60)
            )
            key = partition_of(datetime(2025, 12, 1, tzinfo=UTC) + timedelta(hours=chance.randrange(24 * 200)), grain)
            with dg.partition_loading_context(effective_dt=now):
                offered = offers.has_partition_key(key)
            assert (Span(grain, start, stop).opening(key, now) == "open") == offered, (key, now, stop)


def test_two_that_keep_dead_letters_at_once_lose_none(ledger: Ledger) -> None:
    first = [Unplaced(f"memory:x/{n}", "e", "odd") for n in range(3)]
    second = [Unplaced(f"memory:x/{n}", "e", "odd") for n in range(2, 5)]
    assert publish_unplaced(ledger, RAW, ITEMS, first, LETTERS) == 3
    assert publish_unplaced(ledger, RAW, ITEMS, second, LETTERS) == 2
    assert sorted(letter.uri for letter in list_letters(ledger, RAW)) == [f"memory:x/{n}" for n in range(5)]


def test_an_outage_of_a_landing_is_never_an_empty_one(shop: Shop) -> None:
    class Down(MemoryStore):
        def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
            raise StorageError("expected a listing, found an outage")

    shop.landing = Down()  # type: ignore[assignment]
    with pytest.raises(StorageError):
        ticks(shop, ArrivalCursor())
