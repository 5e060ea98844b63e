"""Schedules: daily ingest, nightly validate -> snapshot -> catalog, weekly refresh from the golden backup."""

from collections.abc import Sequence
from datetime import timedelta

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from orchestrai.contracts.calendar import Grain, partition_of
from orchestrai.defs.jobs import job_name, own_datasets
from orchestrai.pipeline import DatasetNode, Pipeline, Runtime

DAILY_INGEST = "0 1 * * *"
PERIOD: dict[Grain, timedelta] = {"hour": timedelta(hours=1), "day": timedelta(days=1), "month": timedelta(days=28)}


def build_schedules(pipelines: Sequence[Pipeline]) -> list[dg.ScheduleDefinition]:
    """All schedules of all pipelines."""
    schedules = []
    for pipeline in pipelines:
        for dataset in own_datasets(pipeline):
            if dataset.spec.partitions.grain == "all":
                continue
            daily = dataset.spec.ingest_schedule or DAILY_INGEST
            schedules.append(_partition_schedule(dataset, "daily_ingest", daily, job_name(dataset.prefix, "ingest")))
            if dataset.spec.backup.every:
                job = job_name(dataset.prefix, "nightly")
                schedules.append(_partition_schedule(dataset, "nightly_backup", dataset.spec.backup.every, job))
        crons = [model.spec.retrain for model in pipeline.models if model.spec.retrain]
        if crons and pipeline.datasets[0].spec.partitions.grain != "all":
            schedules.append(_refresh_schedule(pipeline, crons[0]))
    return schedules


def _partition_schedule(dataset: DatasetNode, what: str, cron: str, job: str) -> dg.ScheduleDefinition:
    grain = dataset.spec.partitions.grain

    @dg.schedule(name=job_name(dataset.prefix, what), cron_schedule=cron, job_name=job, execution_timezone="UTC")
    def tick(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        # the newest partition that is over
        key = partition_of(context.scheduled_execution_time - PERIOD[grain], grain)
        if grain != "hour" or not cron.startswith("0 "):
            return dg.RunRequest(run_key=f"{what}:{key}", partition_key=key)
        # a daily tick over hourly partitions takes the whole day before it
        first = partition_of(context.scheduled_execution_time - timedelta(days=1), grain)
        span = {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: key}
        return dg.RunRequest(run_key=f"{what}:{first}..{key}", tags=span)

    return tick


def _refresh_schedule(pipeline: Pipeline, cron: str) -> dg.ScheduleDefinition:
    dataset = pipeline.datasets[0]

    @dg.schedule(
        name=job_name(pipeline.name, "weekly_refresh"),
        cron_schedule=cron,
        job_name=job_name(pipeline.name, "refresh"),
        execution_timezone="UTC",
    )
    def tick(context: dg.ScheduleEvaluationContext, runtime: dg.ResourceParam[Runtime]) -> dg.RunRequest | dg.SkipReason:
        snapshot = runtime.ledger.find(dataset.asset("snapshot"))
        if snapshot is None or not snapshot.partitions:
            return dg.SkipReason(f"{dataset.asset('snapshot')} has no snapshot yet: ingest and back up first")
        keys = sorted(snapshot.partitions)
        span = {ASSET_PARTITION_RANGE_START_TAG: keys[0], ASSET_PARTITION_RANGE_END_TAG: keys[-1]}
        return dg.RunRequest(run_key=f"refresh:{context.scheduled_execution_time.isoformat()}", tags=span)

    return tick
