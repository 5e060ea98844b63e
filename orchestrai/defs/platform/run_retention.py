"""Dagster's database is kept small: finished runs that are old, or beyond a number, are deleted with their events, logs and files.

The database is a view of the ledger. What a deleted run had told of an asset is told again, without a run, where it is what is published.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES, RunsFilter
from dagster._core.storage.event_log import SqlEventLogStorage, SqlEventLogStorageTable
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunTagsTable
from sqlalchemy import Connection, delete, func, select
from sqlalchemy.exc import SQLAlchemyError

from orchestrai.defs.asset_keys import ledger_names
from orchestrai.defs.reporting.ledger_sync import Told, sync
from orchestrai.errors import StorageError
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings

# so many at once: a look must not take long, and the next one goes on
AT_ONCE = 200
UNTOLD = "orchestrai/assets_of_deleted_runs"
HOURLY = 3600


@dataclass(frozen=True)
class RunLimits:
    """How long finished runs stay, and how many runs at most; 0 is no limit."""

    days: int = 0
    most: int = 0


@dataclass(frozen=True)
class Pruned:
    """What was deleted, which assets those runs had told of, what was told of them again; `more` says that some are left to delete."""

    runs: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    told: tuple[Told, ...] = ()
    more: bool = False


def run_limits(settings: Settings) -> RunLimits:
    """What the settings say."""
    return RunLimits(settings.keep_runs, settings.most_runs)


def prune(
    runtime: Runtime, instance: dg.DagsterInstance, limits: RunLimits, now: datetime, at_once: int = AT_ONCE
) -> Pruned:
    """Delete finished runs beyond the limits, the oldest first, and tell again what is published of their assets.

    Raises StorageError where Dagster's database does not answer; what was deleted before stays so, and a next call goes on.
    """
    try:
        runs = _beyond(instance, limits, now, at_once + 1)
        more, runs = len(runs) > at_once, runs[:at_once]
        untold = _untold(instance)
        if not runs and not untold:
            return Pruned()
        # assets of others, which no ledger has, are told of by nobody
        names = ledger_names(runtime.project.nodes)
        assets = sorted({*untold, *(names[key] for key in _assets_of(instance, runs) if key in names)})
        # of what is deleted nobody could tell afterwards whom it told of: who is killed here leaves it to the next look
        _note_untold(instance, assets)
        for run_id in runs:
            _forget_checks(instance, run_id)
            _forget_output(instance, run_id)
            instance.delete_run(run_id)
            _forget_tags(instance, run_id)
    except SQLAlchemyError as exc:
        raise StorageError(f"expected Dagster's storage to answer, found {type(exc).__name__}: look at it") from None
    told = tuple(sync(runtime, instance, frozenset(assets)))
    _note_untold(instance, ())
    return Pruned(tuple(runs), tuple(assets), told, more)


def _untold(instance: dg.DagsterInstance) -> list[str]:
    """The assets that a look had deleted runs of before it was cut off."""
    noted = instance.daemon_cursor_storage.get_cursor_values({UNTOLD}).get(UNTOLD)
    return [str(asset) for asset in json.loads(noted)] if noted else []


def _note_untold(instance: dg.DagsterInstance, assets: Sequence[str]) -> None:
    instance.daemon_cursor_storage.set_cursor_values({UNTOLD: json.dumps([*assets])})


def _beyond(instance: dg.DagsterInstance, limits: RunLimits, now: datetime, count: int) -> list[str]:
    """Finished runs that are to go, the oldest first; a run that is not over never is."""
    found: dict[str, None] = {}
    finished = list(FINISHED_STATUSES)
    if limits.days:
        old = RunsFilter(statuses=finished, created_before=now - timedelta(days=limits.days))
        found |= dict.fromkeys(r.dagster_run.run_id for r in instance.get_run_records(old, limit=count, ascending=True))
    if limits.most:
        excess = min(count, instance.get_runs_count() - limits.most)
        if excess > 0:
            oldest = instance.get_run_records(RunsFilter(statuses=finished), limit=excess, ascending=True)
            found |= dict.fromkeys(record.dagster_run.run_id for record in oldest)
    return list(found)[:count]


def _assets_of(instance: dg.DagsterInstance, runs: Sequence[str]) -> list[dg.AssetKey]:
    """The keys of the assets that some runs materialized."""
    log = instance.event_log_storage
    if not isinstance(log, SqlEventLogStorage):
        return []
    table = SqlEventLogStorageTable
    query = select(table.c.asset_key).where(table.c.run_id.in_(list(runs)), table.c.asset_key.is_not(None)).distinct()
    with log.index_connection() as connection:
        rows = connection.execute(query).fetchall()
    keys = [dg.AssetKey.from_db_string(row[0]) for row in rows]
    return [key for key in keys if key is not None]


def _forget_checks(instance: dg.DagsterInstance, run_id: str) -> None:
    """Rows of checks that a run planned or judged, but for the newest evaluation of each check: what pages show stays."""
    log = instance.event_log_storage
    if not isinstance(log, SqlEventLogStorage):
        return
    table = AssetCheckExecutionsTable
    with log.index_connection() as connection:
        of_run = select(table.c.asset_key, table.c.check_name).where(table.c.run_id == run_id).distinct()
        for asset_key, check in connection.execute(of_run).fetchall():
            newest = _newest(connection, asset_key, check)
            beyond = (table.c.run_id == run_id, table.c.asset_key == asset_key, table.c.check_name == check)
            connection.execute(delete(table).where(*beyond, table.c.id.not_in(newest)))


def _newest(connection: Connection, asset_key: str, check: str) -> list[int]:
    """The ids of the newest evaluation of a check, of each of its partitions."""
    table = AssetCheckExecutionsTable
    judged = (table.c.asset_key == asset_key, table.c.check_name == check, table.c.execution_status != "PLANNED")
    query = select(func.max(table.c.id)).where(*judged).group_by(table.c.partition)
    return [int(row[0]) for row in connection.execute(query).fetchall() if row[0] is not None]


def _forget_output(instance: dg.DagsterInstance, run_id: str) -> None:
    """What a run printed; some stores of it delete nothing, and have rules of their own for that."""
    try:
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    except NotImplementedError:
        return


def _forget_tags(instance: dg.DagsterInstance, run_id: str) -> None:
    """Tags go with their run by a foreign key, which SQLite does not heed."""
    storage = instance.run_storage
    if isinstance(storage, SqlRunStorage):
        with storage.connect() as connection:
            connection.execute(delete(RunTagsTable).where(RunTagsTable.c.run_id == run_id))


def build_retention_sensor() -> dg.SensorDefinition:
    """Looks once an hour, and again soon while there is more."""

    @dg.sensor(
        name="orchestrai_run_retention",
        minimum_interval_seconds=HOURLY // 60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Deletes finished runs beyond the limits of the settings; what they told of assets is told again from the ledger.",
    )
    def look(
        context: dg.SensorEvaluationContext, orchestrai_runtime: dg.ResourceParam[Runtime]
    ) -> dg.SensorResult | dg.SkipReason:
        now, last = orchestrai_runtime.clock(), float(context.cursor or 0)
        if now.timestamp() - last < HOURLY:
            return dg.SkipReason("looked within the hour")
        done = prune(orchestrai_runtime, context.instance, run_limits(orchestrai_runtime.settings), now)
        told = sum(one.partitions for one in done.told)
        said = f"deleted {len(done.runs)} runs, told {told} partitions again" if done.runs else "no run is beyond the limits"
        cursor = context.cursor if done.more else str(now.timestamp())
        return dg.SensorResult(skip_reason=said, cursor=cursor)

    return look
