"""Schedules: the right runs at given times, and the jobs they ask for really run."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from orchestrai.core.time.duration_cron import previous_tick
from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.launch.jobs import refresh_anchor, refreshed, restored_apart
from orchestrai.demo.demo_landing import LandingSummary, write_landing
from orchestrai.demo.items_api import items_api
from orchestrai.pipeline.load import SHIPPED, load_project, pipeline_folders
from orchestrai.pipeline.load import Project as Declared
from orchestrai_tests.defs.conftest import Project
from orchestrai_tests.defs.deploying import deployed, keys_of, launch


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory, landing: tuple[Path, LandingSummary]) -> Iterator[Project]:
    """All shipped pipelines with nothing ingested: enough to ask schedules."""
    with deployed(tmp_path_factory.mktemp("idle"), landing[1], {}) as project:
        yield project


def ask(project: Project, schedule: str, moment: str) -> list[dg.RunRequest] | str:
    """The requests of a tick at a moment, validated as the daemon does, or why there are none."""
    definition = project.definitions.get_schedule_def(schedule)
    context = dg.build_schedule_context(
        instance=project.instance,
        scheduled_execution_time=at(moment),
        repository_def=project.definitions.get_repository_def(),
        resources={"orchestrai_runtime": project.runtime},
    )
    with context:
        told = definition.evaluate_tick(context)
    return list(told.run_requests) if told.run_requests else str(told.skip_message)


@pytest.mark.parametrize(
    ("schedule", "moment", "first", "last"),
    [
        ("churn_orders_daily_ingest", "2026-10-31T00:30", "2026-10-30", "2026-10-30"),
        ("churn_orders_nightly_backup", "2026-10-31T02:00", "2026-10-30", "2026-10-30"),
        ("recommendations_clicks_daily_ingest", "2026-06-01T01:00", "2026-05-31", "2026-05-31"),
        # a daily tick over hours takes the 24 that ended since the tick before, each once
        ("telemetry_readings_daily_ingest", "2026-10-31T01:00", "2026-10-30-01:00", "2026-10-31-00:00"),
        ("telemetry_readings_daily_ingest", "2026-11-01T01:00", "2026-10-31-01:00", "2026-11-01-00:00"),
        ("telemetry_readings_nightly_backup", "2026-10-31T00:15", "2026-10-30-23:00", "2026-10-30-23:00"),
    ],
)
def test_a_tick_asks_for_the_partitions_that_ended_since_the_tick_before(
    idle: Project, schedule: str, moment: str, first: str, last: str
) -> None:
    (request,) = ask(idle, schedule, moment)
    assert isinstance(request, dg.RunRequest)
    assert keys_of(request) == (first, last)


def test_the_first_day_of_the_declared_span_is_the_first_that_is_asked_for(idle: Project) -> None:
    assert "no partition" in ask(idle, "recommendations_clicks_daily_ingest", "2026-05-01T01:00")
    (request,) = ask(idle, "recommendations_clicks_daily_ingest", "2026-05-02T01:00")
    assert isinstance(request, dg.RunRequest)
    assert keys_of(request) == ("2026-05-01", "2026-05-01")


def test_a_dataset_that_is_not_cut_by_time_is_scheduled_as_well(idle: Project) -> None:
    for schedule in ("recommendations_items_daily_ingest", "recommendations_items_nightly_backup"):
        one, two = (ask(idle, schedule, moment)[0] for moment in ("2026-10-31T01:00", "2026-11-01T01:00"))
        assert isinstance(one, dg.RunRequest) and isinstance(two, dg.RunRequest)
        assert one.partition_key is None
        assert one.run_key != two.run_key


def test_the_weekly_refresh_waits_for_a_first_snapshot(idle: Project) -> None:
    assert "has no snapshot yet" in ask(idle, "churn_weekly_refresh", "2026-11-02T04:00")


def test_the_schedules_fire_when_declared(idle: Project) -> None:
    fired = {schedule.name: schedule.cron_schedule for schedule in idle.definitions.get_repository_def().schedule_defs}
    assert fired["churn_orders_daily_ingest"] == "30 0 * * *"
    assert fired["churn_weekly_refresh"] == "0 4 * * 1"
    assert previous_tick("0 4 * * 1", at("2026-11-02T04:00")) == at("2026-10-26T04:00")
    assert previous_tick("15 * * * *", at("2026-11-02T04:15")) == at("2026-11-02T03:15")


MONTHLY = """
pipeline: ledgerly
datasets:
  - name: sales
    source: {url: landing/sales/, format: csv}
    contract: orders.contract.yaml
    partitions: {grain: month, start: 2026-01-01, end: 2026-09-01}
    backup: {every: "0 2 * * *"}
  - name: days
    source: {url: landing/days/, format: csv}
    contract: orders.contract.yaml
    partitions: {grain: day, start: 2026-01-01}
    backup: {every: "0 2 1 * *"}
    ingest_schedule: "0 3 * * 1"
