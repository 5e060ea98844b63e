"""Objects of one content are one arrival, whatever they are called, however they are packed and in whatever order they come."""

import bz2
import gzip
import hashlib
import itertools
import lzma
import random
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrai.contracts.contract import Contract
from orchestrai.ingest.discovery.passed_over import passed_over
from orchestrai.ingest.discovery.same_content import content_digest
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import Material
from orchestrai.storage.local import LocalStore
from orchestrai_tests.ingest.conftest import NOW
from orchestrai_tests.ingest.judging import counts, whole
from orchestrai_tests.ingest.test_ingestion import DAY, HEADER, RAW, Shop, lines
from orchestrai_tests.running import ingest

TEN = HEADER + lines(10)
NAMES = (f"{DAY}.csv", f"archive/{DAY}.csv", f"{DAY}.csv.gz")


@pytest.fixture
def shop(ledger: Ledger, landing: LocalStore, orders: Contract, csv_source: SourceSpec) -> Shop:
    return Shop(ledger, landing, orders, csv_source)


def bytes_of(name: str, text: str = TEN) -> bytes:
    return gzip.compress(text.encode(), mtime=0) if name.endswith(".gz") else text.encode()


def materials(shop: Shop) -> dict[str, Material]:
    """By the name in the landing."""
    return {m.uri.partition("/landing/")[2]: m for m in shop.ledger.open(RAW).receipt(DAY).materials}


def root(shop: Shop) -> str:
    return shop.ledger.open(RAW).partitions[DAY].root


def test_a_name_for_what_is_not_finished_is_passed_over_and_the_finished_object_is_taken_once(shop: Shop) -> None:
    shop.put(f"{DAY}.csv.tmp", HEADER + lines(6))
    assert shop.run().rows == 0
    shop.landing.delete(f"{DAY}.csv.tmp")
    shop.put(f"{DAY}.csv", TEN)
    assert shop.run().rows == 10
    shop.landing.delete(f"{DAY}.csv")
    shop.put(f"{DAY}.csv.gz", bytes_of(".gz"))
    assert shop.run().rows == 10
    shop.landing.delete(f"{DAY}.csv.gz")
    assert shop.run().rows == 10


def test_a_copy_under_another_key_is_told_in_the_receipt_and_the_version_stays(shop: Shop) -> None:
    shop.put(f"{DAY}.csv", TEN)
    before = shop.run().version
    for name in NAMES[1:]:
        shop.put(name, bytes_of(name))
    report = shop.run()
    assert (report.rows, report.version, report.facts["repeated_objects"]) == (10, before, 2)
    told = materials(shop)
    assert set(told) == set(NAMES)
    assert [told[name].same_as for name in NAMES] == ["", told[NAMES[0]].uri, told[NAMES[0]].uri]
    assert told[f"{DAY}.csv.gz"].content == told[f"{DAY}.csv"].sha256
    # nothing is asked for again, and nothing is committed again
    assert counts(whole(shop.ledger, RAW, shop.landing, shop.source))[1:3] == (0, 0)
    seq = shop.ledger.head(RAW).seq  # type: ignore[union-attr]
    shop.run()
    assert shop.ledger.head(RAW).seq == seq  # type: ignore[union-attr]


@pytest.mark.parametrize("order", list(itertools.permutations(NAMES)))
def test_the_version_does_not_depend_on_the_order_of_arrival_nor_on_what_is_removed(
    order: tuple[str, ...], shop: Shop, tmp_path: Path, orders: Contract
) -> None:
    for name in order:
        shop.put(name, bytes_of(name))
        assert shop.run().rows == 10
    at_once = Shop(Ledger(LocalStore(tmp_path / "other"), shop.ledger.signer), shop.landing, orders, shop.source)
    at_once.run()
    assert root(shop) == root(at_once)
    for name in order:
        shop.landing.delete(name)
        assert shop.run().rows == 10
    assert root(shop) == root(at_once)


