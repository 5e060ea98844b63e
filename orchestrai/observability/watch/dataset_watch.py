"""What may be wrong with a dataset: its source is silent, it is unprotected, rows were refused."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from orchestrai.core.time.calendar import Grain, floor, window
from orchestrai.core.time.duration_cron import format_duration
from orchestrai.core.time.partition_key import by_value
from orchestrai.ledger.dataset import Dataset
from orchestrai.observability.alerts.condition import Condition
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.reports.recovery_point import recovery_point
from orchestrai.pipeline.runtime import Runtime

# how far back pauses are looked for that come again, such as Sundays
PAST = 60


def silence(runtime: Runtime, dataset: DatasetNode, now: datetime) -> Iterator[Condition]:
    """The newest event is older than the declared freshness allows, whether or not anything ran.

    Of what comes partition by partition, the last one that is due must have come; a pause between partitions that was there twice
    among the last sixty, such as a closed day, is waited for.
    """
    promise = dataset.contract.freshness
    raw = runtime.ledger.find(dataset.asset("raw_events"))
    if promise is None or raw is None or not raw.partitions:
        return
    silent = []
    for value, keys in by_value(raw.partitions).items():
        newest = newest_event(raw, keys[-1], dataset.grain)
        limit = _due(dataset, keys, now, promise)
        if newest < limit:
            silent.append((newest, limit, value))
    if silent:
        newest, limit, _ = min(silent)
        yield Condition(
            "silence",
            dataset.prefix,
            f"an event since {limit.isoformat()} (freshness {format_duration(promise)})",
            f"the newest at {newest.isoformat()}",
            f"orchestrai landing status {dataset.shown}; then ask the producer",
            members=tuple(value for _, _, value in silent if value),
        )


def newest_event(raw: Dataset, partition: str, grain: Grain) -> datetime:
    """The time of the newest event of a partition, as the verdict in its receipt tells; the end of the partition where none does."""
    receipt = raw.ledger.receipt(raw.partitions[partition].receipt)
    for verdict in receipt.verdicts.get(partition, ()):
        told = verdict.details.get("newest")
        if verdict.check == "freshness" and isinstance(told, str):
            return datetime.fromisoformat(told)
    return datetime.fromisoformat(receipt.finished) if grain == "all" else window(partition, grain)[1]


def _due(dataset: DatasetNode, keys: Sequence[str], now: datetime, promise: timedelta) -> datetime:
    grain = dataset.grain
    ends = dataset.spec.partitions.span.end or now
    if grain == "all" or dataset.positioned:
        return min(now, ends) - promise
    return min(floor(now - promise, grain), ends) - promise - _pause(keys[-PAST:], grain)


def _pause(keys: Sequence[str], grain: Grain) -> timedelta:
    """How long a source is used to pause between two partitions: the longest pause but one."""
    spans = [window(key, grain) for key in keys]
    pauses = sorted((after[0] - before[1] for before, after in pairwise(spans)), reverse=True)
    return max(pauses[1], timedelta()) if len(pauses) > 1 else timedelta()


def unprotected(runtime: Runtime, dataset: DatasetNode, now: datetime) -> Iterator[Condition]:
    """Something landed longer ago than the declared RPO and is in no counted snapshot; raises what kept it from being asked."""
    point = recovery_point(runtime, dataset)
    if point.error is not None:
        raise point.error
    if not point.passed:
        yield Condition(
            "unprotected",
            dataset.prefix,
            f"all that landed to be in a snapshot within {format_duration(point.declared)}",
            point.message,
            f"orchestrai landing status {dataset.shown} says why; then "
            f"orchestrai backfill {dataset.pipeline} --from FIRST --to LAST, of the partitions that it names",
        )


def dead_letters(runtime: Runtime, dataset: DatasetNode, now: datetime) -> Iterator[Condition]:
    """Rows or objects were refused and not replayed."""
    letters = runtime.ledger.find(dataset.asset("dead_letters"))
    refused = {key: entry.rows for key, entry in letters.partitions.items() if entry.rows} if letters else {}
    if refused:
        yield Condition(
            "dead_letters",
            dataset.prefix,
            "every row to keep to its contract",
            f"{sum(refused.values()):,} refused in {len(refused):,} partitions",
            f"orchestrai deadletters list {dataset.shown}",
            members=tuple(sorted(refused)),
        )
