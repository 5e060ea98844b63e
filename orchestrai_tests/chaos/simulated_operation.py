"""An operation in one process at a clock that is set: real sensors, ledger, vault, gates, watcher and outbox over stores that fail.

Dagster's records are kept as its daemon keeps them; what a run worker does is done here, stage by stage, so that it may die anywhere.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent
from dagster._core.execution.plan.objects import StepFailureData, UserFailureData
from dagster._core.storage.tags import PARTITION_NAME_TAG, RUN_KEY_TAG
from dagster_shared.error import SerializableErrorInfo

from orchestrai.core import identity
from orchestrai.core.time.calendar import keys_between
from orchestrai.defs.build import build_definitions
from orchestrai.defs.launch.jobs import job_name
from orchestrai.errors import OrchestraiError, TransientStorageError
from orchestrai.ingest.sources import landing as landing_module
from orchestrai.ledger import ledger as ledger_module
from orchestrai.observability.alerts.receivers import web_receivers
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai.stage.names import VERBATIM
from orchestrai.storage.retry import RetryingStore
from orchestrai.vault import protection
from orchestrai_tests.chaos.shop_by_hour import DATASETS, DAY, PREFIX, declare
from orchestrai_tests.chaos.simulated_stores import Fate, SimulatedStore
from orchestrai_tests.defs.conftest import Project
from orchestrai_tests.defs.deploying import Daemon, keys_of
from orchestrai_tests.storage.faults import Died

BEGIN = datetime.fromisoformat(f"{DAY}T00:00:00+00:00").astimezone(UTC)
STEP = timedelta(minutes=10)
# a dead worker is found by the reaper, or by Dagster, some minutes after it died
FOUND_DEAD = timedelta(minutes=20)
STORES = ("lake", "vault", *DATASETS)


@dataclass
class Run:
    """A run that was asked for: what it is of, how far it came, and when it goes on."""

    record: dg.DagsterRun
    dataset: str
    partitions: list[str]
    ready: datetime
    stage: int = 0
    tries: int = 0
    dead: bool = False


@dataclass
class Operation:
    """What is operated, minute by minute. `told` is what the receiver took, in order; `faults` is set by who makes them."""

    folder: Path
    seed: int
    now: datetime = BEGIN
    skew: timedelta = timedelta()
    skewed_until: datetime = BEGIN
    receiver_down_until: datetime = BEGIN
    dies_after_sending: bool = False
    drops_requests: bool = False
    keeps_cursor: bool = True
    armed: Fate = field(default_factory=Fate)
    runs: list[Run] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    unforeseen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fate = Fate()
        chance = random.Random(self.seed)
        self.stores = {
            name: SimulatedStore(lambda: self.now, f"{name}-{self.folder.name}", fate=self.fate, chance=chance)
            for name in STORES
        }
        declared = declare(self.folder / "declared", {name: f"landing/{name}" for name in DATASETS})
        pipeline = declared / "pipeline.yaml"
        text = pipeline.read_text().replace("ask_again: 2s, reconcile_every: 10s", "reconcile_every: 30m")
        pipeline.write_text(text.replace("rpo: 3000d", "rpo: 3h").replace("delay: 2s", "delay: 5m"))
        for name in DATASETS:
            with (declared / f"{name}.contract.yaml").open("a") as contract:
                contract.write("slaProperties:\n  - {property: latency, value: 4, unit: h}\n")
        self.declared = load_project([declared], {})
        self.project = Project(self.fresh_runtime(), cast(Any, None), dg.DagsterInstance.ephemeral(), cast(Any, None))
        self.project.definitions = build_definitions(self.project.runtime)
        self.sensors = {name: Daemon(self.project, f"{PREFIX}_{name}_landing_sensor") for name in DATASETS}
        self.alerts = Daemon(self.project, "alerts")

    # -- processes -----------------------------------------------------------------------------------------------

    def fresh_runtime(self) -> Runtime:
        """What a process that has just begun knows: nothing."""
        settings = Settings(home=self.folder / "home", engine="duckdb", alert_url="env://ALERTS")
        return Runtime(settings, self.declared, clock=lambda: self.now + self.skew)

    def begin_anew(self) -> None:
        """The process died; another one takes its place."""
        self.fate.at, self.fate.dead = 0, False
        self.project.runtime = self.fresh_runtime()

    def lose_database(self) -> None:
        """Dagster's database is gone with cursors and runs; whatever ran is ended, and `orchestrai sync` is typed."""
        self.runs.clear()
        self.project.instance.dispose()
        self.project.instance = dg.DagsterInstance.ephemeral()
        for daemon in (*self.sensors.values(), self.alerts):
            daemon.cursor = None
            daemon.done.clear()
        self.begin_anew()

    def open(self, url: str, *_: object) -> RetryingStore:
        """The store behind a URL, as every process opens it."""
        base = self.stores[Path(url).name]
        return RetryingStore(base, sleep=lambda seconds: None, clock=lambda: self.now.timestamp())

    def take(self, reference: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """The receiver of alerts."""
        if self.now < self.receiver_down_until:
            raise TransientStorageError(f"expected {reference} to take an alert, found status 503: look at it")
        self.told.append({**body["orchestrai"], "message": headers["Idempotency-Key"]})
        if self.dies_after_sending:
            self.dies_after_sending = False
            self.counted["killed after it sent"] += 1
            raise Died

    # -- a step of time ------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Ten minutes pass: sensors look, runs go on, alerts are told."""
        self.now += STEP
        if self.now >= self.skewed_until:
            self.skew = timedelta()
        for name in DATASETS:
            self._tick(name)
        for run in list(self.runs):
            self._work(run)
        try:
            self.alerts.tick()
        except Died:
            self.begin_anew()
        except OrchestraiError:
            self.counted["looks that failed"] += 1

    def _tick(self, name: str) -> None:
        daemon, keeps, drops = self.sensors[name], self.keeps_cursor, self.drops_requests
        try:
            requests = daemon.tick(keep=keeps)
        except OrchestraiError:
            self.counted["ticks that failed"] += 1
            return
        self.keeps_cursor, self.drops_requests = True, False
        for evaluation in daemon.checks:
            self.project.instance.report_runless_asset_event(evaluation)
        daemon.checks.clear()
        for request in () if drops else requests:
            self.begin(name, request)

    def begin(self, name: str, request: dg.RunRequest) -> None:
        """A run of a request, made and begun."""
        # the keys of a range are tags already
        single = {PARTITION_NAME_TAG: request.partition_key} if request.partition_key else {}
        tags = {**request.tags, **single, RUN_KEY_TAG: str(request.run_key)}
        first, last = keys_of(request)
        self._start(name, tags, keys_between(first, last, "hour"))

    def _start(self, name: str, tags: Mapping[str, str], partitions: list[str]) -> None:
        run = dg.DagsterRun(job_name(f"{PREFIX}/{name}", "ingest"), tags=tags, status=dg.DagsterRunStatus.STARTED)
        # its plan, by which Dagster would note each asset beforehand, is nothing that anybody here reads
        self.runs.append(Run(self.project.instance.add_run(run), name, partitions, self.now))

    def _work(self, run: Run) -> None:
        if self.now < run.ready:
            return
        if run.dead:
            self._end(run, "found dead", "the process that executed this run is gone")
            return
        while run.stage < len(VERBATIM) and run in self.runs and self.now >= run.ready and not run.dead:
            self._perform(run)
        if run.stage == len(VERBATIM) and run in self.runs:
            event = DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.record.job_name)
            self.project.instance.report_dagster_event(event, run.record.run_id)
            self._over(run, "ended well")

    def _perform(self, run: Run) -> None:
        asset = f"{PREFIX}/{run.dataset}/{VERBATIM[run.stage]}"
        runtime = self.project.runtime
        policy = runtime.project.nodes[asset].subject.spec.retries
        self._arm()
        try:
            report = runtime.run(runtime.project.nodes[asset], run.partitions)
        except Died:
            self.counted["killed"] += 1
            run.dead, run.ready = True, self.now + FOUND_DEAD
            self.begin_anew()
            return
        except OrchestraiError as error:
            if error.retryable and run.tries < policy.max:
                run.ready = self.now + timedelta(seconds=policy.wait(run.tries))
                run.tries += 1
                return
            self._fail(run, asset, error)
            return
        finally:
            self.fate.at = 0
        refused = {outcome.partition for outcome in report.refused}
        run.partitions = [key for key in run.partitions if key not in refused]
        run.stage, run.tries = run.stage + 1, 0
        if not run.partitions:
            self._end(run, "refused", "nothing passed its gate", asset, "GateClosed")

    def _arm(self) -> None:
        """Whoever works now may die, if that is what comes next."""
        self.fate.at, self.fate.how, self.fate.where = self.armed.at, self.armed.how, self.armed.where
        self.armed = Fate()

    def _fail(self, run: Run, asset: str, error: OrchestraiError) -> None:
        if not error.retryable:
            self.unforeseen.append(f"{self.now:%H:%M} {asset}@{run.partitions}: {type(error).__name__}: {error.message}")
        self._end(run, "failed", error.message, asset, type(error).__name__)

    def _end(self, run: Run, how: str, reason: str, asset: str = "", error: str = "") -> None:
        instance, job = self.project.instance, run.record.job_name
        if error:
            # Dagster's own types say nothing of how they are made
            told: Any = UserFailureData
            made: Any = StepFailureData
            data = made(
                SerializableErrorInfo(reason, [], error), told(error, reason, {"error": dg.MetadataValue.text(error)})
            )
            event = DagsterEvent(dg.DagsterEventType.STEP_FAILURE.value, job, step_key=asset, event_specific_data=data)
            instance.report_dagster_event(event, run.record.run_id)
        instance.report_run_failed(run.record, reason)
        self._over(run, how)

    def make_twice(self, run: Run) -> None:
        """Another run of what a run is of."""
        self._start(run.dataset, dict(run.record.tags), list(run.partitions))

    def cancel(self, run: Run) -> None:
        """A person ends a run."""
        self.project.instance.report_run_canceled(run.record)
        self._over(run, "cancelled")

    def _over(self, run: Run, how: str) -> None:
        self.runs.remove(run)
        self.counted[f"runs {how}"] += 1


@contextmanager
def simulated_operation(folder: Path, seed: int) -> Iterator[Operation]:
    """An operation whose numbers, threads and ids come from its seed alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALERTS", "http://receiver.invalid/")
        patch.setattr(identity, "os", SimpleNamespace(urandom=random.Random(seed).randbytes))
        # in threads nobody could say which call is the next
        patch.setattr(protection, "COPYING_THREADS", 0)
        operation = Operation(folder, seed)
        for module in (ledger_module, landing_module):
            patch.setattr(module, "open_store", operation.open)
        patch.setattr(ledger_module, "open_within_limits", operation.open)
        patch.setattr(web_receivers, "post", operation.take)
        try:
            yield operation
        finally:
            operation.project.instance.dispose()
