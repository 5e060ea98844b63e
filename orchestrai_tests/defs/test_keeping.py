"""What is kept beside events, as Dagster sees it: jobs, schedules, metadata, and checks that go red without closing a gate."""

import itertools
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.build import build_definitions
from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.backup import kept_shop
from orchestrai_tests.backup.kept_shop import CRM, MODEL, VIEW
from orchestrai_tests.dagster_names import ledger_name

MORE = (
    CRM
    + """
managed_backups:
  - name: carts
    resource: arn:aws:dynamodb:eu-west-1:123456789012:table/shop
    vault: main
    role: arn:aws:iam::123456789012:role/backup
    after: alarm
    test: {metadata: {targetTableName: shop-drill}, every: "0 7 1 * *"}
"""
)


class Shop:
    """A shop with a cold tier, its definitions and an instance."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.folder, self.instance = folder, instance
        cold = f"backup: {{cold: {{url: {folder / 'cold'}, tier: DEEP_ARCHIVE, lock: 180d}}}}"
        changes = {
            "entity: device_id, event_time: ts,": f"entity: device_id, event_time: ts, {cold},",
            'backup: {every: "0 2 * * *"}': f'backup: {{every: "0 2 * * *", cold: {{url: {folder / "cold-events"}}}, rto: 1s}}',
        }
        self.runtime = kept_shop.fresh(folder / "home", folder / "declared", MORE, changes)
        self.definitions = build_definitions(self.runtime)

    def ask(self, schedule: str) -> list[str] | str:
        """The assets that a tick asks for, or why there are none."""
        context = dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=datetime(2026, 11, 22, 5, tzinfo=UTC),
            repository_def=self.definitions.get_repository_def(),
            resources={"orchestrai_runtime": self.runtime},
        )
        with context:
            told = self.definitions.get_schedule_def(schedule).evaluate_tick(context)
        if not told.run_requests:
            return str(told.skip_message)
        (request,) = told.run_requests
        return sorted(ledger_name(key) for key in request.asset_selection or ())

    def run(self, job: str, *assets: str) -> dg.ExecuteInProcessResult:
        selection = [asset_key(asset) for asset in assets] or None
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, raise_on_error=False, asset_selection=selection
        )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("kept")
    with dg.DagsterInstance.ephemeral() as instance, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CRM_URL", str(kept_shop.make_sqlite(folder / "crm.sqlite")))
        yield Shop(folder, instance)


def evaluations(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, tuple[bool, str]]:
    key = asset_key(asset)
    found = [e for e in result.get_asset_check_evaluations() if e.asset_key == key]
    return {e.check_name: (e.passed, e.severity.value) for e in found}


def test_before_anything_is_published_a_backup_is_skipped_with_the_reason(shop: Shop) -> None:
    assert "nothing of shop/levels/features" in shop.ask("shop_levels_backup")
    assert "nothing of" in shop.ask("shop_weekly_drills")
    # what stands by itself is always asked for
    assert shop.ask("shop_crm_backup") == ["shop/catalog", "shop/crm/dump"]
    assert shop.ask("shop_carts_backup") == ["shop/carts/recovery_point", "shop/catalog"]
    assert shop.ask("orchestrai_definitions_backup") == ["orchestrai/definitions/snapshot"]


def test_each_schedule_asks_for_its_backup_its_cold_copy_and_the_catalog(shop: Shop) -> None:
    if shop.runtime.ledger.find(f"{MODEL}/champion") is None:
        kept_shop.publish(shop.runtime, kept_shop.PUBLISHED)
    assert shop.ask("shop_levels_backup") == ["shop/catalog", f"{VIEW}/cold_copy", f"{VIEW}/feature_backup"]
    assert shop.ask("shop_alarm_backup") == [f"{MODEL}/model_backup", "shop/catalog"]
    assert shop.ask("shop_readings_weekly_cold_copy") == ["shop/catalog", "shop/readings/cold_copy"]
    schedules = {schedule.name: schedule.cron_schedule for schedule in shop.definitions.get_repository_def().schedule_defs}
    assert schedules["shop_levels_backup"] == "0 5 * * 0"
    assert schedules["orchestrai_instance_backup"] == "45 2 * * *"
    assert schedules["shop_carts_restore_test"] == "0 7 1 * *"


def test_a_weekly_backup_carries_its_record_and_an_unlocked_copy_is_red(shop: Shop) -> None:
    if shop.runtime.ledger.find(f"{MODEL}/champion") is None:
        kept_shop.publish(shop.runtime, kept_shop.PUBLISHED)
    result = shop.run("shop_backup", f"{VIEW}/feature_backup", f"{VIEW}/cold_copy", "shop/catalog")
    # the copy exists and is sound, so the run succeeds; a folder has no tier and no lock, and both are said to be missing
    assert result.success
    assert evaluations(result, f"{VIEW}/cold_copy") == {
        "verified": (True, "ERROR"),
        "tier": (False, "ERROR"),
        "lock": (False, "ERROR"),
    }
    told = shop.instance.get_latest_materialization_event(asset_key(f"{VIEW}/cold_copy"))
    assert told is not None and told.asset_materialization is not None
    metadata = told.asset_materialization.metadata
    snapshot = shop.runtime.vault.latest(f"{VIEW}/features")
    assert metadata["snapshot_id"].value == snapshot.snapshot_id
    assert str(metadata["destination"].value).endswith("/cold")
    assert {"tier", "locked_until", "bytes", "seconds"} <= set(metadata)
    assert f"{VIEW}/feature_backup" in str(shop.runtime.ledger.open("shop/catalog").receipt("all").facts["catalog"])


def test_a_missed_rto_is_red_and_the_drill_published(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    if shop.runtime.ledger.find(f"{MODEL}/champion") is None:
        kept_shop.publish(shop.runtime, kept_shop.PUBLISHED)
    ticks = itertools.count(step=7)
    slow = SimpleNamespace(perf_counter=lambda: float(next(ticks)))
    monkeypatch.setattr(sys.modules["orchestrai.restore.drill"], "time", slow)
    result = shop.run("shop_readings_drill")
    assert result.success
    assert evaluations(result, "shop/readings/drill") == {
        "proof": (True, "ERROR"),
        "rto": (False, "ERROR"),
        "rpo": (True, "ERROR"),
    }


def test_model_versions_and_their_managed_resources_are_kept_in_the_run_that_makes_them(shop: Shop) -> None:
    for job in ("shop_train", "shop_refresh"):
        keys = {ledger_name(key) for key in shop.definitions.resolve_job_def(job).asset_layer.selected_asset_keys}
        assert {f"{MODEL}/model_backup", "shop/carts/recovery_point"} <= keys, job


def test_a_broken_backup_is_a_red_run_that_names_what_is_wrong(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_URL", str(shop.folder / "absent.sqlite"))
    result = shop.run("shop_backup", "shop/crm/dump")
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "expected a SQLite database at" in str(failure.event_specific_data)


def test_retention_has_a_schedule_of_its_own_and_waits_for_a_first_snapshot(shop: Shop) -> None:
    assert "nothing of shop/alarm/model_backup was published yet" in shop.ask("shop_alarm_retention")
    assert shop.ask("orchestrai_vault_prune") == ["orchestrai/vault/prune"]
    schedules = {schedule.name: schedule for schedule in shop.definitions.get_repository_def().schedule_defs}
    own = {name: schedule.cron_schedule for name, schedule in schedules.items() if schedule.job_name.endswith("_retention")}
    assert own == {
        "shop_levels_retention": "0 8 * * 0",
        "shop_alarm_retention": "0 8 * * 0",
        "shop_crm_retention": "0 8 * * 0",
        "orchestrai_instance_retention": "0 8 * * 0",
        "orchestrai_definitions_retention": "0 8 * * 0",
        "orchestrai_vault_prune": "0 9 * * 1,3",
    }
    # nothing is forgotten before a person turns it on
    assert {schedules[name].default_status for name in own} == {dg.DefaultScheduleStatus.STOPPED}


def test_a_declared_cron_moves_retention_and_false_leaves_it_to_a_person(tmp_path: Path) -> None:
    def named(retention: str) -> dict[str, str]:
        crm = f"\ndatabases:\n  - {{name: crm, dsn_env: CRM_URL, keep: {{last: 2}}, retention: {retention}}}\n"
        definitions = build_definitions(kept_shop.fresh(tmp_path / "home", tmp_path / "declared", crm))
        found = definitions.get_repository_def().schedule_defs
        return {str(s.name): str(s.cron_schedule) for s in found if s.name == "shop_crm_retention"}

    assert named('"15 7 1 * *"') == {"shop_crm_retention": "15 7 1 * *"}
    assert named("false") == {}


def test_retention_shows_each_snapshot_whether_it_stays_and_why(shop: Shop) -> None:
    for _ in range(3):
        assert shop.run("shop_backup", "shop/crm/dump").success
    result = shop.run("shop_retention", "shop/crm/retention")
    assert result.success
    told = shop.instance.get_latest_materialization_event(asset_key("shop/crm/retention"))
    assert told is not None and told.asset_materialization is not None
    metadata = told.asset_materialization.metadata
    table = metadata["decisions"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [column.name for column in table.schema.columns] == ["seq", "snapshot", "committed", "decision", "why"]
    rows = [(row.data["decision"], row.data["why"]) for row in table.records]
    assert rows == [("stays", "newest; last 1"), ("stays", "last 2"), ("forgotten", "retention: last 2")]
    assert (metadata["stay"].value, metadata["policy"].value) == (2, "last 2")
    assert isinstance(metadata["forgotten"], dg.JsonMetadataValue)
    again = shop.run("shop_retention", "shop/crm/retention")
    assert again.success
    assert len(list(shop.runtime.ledger.history("shop/crm/retention"))) == 1
    assert shop.run("orchestrai_retention", "orchestrai/vault/prune").success
    pruned = shop.instance.get_latest_materialization_event(asset_key("orchestrai/vault/prune"))
    assert pruned is not None and pruned.asset_materialization is not None
    assert isinstance(pruned.asset_materialization.metadata["groups"], dg.TableMetadataValue)


def test_nodes_run_the_same_without_dagster(shop: Shop) -> None:
    assert isinstance(shop.runtime, Runtime)
    names = {node.asset for node in shop.runtime.project.nodes.values() if node.pipeline == "orchestrai"}
    assert names == {
        "orchestrai/instance/dump",
        "orchestrai/instance/drill",
        "orchestrai/instance/retention",
        "orchestrai/definitions/snapshot",
        "orchestrai/definitions/drill",
        "orchestrai/definitions/retention",
        "orchestrai/vault/prune",
        "orchestrai/vault/heal",
    }
