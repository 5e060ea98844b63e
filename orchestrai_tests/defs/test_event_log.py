"""The event log: Dagster's own tables, connections kept."""

from pathlib import Path

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage

from orchestrai.defs.event_log import KEPT_ENGINES, EventLog
from orchestrai.defs.instance import open_instance


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


def test_many_runs_do_not_keep_many_databases_open(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with open_instance(tmp_path) as instance:
        for _ in range(KEPT_ENGINES + 3):
            dg.materialize([something], instance=instance)
        log = instance.event_log_storage
        assert isinstance(log, EventLog)
        assert len(log._engines) <= KEPT_ENGINES
