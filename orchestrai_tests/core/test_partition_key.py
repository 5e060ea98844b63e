"""Keys of a time and a value: written and read in one place, in one order, and refused where either part is none."""

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrai.core.time.calendar import (
    DividedGrain,
    Grain,
    LocalGrain,
    TimeGrain,
    dates_of,
    floor,
    following,
    grain_stats,
    keys_between,
    name_of,
    ordinal,
    partition_of,
    recorded_grain,
    span_named,
    window,
    zone_of,
)
from orchestrai.core.time.key_groups import contiguous, enclosing, keys_of
from orchestrai.core.time.partition_key import Dimension, Key, check_value, of_value, same_value, segment, with_value
from orchestrai.errors import ConfigError
from orchestrai.storage.base import check_key

VALUES = ("eu", "us", "apac")
REGION = Dimension("region", VALUES)
DAYS: Grain = DividedGrain("day", REGION)
TIMES = st.sampled_from(["2026-01-02", "2026-01-03", "2026-02-01", "2026-01-01-13:00"])
NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,20}[A-Za-z0-9])?", fullmatch=True)


@given(TIMES, NAMES)
def test_a_key_is_read_as_it_was_written(time: str, value: str) -> None:
    key = Key(time, value)
    assert Key.of(str(key)) == key
    assert Key.of(time) == Key(time)
    assert check_key(f"data/{segment(str(key))}/x") and "|" not in segment(str(key))


@given(st.lists(st.tuples(TIMES, NAMES), min_size=2, max_size=6, unique=True))
def test_keys_sort_by_time_then_by_value(parts: list[tuple[str, str]]) -> None:
    same_length = [part for part in parts if len(part[0]) == len(parts[0][0])]
    written = sorted(str(Key(*part)) for part in same_length)
    assert [Key.of(key).time for key in written] == sorted(time for time, _ in same_length)
    assert len({segment(key) for key in written}) == len(written)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "|",
        "a|b",
        "a/b",
        "a=b",
        "ä",
        "eu ",
        " eu",
        "e u",
        "-eu",
        "eu-",
        ".",
        "..",
        "a\nb",
        "eu\n",
        "a,b",
        "[a]",
        "x" * 64,
        "\U0001f600",
    ],
)
def test_an_odd_value_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="expected a value of letters"):
        check_value(value)


@pytest.mark.parametrize("text", ["|eu", "2026-01-02|", "2026-01-02|a|b", "2026-01-02|a/b"])
def test_a_key_with_no_part_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Key.of(text)


def test_a_window_is_that_of_the_time_and_needs_a_declared_value() -> None:
    assert window("2026-01-02|eu", DAYS) == window("2026-01-02", "day")
    assert ordinal("2026-01-02|us", DAYS) == ordinal("2026-01-02", "day")
    with pytest.raises(ConfigError, match="expected region eu, us, apac, found mars"):
        window("2026-01-02|mars", DAYS)
    with pytest.raises(ConfigError, match=r"such as 2026-01-02\|eu, found '2026-01-02'"):
        window("2026-01-02", DAYS)
    with pytest.raises(ConfigError, match="expected a partition of a day alone"):
        window("2026-01-02|eu", "day")


@pytest.mark.parametrize(
    "grain",
    ["hour", "day", "week", "month", "year", LocalGrain("day", "Africa/Cairo"), LocalGrain("week", "America/Havana")],
)
def test_what_is_asked_of_a_key_is_asked_of_its_time(grain: TimeGrain) -> None:
    both = DividedGrain(grain, REGION)
    moment = datetime(2026, 4, 24, 5, 30, tzinfo=UTC)
    time = partition_of(moment, grain)
    key = with_value(time, "us")
    assert window(key, both) == window(time, grain) and dates_of(key, both) == dates_of(time, grain)
    assert (floor(moment, both), following(moment, both)) == (floor(moment, grain), following(moment, grain))
    assert (name_of(both), zone_of(both), str(both)) == (name_of(grain), zone_of(grain), str(grain))
    last = partition_of(following(moment, grain), grain)
    assert keys_between(key, with_value(last, "us"), both) == [
        with_value(one, "us") for one in keys_between(time, last, grain)
    ]
    known = recorded_grain(grain_stats(both))
    assert known is not None and window(key, known) == window(time, grain)


