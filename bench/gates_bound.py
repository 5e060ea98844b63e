"""`python -m bench.gates_bound [--data FOLDER]`: how often thinned retail days could be told from ordinary ones at all.

A bound, not a rule: the level of each day is told the week before it and the week after, the weekday by all days, and the
covariance of what is left by the very days that are judged. What is thinned shifts logarithms of rows and of each column's
distinct values, which is all that a partition's profile keeps of how many there were. For shifts of such a scatter no test
with the same false alarms finds more than Neyman and Pearson's, which is the first figure; the second counts days beyond a
threshold chosen in hindsight. One JSON object a line.
"""

import argparse
import json
import pathlib
import sys
from datetime import date
from statistics import NormalDist

import numpy as np

from bench.gates import Array, Series, damaged, retail

SHARES = (75, 50, 30)
ALARMS = (0.005, 0.01)
AROUND = 7


def measures(series: Series, day: str, lost: int = 100, seed: int = 0) -> dict[tuple[str, str, int], float]:
    """The logarithms of rows and distinct values of a day, or of a part of it."""
    rows = series.days[day] if lost == 100 else damaged(series.days[day], f"{lost} % of the rows", seed)
    found = series.profile(day, rows).measures
    return {name: value for name, value in found.items() if name[0] in ("rows", "distinct")}


def left_over(table: Array, weekdays: Array) -> Array:
    """What no forecast explains that knows the days around each day, before and after, and its weekday."""
    near = [[other for other in range(max(0, at - AROUND), min(len(table), at + AROUND + 1))] for at in range(len(table))]
    apart = table - np.array([np.median(table[some], axis=0) for some in near])
    factors = np.array(
        [np.median(apart[weekdays == d], axis=0) if (weekdays == d).any() else 0 * table[0] for d in range(7)]
    )
    flat = table - factors[weekdays.astype(int)]
    levels = [np.median(flat[[other for other in some if other != at]], axis=0) for at, some in enumerate(near)]
    return flat - np.array(levels)


def main() -> int:
    """Print the bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2] / "shared" / "data")
    series = retail(parser.parse_args().data)
    days = sorted(series.days)
    whole = [measures(series, day) for day in days]
    names = sorted(set.intersection(*map(set, whole)))
    table = np.array([[found[name] for name in names] for found in whole])
    left = left_over(table, np.array([date.fromisoformat(day).weekday() for day in days]))
    for share in SHARES:
        thinned = [measures(series, day, share, at) for at, day in enumerate(days)]
        shifts = np.array([[found[name] for name in names] for found in thinned]) - table
        for seen, columns in (
            ("rows", [names.index(("rows", "", 0))]),
            ("rows and distinct values", list(range(len(names)))),
        ):
            some, shift = left[:, columns], shifts[:, columns]
            weights = np.linalg.solve(np.atleast_2d(np.cov(some.T)) + 1e-9 * np.eye(len(columns)), shift.mean(axis=0))
            apart = float(np.sqrt(shift.mean(axis=0) @ weights))
            for alarms in ALARMS:
                scores = some @ weights
                beyond = np.sort(scores)[::-1][int(alarms * len(scores))]
                line = {
                    "bench": "gates_bound",
                    "case": f"retail, {share} % of the rows",
                    "seen": seen,
                    "false_alarms": alarms,
                    "most_found": round(NormalDist().cdf(apart - NormalDist().inv_cdf(1 - alarms)), 3),
                    "found_in_hindsight": round(float(((some + shift) @ weights > beyond).mean()), 3),
                    "scatter_of_rows": round(float(left[:, names.index(("rows", "", 0))].std()), 3),
                }
                print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