features:
  - {name: customer_rfm, from: [days], entity: customer_id, as_of: {every: 7d, warmup: 1d}, sql: view.sql, lookback: {time: 90d}}
models:
  - name: left
    features: [customer_rfm]
    entity: customer_id
    label: {sql: label.sql, horizon: 60d}
    estimator: {xgboost: {max_depth: 2}}
    split: {by: time, test_share: 0.25, gap: 60d}
    promote_when: {metric: auc, at_least: 0.6}
    retrain: "0 4 * * 1"
"""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, landing: tuple[Path, LandingSummary]) -> Iterator[Project]:
    """A pipeline whose datasets are cut by the month and by the day."""
    folder = mixed_folder(tmp_path_factory.mktemp("mixed"))
    with deployed(tmp_path_factory.mktemp("home"), landing[1], {}, folders=[folder]) as project:
        yield project


def mixed_folder(folder: Path, more: str = "") -> Path:
    (folder / "pipeline.yaml").write_text(MONTHLY + more)
    shutil.copyfile(SHIPPED / "churn" / "orders.contract.yaml", folder / "orders.contract.yaml")
    for source, target in (("customer_rfm.sql", "view.sql"), ("no_order_within_60d.sql", "label.sql")):
        text = (SHIPPED / "churn" / source).read_text()
        (folder / target).write_text(text.replace("JOIN orders AS", "JOIN days AS"))
    return folder


def test_a_nightly_tick_over_months_asks_once_the_month_is_over(mixed: Project) -> None:
    assert "no partition" in ask(mixed, "ledgerly_sales_nightly_backup", "2026-03-30T02:00")
    (request,) = ask(mixed, "ledgerly_sales_nightly_backup", "2026-04-01T02:00")
    assert isinstance(request, dg.RunRequest)
    assert keys_of(request) == ("2026-03-01", "2026-03-01")


def test_nothing_is_asked_for_after_the_declared_end(mixed: Project) -> None:
    assert "no partition" in ask(mixed, "ledgerly_sales_nightly_backup", "2026-11-01T02:00")


def test_a_weekly_or_monthly_tick_over_days_takes_all_of_them(mixed: Project) -> None:
    (week,) = ask(mixed, "ledgerly_days_daily_ingest", "2026-03-09T03:00")
    (month,) = ask(mixed, "ledgerly_days_nightly_backup", "2026-03-01T02:00")
    assert isinstance(week, dg.RunRequest) and isinstance(month, dg.RunRequest)
    assert keys_of(week) == ("2026-03-02", "2026-03-08")
    assert keys_of(month) == ("2026-02-01", "2026-02-28")


def test_what_cannot_be_restored_in_the_refresh_has_a_restore_of_its_own(mixed: Project) -> None:
    (pipeline,) = mixed.runtime.project.pipelines
    anchor = refresh_anchor(pipeline)
    assert anchor is not None
    names = [node.spec.name for node in refreshed(pipeline)], [node.spec.name for node in restored_apart(pipeline)]
    assert names == (["sales"], ["days"])
    schedules = {schedule.name: schedule.job_name for schedule in mixed.definitions.get_repository_def().schedule_defs}
    assert schedules["ledgerly_days_weekly_restore"] == "ledgerly_days_restore"


SECOND_MODEL = """  - name: right
    features: [customer_rfm]
    entity: customer_id
    label: {sql: label.sql, horizon: 60d}
    split: {by: time, test_share: 0.25, gap: 60d}
    retrain: "0 5 * * 2"
  - {name: up, features: [customer_rfm], entity: customer_id, label: {sql: label.sql, horizon: 60d}, retrain: "0 4 * * 1"}
  - {name: down, features: [customer_rfm], entity: customer_id, label: {sql: label.sql, horizon: 60d}}
