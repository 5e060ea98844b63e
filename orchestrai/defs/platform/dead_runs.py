"""Runs whose process is gone are ended: a worker or code server that was killed leaves its run as started for ever.

Dagster's own monitoring cannot ask a process that its code server started whether it lives; it ends such a run after the longest time
that any may take. Here each run that executes in one process notes which, and whoever runs on the same machine looks. Dagster then
retries the run, as dagster.yaml says, and what the run holds is free. A run on another machine is left to the longest time.
"""

import os
from collections import deque

import dagster as dg
from dagster._core.storage.dagster_run import RunsFilter

from orchestrai.defs.instance import PROCESS_TAG, end_run, free_pools, process_tag, runs_here_no_more

OF_RUN = "orchestrai/process_of_run"
MOST = 200
# what this process noted: of a run once, not once for each of its steps
_NOTED: deque[tuple[int, str]] = deque(maxlen=MOST)
BEGUN = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def note_process(context: dg.AssetExecutionContext) -> None:
    """Note which process executes a run: a retry has the tags of the run that died, so those of another run say nothing."""
    run = context.run
    if run.tags.get(OF_RUN) != run.run_id and (os.getpid(), run.run_id) not in _NOTED:
        context.instance.add_run_tags(run.run_id, {**process_tag(), OF_RUN: run.run_id})
        # the tags of the run in memory stay as they were when it began
        _NOTED.append((os.getpid(), run.run_id))


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """End the runs whose process on this machine is gone, and free their pools; their ids."""
    ended = []
    for record in instance.get_run_records(RunsFilter(statuses=BEGUN), limit=MOST, ascending=True):
        run = record.dagster_run
        if run.tags.get(OF_RUN) != run.run_id or not runs_here_no_more(run.tags.get(PROCESS_TAG, "")):
            continue
        # a process that ended well is gone, too: what it said of the run since is read anew
        if end_run(instance, run.run_id):
            ended.append(run.run_id)
    return ended


def build_dead_run_sensor() -> dg.SensorDefinition:
    """Looks once a minute."""

    @dg.sensor(
        name="orchestrai_dead_runs",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends runs whose process on this machine was killed, so that they are retried, and frees what runs hold that are over.",
    )
    def look(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        ended, freed = end_dead_runs(context.instance), free_pools(context.instance)
        told = [f"{what} {', '.join(runs)}" for what, runs in (("ended", ended), ("freed the pools of", freed)) if runs]
        return dg.SkipReason("; ".join(told) or "every run that began has its process, and none that is over holds a pool")

    return look
