"""The gate through Dagster: the good days flow, the bad one does not, in the same run and in any later one."""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan, execute_run

from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.assets import build_assets
from orchestrai.defs.build import build_definitions
from orchestrai.defs.checks.complete_checks import build_complete_checks
from orchestrai.defs.launch.backfill import SILENT_CONSOLE
from orchestrai.ledger.decisions.skips import SKIPS, Skip
from orchestrai.ledger.quarantine import last_refusal
from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.vault import Vault
from orchestrai_tests.dagster_names import ledger_name
from orchestrai_tests.defs import shop
from orchestrai_tests.defs.conftest import RANGE_END, RANGE_START, Project

RAW, SNAPSHOT, RESTORED = (f"churn/orders/{stage}" for stage in ("raw_events", "snapshot", "restored"))


def test_good_days_flow_beside_a_refused_one_and_the_run_is_red(project: Project) -> None:
    bad = project.landed.bad_day
    first, last = project.landed.orders
    result = project.run("churn_orders_ingest", first, last)
    assert not result.success
    # one fault is red once, at the gate that found it; after it the checks say what the day waits for
    assert [event.step_key for event in result.all_events if event.is_step_failure] == ["churn__orders_raw_events_complete"]
    wrong = [check for check in result.get_asset_check_evaluations() if not check.passed]
    severities = {ledger_name(check.asset_key): check.severity for check in wrong}
    assert severities[RAW] == dg.AssetCheckSeverity.ERROR
    assert {severities[SNAPSHOT], severities[RESTORED]} == {dg.AssetCheckSeverity.WARN}
    blocked = [check for check in wrong if check.asset_key == asset_key(SNAPSHOT) and check.check_name == "same_version"]
    assert ["blocked" in str(check.description) and bad in str(check.description) for check in blocked] == [True]
    for asset in (RAW, SNAPSHOT, RESTORED):
        done = project.materialized(asset)
        assert bad not in done
        assert len(done) >= 20
    ledger = project.runtime.ledger
    raw, kept, restored = (ledger.open(asset) for asset in (RAW, SNAPSHOT, RESTORED))
    assert raw.version == kept.version == restored.version
    assert bad not in raw.partitions


def test_a_run_that_leaves_the_check_of_the_gate_out_is_red_by_itself(project: Project) -> None:
    bad = project.landed.bad_day
    assert not project.run("churn_orders_ingest", bad).success
    job = project.definitions.resolve_job_def("churn_orders_ingest")
    alone = job.execute_in_process(
        run_config=SILENT_CONSOLE,
        instance=project.instance,
        tags={RANGE_START: bad, RANGE_END: bad},
        raise_on_error=False,
        op_selection=["churn__orders_snapshot_complete"],
    )
    assert not alone.success
    plan = create_execution_plan(job, step_keys_to_execute=["churn__orders_snapshot_complete"])
    run = project.instance.create_run_for_job(job, execution_plan=plan, tags={RANGE_START: bad, RANGE_END: bad})
    assert not execute_run(InMemoryJob(job), run, project.instance).success


def test_a_later_run_of_only_the_downstream_of_the_bad_day_is_refused(project: Project) -> None:
    bad = project.landed.bad_day
    project.run("churn_orders_ingest", bad)
    assert project.runtime.ledger.find(RAW) is None
    before = (date.fromisoformat(bad) - timedelta(days=1)).isoformat()
    project.run("churn_orders_ingest", before, before, only=(RAW,))
    for only in ((SNAPSHOT,), (RESTORED,), (SNAPSHOT, RESTORED)):
        result = project.run("churn_orders_ingest", bad, only=only)
        assert not result.success
        # the gate itself is not in this run: here it has to be told, beside days that are well
        assert not project.run("churn_orders_ingest", before, bad, only=only).success
    assert set(project.runtime.ledger.open(SNAPSHOT).partitions) == {before}
    assert set(project.runtime.ledger.open(RESTORED).partitions) == {before}


def test_the_failed_check_of_a_run_says_which_day_was_refused_and_why(project: Project) -> None:
    bad = project.landed.bad_day
    before = (date.fromisoformat(bad) - timedelta(days=1)).isoformat()
    found = project.run("churn_orders_ingest", before, bad).get_asset_check_evaluations()
    (told,) = [check for check in found if (ledger_name(check.asset_key), check.check_name) == (RAW, "complete")]
    assert told.description is not None and told.description.startswith(f"{bad}: schema")
    assert told.metadata["refused"].value == 1
    why = told.metadata["why"].value
    assert {record.data["partition"] for record in why.records} == {bad}
    assert any("#REF!" in str(record.data["reason"]) for record in why.records)


