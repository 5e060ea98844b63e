"""What a look at a landing becomes in Dagster: dead letters, runs asked for, the check `accounted`, a word in the tick's log."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import dagster as dg

from orchestrai.core.time.key_groups import contiguous
from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.checks.landing_checks import accounted_evaluation, rpo_evaluation
from orchestrai.defs.launch.jobs import job_name, offered
from orchestrai.defs.sensors.run_history import begun_in_vain, is_worked_on, past_runs
from orchestrai.defs.sensors.run_spans import asking_request
from orchestrai.ingest.dead_letters import Unplaced, publish_unplaced
from orchestrai.ingest.discovery.asking import choose
from orchestrai.ingest.discovery.reconciliation import Judge
from orchestrai.ingest.discovery.watch import LETTERS, Look
from orchestrai.pipeline.costs.measured_rates import Chosen, choose_partitions, newest_runs
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.reports.open_work import open_work
from orchestrai.pipeline.reports.recovery_point import recovery_point
from orchestrai.pipeline.runtime import Runtime
from orchestrai.stage.names import VERBATIM

MAX_OBJECTS_PER_TICK = 5_000
# the jobs of a dataset (launch/jobs.py)
JOBS = ("ingest", "nightly", "restore", "drill")


def result_of(
    context: dg.SensorEvaluationContext, runtime: Runtime, dataset: DatasetNode, judge: Judge, found: Look
) -> dg.SensorResult:
    """The runs to ask for; objects that no partition can take are dead letters after it."""
    keep_unplaced(runtime, dataset, found.unplaced)
    # after the letters: they have their place by now
    events, cursor = [], found.cursor
    if found.whole is not None:
        whole = found.whole.lettered()
        point = recovery_point(runtime, dataset, whole)
        events = [accounted_evaluation(dataset, whole), rpo_evaluation(dataset, point)]
        # what is too old already is looked at again by the next whole look
        failed = None if point.passed else judge.now + dataset.spec.source.reconcile_every
        cursor = replace(cursor, exposed_until=point.exposed_until or failed)
    if found.due and cursor.exposed_until is None:
        # what landed since cannot be older than declared before that
        cursor = replace(cursor, exposed_until=judge.now + dataset.spec.backup.rpo)
    if found.unplaced:
        context.log.warning(f"{len(found.unplaced)} new dead letter(s), for example {found.unplaced[0].uri!r}")
    if found.early:
        context.log.info(f"{len(found.early)} partition(s) are not over yet, for example {found.early[0]}")
    due = carried_on(context.instance, runtime, dataset, whole=found.whole is not None) | dict(found.due)
    requests, told = _requests(context.instance, runtime, dataset, judge, due)
    if told:
        context.log.info(told)
    return dg.SensorResult(
        run_requests=requests,
        cursor=cursor.encode(),
        asset_events=events,
    )


def carried_on(
    instance: dg.DagsterInstance, runtime: Runtime, dataset: DatasetNode, *, whole: bool
) -> dict[str, frozenset[int]]:
    """What runs took and did not bring to its end, while none is at it; asked after a run that failed, and at each whole look."""
    grain = dataset.spec.partitions.grain
    begun = begun_in_vain(instance, job_name(dataset.prefix, "ingest"), grain)
    own = [asset_key(dataset.asset(stage)) for stage in VERBATIM]
    jobs = {job_name(dataset.prefix, what) for what in JOBS}
    if not (begun or whole) or is_worked_on(instance, jobs, own):
        return {}
    return open_work(runtime, dataset, begun)


def keep_unplaced(runtime: Runtime, dataset: DatasetNode, unplaced: tuple[Unplaced, ...]) -> None:
    """Make dead letters of objects that no partition can take."""
    publish_unplaced(runtime.ledger, dataset.asset("raw_events"), dataset.contract, unplaced, LETTERS)


def _requests(
    instance: dg.DagsterInstance, runtime: Runtime, dataset: DatasetNode, judge: Judge, due: Mapping[str, frozenset[int]]
) -> tuple[list[dg.RunRequest], str]:
    """As many runs as the queue has room for, each of as many partitions as its declaration and earlier runs say; and a word on it."""
    wanted = {key: identities for key, identities in due.items() if offered(dataset, key, judge.now)}
    if not wanted:
        return [], ""
    grain, runs = dataset.spec.partitions.grain, dataset.spec.runs
    past = past_runs(instance, job_name(dataset.prefix, "ingest"), grain, judge.now)
    first = dataset.spec.source.ask_again
    asking = choose(wanted, past, now=judge.now, first=first, limit=MAX_OBJECTS_PER_TICK)
    groups = contiguous(asking.due, grain)
    size = _partitions_a_run(runtime, dataset, max(map(len, groups), default=0), judge.now)
    batches = [group[at : at + size.value] for group in groups for at in range(0, len(group), size.value)]
    room = max(0, runs.waiting - sum(run.is_open for run in past))
    told = [size.why] if size.why else []
    if len(batches) > room:
        told.append(
            f"asked for {room} of {len(batches)} runs: {runs.waiting} may wait or go at once, the rest is asked for later"
        )
    requests = [asking_request(group, asking, sum(len(wanted[key]) for key in group), judge.now) for group in batches[:room]]
    return requests, "; ".join(told)


def _partitions_a_run(runtime: Runtime, dataset: DatasetNode, most: int, now: datetime) -> Chosen:
    """How many partitions a run takes; earlier runs are looked at only where they may change that."""
    runs = dataset.spec.runs
    if not runs.seconds or most <= runs.least:
        return Chosen(runs.most, "")
    measured = [newest_runs(runtime.ledger, dataset.asset(stage), now) for stage in VERBATIM]
    return choose_partitions((runs.least, runs.most), runs.wanted_seconds, measured)
