"""The check `accounted` fails while a gate is closed; the gate's own alert tells of it, and nobody is told twice."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.checks.landing_checks import ACCOUNTED, accounted_evaluation, without_twice
from orchestrai.ingest.discovery.reconciliation import reconcile
from orchestrai.observability.alerts.condition import Condition, Sight
from orchestrai.pipeline.reports.landing_status import judge_of
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai_tests.defs.platform.simulated_daemon import SimulatedDaemon, simulated_daemon
from orchestrai_tests.features.shop import FIRST, RAW
from orchestrai_tests.observability.hooks import Hook, webhook
from orchestrai_tests.observability.simulated import SALES, keep, land, shop_with

BAD = "customer_id,ts,cents\nc1,2026-10-20T00:00:00+00:00,5\n"
LANDING = asset_key(f"{SALES}/landing").to_user_string()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    with webhook() as made:
        monkeypatch.setenv("ALERTS", made.url)
        yield made


@pytest.fixture
def daemon(tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedDaemon]:
    shop = shop_with(tmp_path / "shop")
    declared = tmp_path / "shop" / "declared" / "pipeline.yaml"
    declared.write_text(declared.read_text().partition("features:")[0])
    settings = Settings(home=shop.runtime.settings.home, engine="duckdb", alert_url="env://ALERTS")
    shop.runtime = Runtime(settings, shop.project, clock=lambda: shop.now)
    with simulated_daemon(shop, monkeypatch) as made:
        yield made


def look_whole(daemon: SimulatedDaemon) -> bool:
    """A whole look at the landing tells Dagster, as the landing sensor does each hour; whether the check passed."""
    runtime = daemon.shop.runtime
    dataset = runtime.project.nodes[RAW].subject
    told = accounted_evaluation(dataset, reconcile(judge_of(runtime, dataset)))
    daemon.instance.report_runless_asset_event(told)
    return bool(told.passed)


def test_a_closed_gate_is_one_alert_from_its_closing_to_the_day_that_comes_again(
    daemon: SimulatedDaemon, hook: Hook
) -> None:
    shop = daemon.shop
    shop.now = FIRST + timedelta(days=1, hours=2)
    bad = land(shop, 0, BAD)
    shop.runtime.run(shop.runtime.project.nodes[RAW], [bad])
    assert not look_whole(daemon)
    daemon.sensors["alerts"].tick()
    assert hook.changes == [("gate_closed", "opened")]
    # it comes as it should be; the next whole look, and with it the next evaluation, is up to an hour away
    shop.now += timedelta(minutes=10)
    keep(shop, land(shop, 0))
    daemon.sensors["alerts"].tick()
    daemon.sensors["alerts"].tick()
    assert hook.changes == [("gate_closed", "opened"), ("gate_closed", "resolved")]
    assert look_whole(daemon)


def test_what_no_gate_tells_of_is_told_and_what_cannot_be_looked_at_is_left_as_it_is(daemon: SimulatedDaemon) -> None:
    shop, failed = daemon.shop, Condition("check_failed", LANDING, "", "", "", cause=ACCOUNTED, source="dagster")
    shop.now = FIRST + timedelta(days=1, hours=2)
    shop.runtime.run(shop.runtime.project.nodes[RAW], [land(shop, 0, BAD)])
    # held up, and no condition of a gate among what was seen
    seen = Sight(shop.now, frozenset({"ledger", "dagster"}), frozenset({failed}))
    assert without_twice(shop.runtime, seen) == seen
    unseen = Sight(shop.now, seen.sources, seen.conditions, frozenset({RAW}))
    left = without_twice(shop.runtime, unseen)
    assert left.conditions == frozenset() and not left.covers(failed)