def test_a_landing_that_moved_one_folder_up_brings_nothing_twice_and_reads_nothing_again(shop: Shop, tmp_path: Path) -> None:
    shop.landing = LocalStore(tmp_path / "landing" / "t")
    shop.put(f"{DAY}.csv", TEN)
    before = shop.run().version
    shop.landing = LocalStore(tmp_path / "landing")
    report = shop.run()
    assert (report.rows, report.version, report.cost.bytes_read) == (10, before, 0)


def test_equal_files_are_each_a_delivery_where_the_source_says_so(shop: Shop) -> None:
    shop.put(f"a/{DAY}.csv", TEN)
    shop.put(f"b/{DAY}.csv", TEN)
    assert shop.run().rows == 10
    shop.source = shop.source.model_copy(update={"equal_files": "each"})
    assert shop.run().rows == 20
    assert not any(m.same_as for m in materials(shop).values())
    shop.landing.delete(f"b/{DAY}.csv")
    assert shop.run().rows == 20
    shop.source = shop.source.model_copy(update={"equal_files": "once"})
    assert shop.run().rows == 10


def test_what_a_copy_says_stays_when_the_object_that_stood_for_it_is_overwritten(shop: Shop) -> None:
    for name in (NAMES[0], NAMES[2]):
        shop.put(name, bytes_of(name))
    assert shop.run().rows == 10
    shop.landing.delete(NAMES[2])
    shop.put(NAMES[0], HEADER + lines(5, start=50))
    for _ in range(2):
        assert shop.run().rows == 15
    shop.put(NAMES[0], TEN)
    for _ in range(2):
        assert shop.run().rows == 10


def test_equal_files_of_two_days_are_two_deliveries(shop: Shop, orders: Contract) -> None:
    # an extract that did not change: which day it is of, its name says
    shop.contract = replace(orders, event_time=None, freshness=None)
    for day in (DAY, "2011-03-02"):
        shop.put(f"{day}.csv", TEN)
    assert shop.run(DAY, "2011-03-02").rows == 20


def test_the_same_bytes_written_again_are_noted_so_that_nobody_asks_for_them_again(shop: Shop) -> None:
    shop.put(f"{DAY}.csv", TEN)
    first = shop.run()
    shop.landing.delete(f"{DAY}.csv")
    shop.put(f"{DAY}.csv", TEN)
    assert shop.run().version == first.version
    assert counts(whole(shop.ledger, RAW, shop.landing, shop.source))[1:3] == (0, 0)


def test_rows_keep_the_time_of_their_first_arrival_when_a_shorter_name_stands_for_them(shop: Shop) -> None:
    shop.put(f"archive/{DAY}.csv", TEN)
    shop.run()
    first = materials(shop)[f"archive/{DAY}.csv"].arrived
    shop.put(f"{DAY}.csv", TEN)
    later = NOW.replace(hour=20)
    ingest(
        shop.ledger, asset=RAW, landing=shop.landing, source=shop.source, contract=shop.contract, grain="day",
        partitions=[DAY], now=later,
    )  # fmt: skip
    told = materials(shop)
    assert told[f"{DAY}.csv"].arrived == first
    assert told[f"archive/{DAY}.csv"].same_as == told[f"{DAY}.csv"].uri


