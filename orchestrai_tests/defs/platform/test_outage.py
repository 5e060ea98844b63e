"""A store that answers 503 for ten minutes, over real HTTP: no day is lost, nobody has to do anything, and it is told once."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import dagster as dg
import pytest

from orchestrai.defs.instance import PROCESS_TAG, open_instance
from orchestrai.defs.platform.dead_runs import OF_RUN, end_dead_runs
from orchestrai.defs.sensors import instance_conditions
from orchestrai.defs.sensors.arrival_requests import carried_on
from orchestrai.observability.alerts.condition import Condition
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai.storage import retry
from orchestrai.storage.cloud import connection
from orchestrai_tests.defs.deploying import record
from orchestrai_tests.defs.platform.simulated_daemon import JOB, SENSOR, SimulatedDaemon, simulated_daemon
from orchestrai_tests.defs.test_instance import gone_process
from orchestrai_tests.docs.walk import variables_of, walk
from orchestrai_tests.features.shop import FEATURES, FIRST, KEPT, RAW, RESTORED
from orchestrai_tests.observability.hooks import Hook, webhook
from orchestrai_tests.observability.simulated import land, shop_with
from orchestrai_tests.servers.proxy import Fault, FaultProxy, fault_proxy
from orchestrai_tests.servers.s3 import S3Server

TEN = timedelta(minutes=10)


class Place:
    """A shop whose vault lies behind a proxy, its daemon, and the webhook that is told."""

    def __init__(self, daemon: SimulatedDaemon, proxy: FaultProxy, hook: Hook) -> None:
        self.daemon, self.proxy, self.hook = daemon, proxy, hook
        self.shop = daemon.shop
        self.down: tuple[datetime, datetime] | None = None
        self.begins_at: int | None = None
        self.walked: list[str] = []
        proxy.rule = self._rule

    def walks(self, heading: str, patch: pytest.MonkeyPatch) -> None:
        """A person types what the page says, five minutes into the outage."""
        for name, value in variables_of(self.shop.runtime).items():
            patch.setenv(name, value)

        def look() -> None:
            if not self.walked and self.down and self.down[0] + TEN / 2 <= self.shop.now < self.down[1]:
                self.walked += walk(heading)

        self.daemon.each_minute = look

    def goes_down_in_the_run(self, after: int) -> None:
        """The store answers so many requests of the next run, and then none for ten minutes."""

        def begin() -> None:
            self.begins_at = len(self.proxy.seen) + after
            self.daemon.before_run = lambda: None

        self.daemon.before_run = begin

    def _rule(self, method: str, path: str) -> Fault | None:
        if self.begins_at is not None and len(self.proxy.seen) >= self.begins_at:
            self.begins_at, self.down = None, (self.shop.now, self.shop.now + TEN)
        return "unavailable" if self.down and self.down[0] <= self.shop.now < self.down[1] else None

    def morning(self, day: int) -> str:
        """A day's file lands at two in the night after it."""
        self.shop.now = FIRST + timedelta(days=day + 1, hours=2)
        return land(self.shop, day)

    def held(self) -> list[set[str]]:
        """What each stage has."""
        found = [self.shop.runtime.ledger.find(asset) for asset in (RAW, KEPT, RESTORED)]
        return [set(dataset.partitions) if dataset else set() for dataset in found]

    def told(self) -> dict[str, Counter[str]]:
        """How often each kind was told, by change."""
        kinds: dict[str, Counter[str]] = {}
        for kind, change in self.hook.changes:
            kinds.setdefault(kind, Counter())[change] += 1
        return kinds


