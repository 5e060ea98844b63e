"""`python -m bench.growth`: what one more day costs after many, and what more rows cost, stage by stage and without Dagster.

    python -m bench.growth [--days 30 365 3650] [--rows 200 2000 20000]

A pipeline gets so many days of two rows each, through every stage at once (`backfill`), and then three days more, one after the other, each
stage by a runtime made anew. Of these the least CPU seconds count, and the calls to the stores, which are the same at any load; the first
of --days is what the others are held against. Then twenty days of so many rows go through every stage, each in a process of its own:
CPU seconds, and the most memory that it had. One JSON object a line; exits 1 if any is not ok.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
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


def more_rows(rows: Sequence[int], folder: Path) -> None:
    """The same days with more rows in each."""
    first: dict[str, tuple[float, float]] = {}
    for count in rows:
        home = folder / f"rows-{count}"
        for name in ("land", *STAGES):
            seconds, peak = in_its_own_process(home, count, name)
            if name == "land":
                continue
            before = first.setdefault(name, (seconds, peak))
            case = f"{name}, {DAYS_OF_ROWS} days of {count} rows"
            emit(case, "cpu_s", seconds, before[0], None, peer=f"{rows[0]} rows")
            target = None if name in UNBOUNDED else TARGET
            emit(case, "peak_mib", peak, before[1], target, peer=f"{rows[0]} rows")


def in_its_own_process(home: Path, rows: int, name: str) -> tuple[float, float]:
    """CPU seconds and the most MiB of one stage over all days."""
    child = subprocess.Popen([sys.executable, "-m", "bench.growth", "--one", name, "--rows", str(rows), "--home", str(home)])
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{name} over {rows} rows failed with {child.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> int:
    """Run the cases."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--days", type=int, nargs="*", default=[30, 365, 3_650])
    parser.add_argument("--rows", type=int, nargs="*", default=[200, 2_000, 20_000])
    parser.add_argument("--one", default="", help="run one stage over the days of --home, in this process")
    parser.add_argument("--home", type=Path)
    options = parser.parse_args()
    if options.one:
        shop = Growing(options.home, options.rows[0], DAYS_OF_ROWS if options.one != "land" else 0)
        if options.one == "land":
            shop.land(DAYS_OF_ROWS)
        else:
            shop.run(STAGES[options.one], [key_of(number) for number in range(DAYS_OF_ROWS)])
        return 0
    with tempfile.TemporaryDirectory(prefix="orchestrai-growth-") as folder:
        if options.days:
            more_days(options.days, Path(folder))
        if options.rows:
            more_rows(options.rows, Path(folder))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
