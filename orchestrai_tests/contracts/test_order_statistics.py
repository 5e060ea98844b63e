"""Medians of few numbers, held to what the numeric library says of them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.contracts import order_statistics
from orchestrai.contracts.order_statistics import DEVIATION, deviation, median, middle_slope, running_medians

NUMBERS = st.floats(-50, 50, allow_nan=False)
SOME = st.lists(NUMBERS, min_size=1, max_size=40)


@given(SOME)
@settings(max_examples=80, deadline=None)
def test_the_median_is_the_middle_of_any_numbers(values: list[float]) -> None:
    assert median(values) == np.median(values)
    assert deviation(values) == DEVIATION * np.median(np.abs(np.array(values) - np.median(values)))


@given(SOME, st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_running_medians_are_those_of_each_window(values: list[float], width: int) -> None:
    windows = [values[at : at + width] for at in range(len(values) - width + 1)]
    assert running_medians(values, width) == [np.median(window) for window in windows]


@given(st.dictionaries(st.integers(0, 80), NUMBERS, min_size=1, max_size=40), st.integers(1, 12))
@settings(max_examples=80, deadline=None)
def test_few_and_many_numbers_have_the_same_middle_slope(values: dict[int, float], least: int) -> None:
    times = sorted(values)
    ordered = [values[time] for time in times]
    assert len(times) <= order_statistics.MANY
    assert middle_slope(times, ordered, least) == order_statistics._slope_of_many(times, ordered, least)


def test_a_line_has_its_own_slope_however_many_points_it_has() -> None:
    for count in (10, order_statistics.MANY, order_statistics.MANY + 1, 400):
        assert middle_slope([*range(count)], [0.5 * time for time in range(count)], 7) == 0.5
