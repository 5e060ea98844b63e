"""A pipeline whose history grows a day at a time, each step counted: what it asks of its stores, and the processor's time it takes."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from orchestrai.ingest.discovery.watch import ArrivalCursor, Look, look
from orchestrai.pipeline.load import load_project
from orchestrai.pipeline.reports.landing_status import judge_of
from orchestrai.pipeline.reports.stale_assets import stale_assets
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai.storage.local import LocalStore

FIRST = datetime(2016, 1, 1, tzinfo=UTC)
EVERY = timedelta(hours=1)
DATASET, ROLLING, MOMENTS, MODEL = "growth/sales", "growth/rolling", "growth/spent", "growth/buys"
RAW, KEPT, RESTORED = (f"{DATASET}/{stage}" for stage in ("raw_events", "snapshot", "restored"))
# the look of the landing comes before, what is stale behind
STAGES = {
    "raw events": RAW,
    "snapshot": KEPT,
    "restored": RESTORED,
    "features, windows": f"{ROLLING}/features",
    "features, moments": f"{MOMENTS}/features",
    "training set": f"{MODEL}/training_set",
}
KINDS = ("head", "read", "stream", "write", "write_file", "delete")

PIPELINE = """
pipeline: growth
datasets:
  - name: sales
    source: {url: landing/sales/, format: csv, partition_from: filename}
    contract: sales.contract.yaml
    partitions: {grain: day, start: 2016-01-01}
    backup: {every: "0 2 * * *"}
features:
  - name: rolling
    from: [sales]
    entity: customer_id
    event_time: ts
    sql: "SELECT customer_id, ts, COUNT(cents) OVER w AS n, CAST(SUM(cents) OVER w AS BIGINT) AS spent FROM sales
      WINDOW w AS (PARTITION BY customer_id ORDER BY ts RANGE BETWEEN INTERVAL 3 DAYS PRECEDING AND CURRENT ROW)"
  - name: spent
    from: [sales]
    entity: customer_id
    as_of: {every: 7d, warmup: 1d}
    lookback: {time: 14d}
    sql: "SELECT s.customer_id, s.as_of, COUNT(a.ts) AS n, CAST(SUM(a.cents) AS BIGINT) AS cents
      FROM spine AS s JOIN sales AS a ON a.customer_id = s.customer_id GROUP BY s.customer_id, s.as_of"
