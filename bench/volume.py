"""`python -m bench.volume`: how many ordinary days the volume rule alerts on, and how many days that lost rows it finds.

    python -m bench.volume [--data FOLDER]    FOLDER holds online_retail_by_day/ and nab/

Each day is judged by the days before it only; beside it the plain rule `mean7d`, and the best that any rule on counts could do there:
the recall at 3 % false alarms of regressions fitted robustly to weekday and level, the threshold chosen with hindsight, one of
them told the future too. One JSON object a line; exits 1 if any is not ok.
"""

import argparse
import collections
import csv
import json
import math
import pathlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from orchestrai.contracts.contract import VolumeRule
from orchestrai.contracts.coverage import SEASONS, Span, alike, judge_coverage
from orchestrai.contracts.volume import judge_volume

SERIES = (
    "nyc_taxi",
    "ambient_temperature_system_failure",
    "machine_temperature_system_failure",
)
ALERTS, HALVED, MOST = 0.03, 1.0, 0.8
WARM = 21
failed = False


@dataclass(frozen=True)
class Days:
    """Counts by day, and the spans in which something happened."""

    name: str
    counts: Mapping[str, int]
    events: tuple[tuple[str, str], ...] = ()

    def ordinary(self, day: str) -> bool:
        return not any(first <= day <= last for first, last in self.events)


def line(case: str, metric: str, ours: float, peer: str, theirs: float, target: float) -> None:
    """Print one result; `target` bounds ours / theirs, from below where the metric is a quality."""
    global failed
    ratio = ours / theirs if theirs else float(ours > 0)
    ok = ratio >= target if metric.endswith("quality") else ratio <= target
    failed |= not ok
    values = {"ours": round(ours, 4), "peer": peer, "theirs": round(theirs, 4), "ratio": round(ratio, 4), "target": target}
    print(json.dumps({"bench": "volume", "case": case, "metric": metric, **values, "ok": ok}), flush=True)


def retail_days(data: pathlib.Path) -> Days:
    """Rows of the retail files by day."""
    counts = {}
    for path in sorted((data / "online_retail_by_day" / "by-day").glob("*.csv")):
        with path.open(newline="") as stream:
            counts[path.stem] = sum(1 for _ in csv.reader(stream)) - 1
    return Days(f"{len(counts)} retail days", counts)


