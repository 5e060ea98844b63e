"""What Dagster's own storage tells a monitoring system: runs, daemons, ticks."""

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorStatus, TickStatus
from sqlalchemy.exc import SQLAlchemyError

from orchestrai.errors import StorageError
from orchestrai.observability.metrics import metric_names as names
from orchestrai.observability.metrics.exposition import Figures

UNFINISHED = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING,
              dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]  # fmt: skip


class InstanceFigures:
    """Reads an instance at each scrape."""

    name = "instance"

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance

    def tell(self, figures: Figures) -> None:
        """Note what the instance says; raises StorageError where its database does not answer."""
        try:
            self._runs(figures)
            for daemon, beat in self._instance.get_daemon_heartbeats().items():
                figures.put(names.HEARTBEAT, beat.timestamp, daemon)
            self._ticks(figures)
        except SQLAlchemyError as exc:
            raise StorageError(f"expected Dagster's storage to answer, found {type(exc).__name__}: look at it") from None

    def _runs(self, figures: Figures) -> None:
        for status in dg.DagsterRunStatus:
            figures.put(names.RUNS, self._instance.get_runs_count(dg.RunsFilter(statuses=[status])), status.value)
        oldest = self._instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED), limit=1, ascending=True)
        for record in oldest:
            figures.put(names.OLDEST_RUN, record.create_timestamp.timestamp())

    def _ticks(self, figures: Figures) -> None:
        """Of what is on: the newest tick. Schedules and sensors that are on by default have a state once they ticked."""
        for state in self._instance.all_instigator_state():
            if state.status is InstigatorStatus.STOPPED:
                continue
            ticks = self._instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
            for tick in ticks:
                figures.put(names.TICK, tick.status is TickStatus.FAILURE, state.instigator_name)
