"""Landing sensors behind an event queue: no tick lists the landing, but for the reconciling one.

A message is deleted only when its object has a place in the ledger, or the message itself is kept as refused. So what a tick asked for
comes again until its run is done.
"""

from datetime import timedelta

import dagster as dg

from orchestrai.defs.launch.jobs import job_name
from orchestrai.defs.sensors.arrival_requests import MAX_OBJECTS_PER_TICK, keep_unplaced, result_of
from orchestrai.ingest.discovery.queues.queue import drain, settled, store_refused
from orchestrai.ingest.discovery.queues.queue_services import open_queue
from orchestrai.ingest.discovery.watch import ArrivalCursor, look
from orchestrai.ingest.spec import NotificationOptions
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.reports.landing_status import judge_of
from orchestrai.pipeline.runtime import Runtime
from orchestrai.secrets.url_credentials import shown_url

BUDGET = timedelta(seconds=30)


def queue_sensor(dataset: DatasetNode, options: NotificationOptions) -> dg.SensorDefinition:
    """Takes events from a queue, and lists the landing every `reconcile_every`; an outage of either fails the tick."""

    @dg.sensor(
        name=job_name(dataset.prefix, "landing_sensor"),
        job_name=job_name(dataset.prefix, "ingest"),
        minimum_interval_seconds=30,
        description=f"Requests runs for objects that {shown_url(options.queue)} tells of, and for what it lost.",
    )
    def watch(context: dg.SensorEvaluationContext, orchestrai_runtime: dg.ResourceParam[Runtime]) -> dg.SensorResult:
        judge, queue = judge_of(orchestrai_runtime, dataset), open_queue(options.queue)
        known, limit = settled(judge), MAX_OBJECTS_PER_TICK
        drained = drain(queue, judge.zone, known=known, now=orchestrai_runtime.clock, limit=limit, budget=BUDGET)
        cursor = ArrivalCursor.decode(context.cursor)
        found = look(judge, cursor, options.reconcile_every, limit=limit, queued=drained.partitions)
        keep_unplaced(orchestrai_runtime, dataset, drained.unplaced)
        result = result_of(context, orchestrai_runtime, dataset, judge, found)
        store_refused(orchestrai_runtime.ledger, dataset.asset("raw_events"), drained.refused, judge.now)
        if drained.refused:
            context.log.warning(f"{len(drained.refused)} message(s) refused, for example: {drained.refused[0].reason}")
        queue.acknowledge(drained.over(found.gone))
        return result

    return watch
