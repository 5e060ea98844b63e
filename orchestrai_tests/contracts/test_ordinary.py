"""How probable a day is among those before it, by each kind of damage, on made days with a week's season and noise."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from orchestrai.contracts.anomaly.evidence import combined, judged, tail
from orchestrai.contracts.anomaly.past import Past, _middles, middle
from orchestrai.contracts.anomaly.profile import PROFILE, SLICES, ColumnProfile, Profile, profile_in

USUAL = 0.01


def day(number: int, seed: int = 7) -> Profile:
    rng = random.Random(seed * 1_000 + number)
    rows = round((400 if number % 7 < 5 else 250) * math.exp(rng.gauss(0, 0.08)))
    slices = [0] * SLICES
    for _ in range(rows):
        slices[min(20, max(8, round(rng.gauss(14, 3))))] += 1
    spread = tuple(value + rng.gauss(0, 0.05) for value in (1.0, 2.0, 3.0, 4.0, 6.0))
    columns = {
        "amount": ColumnProfile(rng.randint(0, 3), rows * 0.9, spread),
        "kind": ColumnProfile(0, 3.0, (), (rows // 2, rows // 2)),
    }
    return Profile(rows, float(rows), tuple(slices), columns)


def probability(profile: Profile, before: int = 56) -> float | None:
    judgement = judged(Past([day(n) for n in range(before)], range(before), before, 7), profile)
    return None if judgement is None else judgement.probability


def thinned(profile: Profile, share: float) -> Profile:
    rows = round(profile.rows * share)
    return replace(profile, rows=rows, distinct=float(rows), slices=tuple(round(count * share) for count in profile.slices))


TODAY = day(56)


def test_an_ordinary_day_is_probable() -> None:
    assert all((probability(day(56, seed)) or 0) > USUAL for seed in range(30))


@pytest.mark.parametrize(
    "odd",
    [
        thinned(TODAY, 0.3),
        thinned(TODAY, 0.5),
        replace(thinned(TODAY, 0.5), slices=(*TODAY.slices[:14], *([0] * 10))),
        replace(TODAY, rows=2 * TODAY.rows, slices=tuple(2 * count for count in TODAY.slices)),
        replace(TODAY, columns={**TODAY.columns, "amount": replace(TODAY.columns["amount"], nulls=TODAY.rows // 3)}),
        replace(TODAY, columns={**TODAY.columns, "amount": replace(TODAY.columns["amount"], quantiles=(9e2, 9e3, 9e4, 9e5, 9e6))}),
    ],
    ids=["30 %", "half", "cut at two", "told twice", "nulls", "another unit"],
)  # fmt: skip
def test_a_damaged_day_is_improbable(odd: Profile) -> None:
    found = probability(odd)
    assert found is not None and found < USUAL


def test_with_few_days_before_it_only_the_extreme_is_improbable() -> None:
    assert probability(thinned(TODAY, 0.3), 2) is None
    # the first Saturday that ever was
    assert (probability(day(5), 5) or 0) > USUAL
    assert (probability(thinned(day(4), 0.03), 4) or 1) < USUAL


def test_a_profile_is_read_back_as_it_was_noted() -> None:
    assert profile_in({PROFILE: TODAY.as_json()}) == TODAY
    assert profile_in({}) is None and profile_in({PROFILE: {"format": 2}}) is None


def test_tails_are_those_of_student_and_one_small_probability_makes_the_whole_small() -> None:
    # of one degree it is Cauchy's, of two it has a closed form
    assert tail(1.0, 1) == pytest.approx(0.25) and tail(2.0, 2) == pytest.approx((1 - 2 / math.sqrt(6)) / 2)
    assert tail(-1.0, 5) == 0.5
    assert combined([(1e-9, 0.05), (0.5, 0.5)]) < 1e-6 < combined([(0.3, 0.5), (0.5, 0.5)])


def test_rows_lost_evenly_are_told_from_a_quiet_day_by_the_rows_to_each_value() -> None:
    rng = random.Random(11)
    profiles = []
    for _ in range(56):
        # how many invoices a day has, and how long they are, go apart from each other
        invoices, each = 100 * math.exp(0.3 * rng.gauss(0, 1)), 14 * math.exp(0.3 * rng.gauss(0, 1))
        profiles.append(Profile(int(invoices * each), columns={"invoice": ColumnProfile(distinct=round(invoices))}))
    past = Past(profiles, list(range(56)), 56, 7)
    quiet = Profile(560, columns={"invoice": ColumnProfile(distinct=40)})
    lost = Profile(560, columns={"invoice": ColumnProfile(distinct=99)})
    of_quiet, of_lost = judged(past, quiet), judged(past, lost)
    assert of_quiet is not None and of_lost is not None
    assert of_lost.probability < 0.01 < of_quiet.probability
    assert any(one.name == "rows lost evenly" and "rows to each invoice" in one.expected for one in of_lost.evidence)


def test_a_median_is_numpys_to_the_bit() -> None:
    chance = np.random.default_rng(7)
    for count in range(1, 70):
        values, whole = chance.normal(size=count), chance.integers(0, 1_000, count)
        assert middle(values) == float(np.median(values)) and middle(whole) == float(np.median(whole))
        chosen = chance.random((count, count)) < 0.3
        np.fill_diagonal(chosen, True)
        assert (_middles(values, chosen) == np.nanmedian(np.where(chosen, values[None, :], np.nan), axis=1)).all()
    assert math.isnan(middle(np.array([1.0, math.nan, 2.0])))
