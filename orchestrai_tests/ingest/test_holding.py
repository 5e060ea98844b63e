"""A day unlike those before it is held: published by a person's yes, by more data, or by rule after a declared time."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from orchestrai.contracts.contract import ClosedDays, Contract, HoldRule
from orchestrai.contracts.odcs import load_contract
from orchestrai.core.time.calendar import keys_between
from orchestrai.errors import DeclarationError
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.quarantine import closed_gates, last_refusal
from orchestrai.ledger.report import StageReport
from orchestrai.storage.local import LocalStore
from orchestrai_tests.ingest.conftest import NOW, RETAIL
from orchestrai_tests.ingest.judging import counts, whole
from orchestrai_tests.ingest.test_ingestion import HEADER, RAW, lines, reasons
from orchestrai_tests.running import ingest

FIRST, LAST = "2011-01-10", "2011-03-06"
DAYS = keys_between(FIRST, LAST, "day")
ODD = "2011-03-07"
AFTER = timedelta(days=2)


def rows_of(day: str) -> int:
    """A week's season, and a little more on some days than on others."""
    place = date.fromisoformat(day)
    return 200 + 20 * place.weekday() + place.toordinal() * 7 % 11


class Shop:
    """Eight weeks of ordinary days, published, and a clock."""

    def __init__(self, ledger: Ledger, landing: LocalStore, contract: Contract, source: SourceSpec) -> None:
        self.ledger, self.landing, self.source = ledger, landing, source
        self.contract = replace(contract, closed=ClosedDays())
        self.now = NOW
        self.ledger.clock = lambda: self.now

    def put(self, day: str, count: int, name: str = "", start: int = 0) -> None:
        self.landing.write(f"{day}{name}.csv", (HEADER + lines(count, day, start)).encode())

    def run(self, *days: str, **more: Any) -> StageReport:
        given = {"asset": RAW, "landing": self.landing, "source": self.source, "contract": self.contract}
        return ingest(self.ledger, grain="day", partitions=days or (ODD,), now=self.now, **given, **more)  # type: ignore[arg-type]

    def release(self, by: str = "ann") -> StageReport:
        root = last_refusal(self.ledger.lake, RAW, ODD).root
        return self.run(overrides=[Override(RAW, ODD, root, ("ordinary",), "a strike", by)], recover=True)

    @property
    def published(self) -> bool:
        dataset = self.ledger.find(RAW)
        return dataset is not None and ODD in dataset.partitions


@pytest.fixture
def shop(ledger: Ledger, landing: LocalStore, orders: Contract, csv_source: SourceSpec) -> Shop:
    shop = Shop(ledger, landing, orders, csv_source)
    for day in DAYS:
        shop.put(day, rows_of(day))
    assert not shop.run(*DAYS).refused
    return shop


