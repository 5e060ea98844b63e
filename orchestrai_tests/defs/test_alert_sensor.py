"""The sensor `alerts`: runs, ticks and checks of Dagster, and the ledger, told once and resolved once, whatever the webhook does."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orchestrai.defs.assets import freshness_policy
from orchestrai.defs.build import build_definitions
from orchestrai.defs.sensors.instance_conditions import PASSES, run_conditions
from orchestrai.observability.alerts.alert_desk import AlertDesk
from orchestrai.observability.alerts.alert_settings import tellers_of
from orchestrai.pipeline.load import Project, load_project, pipeline_folders
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai_tests.dagster_names import ledger_name
from orchestrai_tests.observability.hooks import Hook, webhook


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    with webhook() as made:
        monkeypatch.setenv("ALERTS", made.url)
        yield made


class Site:
    """A project without pipelines, with jobs of its own that can be broken, and a clock."""

    def __init__(self, home: Path) -> None:
        self.later = timedelta()
        self.runtime = Runtime(
            Settings(home=home, alert_url="env://ALERTS", environment="test"),
            Project(()),
            clock=lambda: datetime.now(UTC) + self.later,
        )
        self.broken: dict[str, BaseException] = {}
        self.passes = True
        site = self

        @dg.op
        def prepare() -> None:
            if "prepare" in site.broken:
                raise site.broken["prepare"]

        @dg.job
        def nightly() -> None:
            prepare()

        @dg.asset(partitions_def=dg.DailyPartitionsDefinition("2026-10-01"))
        def table(context: dg.AssetExecutionContext) -> None:
            if context.partition_key in site.broken:
                raise site.broken[context.partition_key]

        @dg.asset_check(asset=table, blocking=False)  # type: ignore[arg-type]
        def sound() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(
                passed=site.passes, description="the sum is off", severity=dg.AssetCheckSeverity.ERROR
            )

        self.nightly, self.table, self.sound = nightly, table, sound
        own = build_definitions(self.runtime)
        self.definitions = dg.Definitions.merge(own, dg.Definitions(assets=[table], asset_checks=[sound], jobs=[nightly]))
        self.cursor: str | None = None

    def run(self, instance: dg.DagsterInstance, partition: str = "") -> None:
        if not partition:
            self.nightly.execute_in_process(instance=instance, raise_on_error=False)
            return
        job = self.definitions.resolve_implicit_global_asset_job_def()
        job.execute_in_process(
            instance=instance, partition_key=partition, asset_selection=[self.table.key], raise_on_error=False
        )

    def tick(self, instance: dg.DagsterInstance) -> Any:
        repository = self.definitions.get_repository_def()
        sensor = repository.get_sensor_def("alerts")
        context = dg.build_sensor_context(
            instance=instance,
            cursor=self.cursor,
            repository_def=repository,
            sensor_name="alerts",
            resources={"orchestrai_runtime": self.runtime},
        )
        result = sensor.evaluate_tick(context)
        self.cursor = result.cursor
        return result


@pytest.fixture
def site(tmp_path: Path, hook: Hook) -> Site:
    return Site(tmp_path)


def subjects(hook: Hook) -> list[tuple[str, str, str]]:
    return [(*change, body["orchestrai"]["subject"]) for change, body in zip(hook.changes, hook.told, strict=True)]


def wrapped() -> Exception:
    try:
        try:
            raise KeyError("no such column: price_17")
        except KeyError as exc:
            raise RuntimeError("could not prepare") from exc
    except RuntimeError as exc:
        return exc


def test_three_equal_failures_are_one_alert_that_says_the_first_cause_and_ends_with_a_run_that_ends_well(
    site: Site, hook: Hook
) -> None:
    site.broken["prepare"] = wrapped()
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(3):
            site.run(instance)
            site.tick(instance)
        site.tick(instance)
        assert subjects(hook) == [("run_failed", "opened", "nightly")]
        found = hook.told[0]["orchestrai"]["found"]
        assert found.startswith("prepare: KeyError: 'no such column: price_17'") and "executing op" not in found
        site.broken.clear()
        site.run(instance)
        site.tick(instance)
        site.tick(instance)
    assert subjects(hook) == [("run_failed", "opened", "nightly"), ("run_failed", "resolved", "nightly")]


def test_a_failure_while_the_webhook_is_down_is_told_when_it_is_up(site: Site, hook: Hook) -> None:
    site.broken["prepare"] = ValueError("bad day")
    hook.status = 503
    with dg.DagsterInstance.ephemeral() as instance:
        site.run(instance)
        for _ in range(3):
            site.tick(instance)
        assert hook.told == []
        hook.status, site.later = 200, timedelta(hours=1)
        site.tick(instance)
    assert subjects(hook)[0] == ("run_failed", "opened", "nightly")


def test_days_that_fail_alike_are_one_alert_until_each_of_them_ended_well(site: Site, hook: Hook) -> None:
    days = ["2026-10-02", "2026-10-03"]
    site.broken = {day: ValueError(f"no rows on {day}") for day in days}
    with dg.DagsterInstance.ephemeral() as instance:
        for day in days:
            site.run(instance, day)
            site.tick(instance)
        del site.broken[days[0]]
        site.run(instance, days[0])
        site.run(instance, "2026-10-04")
        site.tick(instance)
        assert [change for _, change, _ in subjects(hook)] == ["opened"], "one of two days is still lacking"
        site.broken.clear()
        site.run(instance, days[1])
        site.tick(instance)
    assert [change for _, change, _ in subjects(hook)] == ["opened", "resolved"]


def test_a_check_that_holds_nothing_back_is_told_and_resolved(site: Site, hook: Hook) -> None:
    site.passes = False
    with dg.DagsterInstance.ephemeral() as instance:
        site_job = site.definitions.resolve_implicit_global_asset_job_def()

        def check() -> None:
            site_job.get_subset(asset_check_selection={site.sound.check_key}, asset_selection=set()).execute_in_process(
                instance=instance
            )

        check()
        site.tick(instance)
        site.tick(instance)
        assert subjects(hook) == [("check_failed", "opened", "table")]
        told = hook.told[0]["orchestrai"]
        assert told["found"] == "the sum is off" and told["severity"] == "error"
        site.passes = True
        check()
        site.tick(instance)
    assert [change for _, change, _ in subjects(hook)] == ["opened", "resolved"]


def test_a_cancelled_run_is_told_and_one_that_dagster_tries_again_is_not(site: Site) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for tags, end in (({}, "canceled"), ({"dagster/will_retry": "true"}, "failed")):
            run = instance.create_run_for_job(site.nightly, tags=tags)
            if end == "canceled":
                instance.report_run_canceled(run)
            else:
                instance.report_run_failed(run)
        (told,) = run_conditions(instance, [], instance.get_run_records())
    assert (told.kind, told.subject, told.severity) == ("run_canceled", "nightly", "warning")
    # it is over as soon as the ledger lacks nothing of its partitions, whoever carried that on
    assert [json.loads(member)[-1] for member in told.members] == [PASSES]


def test_a_sensor_whose_newest_tick_failed_is_told_until_one_ends_well(site: Site, hook: Hook) -> None:
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
    from dagster._core.scheduler.instigation import (
        InstigatorState,
        InstigatorStatus,
        SensorInstigatorData,
        TickData,
        TickStatus,
    )
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
    from dagster_shared.error import SerializableErrorInfo

    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="m"))
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "r"), "orders_landing_sensor")
    with dg.instance_for_test() as instance:
        state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, SensorInstigatorData())
        instance.add_instigator_state(state)
        for second, status in enumerate((TickStatus.FAILURE, TickStatus.FAILURE, TickStatus.SKIPPED)):
            cause = SerializableErrorInfo("StorageError: expected the bucket, found none\n", [], "StorageError")
            error = SerializableErrorInfo("Error occurred", [], "E", cause) if status == TickStatus.FAILURE else None
            moment = datetime.now(UTC).timestamp() - 10 + second
            instance.create_tick(
                TickData(
                    state.instigator_origin_id, state.instigator_name, InstigatorType.SENSOR, status, moment,
                    error=error, selector_id=state.selector_id,
                )
            )  # fmt: skip
            site.tick(instance)
    assert [change for _, change, _ in subjects(hook)] == ["opened", "resolved"]
    assert hook.told[0]["orchestrai"]["found"] == "StorageError: expected the bucket, found none"


def test_what_a_tick_noted_is_not_lost_when_it_dies_before_it_is_over(
    site: Site, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.broken["prepare"] = ValueError("bad day")

    def dies(*_: object) -> None:
        raise RuntimeError("killed")

    with dg.DagsterInstance.ephemeral() as instance:
        site.run(instance)
        with monkeypatch.context() as patch:
            patch.setattr(AlertDesk, "observe", dies)
            with pytest.raises(Exception, match="killed"):
                site.tick(instance)
        site.tick(instance)
        assert subjects(hook) == [("run_failed", "opened", "nightly")]
    assert len(AlertDesk(site.runtime.ledger, tellers_of(site.runtime.settings)).outbox().alerts) == 1


def test_dagster_shows_freshness_where_it_is_declared(tmp_path: Path) -> None:
    project = load_project(pipeline_folders(), {})
    policies = {name: freshness_policy(node) for name, node in project.nodes.items()}
    declared = {name for name, policy in policies.items() if policy is not None}
    promised = [
        dataset.asset("raw_events")
        for pipeline in project.pipelines
        for dataset in pipeline.datasets
        if dataset.pipeline == pipeline.name and dataset.contract.freshness is not None
    ]
    assert promised and declared >= set(promised)
    assert {name.rpartition("/")[2] for name in declared} <= {"raw_events", "features", "predictions"}
    graph = build_definitions(Runtime(Settings(home=tmp_path), project)).get_repository_def().asset_graph
    shown = {ledger_name(key) for key in graph.get_all_asset_keys() if graph.get(key).freshness_policy is not None}
    assert shown == declared
