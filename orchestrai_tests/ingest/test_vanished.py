"""A column that earlier days had and a later one has not is a loss, not an older format."""

import pytest

from orchestrai.contracts.contract import Contract
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai.storage.local import LocalStore
from orchestrai_tests.ingest.test_ingestion import HEADER, RAW, Shop, lines, reasons

FIRST, SECOND, THIRD = "2011-03-01", "2011-03-02", "2011-03-03"


@pytest.fixture
def shop(ledger: Ledger, landing: LocalStore, orders: Contract, csv_source: SourceSpec) -> Shop:
    return Shop(ledger, landing, orders, csv_source)


def put(shop: Shop, day: str, *, described: bool) -> None:
    text = HEADER + lines(100, day)
    if not described:
        text = text.replace("Description,", "").replace('"LAMP, RED",', "")
    shop.put(f"{day}.csv", text)


@pytest.mark.parametrize("runs", [((FIRST,), (SECOND,)), ((FIRST, SECOND),)], ids=["a run each", "one run"])
def test_a_column_that_the_day_before_had_closes_the_gate(shop: Shop, runs: tuple[tuple[str, ...], ...]) -> None:
    put(shop, FIRST, described=True)
    put(shop, SECOND, described=False)
    reports = [shop.run(*days) for days in runs]
    assert "found none named Description" in reasons(reports[-1], SECOND)["schema"]
    assert list(shop.ledger.open(RAW).partitions) == [FIRST]


def test_days_before_the_column_came_are_accepted_and_so_is_the_first_with_it(shop: Shop) -> None:
    put(shop, FIRST, described=False)
    put(shop, SECOND, described=False)
    put(shop, THIRD, described=True)
    assert not shop.run(THIRD).refused
    assert not shop.run(FIRST, SECOND).refused


def test_once_a_person_lets_a_day_pass_the_days_after_it_pass_with_a_warning(shop: Shop) -> None:
    from orchestrai.ledger.decisions.overrides import Override
    from orchestrai.ledger.quarantine import last_refusal
    from orchestrai_tests.ingest.conftest import NOW
    from orchestrai_tests.running import ingest

    put(shop, FIRST, described=True)
    put(shop, SECOND, described=False)
    put(shop, THIRD, described=False)
    shop.run(FIRST)
    assert {found.partition for found in shop.run(SECOND).refused} == {SECOND}
    given = Override(RAW, SECOND, last_refusal(shop.ledger.lake, RAW, SECOND).root, ("schema",), "dropped for good", "ann")
    ingest(
        shop.ledger,
        asset=RAW,
        landing=shop.landing,
        source=shop.source,
        contract=shop.contract,
        grain="day",
        partitions=[SECOND],
        now=NOW,
        overrides=[given],
    )
    report = shop.run(THIRD)
    assert not report.refused
    assert report.outcomes[0].verdicts[0].severity == "warn"


def test_the_object_sent_again_without_the_column_does_not_replace_the_good_one(shop: Shop) -> None:
    put(shop, FIRST, described=True)
    good = shop.run().version
    put(shop, FIRST, described=False)
    assert shop.run().refused
    assert shop.ledger.open(RAW).version == good