def test_nothing_is_left_in_the_lake_of_a_copy_that_only_repeats(shop: Shop) -> None:
    for name in NAMES:
        shop.put(name, bytes_of(name))
    shop.run()
    kept = [
        info.key for info in shop.ledger.lake.list(f"data/{RAW}/") if "/landed/" in info.key and info.key[-9:] != ".unpacked"
    ]
    assert len(kept) == 1 and kept[0].endswith(f"landed/{DAY}.csv")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_the_content_of_a_packed_object_is_what_it_unpacks_to_whatever_its_name(pack, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    plain, packed = tmp_path / "plain", tmp_path / "packed.csv"
    plain.write_bytes(TEN.encode())
    packed.write_bytes(pack(TEN.encode()))
    assert content_digest(plain, 1 << 20) == ""
    assert content_digest(packed, 1 << 20) == hashlib.sha256(TEN.encode()).hexdigest()
    assert content_digest(packed, 100) == ""
    packed.write_bytes(pack(TEN.encode())[:-9])
    assert content_digest(packed, 1 << 20) == ""


@pytest.mark.parametrize(
    "key",
    [
        "x.csv.tmp", "x.csv.TMP", "x.part", "x.csv.partial", "x.csv.filepart", "x.crdownload", "x.csv~", ".x.csv.crc",
        "_SUCCESS", "day/_temporary/0/x.csv", "day/.staging/x.csv", ".x.csv.swp",
    ],
)  # fmt: skip
def test_unfinished_names_are_passed_over_with_the_pattern_that_says_so(key: str) -> None:
    assert "passed over by the name" in (passed_over(key) or "")
    assert passed_over(key, ()) is None


@pytest.mark.parametrize(
    "key", ["x.csv", "a_b/x-1.csv", "dt=2026-01-01/part-00000.parquet", "x.tmp.csv", "part/x.partial.gz"]
)
def test_data_is_not_passed_over(key: str) -> None:
    assert passed_over(key) is None


def test_a_source_has_its_own_list_of_names(shop: Shop) -> None:
    shop.source = shop.source.model_copy(update={"passed_over": ("archive/", "old/*.csv", "[!2]*.csv")})
    for name in (f"archive/{DAY}.csv", f"x/archive/{DAY}.csv", f"old/{DAY}.csv", f"z{DAY}.csv"):
        shop.put(name, HEADER + lines(10, start=len(name) * 10))
    assert shop.run().rows == 0
    shop.put(f"{DAY}.tmp", TEN)
    assert shop.run().rows == 10


def test_a_pattern_that_cannot_be_read_is_a_mistake_of_the_declaration() -> None:
    with pytest.raises(ValueError, match="expected a shell pattern"):
        SourceSpec(url="landing", format="csv", passed_over=("[z-a].csv",))


@pytest.mark.parametrize("seed", range(8))
def test_after_any_history_each_content_of_the_names_that_were_seen_is_there_once(seed: int, shop: Shop) -> None:
    rng = random.Random(seed)
    names = [f"{DAY}.csv", f"a/{DAY}.csv", f"{DAY}.csv.gz", f"archive/{DAY}.csv.gz"]
    texts = [HEADER + lines(10, start=100 * number) for number in range(3)]
    there: dict[str, int] = {}
    seen: dict[str, int] = {}
    for _ in range(14):
        for name in rng.sample(names, rng.randint(1, 2)):
            if name in there and rng.random() < 0.4:
                shop.landing.delete(name)
                del there[name]
            else:
                there[name] = rng.randrange(3)
                shop.put(name, bytes_of(name, texts[there[name]]))
        seen |= there
        report = shop.run()
        assert report.rows == 10 * len(set(seen.values())), (there, seen)
        told = {(m.uri, m.etag) for m in shop.ledger.open(RAW).receipt(DAY).materials}
        assert {(f"{shop.landing.url}/{name}", shop.landing.head(name).etag) for name in there} <= told
    seq = shop.ledger.head(RAW).seq  # type: ignore[union-attr]
    shop.run()
    assert shop.ledger.head(RAW).seq == seq  # type: ignore[union-attr]


def test_what_repeats_nothing_has_the_form_it_had_in_receipts() -> None:
    # the receipts of earlier releases, and of data without copies, stay byte for byte what they were
    assert set(Material("u", "s", 1, arrived="a").as_json()) == {
        "uri", "sha256", "size", "etag", "modified", "partition", "arrived"
    }  # fmt: skip
    told = Material("u", "s", 1, content="c", same_as="v")
    assert Material(**told.as_json()) == told
