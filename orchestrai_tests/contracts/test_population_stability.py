"""One PSI: to the digit what models and feature tables each computed before."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.contracts.population_stability import LEAST_SHARE, population_stability_index

SHARES = st.integers(1, 12).flatmap(
    lambda bins: st.tuples(*(st.lists(st.integers(0, 1000), min_size=bins, max_size=bins) for _ in range(2)))
)


def of_models(before: list[float], after: list[float]) -> float:
    """As models/drift.py had it."""
    old = np.maximum(np.asarray(before, dtype=np.float64), 1e-4)
    new = np.maximum(np.asarray(after, dtype=np.float64), 1e-4)
    return round(float(((new - old) * np.log(new / old)).sum()), 6)


def of_features(before: list[float], after: list[float]) -> float:
    """As features/profile/statistics.py had it."""
    p, q = np.clip(np.asarray(before), 1e-4, None), np.clip(np.asarray(after), 1e-4, None)
    return float(np.sum((q - p) * np.log(q / p)))


@settings(max_examples=300)
@given(counts=SHARES)
def test_it_is_what_both_stages_computed(counts: tuple[list[int], list[int]]) -> None:
    before, after = ([count / max(1, sum(side)) for count in side] for side in counts)
    psi = population_stability_index(before, after)
    assert psi == of_features(before, after)
    assert round(psi, 6) == of_models(before, after)


def test_nothing_moved_is_nought_and_it_is_the_same_both_ways() -> None:
    one, other = [0.5, 0.3, 0.2], [0.2, 0.3, 0.5]
    assert population_stability_index(one, one) == 0.0
    assert population_stability_index(one, other) == pytest.approx(2 * 0.3 * math.log(2.5))
    assert population_stability_index(one, other) == pytest.approx(population_stability_index(other, one))


def test_a_bin_that_is_empty_on_one_side_counts_as_the_least_share() -> None:
    assert population_stability_index([1.0, 0.0], [0.0, 1.0]) == pytest.approx(
        2 * (1 - LEAST_SHARE) * math.log(1 / LEAST_SHARE)
    )
