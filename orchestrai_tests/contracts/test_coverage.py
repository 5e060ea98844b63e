"""What a partition usually covers, and a partition that covers less."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from orchestrai.contracts.contract import VolumeRule
from orchestrai.contracts.coverage import Span, alike, judge_coverage
from orchestrai.core.time.calendar import window

RULE = VolumeRule()
TUESDAYS = [f"2024-03-{day:02d}" for day in (5, 12, 19, 26)]


def span(day: str, first: float, last: float, rows: int = 1000) -> Span:
    start = window(day, "day")[0]
    return Span(start + timedelta(hours=first), start + timedelta(hours=last), rows)


def usual(rows: int = 1000) -> dict[str, Span]:
    return {day: span(day, 8 + number / 10, 18 - number / 10, rows) for number, day in enumerate(TUESDAYS)}


@pytest.mark.parametrize(
    ("first", "last", "flagged"),
    [(8, 18, False), (6, 23, False), (9, 17, False), (8, 13, True), (12.5, 18, True), (8, 15.5, True), (20, 22, True)],
)
def test_a_day_that_lacks_its_morning_or_evening_is_told(first: float, last: float, flagged: bool) -> None:
    found = judge_coverage(RULE, span("2024-04-02", first, last), "2024-04-02", "day", usual())
    assert found is not None and found.flagged is flagged


def test_a_day_is_held_against_its_own_weekday() -> None:
    days = [datetime(2024, 3, 1, tzinfo=UTC) + timedelta(days=n) for n in range(40)]
    keys = [day.strftime("%Y-%m-%d") for day in days]
    assert alike(RULE, "2024-04-02", "day", keys) == TUESDAYS[::-1]
    assert alike(RULE, "2024-04-02", "day", ["2024-01-02", "2024-04-09"]) == []
    assert alike(VolumeRule(method="mean7d"), "2024-04-02", "day", keys) == []
    assert alike(VolumeRule(period=0), "2024-04-02", "day", keys)[:2] == ["2024-04-01", "2024-03-31"]


def test_three_days_are_too_few_to_say_what_is_usual() -> None:
    known = dict(list(usual().items())[:3])
    assert judge_coverage(RULE, span("2024-04-02", 8, 9), "2024-04-02", "day", known) is None


def test_days_that_end_whenever_they_like_are_not_held_to_an_hour() -> None:
    known = {day: span(day, 8, hour) for day, hour in zip(TUESDAYS, (10, 12, 18, 22), strict=True)}
    found = judge_coverage(RULE, span("2024-04-02", 8, 11), "2024-04-02", "day", known)
    assert found is not None and not found.flagged


@pytest.mark.parametrize("rows", [1, 2, 5, 10, 30, 300])
def test_a_few_events_strewn_at_random_raise_no_alarm(rows: int) -> None:
    rng = random.Random(rows)

    def some(day: str) -> Span:
        hours = sorted(rng.uniform(0, 24) for _ in range(rows))
        return span(day, hours[0], hours[-1], rows)

    alarms = 0
    for _ in range(1000):
        found = judge_coverage(RULE, some("2024-04-02"), "2024-04-02", "day", {day: some(day) for day in TUESDAYS})
        alarms += found is not None and found.flagged
    assert alarms <= 10
