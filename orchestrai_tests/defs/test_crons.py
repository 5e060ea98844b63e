"""A cron that a declaration takes is one that Dagster's schedules take, and it fires when theirs do."""

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from dagster._utils.schedules import is_valid_cron_string, schedule_execution_time_iterator
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from orchestrai.core.time.duration_cron import Cron, check_cron, previous_tick
from orchestrai.errors import ConfigError

TAKEN = (
    "0 4 * * 1", "15 * * * *", "*/5 * * * *", "0 2 1 * *", "@daily", "@weekly", "0 0 * * mon-fri", "0 0 1,15 jan-mar *", "5/10 * * * *",
    "0 0 L * *", "0 0 * * 5#2", "0 0 * * L5", "0 0 ? * 7", "0 22-2 * * *", "0 0 29 2 *", "0 0 31 */2 *", "0 0 13 * 5", "0 0 * * sun,wed",
)  # fmt: skip
REFUSED = (
    "every monday", "0 25 * * *", "60 * * * *", "foo", "", "* * * *", "* * * * * *", "0 0 0 * *", "0 0 * 13 *", "0 0 * * 8", "@reboot",
    "*/0 * * * *", "-1 * * * *", "0 0 30 2 *", "0 0 * * mon#6", "h * * * *", "1.5 * * * *", "0 0 * * funday", "0 0 1-32 * *", "? * * * *",
)  # fmt: skip
NOW = datetime(2026, 10, 31, 12, 30, tzinfo=UTC)


def dagster_takes(cron: str) -> bool:
    """Whether a schedule can be defined with it and its next tick be found."""
    if not is_valid_cron_string(cron):
        return False
    try:
        next(schedule_execution_time_iterator(NOW.timestamp(), cron, "UTC"))
    except ValueError:
        return False
    return True


def taken(cron: str) -> bool:
    try:
        return check_cron(cron) == cron
    except ConfigError:
        return False


@pytest.mark.parametrize("cron", TAKEN)
def test_what_dagster_schedules_is_taken(cron: str) -> None:
    assert dagster_takes(cron)
    assert TypeAdapter(Cron).validate_python(cron) == cron


@pytest.mark.parametrize("cron", REFUSED)
def test_what_dagster_does_not_schedule_is_refused_with_what_was_expected(cron: str) -> None:
    assert not dagster_takes(cron)
    with pytest.raises(ValidationError, match=r"expected a cron of five fields .* such as .0 4 \* \* 1., found"):
        TypeAdapter(Cron).validate_python(cron)


@pytest.mark.parametrize("cron", ["r * * * *", "R(1-5) 0 * * *", "0 0 31 4 *", "0 0 31 2,4,6 *"])
def test_a_cron_that_differs_by_process_or_never_fires_is_refused_although_a_schedule_takes_it(cron: str) -> None:
    assert is_valid_cron_string(cron)
    assert not taken(cron)


def column(low: int, high: int, *names: str) -> st.SearchStrategy[str]:
    """A field of a cron, mostly right: numbers a little beyond their range, names, ranges, steps, lists."""
    value = st.one_of(st.integers(low - 1, high + 1).map(str), st.sampled_from([*names, str(low), str(high), "x"]))
    span = st.tuples(value, value).map("-".join)
    step = st.tuples(st.one_of(st.just("*"), value, span), st.integers(0, high + 1).map(str)).map("/".join)
    part = st.one_of(st.just("*"), st.just("*"), value, span, step)
    return st.one_of(part, part, st.lists(part, min_size=2, max_size=3).map(",".join))


CRONS = st.tuples(
    column(0, 59),
    column(0, 23),
    column(1, 31, "L", "?"),
    column(1, 12, "jan", "DEC"),
    column(0, 7, "sun", "FRI", "5#2", "L3", "?"),
).map(" ".join)


@settings(max_examples=400)
@given(cron=st.one_of(CRONS, st.text("0123456789*/-,#L? abc@", max_size=16)))
@example(cron="5-5 * * * *")
@example(cron="0 0 */31 2 *")
def test_declarations_and_schedules_take_the_same_crons(cron: str) -> None:
    assert taken(cron) == dagster_takes(cron)


@settings(max_examples=200)
@given(cron=CRONS, seconds=st.integers(0, 10 * 365 * 86_400))
def test_the_tick_before_is_that_of_dagster(cron: str, seconds: int) -> None:
    if taken(cron):
        now = NOW - timedelta(seconds=seconds)
        ticks = schedule_execution_time_iterator(now.timestamp(), cron, "UTC", ascending=False)
        earlier = (tick.astimezone(UTC) for tick in islice(ticks, 3))
        assert previous_tick(cron, now) == next(tick for tick in earlier if tick < now)
