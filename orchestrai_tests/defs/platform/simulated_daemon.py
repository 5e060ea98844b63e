"""Dagster's daemon and the watcher over one pipeline, minute by minute at a clock that is set: waits cost no time.

Runs are real ones, executed in this process by Dagster. What Dagster waits for between two tries of a step passes on the same clock,
and sensors look meanwhile: they see the run as begun.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
from dagster._core.execution.plan import active

from orchestrai.defs.build import build_definitions
from orchestrai.errors import OrchestraiError
from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.defs.conftest import Project
from orchestrai_tests.defs.deploying import Daemon, launch
from orchestrai_tests.features.shop import Shop

MINUTE = timedelta(minutes=1)
SENSOR, JOB = "late_sales_landing_sensor", "late_sales_ingest"


class SimulatedDaemon:
    """The landing sensor, the sensor `alerts` and the runs of a shop. `failed` are the moments of ticks that failed, by sensor."""

    def __init__(self, shop: Shop, instance: dg.DagsterInstance) -> None:
        self.shop, self.instance = shop, instance
        self.project = Project(shop.runtime, build_definitions(shop.runtime), instance, cast(Any, None))
        self.sensors = {name: Daemon(self.project, name) for name in (SENSOR, "alerts")}
        self.asked: list[dg.RunRequest] = []
        self.failed: dict[str, list[datetime]] = {name: [] for name in self.sensors}
        self.results: list[dg.ExecuteInProcessResult] = []
        self.before_run: Callable[[], None] = lambda: None
        self.each_minute: Callable[[], None] = lambda: None

    def use(self, runtime: Runtime) -> Runtime:
        """Go on with another runtime of the same project."""
        self.project = Project(runtime, build_definitions(runtime), self.instance, cast(Any, None))
        self.sensors = {name: Daemon(self.project, name) for name in self.sensors}
        return runtime

    def minutes(self, count: int) -> None:
        """Time passes: each minute the sensors look, and what they asked for is run."""
        for _ in range(count):
            self._minute()
            while self.asked:
                self.before_run()
                self.results.append(launch(self.project, JOB, self.asked.pop(0)))

    def wait(self, seconds: float) -> None:
        """What Dagster does between two tries."""
        for _ in range(max(1, round(seconds / 60))):
            self._minute()

    def _minute(self) -> None:
        self.shop.now += MINUTE
        self.each_minute()
        for name, daemon in self.sensors.items():
            try:
                self.asked += daemon.tick()
            except OrchestraiError:
                self.failed[name].append(self.shop.now)


@contextmanager
def simulated_daemon(shop: Shop, patch: pytest.MonkeyPatch) -> Iterator[SimulatedDaemon]:
    """A daemon whose instance lives in memory."""
    with dg.DagsterInstance.ephemeral() as instance:
        daemon = SimulatedDaemon(shop, instance)
        patch.setattr(active, "time", SimpleNamespace(time=lambda: shop.now.timestamp(), sleep=daemon.wait))
        yield daemon
