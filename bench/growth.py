"""`python -m bench.growth`: what one more day costs after many, and what more rows cost, stage by stage and without Dagster.

    python -m bench.growth [--days 30 365 3650] [--rows 200 2000 20000] [--data FOLDER] [--days-of-rows 20]

A pipeline gets so many days of two rows each, through every stage at once (`backfill`), and then three days more, one after the other, each
stage by a runtime made anew. Of these the least CPU seconds count, and the calls to the stores, which are the same at any load; the first
of --days is what the others are held against. Then twenty days of so many rows go through every stage, each in a process of its own:
CPU seconds, and the most memory that it had. With --data a day has as many rows as a CSV file of that folder has on average, and --rows
says how many times that (1, 10 and 100 unless told). One JSON object a line; exits 1 if any is not ok.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from orchestrai_tests.pipeline.growing import STAGES, Growing, Step, key_of

TARGET = 1.3
BACKFILL = 120.0
TIMES = 3
DAYS_OF_ROWS = 20
# all data is in the driver's memory: known, and told in docs/performance.md
UNBOUNDED = ("training set",)
failed = False


def emit(case: str, metric: str, ours: float, than: float, target: float | None, **more: object) -> None:
    """Print one result."""
    global failed
    ratio = ours / than if than else 0.0
    ok = target is None or ratio <= target
    failed |= not ok
    line = {"bench": "growth", "case": case, "metric": metric, "ours": round(ours, 4), "theirs": round(than, 4)}
    print(json.dumps({**line, "ratio": round(ratio, 3), "target": target, "ok": ok, **more}), flush=True)


def more_days(days: Sequence[int], folder: Path) -> None:
    """One more day after each number of days."""
    first: dict[str, Step] = {}
    for count in days:
        shop = Growing(folder / f"days-{count}")
        filled = shop.grow(count)
        total = sum(step.seconds for step in filled.values())
        each = {name: round(step.seconds, 2) for name, step in filled.items()}
        limit = BACKFILL * count / 3_650
        # a shorter history is held to its share of the limit, once the imports are paid for
        emit(f"backfill of {count} days", "cpu_s", total, limit, 1.0 if count >= 3_650 else None, stages=each)
        least: dict[str, Step] = {}
        for _ in range(TIMES):
            for name, step in shop.grow().items():
                before = least.get(name, step)
                seconds, calls = min(before.seconds, step.seconds), min(before.calls, step.calls, key=lambda c: c.total())
                least[name] = Step(calls, seconds)
        first = first or least
        for name, step in least.items():
            case = f"{name}, one day after {count}"
            emit(case, "cpu_s", step.seconds, first[name].seconds, TARGET, peer=f"after {days[0]}")
            emit(case, "store_calls", step.operations, first[name].operations, TARGET, **step.calls)


@dataclass(frozen=True)
class Rows:
    """Days of so many rows, or of so many times the rows that a folder's files have on average."""

    factors: Sequence[int]
    days: int = DAYS_OF_ROWS
    data: Path | None = None

    @cached_property
    def once(self) -> int:
        """The rows of a file, on average; 1 where there is none."""
        files = sorted(self.data.glob("*.csv")) if self.data is not None else []
        counts = [sum(1 for _ in csv.reader(file.open(newline=""))) - 1 for file in files]
        return round(sum(counts) / len(counts)) if counts else 1

    def named(self, factor: int) -> str:
        """How a line tells of them."""
        return f"{self.days} days of {factor * self.once} rows"


def more_rows(rows: Rows, folder: Path) -> None:
    """The same days with more rows in each."""
    first: dict[str, tuple[float, float]] = {}
    for count in rows.factors:
        home = folder / f"rows-{count}"
        for name in ("land", *STAGES):
            seconds, peak = in_its_own_process(home, rows, count, name)
            if name == "land":
                continue
            before, load = first.setdefault(name, (seconds, peak)), round(os.getloadavg()[0], 1)
            case, more = (
                f"{name}, {rows.named(count)}",
                {"peer": rows.named(rows.factors[0]), "load": load},
            )
            emit(case, "cpu_s", seconds, before[0], None, **more)
            emit(case, "peak_mib", peak, before[1], None if name in UNBOUNDED else TARGET, **more)


def in_its_own_process(home: Path, rows: Rows, factor: int, name: str) -> tuple[float, float]:
    """CPU seconds and the most MiB of one stage over all days."""
    command = [sys.executable, "-m", "bench.growth", "--one", name, "--home", str(home)]
    command += ["--rows", str(factor * rows.once), "--days-of-rows", str(rows.days)]
    child = subprocess.Popen(command)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{name} over {rows.named(factor)} failed with {child.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> int:
    """Run the cases."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--days", type=int, nargs="*", default=[30, 365, 3_650])
    parser.add_argument("--rows", type=int, nargs="*", help="rows a day, or with --data how many times those of its files")
    parser.add_argument("--data", type=Path, help="a folder of CSV files, one a day")
    parser.add_argument("--days-of-rows", type=int, default=DAYS_OF_ROWS)
    parser.add_argument("--one", default="", help="run one stage over the days of --home, in this process")
    parser.add_argument("--home", type=Path)
    options = parser.parse_args()
    factors = options.rows if options.rows is not None else [1, 10, 100] if options.data else [200, 2_000, 20_000]
    rows = Rows(factors, options.days_of_rows, options.data)
    if options.one:
        there = rows.days if options.one != "land" else 0
        shop = Growing(options.home, factors[0], there)
        if options.one == "land":
            shop.land(rows.days)
        else:
            shop.run(STAGES[options.one], [key_of(number) for number in range(rows.days)])
        return 0
    with tempfile.TemporaryDirectory(prefix="orchestrai-growth-") as folder:
        if options.days:
            more_days(options.days, Path(folder))
        if factors:
            more_rows(rows, Path(folder))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
