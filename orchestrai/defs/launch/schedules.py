"""Schedules: daily ingest and features, nightly validate -> snapshot -> catalog, weekly drill and refresh from the golden backup."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG
from dagster._utils.schedules import schedule_execution_time_iterator

from orchestrai.core.time.calendar import floor, keys_between, partition_of, time_grain, zone_of
from orchestrai.core.time.duration_cron import previous_tick
from orchestrai.core.time.key_groups import enclosing, keys_of
from orchestrai.defs.launch.jobs import (
    Refresh,
    job_name,
    moments_job,
    offered,
    refresh_anchor,
    refreshes,
    restored_apart,
)
from orchestrai.pipeline.drill_crons import WEEKLY_DRILL
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.pipeline.runtime import Runtime

DAILY_INGEST = "0 1 * * *"
DAILY_FEATURES = "0 5 * * *"
MOMENT = timedelta(microseconds=1)


def build_schedules(pipelines: Sequence[Pipeline]) -> list[dg.ScheduleDefinition]:
    """All schedules of all pipelines."""
    schedules = []
    for pipeline in pipelines:
        for dataset in pipeline.own_datasets:
            schedules.append(_drill_schedule(dataset))
            daily = dataset.spec.ingest_schedule or DAILY_INGEST
            schedules.append(_partition_schedule(dataset, "daily_ingest", daily, job_name(dataset.prefix, "ingest")))
            if dataset.spec.backup.every:
                job = job_name(dataset.prefix, "nightly")
                schedules.append(_partition_schedule(dataset, "nightly_backup", dataset.spec.backup.every, job))
        if moments_job(pipeline) is not None:
            schedules.append(_features_schedule(pipeline))
        for refresh in refreshes(pipeline):
            if refresh.cron:
                schedules += _refresh_schedules(pipeline, refresh, refresh.cron)
    return schedules


def _features_schedule(pipeline: Pipeline) -> dg.ScheduleDefinition:
    """Features at moments of a pipeline without models, once the day's ingest is over."""
    job = job_name(pipeline.name, "features")
    views = [view for view in pipeline.views if view.partitioned_like is None]

    @dg.schedule(
        name=job_name(pipeline.name, "daily_features"), cron_schedule=DAILY_FEATURES, job_name=job, execution_timezone="UTC"
    )
    def tick(
        context: dg.ScheduleEvaluationContext, orchestrai_runtime: dg.ResourceParam[Runtime]
    ) -> dg.RunRequest | dg.SkipReason:
        needed = sorted({dataset.asset("restored") for view in views for dataset in view.inputs.values()})
        absent = [asset for asset in needed if orchestrai_runtime.ledger.head(asset) is None]
        if absent:
            return dg.SkipReason(f"{', '.join(absent)} was not restored yet: ingest and back up first")
        return dg.RunRequest(run_key=f"features:{context.scheduled_execution_time.isoformat()}")

    return tick


def _refresh_schedules(pipeline: Pipeline, refresh: Refresh, cron: str) -> Iterator[dg.ScheduleDefinition]:
    """The schedule of a refresh, and those that restore what its run cannot."""
    names = job_name(refresh.name, "weekly_refresh"), job_name(refresh.name, "refresh")
    yield _refresh_schedule(*names, refresh_anchor(refresh.part), cron)
    for dataset in restored_apart(refresh.part):
        # the name of the pipeline's first refresh stands for all of it
        name = dataset.prefix if refresh.name == pipeline.name else f"{refresh.name}/{dataset.prefix.rpartition('/')[2]}"
        yield _refresh_schedule(job_name(name, "weekly_restore"), job_name(dataset.prefix, "restore"), dataset, cron)


def _partition_schedule(dataset: DatasetNode, what: str, cron: str, job: str) -> dg.ScheduleDefinition:
    zone = zone_of(dataset.grain)

    @dg.schedule(name=job_name(dataset.prefix, what), cron_schedule=cron, job_name=job, execution_timezone=zone)
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        now = context.scheduled_execution_time.astimezone(UTC)
        if dataset.spec.partitions.grain == "all":
            return dg.RunRequest(run_key=f"{what}:{now.isoformat()}")
        ended = ended_between(dataset, tick_before(cron, now, zone), now)
        if not ended:
            return dg.SkipReason(f"no partition of {dataset.shown} ended since the tick before")
        if len(ended) == 1:
            return dg.RunRequest(run_key=f"{what}:{ended[0]}", partition_key=ended[0])
        return dg.RunRequest(run_key=f"{what}:{ended[0]}..{ended[-1]}", tags=_span(ended))

    return tick


def tick_before(cron: str, now: datetime, zone: str) -> datetime:
    """The newest time before `now` at which Dagster fires a schedule that keeps the clock of a zone, UTC.

    Where clocks change it is Dagster's rule that counts: a tick that it sees otherwise would leave a partition out.
    """
    if zone == "UTC":
        return previous_tick(cron, now)
    ticks = schedule_execution_time_iterator(now.timestamp() - 1, cron, zone, ascending=False)
    return datetime.fromtimestamp(next(ticks).timestamp(), UTC)


def ended_between(dataset: DatasetNode, since: datetime, now: datetime) -> list[str]:
    """The declared partitions whose end lies in (since, now], oldest first."""
    grain = dataset.spec.partitions.grain
    # the partition that runs at `since` is the first to end after it
    first, last = (partition_of(moment, time_grain(grain)) for moment in (since, floor(now, grain) - MOMENT))
    times = keys_between(first, last, time_grain(grain))
    return [key for time in times for key in keys_of(time, grain) if offered(dataset, key, now)]


def _span(keys: Sequence[str]) -> dict[str, str]:
    return {ASSET_PARTITION_RANGE_START_TAG: keys[0], ASSET_PARTITION_RANGE_END_TAG: keys[-1]}


def _drill_schedule(dataset: DatasetNode) -> dg.ScheduleDefinition:
    name = job_name(dataset.prefix, "drill")

    @dg.schedule(name=name, cron_schedule=WEEKLY_DRILL, job_name=name, execution_timezone="UTC")
    def tick(
        context: dg.ScheduleEvaluationContext, orchestrai_runtime: dg.ResourceParam[Runtime]
    ) -> dg.RunRequest | dg.SkipReason:
        if orchestrai_runtime.ledger.find(dataset.asset("snapshot")) is None:
            return dg.SkipReason(f"{dataset.asset('snapshot')} has no snapshot yet: ingest and back up first")
        return dg.RunRequest(run_key=f"drill:{context.scheduled_execution_time.isoformat()}")

    return tick


def _refresh_schedule(name: str, job: str, dataset: DatasetNode | None, cron: str) -> dg.ScheduleDefinition:
    @dg.schedule(name=name, cron_schedule=cron, job_name=job, execution_timezone="UTC")
    def tick(
        context: dg.ScheduleEvaluationContext, orchestrai_runtime: dg.ResourceParam[Runtime]
    ) -> dg.RunRequest | dg.SkipReason:
        now = context.scheduled_execution_time.astimezone(UTC)
        run_key = f"{name}:{now.isoformat()}"
        if dataset is None:
            return dg.RunRequest(run_key=run_key)
        snapshot = orchestrai_runtime.ledger.find(dataset.asset("snapshot"))
        keys = sorted(key for key in (snapshot.partitions if snapshot else ()) if offered(dataset, key, now))
        if not keys:
            return dg.SkipReason(f"{dataset.asset('snapshot')} has no snapshot yet: ingest and back up first")
        return dg.RunRequest(run_key=run_key, tags=_span(enclosing(keys, dataset.grain)))

    return tick
