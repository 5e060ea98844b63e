"""What is wrong by Dagster's own records: failed and cancelled runs, failed ticks, checks that the ledger does not know."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
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
from dagster_shared.error import SerializableErrorInfo

from orchestrai.core.canonical import sha256_hex
from orchestrai.defs.asset_keys import ledger_names
from orchestrai.defs.checks.complete_checks import COMPLETE
from orchestrai.defs.current import CURRENT
from orchestrai.errors import GateClosed
from orchestrai.observability.alerts.alert_changes import Outbox
from orchestrai.observability.alerts.condition import Condition, Sight
from orchestrai.pipeline.reports.recovery_point import RPO
from orchestrai.pipeline.runtime import Runtime

FINISHED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.SUCCESS]
OF_RUNS = ("run_failed", "run_canceled")
# worked out from the ledger, which the watcher reads itself
BY_LEDGER = frozenset({COMPLETE, CURRENT, RPO})
FIRST_LOOK, MOST_RUNS = timedelta(days=1), 500
REASON_CHARACTERS = 2_000


def instance_sight(context: dg.SensorEvaluationContext, runtime: Runtime, outbox: Outbox) -> tuple[Sight, str]:
    """What is seen in the instance now, and the cursor to go on from; `outbox` knows the runs that failed before."""
    now, instance = runtime.clock(), context.instance
    known = [alert.condition for alert in outbox.alerts if alert.condition.kind in OF_RUNS]
    runs, cursor = _finished(instance, context.cursor, now)
    conditions = {*run_conditions(instance, known, runs), *tick_conditions(instance, context.sensor_name)}
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
    steps, reason, by_gate = ([], "it was cancelled", False) if canceled else failure_of(instance, run)
    if by_gate:
        return None
    return Condition(
        "run_canceled" if canceled else "run_failed",
        run.job_name,
        "the run to end well",
        f"{f'{steps[0]}: ' if steps else ''}{reason} (run {run.run_id})"[:REASON_CHARACTERS],
        f"look at run {run.run_id} in Dagster, mend what it names, and run {run.job_name} again for the same partitions",
        # the same fault of other partitions differs in digits
        cause=sha256_hex(re.sub(r"[0-9a-f]*[0-9][0-9a-f]*", "#", f"{steps[:1]} {reason}").encode())[:12],
        members=(_place(run),),
        source="dagster",
    )


def _place(run: dg.DagsterRun) -> str:
    """What a run is of, as text: its partitions, and the assets where it is not all of its job."""
    first, last = _span(run.tags)
    assets = ",".join(sorted(key.to_user_string() for key in run.asset_selection or ()))
    return json.dumps([assets, first, last])


def _span(tags: Mapping[str, str]) -> tuple[str, str]:
    first = tags.get(ASSET_PARTITION_RANGE_START_TAG) or tags.get(PARTITION_NAME_TAG) or ""
    return first, tags.get(ASSET_PARTITION_RANGE_END_TAG) or first


def _cured(standing: Mapping[str, Condition], run: dg.DagsterRun) -> Iterator[tuple[str, Condition]]:
    assets, first, last = json.loads(_place(run))
    for name, condition in standing.items():
        left = condition.members
        if condition.subject == run.job_name:
            left = tuple(member for member in left if not _covers((assets, first, last), json.loads(member)))
        if left:
            yield name, replace(condition, members=left)


def _covers(good: tuple[str, str, str], bad: tuple[str, str, str]) -> bool:
    """Whether a run that ended well did at least what another failed to do."""
    assets = not good[0] or (bool(bad[0]) and set(bad[0].split(",")) <= set(good[0].split(",")))
    return assets and good[1] <= bad[1] and bad[2] <= good[2] and bool(good[1]) == bool(bad[1])


def failure_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[list[str], str, bool]:
    """The steps that failed, the reason of the first, and whether gates alone were closed."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    steps, reasons, gates = [], [], []
    last = "it ended without a word"
    for entry in instance.all_logs(run.run_id, of_type=kinds):
        event = entry.dagster_event
        if event is None:
            continue
        if event.event_type != dg.DagsterEventType.STEP_FAILURE:
            last = event.message or last
            continue
        data = event.step_failure_data
        told = data.user_failure_data
        steps.append(str(event.step_key))
        reasons.append((told.description if told else None) or first_cause(data.error) or last)
        gates.append(told is not None and _by_gate(told.metadata))
    return steps, reasons[0] if reasons else last, bool(gates) and all(gates)


def _by_gate(metadata: Mapping[str, dg.MetadataValue]) -> bool:
    """Whether a step failed because nothing passed its gate: what was refused is in the ledger then."""
    error, refused = (getattr(metadata.get(name), "value", "") for name in ("error", "refused"))
    return bool(error == GateClosed.__name__ or refused)


def first_cause(error: SerializableErrorInfo | None) -> str:
    """What was raised first: Dagster wraps it in errors of its own, which say nothing."""
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else ""


# -- ticks and checks --------------------------------------------------------------------------------------------


def tick_conditions(instance: dg.DagsterInstance, own: str) -> Iterator[Condition]:
    """Sensors and schedules whose newest tick failed; this very one is running."""
    if instance.schedule_storage is None:
        return  # an instance in memory has no ticks
    running = {InstigatorStatus.RUNNING, InstigatorStatus.DECLARED_IN_CODE}
    ended = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]
    for state in instance.all_instigator_state(instigator_statuses=running):
        if state.instigator_name == own:
            continue
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1, statuses=ended)
        if ticks and ticks[0].status == TickStatus.FAILURE:
            what = "schedule" if state.instigator_type == InstigatorType.SCHEDULE else "sensor"
            yield Condition(
                "tick_failed",
                state.instigator_name,
                f"the {what} to end its ticks well",
                first_cause(ticks[0].error)[:REASON_CHARACTERS] or "a tick that failed without a word",
                f"look at the {what} {state.instigator_name} in Dagster, and mend what it names",
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
