"""Dead letters: told with reason and place, replayed exactly once."""

from pathlib import Path

import pytest

from orchestrai.contracts.contract import Contract
from orchestrai.errors import ConfigError
from orchestrai.ingest.dead_letter_list import count_letters, list_letters, show_letter
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.storage.local import LocalStore
from orchestrai_tests.ingest.conftest import NOW, RETAIL, contract_of
from orchestrai_tests.ingest.test_ingestion import DAY, HEADER, RAW, Shop, lines
from orchestrai_tests.running import replay


@pytest.fixture
def shop(ledger: Ledger, landing: LocalStore, orders: Contract, csv_source: SourceSpec) -> Shop:
    return Shop(ledger, landing, orders, csv_source)


def again(shop: Shop) -> StageReport | None:
    return replay(
        shop.ledger, asset=RAW, landing=shop.landing, source=shop.source, contract=shop.contract, grain="day", now=NOW
    )


def mend(shop: Shop, folder: Path) -> None:
    # the new contract reads the price as text
    text = RETAIL.replace('"DECIMAL(12,3)", required: true', "STRING, required: true").replace(
        "version: 1.0.0", "version: 2.0.0"
    )
    shop.contract = contract_of(text, folder, "mended.contract.yaml")


def test_a_replay_under_a_mended_contract_lands_each_row_exactly_once(shop: Shop, tmp_path: Path) -> None:
    shop.put(f"{DAY}.csv", HEADER + lines(300) + lines(2, start=300).replace(",2.55,", ",two,"))
    shop.run()
    assert [letter.record for letter in list_letters(shop.ledger, RAW)] == [301, 302]
    mend(shop, tmp_path)
    report = again(shop)
    assert report is not None and report.rows == 302
    assert shop.table(tmp_path / "t")["invoice_no"].to_pylist() == [str(536000 + i) for i in range(302)]
    assert list_letters(shop.ledger, RAW) == []
    assert again(shop) is None


def test_a_replay_under_the_same_contract_changes_nothing(shop: Shop) -> None:
    shop.put(f"{DAY}.csv", HEADER + lines(300) + "x\n")
    version = shop.run().version
    letters = list_letters(shop.ledger, RAW)
    report = again(shop)
    assert report is not None and report.version == version
    assert list_letters(shop.ledger, RAW) == letters


def test_a_replay_needs_no_landing(shop: Shop, tmp_path: Path) -> None:
    shop.put(f"{DAY}.csv", HEADER + lines(300) + lines(1, start=300).replace(",2.55,", ",two,"))
    shop.run()
    shop.landing.delete(f"{DAY}.csv")
    mend(shop, tmp_path)
    report = again(shop)
    assert report is not None and report.rows == 301


def test_a_refused_day_is_replayed_from_quarantine_when_the_landing_was_cleaned(shop: Shop, tmp_path: Path) -> None:
    shop.put(f"{DAY}.csv", HEADER + lines(10).replace(",2.55,", ",two,"))
    assert shop.run().refused
    shop.landing.delete(f"{DAY}.csv")
    mend(shop, tmp_path)
    report = again(shop)
    assert report is not None and report.rows == 10 and not report.refused
    assert list_letters(shop.ledger, RAW) == []
    assert shop.run().rows == 10


def test_an_unreadable_object_is_one_letter_and_lands_once_it_is_sent_again(shop: Shop) -> None:
    shop.put(f"{DAY}.csv", b"\xff\xfe\x00")
    shop.run()
    (letter,) = list_letters(shop.ledger, RAW)
    assert (letter.kind, letter.uri) == ("object", f"{shop.landing.url}/{DAY}.csv")
    shop.put(f"{DAY}.csv", HEADER + lines(10))
    assert shop.run().rows == 10
    assert list_letters(shop.ledger, RAW) == []


def test_letters_are_counted_by_reason_and_shown_by_id(shop: Shop) -> None:
    shop.put(f"{DAY}.csv", HEADER + lines(500) + "x\n" + "y\n" + lines(1, start=600).replace(",2.55,", ",two,"))
    shop.run()
    letters = list_letters(shop.ledger, RAW)
    counted = count_letters(letters)
    assert [(c.count, c.column, c.reason) for c in counted] == [
        (2, "", "expected 8 fields"),
        (1, "unit_price", "expected DECIMAL(12,3)"),
    ]
    assert show_letter(shop.ledger, RAW, letters[0].id[:10]) == letters[0]
    with pytest.raises(ConfigError, match="found 0"):
        show_letter(shop.ledger, RAW, "zz")
    with pytest.raises(ConfigError, match="found 3"):
        show_letter(shop.ledger, RAW, "")
