"""Dagster says of a day that changed late what the ledger says: stale in the UI, told by the check, asked for by the condition."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleCauseCategory, StaleStatus
from dagster._core.loader import LoadingContextForTest

from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.build import build_definitions
from orchestrai.defs.current import CURRENT, SENSOR
from orchestrai.defs.input_events import partitions_back
from orchestrai.defs.launch.backfill import SILENT_CONSOLE
from orchestrai.pipeline.load import load_project
from orchestrai_tests.defs.conftest import RANGE_END, RANGE_START
from orchestrai_tests.features.shop import FIRST, KEPT, RAW, RESTORED, Shop, sales_of

ROLLING = "late/rolling/features"
VIEW = """
  - name: rolling
    from: [sales]
    entity: customer_id
    event_time: ts
    recompute: list
    sql: "SELECT customer_id, ts, COUNT(cents) OVER w AS n FROM sales
      WINDOW w AS (PARTITION BY customer_id ORDER BY ts RANGE BETWEEN INTERVAL 3 DAYS PRECEDING AND CURRENT ROW)"
"""


class Instance:
    """The shop's definitions over an instance."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.shop, self.instance = Shop(folder), instance
        self.path = self.shop.folder / "declared" / "pipeline.yaml"
        self.declare(self.path.read_text().split("features:\n")[0] + "features:" + VIEW)

    def declare(self, text: str) -> None:
        self.path.write_text(text)
        self.shop.runtime._project = load_project([self.path.parent], {})
        self.shop.runtime.__dict__.pop("project", None)
        self.definitions = build_definitions(self.shop.runtime)

    def day(self, number: int, cents: int = 100) -> None:
        day = FIRST + timedelta(days=number)
        (self.shop.landing / f"{day:%Y-%m-%d}.csv").write_text(sales_of(day, cents))
        self.shop.now = max(self.shop.now, day + timedelta(days=1, hours=6))

    def run(self, first: str, last: str, only: str = "") -> dg.ExecuteInProcessResult:
        tags = {RANGE_START: first, RANGE_END: last}
        selection = [asset_key(only)] if only else None
        return self.definitions.resolve_job_def("late_sales_ingest").execute_in_process(
            run_config=SILENT_CONSOLE, instance=self.instance, tags=tags, raise_on_error=False, asset_selection=selection
        )

    def told(self, asset: str, *days: str) -> dict[str, tuple[StaleStatus, set[StaleCauseCategory]]]:
        resolver = CachingStaleStatusResolver(
            self.instance, self.definitions.get_repository_def().asset_graph, LoadingContextForTest(self.instance)
        )
        key = asset_key(asset)
        return {
            day: (resolver.get_status(key, day), {cause.category for cause in resolver.get_stale_causes(key, day)})
            for day in days
        }

    def requested(self) -> list[str]:
        result = dg.evaluate_automation_conditions(self.definitions, self.instance, asset_selection=dg.AssetSelection.all())
        key = asset_key(ROLLING)
        return sorted(result.get_requested_partitions(key))

    def started(self) -> list[str]:
        """The partitions that the sensor starts, as the daemon asks it."""
        repository = self.definitions.get_repository_def()
        context = dg.build_sensor_context(instance=self.instance, repository_def=repository, sensor_name=SENSOR)
        requests = repository.get_sensor_def(SENSOR).evaluate_tick(context).run_requests or ()
        subsets = [request.asset_graph_subset for request in requests if request.asset_graph_subset is not None]
        return sorted(str(one.partition_key) for subset in subsets for one in subset.iterate_asset_partitions())

    def check(self, result: dg.ExecuteInProcessResult) -> Any:
        (found,) = [e for e in result.get_asset_check_evaluations() if e.check_name == CURRENT]
        return found


def test_a_day_that_changed_late_is_stale_in_dagster_and_asked_for_until_it_is_computed(tmp_path: Path) -> None:
    days = [f"{FIRST + timedelta(days=number):%Y-%m-%d}" for number in range(6)]
    fresh: tuple[StaleStatus, set[Any]] = (StaleStatus.FRESH, set())
    with dg.DagsterInstance.ephemeral() as instance:
        made = Instance(tmp_path / "shop", instance)
        for number in range(6):
            made.day(number)
        first = made.run(days[0], days[5])
        assert first.success and made.check(first).passed
        for asset in ("late/sales/restored", ROLLING):
            assert made.told(asset, *days) == dict.fromkeys(days, fresh)
        assert made.requested() == []
        made.day(1, cents=7)
        changed = made.run(days[1], days[1])
        assert changed.success
        check = made.check(changed)
        assert not check.passed and check.severity == dg.AssetCheckSeverity.WARN and check.metadata["stale"].value == 3
        stale = (StaleStatus.STALE, {StaleCauseCategory.DATA})
        assert made.told(ROLLING, *days) == {
            days[0]: fresh, days[1]: fresh, days[2]: stale, days[3]: stale, days[4]: stale, days[5]: fresh,
        }  # fmt: skip
        assert made.requested() == days[2:5]
        assert made.started() == days[2:5]
        assert made.run(days[2], days[4], ROLLING).success
        assert made.told(ROLLING, *days) == dict.fromkeys(days, fresh) and made.requested() == []
        made.day(6)
        for asset in (RAW, KEPT, RESTORED):
            made.shop.run(asset, "2026-10-07")
        # restored and without features: missing
        assert made.requested() == ["2026-10-07"]
        assert made.run("2026-10-07", "2026-10-07", ROLLING).success and made.requested() == []
        # another definition is other code, and no reason to compute all history by night
        made.declare(made.path.read_text().replace("COUNT(cents)", "COUNT(ts)"))
        assert set(made.told(ROLLING, *days)[days[0]][1]) == {StaleCauseCategory.CODE} and made.requested() == []


def test_a_look_back_reaches_as_many_partitions_as_its_length_may_touch() -> None:
    assert partitions_back(timedelta(days=28), "day") == 28 and partitions_back(timedelta(minutes=10), "hour") == 1
    assert partitions_back(None, "day") == 0 and partitions_back(timedelta(days=3), "year") == 0
