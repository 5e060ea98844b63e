"""From readings to one probability: each kind of evidence has its weight, and each is told in words.

The readings depend on each other (a day cut off has fewer rows, another shape and other values), so their probabilities are combined by
Cauchy's rule, which holds whatever the dependence: the mean of tan(pi (1/2 - p)), weighted. The weights say how often a kind of damage is
seen by nothing else: rows lost evenly are seen by counting alone, while what was cut off or told twice is seen by far.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrai.contracts.anomaly.ordinary import Evidence, Judgement
from orchestrai.contracts.anomaly.past import Past, Reading
from orchestrai.contracts.anomaly.profile import SLICES, Profile

WEIGHTS: Mapping[str, float] = {
    "fewer rows": 0.25,
    "thinned": 0.3,
    "cut off": 0.12,
    "more rows": 0.03,
    "repeated": 0.1,
    "shape": 0.04,
    "hole": 0.08,
    "nulls": 0.05,
    "distinct": 0.02,
    "values": 0.04,
}
# Student's t of so many degrees, or of as many partitions as there are where these are fewer; rows are counted, and logarithms of counts
# have shorter tails than what is measured of columns
DEGREES, DEGREES_OF_ROWS = 10, 20
OF_ROWS = ("fewer rows", "more rows", "thinned")
# how much an ordinary small partition has longer empty stretches than a large one
_TOGETHER = 0.3
# beyond this the sum of a tail has no digits left
_LEAST = 1e-12


def judged(past: Past, profile: Profile) -> Judgement | None:
    """How probable it is that an ordinary partition is as far off as this one; None where there are too few before it."""
    readings = past.readings(profile)
    if not readings:
        return None
    kinds: dict[str, list[Evidence]] = defaultdict(list)
    for reading in [*_one_each(readings), *_cut_off(readings)]:
        kind, z = _sided(reading)
        count = len(past.profiles)
        degrees = min(DEGREES, count) if kind not in OF_ROWS else max(1, min(DEGREES_OF_ROWS, count // 2))
        kinds[kind].append(Evidence(_name(kind, reading), tail(z, degrees), *_words(reading, profile)))
    shares = dict(WEIGHTS)
    if "thinned" not in kinds:
        # then counting is all that tells of it
        shares["fewer rows"] += shares["thinned"]
    weights = [(one.probability, shares[kind] / len(some)) for kind, some in kinds.items() for one in some]
    evidence = sorted((one for some in kinds.values() for one in some), key=lambda one: (one.probability, one.name))
    return Judgement(combined(weights), tuple(evidence[:5]), len(past.profiles))


def combined(weighted: Sequence[tuple[float, float]]) -> float:
    """One probability of several, by Cauchy's rule; each comes with its weight, and the weights sum to one at most."""
    total = sum(
        weight / math.tan(math.pi * max(probability, _LEAST)) for probability, weight in weighted if probability < 0.5
    )
    whole = sum(WEIGHTS.values())
    return 0.5 - math.atan(total / whole) / math.pi


def _one_each(readings: Sequence[Reading]) -> list[Reading]:
    """Of a column's quantiles the one that is second most off: a single one may be, without anything having changed."""
    quantiles: dict[str, list[Reading]] = defaultdict(list)
    others = []
    for reading in readings:
        kind, column, place = reading.measure
        if kind == "values" and place >= 0:
            quantiles[column].append(reading)
        else:
            others.append(reading)
    return others + [sorted(some, key=lambda one: abs(one.z))[-2 if len(some) > 1 else -1] for some in quantiles.values()]


def _cut_off(readings: Sequence[Reading]) -> list[Reading]:
    """Fewer rows and an empty stretch together: what neither shows by itself where days differ much."""
    by_kind = {reading.measure[0]: reading for reading in readings}
    rows, hole = by_kind["rows"], by_kind.get("hole")
    if hole is None or rows.z >= 0:
        return []
    return [replace(hole, measure=("cut off", "", 0), z=(hole.z - rows.z) / math.sqrt(2 * (1 + _TOGETHER)))]


def _sided(reading: Reading) -> tuple[str, float]:
    """The kind of evidence, and how far it is off to the side that tells."""
    kind = reading.measure[0]
    if kind == "rows":
        return ("fewer rows", -reading.z) if reading.z < 0 else ("more rows", reading.z)
    if kind in ("repeated", "thinned"):
        return kind, reading.z
    return kind, abs(reading.z)


def tail(z: float, degrees: int) -> float:
    """How often Student's t exceeds z, by the finite sum that whole degrees have; at least _LEAST."""
    if z <= 0:
        return 0.5
    angle = math.atan(z / math.sqrt(degrees))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = degrees % 2
    term = total = (math.cos(angle) if odd else 1.0) if degrees > 1 else 0.0
    for number in range(2 + odd, degrees - 1, 2):
        term *= square * (number - 1) / number
        total += term
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return max((1 - inside) / 2, _LEAST)


def _name(kind: str, reading: Reading) -> str:
    column = reading.measure[1]
    if kind == "thinned":
        return "rows lost evenly"
    return f"{kind} of {column}" if column else {"shape": "spread over its time", "hole": "empty stretch"}.get(kind, kind)


def _words(reading: Reading, profile: Profile) -> tuple[str, str]:
    """What was expected and what was found, for people."""
    kind, column, place = reading.measure
    expected, actual = reading.expected, reading.found
    if kind == "rows":
        usual = math.expm1(expected)
        return f"about {usual:,.0f}", f"{profile.rows:,}" + (f" ({profile.rows / usual - 1:+.0%})" if usual >= 1 else "")
    if kind == "repeated":
        return f"each row {math.exp(expected):.2f} times", f"{math.exp(actual):.2f} times"
    if kind == "thinned":
        return f"about {math.exp(expected):.3g} rows to each {column}", f"{math.exp(actual):.3g}, and fewer rows"
    if kind == "nulls":
        return f"{math.sin(expected) ** 2:.1%} without a value", f"{math.sin(actual) ** 2:.1%}"
    if kind == "distinct":
        found = profile.columns[column].distinct
        return f"about {found * math.exp(expected - actual):,.0f} for so many rows", f"{found:,.0f}"
    if kind == "values":
        if place < 0:
            return f"{expected:.0%} other values than usual", f"{actual:.0%}"
        return f"about {math.sinh(expected):.4g} at a quantile", f"{math.sinh(actual):.4g}"
    if kind == "shape":
        return f"at most about {expected**2:.0%} elsewhere than usual", f"{actual**2:.0%}"
    return (
        f"about {expected:.0%} of the usual rows in it",
        f"{actual:.0%}, of {SLICES} slices {profile.slices.count(0)} empty",
    )
