"""What a run tells Dagster: what changed, once; the rest is as it was, and the database can be filled again from the ledger."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.instance import open_instance
from orchestrai.defs.reporting.ledger_sync import former_keys, sync
from orchestrai.ingest.partition import PartitionReading
from orchestrai_tests.dagster_names import ledger_name
from orchestrai_tests.defs.conftest import Project

RAW, SNAPSHOT, RESTORED = (f"churn/orders/{stage}" for stage in ("raw_events", "snapshot", "restored"))
DAYS = 4


@pytest.fixture(name="project")
def on_sqlite(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The project over the event log that ships, which a test instance in memory has not."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with open_instance(tmp_path / "dagster_home") as instance:
        yield replace(project, instance=instance)


def told(result: dg.ExecuteInProcessResult) -> dict[str, set[str | None]]:
    """The partitions of the materializations of a run, by asset."""
    found: dict[str, set[str | None]] = {RAW: set(), SNAPSHOT: set(), RESTORED: set()}
    for event in result.all_events:
        if event.is_step_materialization and event.asset_key is not None:
            found.setdefault(ledger_name(event.asset_key), set()).add(event.partition)
    return found


def span(project: Project, days: int = DAYS) -> tuple[str, str]:
    first = date.fromisoformat(project.landed.orders[0])
    return first.isoformat(), (first + timedelta(days=days - 1)).isoformat()


def test_a_second_run_tells_of_no_partition_and_leaves_all_as_it_was(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = project.run("churn_orders_ingest", *span(project))
    assert first.success and len(told(first)[RAW]) >= DAYS - 1 and told(first)[RAW] == told(first)[RESTORED]
    before = {asset: project.materialized(asset) for asset in (RAW, SNAPSHOT, RESTORED)}

    def read(*_: object) -> None:
        raise AssertionError("a day of which nothing is new was read again")

    monkeypatch.setattr(PartitionReading, "read", read)
    again = project.run("churn_orders_ingest", *span(project))
    assert again.success and [told(again)[asset] for asset in (RAW, SNAPSHOT, RESTORED)] == [set(), set(), set()]
    observed = [event for event in again.all_events if event.event_type == dg.DagsterEventType.ASSET_OBSERVATION]
    assert {event.asset_key for event in observed} == {asset_key(asset) for asset in (RAW, SNAPSHOT, RESTORED)}
    said = observed[0].asset_observation_data.asset_observation.description
    assert said is not None and said.startswith("nothing new")
    assert {asset: project.materialized(asset) for asset in before} == before
    # no check is lost by it: each was evaluated once, and passed
    evaluated = Counter((e.asset_key, e.check_name) for e in again.get_asset_check_evaluations())
    node = project.runtime.project.nodes[RAW]
    assert all(evaluated[asset_key(RAW), check.name] == 1 for check in node.checks)
    assert all(
        e.passed and e.partition is None for e in again.get_asset_check_evaluations() if e.asset_key == asset_key(RAW)
    )


def test_of_more_days_only_the_new_ones_are_told(project: Project) -> None:
    project.run("churn_orders_ingest", *span(project))
    before = project.materialized(RAW)
    later = project.run("churn_orders_ingest", *span(project, DAYS + 2))
    assert later.success and told(later)[RAW] == project.materialized(RAW) - before
    assert told(later)[RAW] == told(later)[SNAPSHOT] == told(later)[RESTORED] != set()


def test_one_day_asked_for_alone_is_always_told(project: Project) -> None:
    day = project.landed.orders[0]
    for _ in range(2):
        assert told(project.run("churn_orders_ingest", day))[RAW] == {day}


def test_a_refused_day_stays_red_in_its_check_while_others_pass_and_is_shown_as_failed(project: Project) -> None:
    bad = project.landed.bad_day
    before = (date.fromisoformat(bad) - timedelta(days=1)).isoformat()
    assert not project.run("churn_orders_ingest", before, bad).success
    log = project.instance.event_log_storage
    attempts = log.get_latest_asset_partition_materialization_attempts_without_materializations(asset_key(RAW))
    assert set(attempts) == {bad}
    # what the gate holds back did not fail after it: it is missing there
    later = [
        log.get_latest_asset_partition_materialization_attempts_without_materializations(asset_key(asset))
        for asset in (SNAPSHOT, RESTORED)
    ]
    assert later == [{}, {}]
    result = project.run("churn_orders_ingest", before)
    (schema,) = [
        e for e in result.get_asset_check_evaluations() if e.asset_key == asset_key(RAW) and e.check_name == "schema"
    ]
    assert result.success and not schema.passed and schema.metadata["refused_before"].value == 1
    assert schema.description is not None and schema.description.startswith(bad)


def test_an_empty_database_is_filled_again_from_the_ledger_and_then_knows_all(project: Project, tmp_path: Path) -> None:
    project.run("churn_orders_ingest", *span(project))
    with open_instance(tmp_path / "another") as empty:
        filled = {one.asset: one for one in sync(project.runtime, empty)}
        for asset in (RAW, SNAPSHOT, RESTORED):
            assert set(empty.get_materialized_partitions(asset_key(asset))) == project.materialized(asset)
            assert filled[asset].partitions == len(project.materialized(asset)) and not filled[asset].uncounted
        checks = [dg.AssetCheckKey(asset_key(RAW), check.name) for check in project.runtime.project.nodes[RAW].checks]
        found = empty.event_log_storage.get_latest_asset_check_execution_by_key(checks)
        assert filled[RAW].checks == len([record for record in found.values() if record.evaluation.passed])
        assert list(sync(project.runtime, empty)) == []
    # the database that the run wrote knows all as well
    assert [one for one in sync(project.runtime, project.instance) if one.partitions] == []


def test_what_dagster_knows_by_the_keys_of_before_is_named_and_nothing_else(project: Project) -> None:
    old = dg.AssetKey(SNAPSHOT.split("/"))
    for key in (old, dg.AssetKey(["a_host", "table"]), dg.AssetKey(["churn", "orders", "of_a_host"])):
        project.instance.report_runless_asset_event(dg.AssetMaterialization(key))
    project.run("churn_orders_ingest", project.landed.orders[0])
    assert former_keys(project.runtime, project.instance) == [old]
    project.instance.wipe_assets([old])
    assert former_keys(project.runtime, project.instance) == []
    assert project.materialized(SNAPSHOT) == {project.landed.orders[0]}
