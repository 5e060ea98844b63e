"""The volume rules on real daily series and on made ones."""

import collections
import csv
import json
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.contracts.contract import VolumeRule
from orchestrai.contracts.volume import judge_volume

ROBUST, MEAN7D = VolumeRule(), VolumeRule(method="mean7d")


def score(rule: VolumeRule, series: Mapping[str, int], skip: list[tuple[str, str]] = [], warm: int = 0) -> dict[str, float]:  # noqa: B006
    keys = sorted(series)
    counts: collections.Counter[str] = collections.Counter()
    for index, key in enumerate(keys):
        history = {k: series[k] for k in keys[:index]}
        found = judge_volume(rule, series[key], key, "day", history)
        if any(first <= key <= last for first, last in skip) or found.history < warm:
            continue
        counts["days"] += 1
        counts["alerts"] += found.flagged
        counts["gross"] += found.gross
        if found.expected is not None:
            counts["tried"] += 1
            counts["halved"] += judge_volume(rule, series[key] // 2, key, "day", history).flagged
            counts["three quarters"] += judge_volume(rule, series[key] * 3 // 4, key, "day", history).flagged
    return {
        "alerts": counts["alerts"] / counts["days"],
        "gross": counts["gross"],
        "halved": counts["halved"] / counts["tried"],
        "three quarters": counts["three quarters"] / counts["tried"],
    }


@pytest.fixture(scope="module")
def retail(shared_data: Path) -> dict[str, int]:
    found = {}
    for path in sorted((shared_data / "online_retail_by_day" / "by-day").glob("*.csv")):
        with path.open(newline="") as stream:
            found[path.stem] = sum(1 for _ in csv.reader(stream)) - 1
    return found


@pytest.fixture(scope="module")
def taxi(shared_data: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    days: collections.Counter[str] = collections.Counter()
    with (shared_data / "nab/data/realKnownCause/nyc_taxi.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            days[row["timestamp"][:10]] += int(row["value"])
    windows = json.loads((shared_data / "nab/labels/combined_windows.json").read_text())["realKnownCause/nyc_taxi.csv"]
    return dict(days), [(first[:10], last[:10]) for first, last in windows]


def test_ordinary_retail_days_rarely_alert_and_the_plain_rule_alerts_on_half(retail: dict[str, int]) -> None:
    robust, plain = score(ROBUST, retail), score(MEAN7D, retail)
    assert robust["alerts"] < 0.03
    assert robust["gross"] == 0
    assert plain["alerts"] > 0.45


def test_ordinary_taxi_days_rarely_alert_and_halved_ones_are_found(
    taxi: tuple[dict[str, int], list[tuple[str, str]]],
) -> None:
    series, windows = taxi
    robust, warm, plain = score(ROBUST, series, windows), score(ROBUST, series, windows, 21), score(MEAN7D, series, windows)
    assert robust["alerts"] < 0.03 < plain["alerts"]
    assert warm["halved"] == 1.0
    assert warm["three quarters"] >= 0.8


def week(days: int, weekend: float = 0.5, growth: float = 1.0) -> dict[str, int]:
    found = {}
    for index in range(days):
        at = date(2024, 1, 1) + timedelta(index)
        found[at.isoformat()] = round(1000 * growth**index * (weekend if at.weekday() >= 5 else 1))
    return found


@pytest.mark.parametrize("growth", [1.0, 1.01])
def test_a_weekly_rhythm_with_growth_never_alerts_and_a_halved_day_always_does(growth: float) -> None:
    found = score(ROBUST, week(120, growth=growth))
    assert found["alerts"] == 0
    assert found["halved"] == 1


def test_a_missing_day_does_not_turn_a_monday_into_a_tuesday() -> None:
    series = week(60)
    for gone in ("2024-02-07", "2024-02-08", "2024-02-20"):
        del series[gone]
    assert score(ROBUST, series)["alerts"] == 0


def test_hours_follow_the_rhythm_of_a_day() -> None:
    history = {}
    for index in range(24 * 6):
        at = date(2024, 1, 1) + timedelta(index // 24)
        history[f"{at.isoformat()}-{index % 24:02d}:00"] = 1000 if 8 <= index % 24 < 20 else 100
    assert not judge_volume(ROBUST, 100, "2024-01-07-03:00", "hour", history).flagged
    assert judge_volume(ROBUST, 100, "2024-01-07-12:00", "hour", history).flagged


@given(
    st.dictionaries(st.dates(date(2024, 1, 1), date(2024, 4, 1)).map(date.isoformat), st.integers(0, 10**9)),
    st.integers(0, 10**9),
)
@settings(max_examples=150)
def test_any_history_gives_a_finding_with_ordered_bounds(history: dict[str, int], rows: int) -> None:
    for rule in (ROBUST, MEAN7D):
        found = judge_volume(rule, rows, "2024-03-01", "day", history)
        assert 0 <= found.low <= found.high
        assert found.flagged == (not found.low <= rows <= found.high)
        if found.expected is not None:
            assert found.low <= found.expected <= found.high


def test_later_partitions_do_not_count() -> None:
    history = week(60)
    assert judge_volume(ROBUST, 1000, "2024-01-03", "day", history).history == 2


class Asked(dict[str, int]):
    """Counts what is read of it, and can be read from a key back."""

    reads = 0

    def before(self, key: str) -> Iterator[str]:
        return iter(sorted((one for one in self if one < key), reverse=True))

    def __getitem__(self, key: str) -> int:
        self.reads += 1
        return super().__getitem__(key)


@given(
    st.sampled_from([ROBUST, MEAN7D, VolumeRule(period=0), VolumeRule(period=3)]),
    st.dictionaries(st.integers(0, 400), st.integers(0, 2_000), max_size=150),
    st.integers(0, 2_000),
)
@settings(max_examples=60, deadline=None)
def test_what_lies_before_the_window_changes_no_judgement(rule: VolumeRule, history: dict[int, int], rows: int) -> None:
    def key(number: int) -> str:
        return (date(2024, 1, 1) + timedelta(days=number)).isoformat()

    window = 56 if rule.period is None else 8 * (rule.period or 7)
    whole = Asked({key(number): count for number, count in history.items()})
    near = {key(number): count for number, count in history.items() if number >= 300 - window}
    if rule is MEAN7D:
        near = whole
    found = judge_volume(rule, rows, key(300), "day", whole)
    assert found == judge_volume(rule, rows, key(300), "day", dict(near))
    # of a history of any length no more is read than the window, the empty partitions in it, and the one where it ends
    empty = sum(not count for number, count in history.items() if number < 300)
    assert whole.reads <= window + 1 + empty