"""


def test_every_models_retrain_has_its_schedule(tmp_path: Path, landing: tuple[Path, LandingSummary]) -> None:
    with deployed(tmp_path / "home", landing[1], {}, folders=[mixed_folder(tmp_path, SECOND_MODEL)]) as project:
        repository = project.definitions.get_repository_def()
        schedules = {schedule.name: schedule for schedule in repository.schedule_defs}
        fired = {name: schedule.cron_schedule for name, schedule in schedules.items() if "refresh" in name}
        assert fired == {"ledgerly_weekly_refresh": "0 4 * * 1", "ledgerly_right_weekly_refresh": "0 5 * * 2"}
        trained = {name: trained_by(project, schedules[name].job_name) for name in fired}
        assert trained == {"ledgerly_weekly_refresh": {"left", "up", "down"}, "ledgerly_right_weekly_refresh": {"right"}}
        # what the second model reads is cut by the day, so its own refresh restores it
        chosen = repository.get_job("ledgerly_right_refresh").asset_layer.selected_asset_keys
        assert asset_key("ledgerly/days/restored") in chosen
        assert asset_key("ledgerly/sales/restored") not in chosen


def trained_by(project: Project, job: str) -> set[str]:
    chosen = project.definitions.get_repository_def().get_job(job).asset_layer.selected_asset_keys
    return {key.path[-1].removesuffix("_candidate") for key in chosen if key.path[-1].endswith("_candidate")}


def test_each_shipped_dataset_is_restored_by_one_weekly_refresh_at_least() -> None:
    declared: Declared = load_project(pipeline_folders(), {})
    restored = {node.prefix for pipeline in declared.pipelines for node in refreshed(pipeline)}
    assert restored == {node.prefix for pipeline in declared.pipelines for node in pipeline.datasets}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """All shipped pipelines; hours enough for a telemetry model, too few days for one of the shop."""
    home = tmp_path_factory.mktemp("whole")
    sources = {"streams": home / "streams", "database": home / "shop.sqlite"}
    landed = write_landing(home / "landing", days=28, click_days=21, hours=18, **sources)
    with items_api(home / "landing") as url, deployed(home, landed, {"ITEMS_URL": url}) as project:
        yield project


def run_at(project: Project, schedule: str, moment: str) -> dg.ExecuteInProcessResult:
    (request,) = ask(project, schedule, moment)
    assert isinstance(request, dg.RunRequest)
    return launch(project, project.definitions.get_schedule_def(schedule).job_name, request)


@pytest.mark.thorough("each schedule's request is tried alone")
def test_the_night_and_the_week_of_every_pipeline_run(whole: Project) -> None:
    """Ingest what landed, then let the clock strike: nightly backup and weekly refresh, from the vault to predictions."""
    ledger, landed = whole.runtime.ledger, whole.landed
    whole.run("churn_orders_ingest", "2026-10-20", landed.orders[1])
    whole.run("recommendations_purchases_ingest", *landed.orders)
    whole.run("recommendations_clicks_ingest", *landed.clicks)
    whole.run("telemetry_readings_ingest", *landed.readings)
    assert run_at(whole, "recommendations_items_daily_ingest", "2026-10-31T01:00").success

    for dataset in ("churn_orders", "recommendations_purchases", "recommendations_clicks", "recommendations_items"):
        assert run_at(whole, f"{dataset}_nightly_backup", "2026-10-31T02:00").success, dataset
    assert run_at(whole, "telemetry_readings_nightly_backup", "2026-10-31T00:15").success
    shop = ("purchases", "clicks", "items")
    for prefix in ("churn/orders", *(f"recommendations/{name}" for name in shop), "telemetry/readings"):
        assert ledger.find(f"{prefix.split('/')[0]}/catalog") is not None
        assert ledger.open(f"{prefix}/raw_events").version == ledger.open(f"{prefix}/snapshot").version

    # a model that lacks labels, or does not earn promotion, is a closed gate and no fault of the job
    gates = {
        "churn": {"churn__churn_training_set", "churn__orders_restored_complete"},
        "recommendations": {"recommendations__user_item_affinity_features", "recommendations__next_purchase_training_set"},
        "telemetry": {"telemetry__failure_champion"},
    }
    for pipeline, (moment, prefixes) in REFRESHED.items():
        before = {prefix: ledger.open(f"{prefix}/restored").head.seq for prefix in prefixes}
        result = run_at(whole, f"{pipeline}_weekly_refresh", moment)
        ran = {event.step_key for event in result.all_events if event.is_step_start}
        failed = {event.step_key for event in result.all_events if event.is_step_failure}
        assert failed <= gates[pipeline], (pipeline, failed)
        for prefix, seq in before.items():
            assert asset_key(f"{prefix}/restored").to_python_identifier() in ran
            restored = ledger.open(f"{prefix}/restored")
            assert restored.version == ledger.open(f"{prefix}/snapshot").version
            assert restored.head.seq >= seq
        assert asset_key(whole.runtime.project.pipeline(pipeline).views[0].asset).to_python_identifier() in ran
    assert ledger.find("telemetry/failure/evaluation") is not None


REFRESHED = {
    "churn": ("2026-11-02T04:00", ["churn/orders"]),
    "recommendations": (
        "2026-11-02T06:00",
        ["recommendations/purchases", "recommendations/clicks", "recommendations/items"],
    ),
    "telemetry": ("2026-11-02T05:00", ["telemetry/readings"]),
}
