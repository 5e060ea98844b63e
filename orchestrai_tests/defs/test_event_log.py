"""The event log: Dagster's own tables, connections kept."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage

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