def test_a_span_holds_the_times_and_the_values_between() -> None:
    assert keys_between("2026-01-02|eu", "2026-01-03|us", DAYS) == [
        "2026-01-02|eu",
        "2026-01-02|us",
        "2026-01-03|eu",
        "2026-01-03|us",
    ]
    assert keys_between("2026-01-02|us", "2026-01-03|us", DAYS) == ["2026-01-02|us", "2026-01-03|us"]
    assert keys_of("2026-01-02", DAYS) == [f"2026-01-02|{value}" for value in VALUES]


@pytest.mark.parametrize(
    ("words", "first", "last"),
    [
        ("2026-02", "2026-02-01|eu", "2026-02-28|apac"),
        ("2026-02|us", "2026-02-01|us", "2026-02-28|us"),
        ("2026-01-02", "2026-01-02|eu", "2026-01-02|apac"),
    ],
)
def test_the_words_of_a_person_mean_all_values_or_the_one_named(words: str, first: str, last: str) -> None:
    assert span_named(words, DAYS) == (first, last)


@given(st.sets(st.tuples(st.integers(1, 9), st.sampled_from(VALUES)), min_size=1))
def test_groups_hold_each_key_once_and_all_between_their_ends(cells: set[tuple[int, str]]) -> None:
    keys = [with_value(f"2026-01-{day:02d}", value) for day, value in cells]
    groups = contiguous(keys, DAYS)
    assert sorted(key for group in groups for key in group) == sorted(keys)
    assert all(keys_between(group[0], group[-1], DAYS) == group for group in groups)
    assert {*keys} <= {*keys_between(*enclosing(keys, DAYS), DAYS)}


def test_a_whole_span_is_one_group() -> None:
    keys = keys_between("2026-01-01|eu", "2026-01-31|apac", DAYS)
    random.Random(3).shuffle(keys)
    assert len(contiguous(keys, DAYS)) == 1


def test_partitions_are_held_against_their_like() -> None:
    keys = ["2026-01-01|eu", "2026-01-01|us", "2026-01-02|eu"]
    assert same_value("2026-01-03|eu", keys) == ["2026-01-01|eu", "2026-01-02|eu"]
    assert of_value("us", [*keys, "2026-01-01"]) == ["2026-01-01|us", "2026-01-01"]
    assert of_value("", keys) == keys


def test_a_manifest_notes_the_dimension_and_a_grain_without_one_notes_what_it_did() -> None:
    noted = grain_stats(DAYS)
    assert noted == {"cut": {"grain": "day", "timezone": "UTC", "dimension": "region"}}
    known = recorded_grain(noted)
    assert known is not None and window("2026-01-02|anything", known) == window("2026-01-02", "day")
    assert grain_stats("day") == {} and grain_stats("week") == {"cut": {"grain": "week", "timezone": "UTC"}}


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("", "region=eu/2026-01-02.csv", "eu"),
        ("", "a/region=us/dt=2026-01-02/x.csv", "us"),
        ("{region}/*", "eu/2026-01-02.csv", "eu"),
        ("orders_{region}_*.csv", "orders_us_2026-01-02.csv", "us"),
        ("*_{region}.csv", "2026-01-02_apac.csv", "apac"),
    ],
)
def test_the_name_of_an_object_tells_its_value(path: str, name: str, value: str) -> None:
    assert Dimension("region", VALUES, path=path).told_by(name) == value


@pytest.mark.parametrize(
    ("path", "name", "found"),
    [
        ("", "eu/2026-01-02.csv", "that tells none"),
        ("", "region=mars/2026-01-02.csv", "found 'mars'"),
        ("", "region=eu/region=us/2026-01-02.csv", "that reads as eu or us"),
        ("", "region=eu", "that tells none"),
        ("", "xregion=eu/2026-01-02.csv", "that tells none"),
        ("{region}/*", "EU/2026-01-02.csv", "found 'EU'"),
        ("{region}/*", "2026-01-02.csv", "that tells none"),
        # of a value with an underscore nobody knows where it ends
        ("orders_{region}_*.csv", "orders_eu_north_2026-01-02.csv", "that reads as eu or eu_north"),
        ("*_{region}.csv", "orders_eu_north.csv", "that reads as eu_north or north"),
    ],
)
def test_a_name_that_tells_no_declared_value_is_told_with_what_was_expected(path: str, name: str, found: str) -> None:
    with pytest.raises(ConfigError, match=found) as told:
        Dimension("region", VALUES, path=path).told_by(name)
    assert "region eu, us, apac" in told.value.message
