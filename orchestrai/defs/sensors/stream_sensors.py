"""Sensors of sources with a position: what a stream holds unread, and what was fed but not yet carried on, become runs.

While a worker carries the stream on (`orchestrai stream run`), its sensor only tells: a run each `report_every`, over what changed.
When the worker is gone, the next tick asks for runs again.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES, RunsFilter

from orchestrai.core.time.key_groups import contiguous
from orchestrai.defs.checks.landing_checks import rpo_evaluation
from orchestrai.defs.launch.jobs import job_name, offered
from orchestrai.defs.sensors.run_spans import run_request
from orchestrai.defs.sensors.worker_reports import Told, to_tell
from orchestrai.ingest.incremental import Pending, pending
from orchestrai.pipeline.micro_batches.worker_lock import has_worker
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.reports.recovery_point import recovery_point
from orchestrai.pipeline.runtime import Runtime
from orchestrai.restore.open_partitions.pending_restores import pending_restores

MICRO_BATCH_SECONDS = 60
# what is still unread after this long is asked for again under another run key
AGAIN = timedelta(minutes=10)
AT_ONCE = timedelta(seconds=1)


def stream_sensor(dataset: DatasetNode) -> dg.SensorDefinition:
    """Micro-batches: each minute at most one run, of the partitions that unread records go to, late ones included."""
    about = f"Requests a run for each micro-batch of {dataset.spec.source.address}; while a worker runs, one for each span of minutes."
    return _sensor(dataset, "stream_sensor", about)


def late_sensor(dataset: DatasetNode) -> dg.SensorDefinition:
    """Carries on partitions that a reading of a table fed beside those its run had asked for."""
    return _sensor(dataset, "late_sensor", "Requests runs for partitions that late rows were added to.")


def _sensor(dataset: DatasetNode, what: str, about: str) -> dg.SensorDefinition:
    job = job_name(dataset.prefix, "ingest")

    @dg.sensor(
        name=job_name(dataset.prefix, what), job_name=job, minimum_interval_seconds=MICRO_BATCH_SECONDS, description=about
    )
    def watch(
        context: dg.SensorEvaluationContext, orchestrai_runtime: dg.ResourceParam[Runtime]
    ) -> dg.SensorResult | dg.SkipReason:
        # before the instance is asked: an outage fails the tick whatever runs
        unread = _unread(orchestrai_runtime, dataset) if dataset.spec.source.kind == "stream" else None
        past, _, cursor = (context.cursor or "").partition(";")
        if context.instance.get_runs_count(RunsFilter(job_name=job, statuses=IN_PROGRESS_RUN_STATUSES)):
            return dg.SkipReason(f"{job} is running: what came meanwhile is the next micro-batch")
        late = pending_restores(orchestrai_runtime.ledger, dataset, orchestrai_runtime.clock())
        now = orchestrai_runtime.clock()
        exposed = unread is not None and now - unread.oldest > dataset.spec.backup.rpo
        # told each hour, and at once when unread records come to be older than declared: an event a minute would fill the log
        mark = f"{now:%Y-%m-%dT%H}{' exposed' if exposed else ''}"
        events = [rpo_evaluation(dataset, recovery_point(orchestrai_runtime, dataset))] if past != mark else []
        at_work, told, changed = _by_worker(orchestrai_runtime, dataset, Told.read(cursor))
        requests = [] if at_work else _requests(dataset, orchestrai_runtime, unread, late)
        reports = [] if requests else _reports(dataset, changed, told, now)
        # what is not told now is told by a later tick
        kept = told if reports or not changed else Told.read(cursor)
        return dg.SensorResult(
            run_requests=requests + reports, asset_events=events, cursor=f"{mark};{kept}" if kept.seq else mark
        )

    return watch


def _by_worker(runtime: Runtime, dataset: DatasetNode, told: Told) -> tuple[bool, Told, list[str]]:
    """Whether a worker carries the dataset on; and, of what one did, the partitions to tell of now."""
    at_work = dataset.spec.source.kind == "stream" and has_worker(runtime.settings.home, dataset)
    if not at_work and not told.seq:
        return False, told, []
    every = dataset.spec.source.stream.report_every if at_work else AT_ONCE
    changed, now_told = to_tell(runtime.ledger, dataset.asset("raw_events"), told, runtime.clock(), every)
    return at_work, now_told if at_work else Told(), changed


def _reports(dataset: DatasetNode, changed: Sequence[str], told: Told, now: datetime) -> list[dg.RunRequest]:
    wanted = [key for key in changed if offered(dataset, key, now)]
    groups = contiguous(wanted, dataset.spec.partitions.grain)
    return [run_request(group, [str(told), now.isoformat()], {"orchestrai/reports": "worker"}) for group in groups]


def _unread(runtime: Runtime, dataset: DatasetNode) -> Pending | None:
    return pending(
        runtime.ledger,
        asset=dataset.asset("raw_events"),
        source=dataset.spec.source,
        home=runtime.settings.home,
        contract=dataset.contract,
        grain=dataset.spec.partitions.grain,
    )


def _requests(
    dataset: DatasetNode, runtime: Runtime, unread: Pending | None, late: Mapping[str, str]
) -> list[dg.RunRequest]:
    now, grain = runtime.clock(), dataset.spec.partitions.grain
    arrivals = {key: [f"{key}={root}"] for key, root in late.items()}
    if unread:
        again = f"try {now.timestamp() // AGAIN.total_seconds():.0f}"
        arrivals |= {
            key: [*arrivals.get(key, ()), *(f"{n}:{end}" for n, end in unread.ends), again] for key in unread.partitions
        }
    wanted = sorted(key for key in arrivals if offered(dataset, key, now))
    tags = {"orchestrai/unread": str(unread.lag)} if unread else {}
    return [run_request(group, [x for key in group for x in arrivals[key]], tags) for group in contiguous(wanted, grain)]
