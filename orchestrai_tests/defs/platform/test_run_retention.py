"""Dagster's database stays small: what is deleted of it is a view, and what is published is told again from the ledger."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.storage.dagster_run import DagsterRunStatus

from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.build import build_definitions
from orchestrai.defs.instance import open_instance
from orchestrai.defs.launch.backfill import SILENT_CONSOLE
from orchestrai.defs.platform.run_retention import RunLimits, build_retention_sensor, prune, run_limits
from orchestrai.settings import Settings
from orchestrai_tests.features.shop import KEPT, RAW, RESTORED, Shop

JOB = "late_sales_ingest"
LATER = datetime(2027, 6, 1, tzinfo=UTC)


@dg.op
def works() -> None:
    """Nothing: its runs are made, and never executed."""


@dg.job
def minute() -> None:
    works()


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with open_instance(tmp_path / "shop" / "home") as opened:
        yield opened


def minutes(instance: dg.DagsterInstance, count: int) -> None:
    """Runs that are over, with events, tags and output."""
    for _ in range(count):
        run = instance.create_run_for_job(minute, tags={"of": "a minute"})
        for line in range(5):
            instance.report_engine_event(f"line {line} of a minute's run", run)
        with instance.compute_log_manager.open_log_stream(
            [run.run_id, "compute_logs", "works"], ComputeIOType.STDOUT
        ) as out:
            assert out is not None
            out.write("what it prints")
        instance.report_run_canceled(run)


def bytes_of(folder: Path) -> int:
    """What lies there but for SQLite's logs, which are of some megabytes at most."""
    files = [file for file in folder.rglob("*") if file.is_file() and not file.name.endswith(("-wal", "-shm"))]
    return sum(file.stat().st_size for file in files)


def taken(shop: Shop, instance: dg.DagsterInstance, count: int) -> list[str]:
    """A run of Dagster's for each of some days."""
    job = build_definitions(shop.runtime).resolve_job_def(JOB)
    for number, day in enumerate(shop.days(0, count)):
        shop.now = datetime(2026, 10, 2 + number, 6, tzinfo=UTC)
        done = job.execute_in_process(instance=instance, partition_key=day, run_config=SILENT_CONSOLE)
        assert done.success
    return [day for day in (f"2026-10-{number + 1:02d}" for number in range(count))]


def test_runs_beyond_the_limits_go_with_all_that_they_left_and_the_rest_stays(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    shop = Shop(tmp_path / "shop")
    minutes(instance, 5)
    going = instance.create_run_for_job(minute, status=DagsterRunStatus.STARTED)
    base = tmp_path / "shop" / "home" / "dagster"
    kept = [record.dagster_run.run_id for record in instance.get_run_records(limit=4)]
    done = prune(shop.runtime, instance, RunLimits(most=4), shop.now)
    assert len(done.runs) == 2 and not done.more and done.told == ()
    assert {record.dagster_run.run_id for record in instance.get_run_records()} == {*kept} and going.run_id in kept
    for run_id in done.runs:
        assert not list(base.rglob(f"*{run_id}*.db*")), "no file of it is left"
        assert not list(base.rglob(f"{run_id}/**/*.out")), "nor what it printed"
        assert instance.all_logs(run_id) == []
    rows = instance.run_storage.get_run_tags(["of"])
    assert rows == [("of", {"a minute"})]
    again = prune(shop.runtime, instance, RunLimits(most=4), shop.now)
    assert again.runs == ()
    # a run that is not over is never old
    old = prune(shop.runtime, instance, RunLimits(days=30), LATER)
    assert len(old.runs) == 3 and [r.dagster_run.run_id for r in instance.get_run_records()] == [going.run_id]
    assert prune(shop.runtime, instance, RunLimits(), LATER).runs == (), "without limits nothing goes"


def test_a_database_of_many_minutes_stays_under_its_bound(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    shop = Shop(tmp_path / "shop")
    base = tmp_path / "shop" / "home" / "dagster"
    minutes(instance, 4)
    prune(shop.runtime, instance, RunLimits(most=2), shop.now)
    full, unpruned = bytes_of(base), 0
    for _ in range(2):
        minutes(instance, 4)
        unpruned = bytes_of(base)
        prune(shop.runtime, instance, RunLimits(most=2), shop.now)
    assert instance.get_runs_count() == 2
    # eight runs more than there were: pages of the index that are not used again yet are all that is left of them
    assert bytes_of(base) < full * 1.15 and unpruned > full * 1.5


def test_what_is_published_is_told_again_and_newest_evaluations_stay(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    shop = Shop(tmp_path / "shop")
    days = taken(shop, instance, 2)
    key = asset_key(RAW)
    checks = [dg.AssetCheckKey(key, check.name) for check in shop.runtime.project.nodes[RAW].checks]
    before = instance.event_log_storage.get_latest_asset_check_execution_by_key(checks)
    assert instance.get_materialized_partitions(key) == {*days} and before
    done = prune(shop.runtime, instance, RunLimits(most=1), shop.now)
    assert len(done.runs) == 1 and {RAW, KEPT, RESTORED} <= {*done.assets}
    for asset in (RAW, KEPT, RESTORED):
        assert instance.get_materialized_partitions(asset_key(asset)) == {*days}, "the ledger has told it again"
    after = instance.event_log_storage.get_latest_asset_check_execution_by_key(checks)
    assert {one: record.status for one, record in after.items()} == {one: record.status for one, record in before.items()}
    assert prune(shop.runtime, instance, RunLimits(most=1), shop.now).told == ()


def test_a_look_that_was_killed_after_it_deleted_is_made_good_by_the_next(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path / "shop")
    days = taken(shop, instance, 2)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("orchestrai.defs.platform.run_retention.sync", killed)
        with pytest.raises(KeyboardInterrupt):
            prune(shop.runtime, instance, RunLimits(most=1), shop.now)
    assert instance.get_materialized_partitions(asset_key(RAW)) == {days[1]}
    done = prune(shop.runtime, instance, RunLimits(most=1), shop.now)
    assert done.runs == () and RAW in done.assets
    assert instance.get_materialized_partitions(asset_key(RAW)) == {*days}
    assert prune(shop.runtime, instance, RunLimits(most=1), shop.now).assets == ()


def test_a_look_takes_so_many_at_most_and_the_sensor_goes_on_until_none_is_left(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path / "shop")
    minutes(instance, 4)
    done = prune(shop.runtime, instance, RunLimits(most=1), shop.now, at_once=1)
    assert len(done.runs) == 1 and done.more
    monkeypatch.setattr("orchestrai.defs.platform.run_retention.AT_ONCE", 1)
    monkeypatch.setattr("orchestrai.defs.platform.run_retention.prune.__defaults__", (1,))
    monkeypatch.setattr("orchestrai.defs.platform.run_retention.run_limits", lambda settings: RunLimits(most=1))
    sensor, cursor, said = build_retention_sensor(), None, []
    for _ in range(4):
        context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"orchestrai_runtime": shop.runtime})
        result = sensor(context)
        said.append(result.skip_message if isinstance(result, dg.SkipReason) else result.skip_reason.skip_message)
        cursor = cursor if isinstance(result, dg.SkipReason) else result.cursor
    assert [text.partition(",")[0] for text in said] == [
        "deleted 1 runs",
        "deleted 1 runs",
        "looked within the hour",
        "looked within the hour",
    ]
    assert instance.get_runs_count() == 1


def test_the_settings_say_how_long_and_how_many() -> None:
    assert run_limits(Settings()) == RunLimits(90, 20_000)
    assert run_limits(Settings(keep_runs=7, most_runs=0)) == RunLimits(7, 0)
