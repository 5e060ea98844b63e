"""What Dagster's records tell of runs that were asked for: which are going, what each was for, when and how often it was asked."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES, IN_PROGRESS_RUN_STATUSES, NOT_FINISHED_STATUSES, RunsFilter
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from orchestrai.core.time.calendar import WHOLE, Grain, keys_between
from orchestrai.errors import ConfigError
from orchestrai.ingest.discovery.asking import DIGEST_LENGTH, PastRun

ASKED, ATTEMPT, ARRIVALS = "orchestrai/asked", "orchestrai/attempt", "orchestrai/arrivals"
LOOK_BACK = 250
# a run that was made and not begun by now never will be; one that began is ended by then (MAX_RUNTIME), whoever died meanwhile
BEGINS_WITHIN, ENDS_WITHIN = timedelta(minutes=15), timedelta(hours=4, minutes=30)


def past_runs(instance: dg.DagsterInstance, job: str, grain: Grain, now: datetime) -> list[PastRun]:
    """The newest runs of a job, the newest first, and every one that is going."""
    records = {record.dagster_run.run_id: record for record in instance.get_run_records(RunsFilter(job_name=job), LOOK_BACK)}
    going = RunsFilter(job_name=job, statuses=list(NOT_FINISHED_STATUSES))
    records |= {record.dagster_run.run_id: record for record in instance.get_run_records(going)}
    return [_past_run(record, grain, now) for record in records.values()]


def begun_in_vain(instance: dg.DagsterInstance, job: str, grain: Grain) -> list[str]:
    """The partitions of the newest runs of a job, back to the last that ended well; nothing where that is the newest one."""
    keys: set[str] = set()
    over = RunsFilter(job_name=job, statuses=list(FINISHED_STATUSES))
    # each tick asks, and mostly the newest run ended well: the others are read where it did not
    if all(run.status is dg.DagsterRunStatus.SUCCESS for run in instance.get_runs(over, limit=1)):
        return []
    for run in instance.get_runs(over, limit=LOOK_BACK):
        if run.status is dg.DagsterRunStatus.SUCCESS:
            break
        keys |= {*_partitions(run.tags, grain)}
    return sorted(keys)


def is_worked_on(instance: dg.DagsterInstance, jobs: Collection[str], assets: Collection[dg.AssetKey]) -> bool:
    """Whether a run is under way of one of some jobs, or of one of some assets."""
    runs = instance.get_runs(RunsFilter(statuses=list(IN_PROGRESS_RUN_STATUSES)))
    return any(run.job_name in jobs or not {*assets}.isdisjoint(run.asset_selection or ()) for run in runs)


def _past_run(record: dg.RunRecord, grain: Grain, now: datetime) -> PastRun:
    tags = record.dagster_run.tags
    created = record.create_timestamp.replace(tzinfo=record.create_timestamp.tzinfo or UTC)
    asked = _moment(tags.get(ASKED)) or created
    text = tags.get(ARRIVALS, "")
    digests = [text[at : at + DIGEST_LENGTH] for at in range(0, len(text), DIGEST_LENGTH)]
    return PastRun(_partitions(tags, grain), digests, asked, _is_open(record, asked, now))


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def _is_open(record: dg.RunRecord, asked: datetime, now: datetime) -> bool:
    """Whether a run may still end well: a worker that died with its host leaves its run as begun for ever."""
    status = record.dagster_run.status
    if status not in NOT_FINISHED_STATUSES:
        return False
    if status is dg.DagsterRunStatus.QUEUED:
        return True
    if status is dg.DagsterRunStatus.NOT_STARTED:
        return now - asked < BEGINS_WITHIN
    begun = record.start_time
    if begun is None:
        return status in IN_PROGRESS_RUN_STATUSES and now - asked < ENDS_WITHIN
    return datetime.now(UTC) - datetime.fromtimestamp(begun, UTC) < ENDS_WITHIN


def _partitions(tags: Mapping[str, str], grain: Grain) -> Sequence[str]:
    first = tags.get(ASSET_PARTITION_RANGE_START_TAG) or tags.get(PARTITION_NAME_TAG)
    if first is None or grain == "all":
        return [WHOLE] if grain == "all" else []
    try:
        return keys_between(first, tags.get(ASSET_PARTITION_RANGE_END_TAG) or first, grain)
    except ConfigError:
        return []
