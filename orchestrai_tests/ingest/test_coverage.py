"""A day that ends before its like do, or begins after them, is told before a model misses its evening."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrai.contracts.contract import Contract, HoldRule
from orchestrai.core.verdict import Verdict
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.storage.local import LocalStore
from orchestrai_tests.ingest.test_ingestion import HEADER, RAW, Shop, lines

WHOLE = ("2011-03-01", "2011-03-08", "2011-03-15", "2011-03-22")
SHORT = "2011-03-29"


@pytest.fixture
def shop(ledger: Ledger, landing: LocalStore, orders: Contract, csv_source: SourceSpec) -> Shop:
    shop = Shop(ledger, landing, orders, csv_source)
    for day in WHOLE:
        put(shop, day, range(8, 20))
    return shop


def put(shop: Shop, day: str, hours: range) -> None:
    rows = [
        row for row in lines(120 * 12 // len(hours), day).splitlines(keepends=True) if int(row.split(day)[1][1:3]) in hours
    ]
    shop.put(f"{day}.csv", HEADER + "".join(rows))


def freshness(report: StageReport, day: str) -> Verdict:
    outcome = next(found for found in report.outcomes if found.partition == day)
    return next(verdict for verdict in outcome.verdicts if verdict.check == "freshness")


@pytest.mark.parametrize("runs", [(WHOLE, (SHORT,)), ((*WHOLE, SHORT),)], ids=["a later run", "one run"])
@pytest.mark.parametrize("hours", [range(8, 14), range(14, 20)], ids=["no evening", "no morning"])
def test_half_a_day_is_told_though_it_has_as_many_rows(shop: Shop, hours: range, runs: tuple[tuple[str, ...], ...]) -> None:
    shop.contract = replace(shop.contract, freshness=None, hold=HoldRule(ordinary_days=0.01))
    put(shop, SHORT, hours)
    report = [shop.run(*days) for days in runs][-1]
    told = freshness(report, SHORT)
    assert (told.passed, told.severity) == (False, "warn")
    assert (
        f"from about 08:26 to 19:26 as the last 4 like it have, found {hours[0]:02d}:26 to {hours[-1]:02d}:26, 45%"
        in told.message
    )
    assert told.details["covered"] == 0.455
    # among days that are all alike that is so odd that the day is held
    (outcome,) = report.refused
    assert outcome.partition == SHORT
    assert [verdict.check for verdict in outcome.verdicts if verdict.closes_gate] == ["ordinary"]


def test_a_whole_day_passes_and_says_what_is_usual(shop: Shop) -> None:
    put(shop, SHORT, range(8, 20))
    shop.run(*WHOLE)
    told = freshness(shop.run(SHORT), SHORT)
    assert told.passed and told.details["covered"] == 1.0
    assert told.details["usual_last"] == "2011-03-29T19:26:00+00:00"


@pytest.mark.parametrize(("hours", "closed"), [(range(8, 13), True), (range(8, 17), False), (range(13, 20), False)])
def test_a_promise_longer_than_the_day_is_broken_by_a_day_that_stops_in_its_first_half(
    shop: Shop, hours: range, closed: bool
) -> None:
    shop.contract = replace(shop.contract, freshness=timedelta(hours=26), hold=HoldRule(ordinary_days=0.0))
    shop.run(*WHOLE)
    put(shop, SHORT, hours)
    told = freshness(shop.run(SHORT), SHORT)
    assert (told.passed, told.closes_gate) == (False, closed)


def test_a_broken_promise_stays_an_error(shop: Shop) -> None:
    shop.run(*WHOLE)
    shop.contract = replace(shop.contract, freshness=timedelta(hours=8))
    put(shop, SHORT, range(8, 14))
    told = freshness(shop.run(SHORT), SHORT)
    assert told.closes_gate and "stale" in told.message


def test_days_that_were_refused_do_not_say_what_is_usual(shop: Shop) -> None:
    shop.put(f"{WHOLE[0]}.csv", "nothing of the kind\n")
    put(shop, SHORT, range(8, 14))
    report = shop.run(*WHOLE, SHORT)
    assert {outcome.partition for outcome in report.refused} == {WHOLE[0]}
    assert freshness(report, SHORT).passed


def test_a_damaged_record_of_an_older_day_stops_nothing(shop: Shop) -> None:
    for day in WHOLE:
        shop.run(day)
    entry = shop.ledger.open(RAW).partitions[WHOLE[0]]
    path = next(info.key for info in shop.ledger.lake.list("") if entry.receipt.removeprefix("sha256:") in info.key)
    shop.ledger.lake.write(path, b"damaged")
    put(shop, SHORT, range(8, 14))
    fresh = Shop(Ledger(shop.ledger.lake, shop.ledger.signer), shop.landing, shop.contract, shop.source)
    assert freshness(fresh.run(SHORT), SHORT).passed
