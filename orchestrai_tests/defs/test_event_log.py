"""The event log: Dagster's own tables, connections kept."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage
from sqlalchemy.exc import OperationalError

from orchestrai.defs.event_log import KEPT_ENGINES, EventLog
from orchestrai.defs.instance import open_instance
from orchestrai.errors import ConfigError


@dg.asset
def something() -> None:
    pass


def test_the_instance_keeps_its_events_and_the_stock_storage_reads_them(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with open_instance(tmp_path) as instance:
        assert isinstance(instance.event_log_storage, EventLog)
        run_id = dg.materialize([something], instance=instance).run_id
    with open_instance(tmp_path) as again:
        assert again.get_latest_materialization_event(dg.AssetKey("something")) is not None
    stock = SqliteEventLogStorage(str(tmp_path / "dagster" / "history" / "runs"))
    assert len(stock.get_logs_for_run(run_id)) > 3


@pytest.mark.parametrize("named", ["nowhere", "relative"])
def test_a_home_of_dagster_that_is_no_folder_is_told_in_one_line(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "nowhere") if named == "nowhere" else ".")
    with pytest.raises(ConfigError, match="DAGSTER_HOME"):
        open_instance(tmp_path)


@dg.asset(check_specs=[dg.AssetCheckSpec(f"check_{number}", asset="checked") for number in range(5)])
def checked() -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
    yield dg.MaterializeResult(check_results=[dg.AssetCheckResult(check_name=f"check_{n}", passed=True) for n in range(5)])


def test_a_table_that_is_there_is_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    looked: Counter[str] = Counter()
    stock = SqliteEventLogStorage.has_table
    monkeypatch.setattr(SqliteEventLogStorage, "has_table", lambda log, name: looked.update([name]) or stock(log, name))
    with open_instance(tmp_path) as instance:
        dg.materialize([checked], instance=instance)
        key = dg.AssetCheckKey(dg.AssetKey("checked"), "check_4")
        assert instance.event_log_storage.get_latest_asset_check_execution_by_key([key])
        assert set(looked.values()) == {1}
        assert not any(instance.event_log_storage.has_table("absent") for _ in range(2))
    assert looked["absent"] == 2


@pytest.mark.thorough("it takes many runs")
def test_many_runs_do_not_keep_many_databases_open(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with open_instance(tmp_path) as instance:
        for _ in range(KEPT_ENGINES + 3):
            dg.materialize([something], instance=instance)
        log = instance.event_log_storage
        assert isinstance(log, EventLog)
        assert len(log._engines) <= KEPT_ENGINES


def _made(path: Path) -> tuple[list[str], list[str]]:
    """The tables and indexes of a database, and the migration that it is at."""
    with closing(sqlite3.connect(path)) as database:
        tables = sorted(row[0] for row in database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))
        return tables, [row[0] for row in database.execute("SELECT version_num FROM alembic_version")]


def test_the_database_of_a_run_is_made_as_dagster_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    made: Counter[str] = Counter()
    stock = SqliteEventLogStorage._initdb

    def initdb(log: SqliteEventLogStorage, engine: Any, **more: Any) -> None:
        made.update([str(engine.url)])
        stock(log, engine, **more)

    monkeypatch.setattr(SqliteEventLogStorage, "_initdb", initdb)
    with open_instance(tmp_path) as instance:
        made.clear()
        run_id = dg.materialize([something], instance=instance).run_id
        assert not made, "Dagster looked at each of its migrations"
    (tmp_path / "stock").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "stock")) as other:
        of_stock = dg.materialize([something], instance=other).run_id
    (theirs,) = (tmp_path / "stock").rglob(f"{of_stock}.db")
    assert _made(tmp_path / "dagster" / "history" / "runs" / f"{run_id}.db") == _made(theirs)


def _written(runs: Path, run_id: str) -> Counter[str]:
    """The events of a run that another process would read now."""
    with closing(sqlite3.connect(runs / f"{run_id}.db")) as database:
        return Counter(row[0] for row in database.execute("SELECT dagster_event_type FROM event_logs"))


def test_what_a_step_begins_and_says_is_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    seen: list[Counter[str]] = []

    @dg.asset
    def slow(context: dg.AssetExecutionContext) -> None:
        runs = tmp_path / "dagster" / "history" / "runs"
        seen.append(_written(runs, context.run_id))
        context.log.info("a tenth is done")
        seen.append(_written(runs, context.run_id))

    with open_instance(tmp_path) as instance:
        dg.materialize([slow], instance=instance)
    begun, told = seen
    assert begun["STEP_START"] == 1 and begun["ASSET_MATERIALIZATION_PLANNED"] == 1
    assert told.total() == begun.total() + 1


def _told(instance: dg.DagsterInstance, run_id: str) -> list[Any]:
    """What a storage says of a run of the asset with checks."""
    log, key = instance.event_log_storage, dg.AssetKey("checked")
    (record,) = instance.get_asset_records([key])
    checks = [dg.AssetCheckKey(key, f"check_{number}") for number in range(5)]
    found = log.get_latest_asset_check_execution_by_key(checks)
    newest = record.asset_entry.last_materialization
    assert newest is not None
    return [
        sorted(str(event.dagster_event_type) for event in log.get_logs_for_run(run_id)),
        [(found[one].status, getattr(found[one].evaluation, "passed", None)) for one in checks],
        str(newest.dagster_event_type),
        [len(log.get_asset_check_execution_history(one, limit=9)) for one in checks],
        record.asset_entry.last_run_id == run_id,
    ]


def test_what_is_written_together_says_what_dagsters_own_storage_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    told = []
    (tmp_path / "stock").mkdir()
    with open_instance(tmp_path) as ours, dg.DagsterInstance.local_temp(str(tmp_path / "stock")) as stock:
        for instance in (ours, stock):
            run_id = dg.materialize([checked, something], instance=instance).run_id
            told.append(_told(instance, run_id))
    assert told[0] == told[1]


def test_what_a_busy_database_did_not_take_is_written_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message of the step meets the busy database: Dagster swallows its failure, and the evaluation before it must not go with it."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    key, refused = dg.AssetKey("telling"), list[int]()
    stock = EventLog._store_shared

    def busy(log: EventLog, connection: Any, events: Any, rows: Any) -> None:
        if not refused and any(one.dagster_event_type == "ASSET_CHECK_EVALUATION" for one in events):
            refused.append(len(events))
            raise OperationalError("INSERT", {}, sqlite3.OperationalError("database is locked"))
        stock(log, connection, events, rows)

    monkeypatch.setattr(EventLog, "_store_shared", busy)

    @dg.asset(check_specs=[dg.AssetCheckSpec("well", asset="telling")])
    def telling(context: dg.AssetExecutionContext) -> Iterator[Any]:
        yield dg.AssetCheckResult(check_name="well", passed=True)
        context.log.info("a message")
        yield dg.Output(None)

    with open_instance(tmp_path) as instance:
        run_id = dg.materialize([telling], instance=instance).run_id
        assert refused
        log, check = instance.event_log_storage, dg.AssetCheckKey(key, "well")
        evaluation = log.get_latest_asset_check_execution_by_key([check])[check].evaluation
        assert evaluation is not None and evaluation.passed
        assert _written(tmp_path / "dagster" / "history" / "runs", run_id)["ASSET_CHECK_EVALUATION"] == 1


def test_what_is_told_without_a_run_is_there_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The webserver says yes to whoever reports a materialization, and may be killed before anybody looks at it."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    runs = tmp_path / "dagster" / "history" / "runs"
    with open_instance(tmp_path) as instance:
        log = instance.event_log_storage
        assert isinstance(log, EventLog)
        instance.report_runless_asset_event(dg.AssetMaterialization("something", partition="2026-10-01"))
        assert _written(runs, "index")["ASSET_MATERIALIZATION"] == 1
        with log.together():
            for day in range(2, 5):
                instance.report_runless_asset_event(dg.AssetMaterialization("something", partition=f"2026-10-0{day}"))
            assert _written(runs, "index")["ASSET_MATERIALIZATION"] == 1
        assert _written(runs, "index")["ASSET_MATERIALIZATION"] == 4