models:
  - name: buys
    features: [spent]
    entity: customer_id
    label: {horizon: 7d, sql: "SELECT s.customer_id, s.as_of, CASE WHEN COUNT(a.ts) > 3 THEN 1 ELSE 0 END AS label FROM spine AS s
      LEFT JOIN sales AS a ON a.customer_id = s.customer_id GROUP BY s.customer_id, s.as_of"}
    estimator: {xgboost: {max_depth: 2, num_boost_round: 4}}
    split: {by: time, test_share: 0.25, gap: 7d}
    promote_when: {metric: auc, at_least: 0.5}
"""
CONTRACT = """
kind: DataContract
apiVersion: v3.0.2
id: sales
name: sales
version: 1.0.0
status: active
schema:
  - name: sales
    properties:
      - {name: customer_id, logicalType: string, required: true}
      - {name: ts, logicalType: timestamp, required: true}
      - {name: cents, logicalType: integer, required: true}
customProperties:
  - {property: eventTime, value: ts}
"""


def key_of(number: int) -> str:
    """The name of a day."""
    return f"{FIRST + timedelta(days=number):%Y-%m-%d}"


def rows_of(number: int, rows: int) -> str:
    """A day of two customers, or of one for each ten rows; the same for the same day."""
    start, customers = FIRST + timedelta(days=number), max(2, rows // 10)
    step = timedelta(hours=20) / rows
    lines = (
        f"c{(number + row) % customers},{(start + timedelta(hours=1) + row * step).isoformat()},{100 + (number * 7 + row) % 40}"
        for row in range(rows)
    )
    return "customer_id,ts,cents\n" + "\n".join(lines) + "\n"


@dataclass
class Step:
    """What a step asked of all stores, by kind of call, with the names that listings gave as `listed`; and its processor time."""

    calls: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    peak: int = 0

    @property
    def operations(self) -> int:
        """Calls of all kinds."""
        return sum(count for kind, count in self.calls.items() if kind != "listed")


@contextmanager
def counted() -> Iterator[Step]:
    """Counts what is asked of stores on this disk meanwhile."""
    step, before = Step(), {kind: getattr(LocalStore, kind) for kind in (*KINDS, "list")}

    def called(kind: str, store: LocalStore, *given: Any, **more: Any) -> Any:
        step.calls[kind] += 1
        return before[kind](store, *given, **more)

    def listing(store: LocalStore, *given: Any, **more: Any) -> Iterator[Any]:
        step.calls["list"] += 1
        for info in before["list"](store, *given, **more):
            step.calls["listed"] += 1
            yield info

    for kind in KINDS:
        setattr(LocalStore, kind, _bound(partial(called, kind)))
    LocalStore.list = listing  # type: ignore[method-assign]
    begun = time.process_time()
    try:
        yield step
    finally:
        step.seconds = time.process_time() - begun
        for kind, method in before.items():
            setattr(LocalStore, kind, method)


def _bound(called: Callable[..., Any]) -> Callable[..., Any]:
    def method(store: LocalStore, *given: Any, **more: Any) -> Any:
        return called(store, *given, **more)

    return method


@dataclass
class Growing:
    """A home with days in it, each of some rows; every step is of a runtime made anew, as a run's process has it."""

    folder: Path
    rows: int = 2
    days: int = 0
    cursor: ArrivalCursor = field(default_factory=ArrivalCursor)

    def __post_init__(self) -> None:
        (self.folder / "declared").mkdir(parents=True, exist_ok=True)
        (self.folder / "declared" / "pipeline.yaml").write_text(PIPELINE)
        (self.folder / "declared" / "sales.contract.yaml").write_text(CONTRACT)
        self.landing.mkdir(parents=True, exist_ok=True)

    @property
    def landing(self) -> Path:
        """Where the days land."""
        return self.folder / "home" / "landing" / "sales"

    @property
    def now(self) -> datetime:
        """The morning after the last day."""
        return FIRST + timedelta(days=self.days, hours=6)

    @property
    def runtime(self) -> Runtime:
        """Made anew: nothing is remembered."""
        project = load_project([self.folder / "declared"], {})
        now = self.now
        runtime = Runtime(Settings(home=self.folder / "home", engine="duckdb"), project, clock=lambda: now)
        # reading declarations costs the same whatever the history
        assert runtime.project.nodes
        return runtime

    def land(self, count: int = 1) -> list[str]:
        """Some days more in the landing; their names."""
        numbers = range(self.days, self.days + count)
        for number in numbers:
            # landed the morning after it
            path, at = self.landing / f"{key_of(number)}.csv", (FIRST + timedelta(days=number + 1, hours=5)).timestamp()
            path.write_text(rows_of(number, self.rows))
            os.utime(path, (at, at))
        self.days += count
        return [key_of(number) for number in numbers]

    def look(self, *, whole: bool = False, runtime: Runtime | None = None) -> Look:
        """What a sensor sees: by its hints, or as a whole."""
        runtime = runtime or self.runtime
        judge = judge_of(runtime, runtime.project.nodes[RAW].subject)
        seen = look(judge, ArrivalCursor() if whole else self.cursor, timedelta(days=400), limit=5_000)
        self.cursor = seen.cursor
        return seen

    def run(self, asset: str, keys: Sequence[str], runtime: Runtime | None = None) -> Any:
        """One stage over some days."""
        runtime = runtime or self.runtime
        node = runtime.project.nodes[asset]
        report = runtime.run(node, list(keys) if node.grain != "all" else ["all"])
        assert not report.refused, (asset, report.refused)
        return report

    def stale(self, runtime: Runtime | None = None) -> Any:
        """What `orchestrai stale` says."""
        runtime = runtime or self.runtime
        return stale_assets(runtime.context(), runtime.project.nodes)

    def grow(self, count: int = 1, stages: Sequence[str] = (*STAGES,)) -> dict[str, Step]:
        """Some days more, through these stages; what each step took."""
        keys, steps = self.land(count), dict[str, Step]()
        runtime = self.runtime
        with counted() as steps["look"]:
            self.look(runtime=runtime)
        for name in stages:
            runtime = self.runtime
            with counted() as steps[name]:
                self.run(STAGES[name], keys, runtime)
        runtime = self.runtime
        with counted() as steps["stale"]:
            assert not self.stale(runtime).unreadable
        return steps
