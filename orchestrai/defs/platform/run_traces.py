"""Spans of runs where a setting names a collector; nothing of it is imported where none does."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from orchestrai.core.progress import Progress
from orchestrai.ledger.report import StageReport
from orchestrai.settings import Settings
from orchestrai.stage.stage import AssetNode

if TYPE_CHECKING:
    from orchestrai.observability.traces.stage_trace import StageTrace

TRACED = "orchestrai/traced"


class StepTrace:
    """A step's trace, or none; `report` is what came of it."""

    def __init__(self, trace: "StageTrace | None" = None) -> None:
        self._trace = trace
        self.report: StageReport | None = None

    def heard(self, progress: Progress) -> Progress:
        """A progress that the trace hears too."""
        trace = self._trace
        if trace is None:
            return progress

        def both(what: str, done: int, total: int) -> None:
            trace.told(what, done, total)
            progress(what, done, total)

        return both


@contextmanager
def traced_step(
    settings: Settings, context: dg.AssetExecutionContext, node: AssetNode, keys: list[str]
) -> Iterator[StepTrace]:
    """Trace a step where a setting asks for it, whatever becomes of it."""
    if not settings.traces_url:
        yield StepTrace()
        return
    from orchestrai.observability.traces.sender import sender_of
    from orchestrai.observability.traces.stage_trace import StageTrace

    sender = sender_of(settings)
    trace = StageTrace(context.run.run_id, node.asset, node.stage.name, keys, time.time_ns, context.retry_number)
    step = StepTrace(trace)
    try:
        yield step
    finally:
        sender.send(trace.spans(step.report))


def send_run_span(settings: Settings, instance: dg.DagsterInstance, run_id: str) -> bool:
    """Tell of a run that is over, once; False where it was told, is not over, or the collector did not take it."""
    from orchestrai.observability.traces.sender import sender_of
    from orchestrai.observability.traces.stage_trace import run_span

    record = instance.get_run_record_by_id(run_id)
    if record is None or record.end_time is None or TRACED in record.dagster_run.tags:
        return False
    run, begin = record.dagster_run, record.start_time or record.create_timestamp.timestamp()
    job = run.tags.get("dagster/backfill") or run.job_name
    if not sender_of(settings).send(
        [run_span(run_id, job, begin, record.end_time, run.status == dg.DagsterRunStatus.SUCCESS)]
    ):
        return False
    instance.add_run_tags(run_id, {TRACED: "yes"})
    return True


def build_trace_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """Tell of runs that are over, where a collector is named; the steps of a run tell of themselves."""
    if not settings.traces_url:
        return []

    def sensor(name: str, status: dg.DagsterRunStatus) -> dg.SensorDefinition:
        @dg.run_status_sensor(
            run_status=status,
            name=f"orchestrai_traces_of_{name}_runs",
            default_status=dg.DefaultSensorStatus.RUNNING,
            description="Sends the span of each run that is over to the collector of the settings.",
        )
        def tell(context: dg.RunStatusSensorContext) -> dg.SkipReason:
            sent = send_run_span(settings, context.instance, context.dagster_run.run_id)
            return dg.SkipReason("sent" if sent else "told already, or not taken")

        return tell

    ends = {
        "good": dg.DagsterRunStatus.SUCCESS,
        "failed": dg.DagsterRunStatus.FAILURE,
        "cancelled": dg.DagsterRunStatus.CANCELED,
    }
    return [sensor(name, status) for name, status in ends.items()]