def test_a_day_of_a_third_of_its_rows_is_held_with_what_was_expected_and_found(shop: Shop) -> None:
    shop.put(ODD, rows_of(ODD) // 3)
    report = shop.run()
    message = reasons(report, ODD)
    assert list(message) == ["ordinary"] and not shop.published
    assert "fewer rows: expected about 2" in message["ordinary"] and "gate release" in message["ordinary"]
    assert closed_gates(shop.ledger, RAW, shop.ledger.find(RAW))[ODD].held
    look = whole(shop.ledger, RAW, shop.landing, shop.source)
    assert look.held_up == 1 and any(reason.reason.startswith("held with its partition") for reason in look.reasons)


def test_an_ordinary_day_passes_and_its_receipt_says_how_probable_it_was(shop: Shop) -> None:
    shop.put(ODD, rows_of(ODD))
    assert not shop.run().refused
    verdict = next(v for v in shop.ledger.open(RAW).receipt(ODD).verdicts[ODD] if v.check == "ordinary")
    assert verdict.passed and isinstance(share := verdict.details["probability"], float) and share > 0.05


def test_a_person_releases_a_held_day_and_the_receipt_says_who_and_why(shop: Shop) -> None:
    shop.put(ODD, rows_of(ODD) // 3)
    shop.run()
    assert not shop.release().refused and shop.published
    override = shop.ledger.open(RAW).receipt(ODD).override(ODD)
    assert override is not None and (override.by, override.reason, override.checks) == ("ann", "a strike", ("ordinary",))
    # looked at again it stays
    head = shop.ledger.head(RAW)
    assert not shop.run().refused and shop.ledger.head(RAW) == head


def test_more_data_for_a_held_day_has_it_judged_anew(shop: Shop) -> None:
    shop.put(ODD, rows_of(ODD) // 3)
    shop.run()
    shop.put(ODD, rows_of(ODD) - rows_of(ODD) // 3, "-b", rows_of(ODD) // 3)
    assert list(whole(shop.ledger, RAW, shop.landing, shop.source).due) == [ODD]
    assert not shop.run().refused
    assert shop.ledger.open(RAW).partitions[ODD].rows == rows_of(ODD)
    assert counts(whole(shop.ledger, RAW, shop.landing, shop.source))[2] == 0


def test_a_held_day_waits_for_ever_unless_a_rule_releases_it_after_a_declared_time(shop: Shop) -> None:
    shop.put(ODD, rows_of(ODD) // 3)
    shop.run()
    shop.now += timedelta(days=400)
    assert not whole(shop.ledger, RAW, shop.landing, shop.source, now=shop.now).due
    assert shop.run().refused
    shop.contract = replace(shop.contract, hold=HoldRule(release_after=timedelta(days=399)))
    assert not shop.run().refused


def test_the_rule_is_asked_for_when_its_time_has_come_and_its_release_is_recorded(shop: Shop) -> None:
    shop.contract = replace(shop.contract, hold=HoldRule(release_after=AFTER))
    shop.put(ODD, rows_of(ODD) // 3)
    shop.run()
    for early, due in ((timedelta(minutes=1), []), (timedelta(), [ODD])):
        when = NOW + AFTER - early
        found = whole(shop.ledger, RAW, shop.landing, shop.source, now=when, release_after=AFTER)
        assert list(found.due) == due
    # a look in between does not make it wait longer
    shop.now += timedelta(days=1)
    assert shop.run().refused
    shop.now += timedelta(days=1)
    assert list(whole(shop.ledger, RAW, shop.landing, shop.source, now=shop.now, release_after=AFTER).due) == [ODD]
    assert not shop.run().refused and shop.published
    override = shop.ledger.open(RAW).receipt(ODD).override(ODD)
    assert (
        override is not None and override.by == "the rule hold.release_after" and "nobody decided for 2d" in override.reason
    )


def test_a_day_that_a_clock_behind_its_time_refused_is_judged_again_when_that_time_has_come(shop: Shop) -> None:
    """Nothing is wrong with it, so nobody has to do anything; what a producer's wrong clock wrote is refused again, once its time comes."""
    shop.put(ODD, rows_of(ODD))
    day = datetime.fromisoformat(f"{ODD}T00:00:00+00:00")
    shop.now = day - timedelta(hours=1)
    (refused,) = shop.run().refused
    assert "no event after now" in last_refusal(shop.ledger.lake, RAW, ODD).reason and refused.partition == ODD
    assert not whole(shop.ledger, RAW, shop.landing, shop.source, now=day).due
    shop.now = day + timedelta(days=1)
    assert list(whole(shop.ledger, RAW, shop.landing, shop.source, now=shop.now).due) == [ODD]
    assert not shop.run().refused and shop.published
    assert not whole(shop.ledger, RAW, shop.landing, shop.source, now=shop.now).due


def test_other_content_waits_its_own_time(shop: Shop) -> None:
    shop.contract = replace(shop.contract, hold=HoldRule(release_after=AFTER))
    shop.put(ODD, rows_of(ODD) // 3)
    shop.run()
    shop.now += AFTER
    shop.put(ODD, rows_of(ODD) // 4)
    assert shop.run().refused


def test_a_dataset_that_judges_none_holds_none(shop: Shop) -> None:
    shop.contract = replace(shop.contract, hold=HoldRule(ordinary_days=0))
    shop.put(ODD, rows_of(ODD) // 3)
    assert not shop.run().refused
    assert all(v.check != "ordinary" for v in shop.ledger.open(RAW).receipt(ODD).verdicts[ODD])


@pytest.mark.parametrize(
    "value, rule",
    [
        ("off", HoldRule(0.0)),
        ("{release_after: 2d}", HoldRule(0.005, AFTER)),
        ("{ordinary_days: 1%}", HoldRule(0.01)),
        ("{ordinary_days: 0.02, release_after: 48h}", HoldRule(0.02, AFTER)),
    ],
)
def test_a_contract_declares_what_is_held(tmp_path: Any, value: str, rule: HoldRule) -> None:
    path = tmp_path / "x.contract.yaml"
    path.write_text(RETAIL + f"  - {{property: hold, value: {value}}}\n")
    assert load_contract(path).hold == rule


@pytest.mark.parametrize(
    "value", ["3", "{ordinary_days: 150%}", "{ordinary_days: none}", "{after: 2d}", "{release_after: soon}"]
)
def test_a_hold_that_means_nothing_is_a_mistake_in_one_line(tmp_path: Any, value: str) -> None:
    path = tmp_path / "x.contract.yaml"
    path.write_text(RETAIL + f"  - {{property: hold, value: {value}}}\n")
    with pytest.raises(DeclarationError, match="expected"):
        load_contract(path)
