# ruff: noqa: DTZ001 times without a zone are what is read
"""Keys and the time they cover: windows tile the time line in every zone, and times without a zone are read as zoneinfo reads them."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.core.time.calendar import (
    Grain,
    LocalGrain,
    dates_of,
    earlier,
    following,
    grain_in,
    grain_stats,
    keys_between,
    ordinal,
    partition_of,
    recorded_grain,
    span_named,
    window,
)
from orchestrai.core.time.local_clock import LocalClock
from orchestrai.errors import ConfigError

# clocks that change at midnight, by half an hour, over the date line, twice a year or never
ZONES = [
    "UTC", "America/Los_Angeles", "America/Havana", "America/Sao_Paulo", "America/St_Johns", "Africa/Cairo", "Asia/Kolkata",
    "Asia/Kathmandu", "Australia/Lord_Howe", "Europe/Berlin", "Pacific/Apia", "Pacific/Kiritimati", "Africa/Casablanca",
]  # fmt: skip
MOMENTS = st.datetimes(datetime(1980, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))
GRAINS = st.builds(
    lambda name, zone: grain_in(name, zone if name != "hour" else "UTC"),
    st.sampled_from(["hour", "day", "week", "month", "year"]),
    st.sampled_from(ZONES) | st.sampled_from(sorted(available_timezones() - {"localtime"})),
)


@settings(max_examples=200, deadline=None)
@given(MOMENTS, GRAINS)
def test_windows_tile_the_time_line_and_hold_the_moment(moment: datetime, grain: Grain) -> None:
    key = partition_of(moment, grain)
    start, end = window(key, grain)
    assert start <= moment < end
    after = partition_of(end, grain)
    assert window(after, grain)[0] == end == following(moment, grain) and after > key
    before = partition_of(start - timedelta(microseconds=1), grain)
    assert window(before, grain)[1] == start
    assert keys_between(before, after, grain) == [before, key, after]
    # neighbours differ by one, but for the days that a zone left out
    assert ordinal(after, grain) - ordinal(key, grain) in ((1, 2) if isinstance(grain, LocalGrain) else (1,))
    assert recorded_grain(grain_stats(grain)) in (grain, None)


@settings(max_examples=200, deadline=None)
@given(MOMENTS, st.sampled_from(ZONES[1:]))
def test_a_day_of_a_zone_has_the_moments_that_its_clocks_show_that_date(moment: datetime, zone: str) -> None:
    local = moment.astimezone(ZoneInfo(zone))
    key = partition_of(moment, LocalGrain("day", zone))
    # but for St. John's, where clocks went back over midnight for an hour
    assert key == local.date().isoformat() or zone == "America/St_Johns"


@pytest.mark.parametrize(
    ("zone", "key", "hours"),
    [
        ("America/Los_Angeles", "2026-03-08", 23),
        ("America/Los_Angeles", "2026-11-01", 25),
        ("America/Los_Angeles", "2026-07-01", 24),
        ("Africa/Cairo", "2026-04-24", 23),
        ("America/Havana", "2026-11-01", 25),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
    ],
)
def test_a_local_day_is_as_long_as_its_clocks_say(zone: str, key: str, hours: float) -> None:
    start, end = window(key, LocalGrain("day", zone))
    assert (end - start) == timedelta(hours=hours)


def test_a_day_that_a_zone_left_out_is_no_partition() -> None:
    apia = LocalGrain("day", "Pacific/Apia")
    assert keys_between("2011-12-29", "2011-12-31", apia) == ["2011-12-29", "2011-12-31"]
    with pytest.raises(ConfigError, match="which that zone left out"):
        window("2011-12-30", apia)


@pytest.mark.parametrize("zone", ["UTC", "America/Havana", "Africa/Cairo"])
@pytest.mark.parametrize("name", ["day", "week", "month", "year"])
def test_dagster_has_the_same_keys_and_windows(name: Any, zone: str) -> None:
    import dagster as dg

    from orchestrai.defs.assets import partitions_of
    from orchestrai.pipeline.declarations import PartitionSpec

    class Node:
        spec: Any = type("Spec", (), {})()

    node: Any = Node()
    node.spec.partitions = PartitionSpec(unit=name, timezone=zone, start=date(2025, 3, 1), end=date(2026, 12, 31))
    node.spec.source = type("Source", (), {"positioned": False})()
    theirs, grain = partitions_of(node), node.spec.partitions.grain
    assert theirs is not None
    with dg.partition_loading_context(effective_dt=datetime(2027, 6, 1, tzinfo=UTC)):
        keys = theirs.get_partition_keys()
    assert keys == keys_between(keys[0], keys[-1], grain) and keys
    for key in keys:
        span = theirs.time_window_for_partition_key(key)
        # two times of which one is shown twice are never equal
        assert (span.start.timestamp(), span.end.timestamp()) == tuple(moment.timestamp() for moment in window(key, grain))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.datetimes(datetime(1970, 1, 1), datetime(2037, 1, 1)), min_size=1, max_size=30),
    st.sampled_from(ZONES[1:]),
    st.sampled_from(["refuse", "earlier", "later"]),
)
def test_times_without_a_zone_are_read_as_the_zone_reads_them(times: list[datetime], zone: str, rule: Any) -> None:
    clock = LocalClock(zone, rule)
    place = ZoneInfo(zone)
    # times around the zone's changes, too
    times += [(moment.replace(tzinfo=UTC).astimezone(place)).replace(tzinfo=None, fold=0) for moment in times]
    epoch, micro = datetime(1970, 1, 1), timedelta(microseconds=1)
    read, bad = clock.micros(np.array([(moment - epoch) // micro for moment in times], dtype=np.int64))
    for moment, at, none in zip(times, read.tolist(), bad.tolist(), strict=True):
        readings = clock.readings(moment)
        assert none == (len(readings) != 1), (moment, zone)
        if not none:
            assert epoch.replace(tzinfo=UTC) + at * micro == readings[0]
            assert readings[0].astimezone(place).replace(tzinfo=None, fold=0) == moment


def test_times_at_the_ends_of_the_calendar_cost_no_walk_between_them() -> None:
    clock, epoch, micro = LocalClock("America/Los_Angeles"), datetime(1970, 1, 1), timedelta(microseconds=1)
    times = [datetime(1, 1, 1), datetime(1700, 1, 1), datetime(2026, 7, 1), datetime(9999, 12, 31, 23)]
    read, bad = clock.micros(np.array([*((moment - epoch) // micro for moment in times), 2**62], dtype=np.int64))
    offsets = [(at - (moment - epoch) // micro) // 3_600_000_000 for at, moment in zip(read.tolist(), times, strict=False)]
    assert offsets == [7, 7, 7, 8] and not bad.any()


def test_the_hours_of_change_are_told_apart() -> None:
    angeles = LocalClock("America/Los_Angeles")
    assert angeles.readings(datetime(2026, 3, 8, 2, 30)) == ()
    assert [moment.hour for moment in angeles.readings(datetime(2026, 11, 1, 1, 30))] == [8, 9]
    for rule, hour in (("earlier", 8), ("later", 9)):
        assert [m.hour for m in LocalClock("America/Los_Angeles", rule).readings(datetime(2026, 11, 1, 1, 30))] == [hour]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "grain", "expected"),
    [
        ("2026-01-05", "week", ("2026-01-05", "2026-01-05")),
        ("2026-W05", "week", ("2026-01-26", "2026-01-26")),
        ("2026-W05", "day", ("2026-01-26", "2026-02-01")),
        ("2026-02", "day", ("2026-02-01", "2026-02-28")),
        ("2026", "month", ("2026-01-01", "2026-12-01")),
        ("2026", "year", ("2026-01-01", "2026-01-01")),
        ("2026-02-03", "hour", ("2026-02-03-00:00", "2026-02-03-23:00")),
        ("2026-02-03-07:00", "hour", ("2026-02-03-07:00", "2026-02-03-07:00")),
    ],
)
def test_people_name_partitions_in_their_own_words(text: str, grain: Grain, expected: tuple[str, str]) -> None:
    assert span_named(text, grain) == expected


@pytest.mark.parametrize(
    ("text", "grain", "message"),
    [
        ("2026-01-06", "week", "expected the start of a week, found '2026-01-06': use 2026-01-05"),
        ("2026-02", "year", "expected the start of a year, found '2026-02': use 2026-01-01"),
        ("2026-W54", "week", "expected a week such as 2026-W05, found '2026-W54'"),
        ("2026-01-01-07:30", "hour", "expected the start of a hour, found '2026-01-01-07:30': use 2026-01-01-07:00"),
        ("soon", "year", "expected a year partition such as"),
    ],
)
def test_a_key_that_is_none_is_told_with_the_one_that_is_meant(text: str, grain: Grain, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        span_named(text, grain)
    assert message in caught.value.message


def test_hours_have_no_zone_and_a_zone_is_one_of_the_database() -> None:
    with pytest.raises(ConfigError, match="an hour is one of UTC"):
        grain_in("hour", "Europe/Berlin")
    with pytest.raises(ConfigError, match="expected an IANA time zone"):
        grain_in("day", "Mars/Olympus")
    assert dates_of("2026-01-26", LocalGrain("week", "Asia/Tokyo")) == [date(2026, 1, 26 + n) for n in range(6)] + [
        date(2026, 2, 1)
    ]


@given(MOMENTS, GRAINS, st.integers(0, 60))
def test_a_key_so_many_before_another_is_as_far_from_it_in_partitions(moment: datetime, grain: Any, count: int) -> None:
    key = partition_of(moment, grain)
    before = earlier(key, grain, count)
    assert ordinal(before, grain) == ordinal(key, grain) - count and (before < key or not count)
    assert earlier(f"2026-03-01{'-05:00' if grain == 'hour' else ''}", "hour" if grain == "hour" else "month", 0).startswith(
        "2026-03-01"
    )
