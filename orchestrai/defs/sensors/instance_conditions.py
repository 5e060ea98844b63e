"""What is wrong by Dagster's own records: failed and cancelled runs, failed ticks, checks that the ledger does not know."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorStatus, TickStatus
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.dagster_run import RunRecord, RunsFilter
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
    WILL_RETRY_TAG,
)

from orchestrai.core.canonical import sha256_hex
from orchestrai.core.time.calendar import keys_between
from orchestrai.defs.asset_keys import ledger_names
from orchestrai.defs.checks.complete_checks import COMPLETE
from orchestrai.defs.current import CURRENT
from orchestrai.defs.launch.jobs import job_name
from orchestrai.defs.reporting.run_failure import Failure, failure_of, first_cause, is_passing
from orchestrai.errors import OrchestraiError
from orchestrai.ingest.discovery.reconciliation import reconcile
from orchestrai.observability.alerts.alert_changes import Outbox
from orchestrai.observability.alerts.condition import Condition, Sight
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.reports.landing_status import judge_of
from orchestrai.pipeline.reports.open_work import open_work
from orchestrai.pipeline.reports.recovery_point import RPO
from orchestrai.pipeline.runtime import Runtime

FINISHED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.SUCCESS]
OF_RUNS = ("run_failed", "run_canceled")
# worked out from the ledger, which the watcher reads itself
BY_LEDGER = frozenset({COMPLETE, CURRENT, RPO})
FIRST_LOOK, MOST_RUNS = timedelta(days=1), 500
REASON_CHARACTERS = 2_000
# of a run that did not end well: what ended it may be over by itself, so that the ledger decides whether anything is left to do
PASSES = "passes"
OUTAGE = "what did not answer"


def instance_sight(context: dg.SensorEvaluationContext, runtime: Runtime, outbox: Outbox) -> tuple[Sight, str]:
    """What is seen in the instance now, and the cursor to go on from; `outbox` knows the runs that failed before."""
    now, instance = runtime.clock(), context.instance
    known = [alert.condition for alert in outbox.alerts if alert.condition.kind in OF_RUNS]
    runs, cursor = _finished(instance, context.cursor, now)
    standing = without_done(runtime, run_conditions(instance, known, runs))
    conditions = {*standing, *tick_conditions(instance, context.sensor_name)}
    unseen: frozenset[str] = frozenset()
    if context.repository_def is not None:
        failed, unseen = check_conditions(instance, context.repository_def, runtime)
        conditions |= failed
    return Sight(now, frozenset({"dagster"}), frozenset(conditions), unseen), cursor


# -- runs --------------------------------------------------------------------------------------------------------


def _finished(instance: dg.DagsterInstance, cursor: str | None, now: datetime) -> tuple[list[RunRecord], str]:
    since = datetime.fromisoformat(cursor) if cursor else now - FIRST_LOOK
    filters = RunsFilter(statuses=FINISHED, updated_after=since)
    records = list(instance.get_run_records(filters, limit=MOST_RUNS, order_by="update_timestamp", ascending=True))
    if records:
        since = _utc(records[-1].update_timestamp)
    return records, since.isoformat()


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def run_conditions(
    instance: dg.DagsterInstance, known: Iterable[Condition], runs: Iterable[RunRecord]
) -> Iterator[Condition]:
    """The jobs whose runs failed or were cancelled, and that have not succeeded for the same partitions since.

    Runs of one job that failed for one reason are one condition. What a gate refused is told by the ledger, and a run that Dagster tries
    again is not over.
    """
    standing = {condition.id: condition for condition in known}
    for record in runs:
        run = record.dagster_run
        if run.status == dg.DagsterRunStatus.SUCCESS:
            standing = dict(_cured(standing, run))
            continue
        if run.tags.get(WILL_RETRY_TAG) == "true":
            continue
        failed = _condition(instance, run)
        if failed is not None:
            before = standing.get(failed.id)
            standing[failed.id] = failed if before is None else failed.together(before)
    yield from standing.values()


def _condition(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Condition | None:
    canceled = run.status == dg.DagsterRunStatus.CANCELED
    # nothing is wrong with what a person cancelled: its sensor has the work carried on, by runs of other spans
    failure = Failure((), "it was cancelled", passes=True) if canceled else failure_of(instance, run)
    if failure.by_gate:
        return None
    steps, reason = failure.steps, failure.reason
    return Condition(
        "run_canceled" if canceled else "run_failed",
        run.job_name,
        "the run to end well",
        f"{f'{steps[0]}: ' if steps else ''}{reason} (run {run.run_id})"[:REASON_CHARACTERS],
        f"look at run {run.run_id} in Dagster, mend what it names, and run {run.job_name} again for the same partitions",
        # the same fault of other partitions differs in digits
        cause=sha256_hex(re.sub(r"[0-9a-f]*[0-9][0-9a-f]*", "#", f"{list(steps[:1])} {reason}").encode())[:12],
        members=(_place(run, failure.passes),),
        source="dagster",
    )


def _place(run: dg.DagsterRun, passes: bool = False) -> str:
    """What a run is of, as text: its partitions, and the assets where it is not all of its job; and that what ended it may pass."""
    first, last = _span(run.tags)
    assets = ",".join(sorted(key.to_user_string() for key in run.asset_selection or ()))
    return json.dumps([assets, first, last, *([PASSES] if passes else [])])


def _span(tags: Mapping[str, str]) -> tuple[str, str]:
    first = tags.get(ASSET_PARTITION_RANGE_START_TAG) or tags.get(PARTITION_NAME_TAG) or ""
    return first, tags.get(ASSET_PARTITION_RANGE_END_TAG) or first


def _cured(standing: Mapping[str, Condition], run: dg.DagsterRun) -> Iterator[tuple[str, Condition]]:
    good = json.loads(_place(run))
    for name, condition in standing.items():
        left = condition.members
        if condition.subject == run.job_name:
            left = tuple(member for member in left if not _covers(good, json.loads(member)))
        if left:
            yield name, replace(condition, members=left)


def _covers(good: Sequence[str], bad: Sequence[str]) -> bool:
    """Whether a run that ended well did at least what another failed to do."""
    assets = not good[0] or (bool(bad[0]) and set(bad[0].split(",")) <= set(good[0].split(",")))
    return assets and good[1] <= bad[1] and bad[2] <= good[2] and bool(good[1]) == bool(bad[1])


def without_done(runtime: Runtime, conditions: Iterable[Condition]) -> Iterator[Condition]:
    """Conditions without runs that were ended by what passes, and of whose partitions the ledger lacks nothing now.

    Whoever finished the work need not have run the same span: a sensor asks for what is lacking alone.
    """
    jobs = {
        job_name(dataset.prefix, what): dataset
        for pipeline in runtime.project.pipelines
        for dataset in pipeline.own_datasets
        for what in ("ingest", "nightly")
    }
    landed: dict[str, set[str]] = {}
    for condition in conditions:
        dataset = jobs.get(condition.subject)
        places = [json.loads(member) for member in condition.members]
        if dataset is None or not any(PASSES in place for place in places):
            yield condition
            continue
        try:
            spans = [_passing_keys(dataset, place) for place in places]
            keys = set[str]().union(*spans)
            # one look at a landing for all of them: an outage may have ended hundreds of runs, at several steps
            if keys and dataset.prefix not in landed:
                landed[dataset.prefix] = {*reconcile(judge_of(runtime, dataset)).due}
            lacking = {*open_work(runtime, dataset, keys), *landed[dataset.prefix]} if keys else keys
            left = tuple(
                member
                for member, own in zip(condition.members, spans, strict=True)
                if not own or not own.isdisjoint(lacking)
            )
        except OrchestraiError:
            # what cannot be looked at is not over
            left = condition.members
        if left:
            yield replace(condition, members=left)


def _passing_keys(dataset: DatasetNode, place: Sequence[str]) -> set[str]:
    """The partitions of a run that was ended by what passes; none of any other, and of one of whose partitions nobody can tell."""
    _, first, last, *_ = place
    grain = dataset.spec.partitions.grain
    if PASSES not in place or not first or grain == "all" or dataset.spec.source.kind != "objects":
        return set()
    return set(keys_between(first, last, grain))


# -- ticks and checks --------------------------------------------------------------------------------------------


def tick_conditions(instance: dg.DagsterInstance, own: str) -> Iterator[Condition]:
    """Sensors and schedules whose newest tick failed; this very one is running."""
    if instance.schedule_storage is None:
        return  # an instance in memory has no ticks
    outage: dict[str, str] = {}
    running = {InstigatorStatus.RUNNING, InstigatorStatus.DECLARED_IN_CODE}
    ended = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]
    for state in instance.all_instigator_state(instigator_statuses=running):
        if state.instigator_name == own:
            continue
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1, statuses=ended)
        if ticks and ticks[0].status == TickStatus.FAILURE:
            if is_passing(ticks[0].error):
                outage[state.instigator_name] = first_cause(ticks[0].error)[:REASON_CHARACTERS]
                continue
            what = "schedule" if state.instigator_type == InstigatorType.SCHEDULE else "sensor"
            yield Condition(
                "tick_failed",
                state.instigator_name,
                f"the {what} to end its ticks well",
                first_cause(ticks[0].error)[:REASON_CHARACTERS] or "a tick that failed without a word",
                f"look at the {what} {state.instigator_name} in Dagster, and mend what it names",
                source="dagster",
            )
    if outage:
        # one store that does not answer fails the ticks of all that ask it
        first = min(outage)
        yield Condition(
            "tick_failed",
            OUTAGE,
            "the sensors and schedules to end their ticks well",
            f"{first}: {outage[first]}",
            "nothing, unless it lasts: they ask again by themselves; orchestrai doctor says what does not answer",
            members=tuple(sorted(outage)),
            source="dagster",
        )


def check_conditions(
    instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, runtime: Runtime
) -> tuple[set[Condition], frozenset[str]]:
    """Checks, of the project's own and of others, whose newest evaluation failed; and the assets of which one is under way."""
    recorded = {(node.asset, check.name) for node in runtime.project.nodes.values() for check in node.checks}
    names = ledger_names(runtime.project.nodes)
    keys = [
        key
        for key in repository.asset_graph.asset_check_keys
        if key.name not in BY_LEDGER and (names.get(key.asset_key), key.name) not in recorded
    ]
    failed, unseen = set(), set()
    newest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys) if keys else {}
    for key, record in newest.items():
        asset = names.get(key.asset_key, key.asset_key.to_user_string())
        if record.status == AssetCheckExecutionRecordStatus.PLANNED:
            unseen.add(asset)
        evaluation = record.evaluation
        if record.status == AssetCheckExecutionRecordStatus.FAILED and evaluation is not None:
            severe = evaluation.severity == dg.AssetCheckSeverity.ERROR
            failed.add(
                Condition(
                    "check_failed",
                    asset,
                    f"the check {key.name} to pass",
                    (evaluation.description or f"it failed in run {record.run_id}")[:REASON_CHARACTERS],
                    f"look at the checks of {asset} in Dagster",
                    cause=key.name,
                    source="dagster",
                    severity="error" if severe else "warning",
                )
            )
    return failed, frozenset(unseen)