def test_complete_says_the_same_with_an_empty_dagster_database(project: Project) -> None:
    bad = project.landed.bad_day
    before = (date.fromisoformat(bad) - timedelta(days=1)).isoformat()
    found = project.run("churn_orders_ingest", before, bad).get_asset_check_evaluations()
    told = {ledger_name(check.asset_key): check for check in found if check.check_name == "complete"}
    assert {asset: check.passed for asset, check in told.items()} == {RAW: False, SNAPSHOT: False, RESTORED: False}
    project.run("churn_orders_ingest", before)
    nodes = [project.runtime.project.nodes[asset] for asset in (RAW, SNAPSHOT, RESTORED)]
    checks = [dg.AssetCheckKey(asset_key(node.asset), "complete") for node in nodes]
    definitions = dg.Definitions(
        assets=build_assets(nodes),
        asset_checks=build_complete_checks(nodes),
        jobs=[dg.define_asset_job("look", dg.AssetSelection.checks(*checks))],
        resources={"orchestrai_runtime": project.runtime},
    )
    tags = {RANGE_START: before, RANGE_END: bad}
    with dg.DagsterInstance.ephemeral() as empty:
        result = definitions.resolve_job_def("look").execute_in_process(instance=empty, tags=tags, raise_on_error=False)
    again = {ledger_name(check.asset_key): check for check in result.get_asset_check_evaluations()}
    assert {asset: (check.passed, check.description, check.metadata) for asset, check in again.items()} == {
        asset: (check.passed, check.description, check.metadata) for asset, check in told.items()
    }


def test_a_snapshot_of_other_bytes_fails_without_a_retry_and_is_not_materialized(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Vault.files

    def files(vault: Vault, commit: SnapshotCommit, partition: str) -> list[StoredFile]:
        return [file._replace(sha256="0" * 64) for file in honest(vault, commit, partition)]

    monkeypatch.setattr(Vault, "files", files)
    first, _ = project.landed.orders
    result = project.run("churn_orders_ingest", first)
    assert not result.success and project.materialized(RAW) == {first} and project.materialized(SNAPSHOT) == set()
    told = [check for check in result.get_asset_check_evaluations() if check.check_name == "same_version"]
    assert [(ledger_name(check.asset_key), check.passed, check.severity) for check in told] == [
        (SNAPSHOT, False, dg.AssetCheckSeverity.ERROR)
    ]
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    assert project.runtime.ledger.find(SNAPSHOT) is None


def test_a_day_on_which_nothing_is_due_counts_as_done(project: Project) -> None:
    result = project.run("churn_orders_ingest", "2026-10-10")
    assert result.success
    assert project.materialized(RESTORED) == {"2026-10-10"}
    assert project.runtime.ledger.find(RAW) is None


def test_the_second_run_changes_nothing(project: Project) -> None:
    first, _ = project.landed.orders
    project.run("churn_orders_ingest", first)
    heads = [project.runtime.ledger.head(asset) for asset in (RAW, SNAPSHOT)]
    assert project.run("churn_orders_ingest", first).success
    assert [project.runtime.ledger.head(asset) for asset in (RAW, SNAPSHOT)] == heads


def test_a_day_left_out_by_a_signed_decision_no_longer_turns_the_run_red(project: Project) -> None:
    bad = project.landed.bad_day
    span = [bad, str(date.fromisoformat(bad) + timedelta(days=1))]
    assert not project.run("churn_orders_ingest", *span).success
    ledger, refusal = project.runtime.ledger, last_refusal(project.runtime.ledger.lake, RAW, bad)
    skip = Skip("first", RAW, bad, refusal.root, "the export was lost", "ann", "2026-11-22T00:00:00+00:00", refusal.closed)
    SKIPS.put([ledger.lake, ledger.vault], ledger.signer, skip)  # type: ignore[list-item]
    result = project.run("churn_orders_ingest", *span)
    assert result.success
    told = [
        event.event_specific_data
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    closed = {evaluation.check_name: evaluation for evaluation in told if not evaluation.passed}
    assert {evaluation.severity for evaluation in closed.values()} == {dg.AssetCheckSeverity.WARN}
    assert {*refusal.closed, "same_version"} <= set(closed)
    rows = {name: evaluation.metadata["verdicts"].value.records for name, evaluation in closed.items()}
    assert all([row.data["partition"] for row in table] == [bad] for table in rows.values())
    assert all("left out by ann" in str(row.data["message"]) for table in rows.values() for row in table)
    for asset in (RAW, SNAPSHOT, RESTORED):
        assert bad not in ledger.open(asset).partitions
        event = project.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=asset_key(asset), asset_partitions=[bad]), limit=1
        ).records[0]
        metadata = event.asset_materialization.metadata  # type: ignore[union-attr]
        assert metadata["orchestrai/due"].value is False
        assert "left out by ann" in str(metadata["orchestrai/left_out"].value)


