"""What earlier runs of an asset took, and what follows for the next one: its engine, its workers, its partitions.

Medians of the newest records; each choice within declared bounds, with the sentence that says why. A choice changes how fast something is
made and what that costs, never what comes out.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from orchestrai.errors import IntegrityError, StorageError
from orchestrai.ledger.costs.cost_record import CostRecord, costs_of_day
from orchestrai.ledger.ledger import Ledger

# so many runs are looked at, and so many days for them
RUNS = 7
DAYS = 14
GB = 1e9


@dataclass(frozen=True)
class Chosen:
    """What was chosen, and the sentence that says why."""

    value: int
    why: str


@dataclass(frozen=True)
class EngineRule:
    """What an engine is chosen by: the bytes from which Spark is declared, whether there is one, the seconds that a step may take."""

    threshold: int = 0
    spark: bool = False
    step_seconds: int = 0


def newest_runs(ledger: Ledger, asset: str, now: datetime, count: int = RUNS) -> list[CostRecord]:
    """The newest runs of an asset that published something, newest first; no more records are read than that takes.

    A record that is damaged, or a store that does not answer, stops no run: what is behind it counts as not measured.
    """
    found: list[CostRecord] = []
    for back in range(DAYS):
        day = (now - timedelta(days=back)).date()
        records = costs_of_day(ledger.lake, ledger.keyring, day, asset, newest_first=True)
        try:
            for record in records:
                found += [record] if record.outcome == "published" else []
                if len(found) == count:
                    return found
        except IntegrityError:
            continue
        except StorageError:
            break
    return found


def choose_engine(rule: EngineRule, size: int, runs: Callable[[], Sequence[CostRecord]]) -> tuple[str, str]:
    """`duckdb` or `spark` for an input of a size, and why; runs are looked at only where they may decide."""
    declared = "spark" if rule.threshold and size >= rule.threshold else "duckdb"
    if not (rule.step_seconds and rule.spark and size):
        why = f"the input has {_gb(size)}, Spark is declared from {_gb(rule.threshold)} on" if rule.threshold else ""
        return declared, f"{declared}: {why}" if why else ""
    newest = runs()
    duckdb, spark = _rate(newest, "duckdb"), _rate(newest, "spark")
    if duckdb is None:
        return declared, f"{declared}: no run of DuckDB is measured yet, so the declared size decides"
    expected = duckdb * size
    measured = f"DuckDB takes {duckdb * GB:.3g} s a GB by the newest runs, {expected:.3g} s for {_gb(size)}"
    if expected <= rule.step_seconds:
        return "duckdb", f"duckdb: {measured}, and {rule.step_seconds} s are wanted"
    if spark is not None and spark >= duckdb:
        return "duckdb", f"duckdb: {measured}, more than the {rule.step_seconds} s that are wanted, but Spark took longer"
    return "spark", f"spark: {measured}, and {rule.step_seconds} s are wanted"


def choose_workers(bounds: tuple[int, int], step_seconds: int, size: int, runs: Iterable[CostRecord]) -> Chosen:
    """How many workers a job over an input of a size is given; the fewest until something is measured."""
    least, most = bounds
    rates = [
        job.seconds * job.instances / record.sized
        for record in runs
        for job in record.usage.jobs
        if record.sized and job.seconds and job.instances
    ]
    if not rates or not step_seconds or not size:
        missing = "no job is measured yet" if step_seconds else "ORCHESTRAI_STEP_SECONDS is not set"
        return Chosen(least, f"{least} workers: {missing}, and at least {least} are declared")
    rate = median(rates)
    wanted = math.ceil(rate * size / step_seconds)
    value = min(max(wanted, least), most)
    bound = "" if value == wanted else f", {least} to {most} are declared"
    why = (
        f"{rate * GB:.3g} worker seconds a GB by {len(rates)} jobs make {wanted} for {_gb(size)} in {step_seconds} s{bound}"
    )
    return Chosen(value, f"{value} workers: {why}")


def choose_partitions(bounds: tuple[int, int], seconds: float, stages: Sequence[Sequence[CostRecord]]) -> Chosen:
    """How many partitions a run over some stages is asked for, so that it takes about so many seconds; the most until it is measured."""
    least, most = bounds
    rates = [[run.usage.wall_seconds / run.partitions for run in runs if run.partitions] for runs in stages]
    rate = sum(median(one) for one in rates if one)
    if not rate or not seconds:
        return Chosen(
            most, "" if not seconds else f"{most} partitions a run: none is measured yet, and at most {most} are declared"
        )
    wanted = math.floor(seconds / rate)
    value = min(max(wanted, least), most)
    bound = "" if value == wanted else f", {least} to {most} are declared"
    count = max(map(len, rates))
    return Chosen(
        value, f"{value} partitions a run: {rate:.3g} s each by {count} runs make {wanted} in {seconds:g} s{bound}"
    )


def _rate(runs: Iterable[CostRecord], engine: str) -> float | None:
    rates = [r.usage.wall_seconds / r.sized for r in runs if r.sized and r.engine.partition(" ")[0] == engine]
    return median(rates) if rates else None


def _gb(size: int) -> str:
    return f"{size / GB:.3g} GB"
