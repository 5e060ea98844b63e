"""Which refusals still stand, and which were answered."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from orchestrai.core.verdict import Verdict
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.quarantine import refusals, standing_refusals
from orchestrai_tests.producers import producer

ASSET = "churn/orders/raw_events"
DAY, NEXT = "2026-01-01", "2026-01-02"
GOOD = (Verdict("schema", True),)
BAD = (Verdict("schema", False, "expected numbers, found words"),)


@pytest.fixture
def ledger(ledger: Ledger) -> Ledger:
    """A ledger on which every look at the clock is a second later."""

    def ticks() -> Iterator[datetime]:
        moment = datetime(2026, 1, 3, tzinfo=UTC)
        while True:
            yield (moment := moment + timedelta(seconds=1))

    ticking = ticks()
    ledger.clock = lambda: next(ticking)
    return ledger


def commit(ledger: Ledger, **days: tuple[bytes, tuple[Verdict, ...]]) -> None:
    session = ledger.session(ASSET, producer("raw_events"))
    names = {"day": DAY, "next": NEXT}
    for name, (data, _) in days.items():
        session.add_bytes(names[name], "part-00000.parquet", data, rows=1)
    session.commit({names[name]: verdicts for name, (_, verdicts) in days.items()})


def standing(ledger: Ledger) -> list[str]:
    return list(standing_refusals(ledger.lake, ASSET, ledger.find(ASSET)))


def test_a_refused_partition_stands_until_good_content_is_published(ledger: Ledger) -> None:
    commit(ledger, day=(b"words", BAD), next=(b"2", GOOD))
    assert standing(ledger) == [DAY]
    commit(ledger, day=(b"1", GOOD))
    assert standing(ledger) == []


def test_newer_content_that_was_refused_is_told_though_older_content_stands(ledger: Ledger) -> None:
    commit(ledger, day=(b"1", GOOD))
    commit(ledger, day=(b"words", BAD))
    assert standing(ledger) == [DAY]
    assert refusals(ledger.lake, ASSET)[DAY].reason == "schema: expected numbers, found words"


def test_the_published_content_sent_again_answers_the_refusal_although_nothing_is_published(ledger: Ledger) -> None:
    commit(ledger, day=(b"1", GOOD))
    commit(ledger, day=(b"words", BAD))
    head = ledger.head(ASSET)
    commit(ledger, day=(b"1", GOOD), next=(b"words", BAD))
    assert ledger.head(ASSET) == head
    assert standing(ledger) == [NEXT]


def test_a_refusal_after_the_answer_stands_again(ledger: Ledger) -> None:
    for data, verdicts in ((b"1", GOOD), (b"words", BAD), (b"1", GOOD), (b"words", BAD)):
        commit(ledger, day=(data, verdicts))
    assert standing(ledger) == [DAY]


def test_a_commit_with_nothing_refused_before_writes_no_answer(ledger: Ledger) -> None:
    commit(ledger, day=(b"1", GOOD))
    commit(ledger, day=(b"1", GOOD))
    assert list(ledger.lake.list("quarantine/")) == []


def test_good_content_answers_a_refusal_though_the_clock_stands_still(ledger: Ledger) -> None:
    ledger.clock = lambda: datetime(2026, 1, 3, tzinfo=UTC)
    commit(ledger, day=(b"words", BAD))
    commit(ledger, day=(b"1", GOOD))
    assert standing(ledger) == []