@pytest.mark.thorough("the daily run is red and is tried")
def test_the_weekly_refresh_is_red_until_a_refused_day_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a label that no single feature tells, which would refuse the model as leaked
    noisy = shop.PIPELINE.replace("WHEN failed THEN", "WHEN level + (UNIX_MICROS(ts) % 60000000) / 1000000 > 80 THEN")
    monkeypatch.setattr(shop, "PIPELINE", noisy)
    workshop = shop.Workshop(tmp_path / "declared")
    runtime = workshop.move(tmp_path / "home")
    landing = tmp_path / "home" / "landing" / "readings"
    landing.mkdir(parents=True)
    for day in shop.DAYS:
        landed = shop.csv_of(day)
        (landing / f"{day}.csv").write_text(landed.replace("level", "height", 1) if day == shop.NINTH else landed)
    definitions = build_definitions(runtime)
    span = {"dagster/asset_partition_range_start": shop.DAYS[0], "dagster/asset_partition_range_end": shop.NINTH}

    def run(job: str) -> bool:
        resolved = definitions.resolve_job_def(job)
        return resolved.execute_in_process(instance=instance, tags=span, raise_on_error=False).success

    with dg.DagsterInstance.ephemeral() as instance:
        assert not run("shop_readings_ingest")
        assert not run("shop_refresh")
        ledger, refusal = runtime.ledger, last_refusal(runtime.ledger.lake, shop.RAW, shop.NINTH)
        at = "2026-11-01T00:00:00+00:00"
        skip = Skip("first", shop.RAW, shop.NINTH, refusal.root, "the export was lost", "ann", at, refusal.closed)
        SKIPS.put([ledger.lake, ledger.vault], ledger.signer, skip)  # type: ignore[list-item]
        assert run("shop_refresh")
    assert sorted(ledger.open(shop.RESTORED).partitions) == shop.GOOD
    assert sorted(ledger.open(shop.FEATURES).partitions) == shop.GOOD
    assert ledger.find("shop/alarm/champion") is not None


@dataclass
class Small:
    """The small shop's raw events, of a landed day, through Dagster."""

    workshop: shop.Workshop
    home: Path

    def land(self, text: str) -> dg.ExecuteInProcessResult:
        landing = self.home / "landing" / "readings"
        landing.mkdir(parents=True, exist_ok=True)
        (landing / f"{shop.NINTH}.csv").write_text(text)
        runtime = self.workshop.move(self.home)
        with dg.DagsterInstance.ephemeral() as instance:
            return dg.materialize(
                build_assets([runtime.project.nodes[shop.RAW]]),
                resources={"orchestrai_runtime": runtime},
                partition_key=shop.NINTH,
                instance=instance,
                raise_on_error=False,
            )


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(shop.Workshop(tmp_path / "declared"), tmp_path / "home")


def checks(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def test_a_new_column_is_a_warning_with_the_difference(small: Small) -> None:
    lines = shop.csv_of(shop.NINTH).splitlines()
    result = small.land("\n".join([lines[0] + ",battery", *(line + ",7" for line in lines[1:])]) + "\n")
    assert result.success
    found = checks(result)["schema"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "battery" in str(found.metadata["diff"].value)
    assert found.metadata["change"].value == "compatible"


def test_a_renamed_column_closes_the_gate_with_the_difference(small: Small) -> None:
    result = small.land(shop.csv_of(shop.NINTH).replace("level", "height", 1))
    assert not result.success
    found = checks(result)["schema"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "level" in str(found.metadata["message"].value)
    assert "height" in str(found.metadata["message"].value)


def test_a_day_that_lost_its_evening_is_stale(small: Small) -> None:
    lines = shop.csv_of(shop.NINTH).splitlines()
    result = small.land("\n".join(lines[:20]) + "\n")
    assert not result.success
    assert not checks(result)["freshness"].passed
    assert checks(small.land(shop.csv_of(shop.NINTH)))["freshness"].passed
