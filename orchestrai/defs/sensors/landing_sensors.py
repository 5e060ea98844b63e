"""Landing sensors: what the ledger lacks of a landing becomes runs of exactly the partitions it belongs to."""

from collections.abc import Sequence

import dagster as dg

from orchestrai.defs.launch.jobs import job_name
from orchestrai.defs.sensors.arrival_requests import MAX_OBJECTS_PER_TICK, result_of
from orchestrai.defs.sensors.queue_sensors import queue_sensor
from orchestrai.defs.sensors.stream_sensors import late_sensor, stream_sensor
from orchestrai.ingest.discovery.watch import ArrivalCursor, look
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.pipeline.reports.landing_status import judge_of
from orchestrai.pipeline.runtime import Runtime

# an HTTP API is asked by the schedule alone: there is nothing to watch
SENSORS = {"objects": lambda dataset: landing_sensor(dataset), "stream": stream_sensor, "sql": late_sensor}


def build_sensors(pipelines: Sequence[Pipeline]) -> list[dg.SensorDefinition]:
    """A sensor for each dataset that asks for one."""
    return [
        SENSORS[dataset.spec.source.kind](dataset)
        for pipeline in pipelines
        for dataset in pipeline.own_datasets
        if dataset.spec.sensor and dataset.spec.source.kind in SENSORS
    ]


def landing_sensor(dataset: DatasetNode) -> dg.SensorDefinition:
    """Watches one landing; an outage fails the tick, it never looks like "nothing new"."""
    if dataset.spec.source.notifications:
        return queue_sensor(dataset, dataset.spec.source.notifications)

    source = dataset.spec.source

    @dg.sensor(
        name=job_name(dataset.prefix, "landing_sensor"),
        job_name=job_name(dataset.prefix, "ingest"),
        minimum_interval_seconds=30,
        description=f"Requests runs for objects that the ledger does not account for yet. {source.described}",
    )
    def watch(context: dg.SensorEvaluationContext, orchestrai_runtime: dg.ResourceParam[Runtime]) -> dg.SensorResult:
        judge = judge_of(orchestrai_runtime, dataset)
        cursor = ArrivalCursor.decode(context.cursor)
        found = look(judge, cursor, source.reconcile_every, limit=MAX_OBJECTS_PER_TICK)
        return result_of(context, orchestrai_runtime, dataset, judge, found)

    return watch