def nab_days(data: pathlib.Path, name: str) -> Days:
    """Daily sums of a series of the benchmark (hundredths of its unit, so that they are counts), whole days only."""
    sums: collections.Counter[str] = collections.Counter()
    points: collections.Counter[str] = collections.Counter()
    with (data / f"nab/data/realKnownCause/{name}.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            sums[row["timestamp"][:10]] += round(float(row["value"]) * 100)
            points[row["timestamp"][:10]] += 1
    whole = {day: total for day, total in sums.items() if points[day] >= 0.9 * max(points.values()) and total > 0}
    labels = json.loads((data / "nab/labels/combined_windows.json").read_text())[f"realKnownCause/{name}.csv"]
    return Days(f"{name} days", whole, tuple((first[:10], last[:10]) for first, last in labels))


def score(rule: VolumeRule, days: Days, warm: int) -> dict[str, float]:
    """Shares of ordinary days: that alert, that are found when halved, and when a quarter is lost."""
    keys, count = sorted(days.counts), collections.Counter[str]()
    for index, key in enumerate(keys):
        history = {k: days.counts[k] for k in keys[:index]}
        found = judge_volume(rule, days.counts[key], key, "day", history)
        if not days.ordinary(key) or found.history < warm:
            continue
        count["days"] += 1
        count["alerts"] += found.flagged
        count["half"] += judge_volume(rule, days.counts[key] // 2, key, "day", history).flagged
        count["most"] += judge_volume(rule, days.counts[key] * 3 // 4, key, "day", history).flagged
    return {name: count[name] / count["days"] for name in ("alerts", "half", "most")}


def expected_log(days: Any, logs: Any, at: int, *, future: bool) -> float:
    """A day's log count by Huber regression on weekday and trend, near days weighing more (half as much after 28 days)."""
    use = np.arange(len(days)) != at if future else np.arange(len(days)) < at

    def features(moments: Any) -> Any:
        columns = [np.ones(len(moments)), (moments - days[at]) / 28.0]
        return np.stack([*columns, *((moments % 7 == weekday) * 1.0 for weekday in range(7))], axis=1)

    design, known = features(days[use]), logs[use]
    near = 0.5 ** (abs(days[at] - days[use]) / 28.0)
    penalty, weight = np.diag([1e-6, 5.0, *[3.0] * 7]), near.copy()
    solution = np.zeros(9)
    for _ in range(4):
        solution = np.linalg.solve(design.T @ (design * weight[:, None]) + penalty, design.T @ (known * weight))
        errors = np.abs(known - design @ solution)
        spread = 1.5 * 1.4826 * float(np.median(errors)) + 1e-9
        weight = near * np.minimum(1.0, spread / np.maximum(errors, 1e-9))
    return float((features(days[at : at + 1]) @ solution)[0])


def same_weekday(days: Any, logs: Any, at: int) -> float:
    """The median of the last four of the same weekday."""
    same = logs[:at][days[:at] % 7 == days[at] % 7][-4:]
    return float(np.median(same)) if len(same) else float(logs[at])


def bounds(days: Days) -> dict[str, tuple[float, float]]:
    """By predictor: halved days and days at 75 % found, the lower threshold set so that exactly 3 % of ordinary days alert."""
    keys = sorted(days.counts)
    moments = np.array([date.fromisoformat(key).toordinal() for key in keys])
    logs = np.log(np.array([days.counts[key] for key in keys], dtype=float))
    judged = [at for at in range(WARM, len(keys)) if days.ordinary(keys[at])]
    found = {}
    for name, predict in (
        ("median of 4 weekdays", lambda at: same_weekday(moments, logs, at)),
        ("regression on the past", lambda at: expected_log(moments, logs, at, future=False)),
        ("regression told the future", lambda at: expected_log(moments, logs, at, future=True)),
    ):
        errors = np.array([logs[at] - predict(at) for at in judged])
        threshold = np.sort(errors)[math.floor(ALERTS * len(errors))]
        found[name] = tuple(float((errors + math.log(left) < threshold).mean()) for left in (0.5, 0.75))
    return found  # type: ignore[return-value]


def retail_moments(data: pathlib.Path) -> dict[str, list[datetime]]:
    """When the rows of each retail day happened, in order."""
    found = {}
    for path in sorted((data / "online_retail_by_day" / "by-day").glob("*.csv")):
        with path.open(newline="") as stream:
            moments = (datetime.fromisoformat(row["InvoiceDate"]) for row in csv.DictReader(stream))
            found[path.stem] = sorted(moment.replace(tzinfo=UTC) for moment in moments)
    return found


# what is left of a day's rows, by what happened to it
CUTS: dict[str, Callable[[list[datetime]], list[datetime]]] = {
    "second half cut off": lambda day: day[: len(day) // 2],
    "first half cut off": lambda day: day[len(day) // 2 :],
    "last quarter cut off": lambda day: day[: len(day) * 3 // 4],
    "first quarter cut off": lambda day: day[len(day) // 4 :],
    "every second row lost": lambda day: day[::2],
    "every fourth row lost": lambda day: [moment for number, moment in enumerate(day) if number % 4],
}


def too_short(day: list[datetime], key: str, earlier: Mapping[str, list[datetime]]) -> bool | None:
    """Whether the rule on coverage alerts; None where it does not judge yet."""
    rule = VolumeRule()
    before = {k: Span(earlier[k][0], earlier[k][-1], len(earlier[k])) for k in alike(rule, key, "day", earlier)[:SEASONS]}
    found = judge_coverage(rule, Span(day[0], day[-1], len(day)), key, "day", before)
    return None if found is None else found.flagged


def bench_coverage(days: Mapping[str, list[datetime]]) -> None:
    """Retail days cut at either end or thinned: found by the time they cover, by their rows, by either."""
    keys, found, whole = sorted(days), collections.Counter[tuple[str, str]](), collections.Counter[str]()
    for index, key in enumerate(keys):
        earlier = {k: days[k] for k in keys[:index]}
        counts = {k: len(rows) for k, rows in earlier.items()}
        by_count = judge_volume(VolumeRule(), len(days[key]), key, "day", counts).flagged
        by_coverage = too_short(days[key], key, earlier)
        whole += collections.Counter(coverage=bool(by_coverage), either=by_count or bool(by_coverage))
        if by_coverage is None:
            continue
        found["days", ""] += 1
        for name, cut in CUTS.items():
            left = cut(days[key])
            short = bool(too_short(left, key, earlier))
            few = judge_volume(VolumeRule(), len(left), key, "day", counts).flagged
            found += collections.Counter({(name, "coverage"): short, (name, "rows"): few, (name, "either"): short or few})
    case, judged = f"{len(keys)} retail days", found["days", ""]
    line(f"{case}, coverage, whole days that alert", "share", whole["coverage"] / len(keys), "target 3 %", ALERTS, 1.0)
    line(f"{case}, rows or coverage, whole days that alert", "share", whole["either"] / len(keys), "target 3 %", ALERTS, 1.0)
    for name in CUTS:
        by_time, by_rows, either = (found[name, rule] / judged for rule in ("coverage", "rows", "either"))
        halved = "half" in name or "second row" in name
        line(f"{case}, {name}, found by coverage", "quality", by_time, "row_volume", by_rows, 0.0)
        if "cut off" in name:
            wanted = 0.95 if halved else MOST
            line(f"{case}, {name}, found by either", "quality", either, f"target {wanted:.0%}", wanted, 1.0)
        else:
            line(f"{case}, {name}, found by either", "quality", either, "row_volume", by_rows, 0.0)


def bench_cut_off(days: Mapping[str, list[datetime]]) -> None:
    """Retail days cut off in their middle, found by a promise that events reach 15:30; whole days are the false alarms."""
    whole = sum(f"{day[-1]:%H:%M}" < "15:30" for day in days.values())
    cut = sum(f"{day[len(day) // 2 - 1]:%H:%M}" < "15:30" for day in days.values())
    line("141 retail days, freshness, whole days that alert", "share", whole / len(days), "target 3 %", ALERTS, 1.0)
    line(
        "141 retail days, freshness, days cut off in their middle found",
        "quality",
        cut / len(days),
        "target 95 %",
        0.95,
        1.0,
    )


def bench_days(days: Days) -> None:
    """One series."""
    ours, plain = score(VolumeRule(), days, WARM), score(VolumeRule(method="mean7d"), days, 7)
    whole = score(VolumeRule(), days, 0)
    line(f"{days.name}, ordinary days that alert", "share", whole["alerts"], "target 3 %", ALERTS, 1.0)
    line(f"{days.name}, ordinary days that alert", "share", ours["alerts"], "mean7d", plain["alerts"], 1.0)
    best = bounds(days)
    for name, target, at in (("half", HALVED, 0), ("most", MOST, 1)):
        told = "halved days found" if name == "half" else "days at 75 % found"
        line(f"{days.name}, {told}", "quality", ours[name], f"target {target:.0%}", target, 1.0)
        line(f"{days.name}, {told}", "quality", ours[name], "mean7d", plain[name], 0.0)
        for peer, shares in best.items():
            line(f"{days.name}, {told}", "quality", ours[name], f"{peer}, at 3 % false alarms", shares[at], 0.0)


def run(data: pathlib.Path) -> int:
    """Score all series."""
    for days in (retail_days(data), *(nab_days(data, name) for name in SERIES)):
        bench_days(days)
    moments = retail_moments(data)
    bench_coverage(moments)
    bench_cut_off(moments)
    return 1 if failed else 0


def main() -> int:
    """Run all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    default = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=pathlib.Path, default=default)
    return run(parser.parse_args().data)


if __name__ == "__main__":
    sys.exit(main())