@pytest.fixture
def place(tmp_path: Path, moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with placed(tmp_path, moto, monkeypatch) as made:
        yield made


@contextmanager
def placed(folder: Path, moto: S3Server, patch: pytest.MonkeyPatch, retries: str = "") -> Iterator[Place]:
    with webhook() as hook, fault_proxy(moto.endpoint) as proxy:
        server = dataclasses.replace(moto, endpoint=proxy.endpoint)
        for name, value in {**server.environment(), "ALERTS": hook.url}.items():
            patch.setenv(name, value)
        # the waits of the adapter itself, which are seconds, are none here
        patch.setattr(connection, "OWN_RETRIES", connection.NO_RETRIES)
        patch.setattr(retry, "RetryingStore", partial(retry.RetryingStore, sleep=lambda seconds: None))
        shop = shop_with(folder / "shop")
        declared = folder / "shop" / "declared" / "pipeline.yaml"
        # events alone: what they are made into is tried by other tests, and each look costs what there is to see
        text = declared.read_text().partition("features:")[0]
        assert "    contract: sales" in text
        declared.write_text(text.replace("    contract: sales", f"{retries}    contract: sales"))
        settings = Settings(
            home=folder / "shop" / "home",
            engine="duckdb",
            vault_url=f"s3://{moto.bucket()}/vault",
            alert_url="env://ALERTS",
        )
        shop.runtime = Runtime(settings, shop.project, clock=lambda: shop.now)
        with simulated_daemon(shop, patch) as daemon:
            yield Place(daemon, proxy, hook)


@pytest.mark.emulator
def test_ten_minutes_without_the_vault_cost_no_day_and_no_person(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    first = place.morning(0)
    place.daemon.minutes(2)
    assert place.held() == [{first}] * 3 and place.hook.told == []
    second = place.morning(1)
    place.goes_down_in_the_run(after=2)
    place.walks("The store is down", monkeypatch)
    place.daemon.minutes(2)
    assert place.walked and "503" in place.walked[0]
    assert place.held() == [{first, second}] * 3
    assert [result.success for result in place.daemon.results] == [True, True], "its own run waited for it"
    # ten minutes of it were waited for, then as long again
    assert place.shop.now - (FIRST + timedelta(days=2, hours=2)) <= timedelta(minutes=20)
    assert place.told() == {"unreadable": Counter(opened=1, resolved=1)}
    # nothing that asks every minute said it again, neither did a tick end badly for it
    assert not place.daemon.failed["alerts"]


SOONER = pytest.mark.thorough("an outage half way through the run")


@pytest.mark.emulator
@pytest.mark.parametrize("after", [0.5, pytest.param(0, marks=SOONER)])
def test_what_outlasts_a_steps_patience_is_carried_on_by_the_sensor(
    after: float, tmp_path: Path, moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with placed(tmp_path, moto, monkeypatch, "    retries: {max: 0}\n") as place:
        first, before = place.morning(0), len(place.proxy.seen)
        place.daemon.minutes(1)
        place.goes_down_in_the_run(after=round(after * (len(place.proxy.seen) - before)))
        second = place.morning(1)
        place.daemon.minutes(16)
        assert place.held() == [{first, second}] * 3
        results = [result.success for result in place.daemon.results]
        assert results[1] is False and results[-1] is True and len(results) < 8, results
        assert place.told()["run_failed"] == Counter(opened=1, resolved=1)
        for kind, changes in place.told().items():
            assert changes == Counter(opened=1, resolved=1), kind


def test_runs_that_an_outage_ended_are_looked_at_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, looks = shop_with(tmp_path / "shop"), list[str]()
    days = [land(shop, number) for number in range(4)]
    shop.now = FIRST + timedelta(days=8)
    shop.runtime = Runtime(Settings(home=shop.runtime.settings.home), shop.project, clock=lambda: shop.now)
    of_landing = instance_conditions.reconcile
    monkeypatch.setattr(instance_conditions, "reconcile", lambda judge: looks.append("look") or of_landing(judge))
    members = tuple(json.dumps(["", day, day, instance_conditions.PASSES]) for day in days)
    told = Condition("run_failed", JOB, "", "", "", cause="503", members=members, source="dagster")
    assert [*instance_conditions.without_done(shop.runtime, [told])] == [told] and looks == ["look"]
    # two steps that it ended are two conditions of one landing
    both = [told, dataclasses.replace(told, cause="504")]
    assert [*instance_conditions.without_done(shop.runtime, both)] == both and looks == ["look"] * 2
    shop.run(RAW, *days[:3])
    shop.restored(days[:3])
    shop.run(FEATURES)
    (left,) = instance_conditions.without_done(shop.runtime, [told])
    assert left.members == members[3:]


def test_a_dataset_whose_name_goes_on_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`late/sales_eu` that is ingested all day must not keep what was left of `late/sales` waiting."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    shop = shop_with(tmp_path / "shop")
    dataset, shop.now = shop.runtime.project.nodes[RAW].subject, FIRST + timedelta(days=1, hours=2)
    shop.run(RAW, land(shop, 0))
    with open_instance(tmp_path / "shop" / "home") as instance:
        for job, left in (("late_sales_eu_ingest", 1), (JOB, 0)):
            instance.add_run(dg.DagsterRun(job, status=dg.DagsterRunStatus.STARTED))
            assert len(carried_on(instance, shop.runtime, dataset, whole=True)) == left


def test_a_worker_that_was_killed_half_way_is_told_once_and_its_work_carried_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERTS", "")
    shop = shop_with(tmp_path / "shop")
    declared = tmp_path / "shop" / "declared" / "pipeline.yaml"
    declared.write_text(declared.read_text().partition("features:")[0])
    with webhook() as hook, simulated_daemon(shop, monkeypatch) as daemon:
        monkeypatch.setenv("ALERTS", hook.url)
        settings = Settings(home=shop.runtime.settings.home, engine="duckdb", alert_url="env://ALERTS")
        shop.runtime = daemon.use(Runtime(settings, shop.project, clock=lambda: shop.now))
        for name, value in variables_of(shop.runtime).items():
            monkeypatch.setenv(name, value)
        shop.now = FIRST + timedelta(days=1, hours=2)
        day = land(shop, 0)
        (request,) = daemon.sensors[SENSOR].tick()
        # its worker publishes the raw events and is gone; Dagster's own retries end likewise
        run = record(daemon.project, JOB, request, dg.DagsterRunStatus.STARTED)
        daemon.instance.add_run_tags(run.run_id, {PROCESS_TAG: gone_process(), OF_RUN: run.run_id})
        shop.run(RAW, day)
        daemon.minutes(3)
        assert [result.success for result in daemon.results] == [], "a run that may still end well is not asked for again"
        assert end_dead_runs(daemon.instance) == [run.run_id]
        daemon.sensors["alerts"].tick()
        walk("A worker is killed")
        daemon.minutes(4)
        assert [result.success for result in daemon.results] == [True]
        assert [set(shop.runtime.ledger.open(asset).partitions) for asset in (RAW, KEPT, RESTORED)] == [{day}] * 3
        assert hook.changes == [("run_failed", "opened"), ("run_failed", "resolved")]
