"""The next run's engine, workers and partitions follow from what was measured, within declared bounds, and the reason is said."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrai.errors import TransientStorageError
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.spark_engine import SparkEngine
from orchestrai.features.jobs.cluster_size import WorkerBounds
from orchestrai.ledger.costs.cost_record import COSTS, CostRecord, utc_text
from orchestrai.ledger.costs.run_meter import metering, note_size
from orchestrai.ledger.costs.usage import JobUsage, Usage
from orchestrai.pipeline.costs.measured_rates import (
    EngineRule,
    choose_engine,
    choose_partitions,
    choose_workers,
    newest_runs,
)
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import load_settings
from orchestrai.storage.local import LocalStore
from orchestrai_tests.features.shop import FEATURES, FIRST, Shop

GB = 10**9


def ran(
    engine: str, seconds: float, size: int = GB, job: JobUsage | None = None, day: int = 1, **more: object
) -> CostRecord:
    usage = Usage(seconds, seconds, jobs=(job,) if job else ())
    at = utc_text(datetime(2026, 10, day, 6, tzinfo=UTC))
    body = {"outcome": "published", "partitions": 1, "rows": 1, "engine": engine, "sized": size, **more}
    return CostRecord(f"r{day}{seconds:g}", FEATURES, "features", at, at, usage=usage, **body)  # type: ignore[arg-type]


DUCKDB = [ran("duckdb 2.0.0", 100.0), ran("duckdb 2.0.0", 110.0), ran("duckdb 2.0.0", 900.0)]


def engine(rule: EngineRule, size: int, runs: list[CostRecord]) -> str:
    name, why = choose_engine(rule, size, lambda: runs)
    assert why.startswith(f"{name}: ")
    return name


def test_without_measurements_the_declared_size_decides() -> None:
    rule = EngineRule(threshold=2 * GB, spark=True, step_seconds=60)
    assert engine(rule, GB, []) == "duckdb" and engine(rule, 3 * GB, []) == "spark"
    # one slow outlier is no rate
    assert engine(EngineRule(spark=True, step_seconds=120), GB, DUCKDB) == "duckdb"


def test_spark_is_taken_where_duckdb_would_take_longer_than_wanted_and_spark_does_not() -> None:
    rule = EngineRule(spark=True, step_seconds=600)
    assert engine(rule, 5 * GB, DUCKDB) == "duckdb", "550 s of 600"
    assert engine(rule, 6 * GB, DUCKDB) == "spark", "660 s of 600"
    assert engine(rule, 6 * GB, [*DUCKDB, ran("spark 4.1 on emr", 20.0)]) == "spark"
    assert engine(rule, 6 * GB, [*DUCKDB, ran("spark 4.1 on emr", 400.0)]) == "duckdb", "Spark was slower a GB"


def test_bounds_come_before_measurements() -> None:
    assert engine(EngineRule(threshold=GB, spark=False, step_seconds=1), 9 * GB, DUCKDB) == "spark"
    # nothing is declared: DuckDB, nothing to say, and no record is looked at
    assert choose_engine(EngineRule(), 9 * GB, lambda: pytest.fail("looked at records")) == ("duckdb", "")
    assert choose_engine(EngineRule(step_seconds=1), 9 * GB, lambda: pytest.fail("looked at records")) == ("duckdb", "")


def test_workers_follow_from_worker_seconds_a_byte_within_their_bounds() -> None:
    runs = [ran("spark", 300.0, GB, JobUsage("j", "emr", 300.0, instances=2))]
    assert choose_workers((2, 20), 600, 5 * GB, runs).value == 5
    assert choose_workers((2, 20), 600, GB, runs).value == 2
    most = choose_workers((2, 20), 60, 50 * GB, runs)
    assert most.value == 20 and "2 to 20 are declared" in most.why
    assert choose_workers((3, 20), 600, 5 * GB, []).value == 3
    unsized = [ran("spark", 300.0, 0, JobUsage("j", "emr", 300.0, instances=2))]
    assert choose_workers((3, 20), 600, 5 * GB, unsized).value == 3
    assert "STEP_SECONDS" in choose_workers((3, 20), 0, 5 * GB, runs).why


def test_partitions_a_run_follow_from_seconds_a_partition_of_all_its_stages() -> None:
    stages = [[ran("", 20.0, partitions=10)], [ran("", 10.0, partitions=10)], []]
    assert choose_partitions((1, 400), 900, stages).value == 300
    most = choose_partitions((1, 100), 900, stages)
    assert (
        most.value == 100 and most.why == "100 partitions a run: 3 s each by 1 runs make 300 in 900 s, 1 to 100 are declared"
    )
    assert choose_partitions((5, 100), 1, stages).value == 5
    assert choose_partitions((1, 100), 900, [[], []]).value == 100 and choose_partitions((1, 100), 0, stages).value == 100


def test_the_newest_runs_that_published_count(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    ledger = shop.runtime.ledger
    for record in (*(ran("duckdb", day, day=day) for day in range(1, 10)), ran("duckdb", 99, day=9, outcome="failed")):
        ledger.lake.write(COSTS.key(record.name), COSTS.sign(ledger.signer, record))
    found = newest_runs(ledger, FEATURES, FIRST.replace(day=10), 3)
    assert [record.usage.wall_seconds for record in found] == [9, 8, 7]
    assert newest_runs(ledger, FEATURES, FIRST.replace(month=11), 3) == [], "so old ones say nothing"


def test_damaged_records_stop_no_run_and_no_more_are_read_than_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path / "shop")
    ledger = shop.runtime.ledger
    many = [
        replace(ran("duckdb", number, day=2), finished=f"2026-10-02T{number:02d}:00:00+00:00") for number in range(1, 20)
    ]
    for record in (ran("duckdb", 50, day=1), *many, ran("duckdb", 60, day=3)):
        ledger.lake.write(COSTS.key(record.name), COSTS.sign(ledger.signer, record))
    torn = COSTS.key(ran("duckdb", 60, day=3).name)
    ledger.lake.write(torn, ledger.lake.read(torn)[:100])
    read: list[str] = []
    of_store = LocalStore.read
    monkeypatch.setattr(LocalStore, "read", lambda self, key, **more: read.append(key) or of_store(self, key, **more))
    found = newest_runs(ledger, FEATURES, FIRST.replace(day=3), 3)
    assert [record.usage.wall_seconds for record in found] == [19, 18, 17]
    assert len([key for key in read if key.startswith("costs/")]) == 4, "the torn one and three"
    monkeypatch.setattr(LocalStore, "list", _down)
    assert newest_runs(ledger, FEATURES, FIRST.replace(day=3), 3) == []


def _down(*_: object, **__: object) -> Iterator[object]:
    raise TransientStorageError("expected the store to answer, found 503: wait")


def test_a_run_of_features_is_sized_its_choice_is_recorded_and_told(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    shop.restored(shop.days(0, 10))
    settings = load_settings(home=shop.runtime.settings.home, step_seconds=60, spark_url="local[1]")
    shop.runtime = Runtime(settings, shop.project, clock=lambda: shop.now)
    first = shop.run(FEATURES)
    assert "no run of DuckDB is measured yet" in first.measured["orchestrai/chosen"]
    (record,) = newest_runs(shop.runtime.ledger, FEATURES, shop.now)
    assert record.sized > 0 and record.engine.startswith("duckdb") and record.choices
    with metering(FEATURES) as meter:
        assert isinstance(shop.runtime.engine("auto", record.sized), DuckDbEngine)
        # as much larger as it takes DuckDB to be too slow
        slow = int(record.sized * 100 / record.usage.wall_seconds)
        assert isinstance(shop.runtime.engine("auto", slow), SparkEngine)
        assert isinstance(shop.runtime.engine("duckdb", slow), DuckDbEngine), "what a view declares is a bound"
    assert (
        meter is not None and meter.choices[0].startswith("duckdb: DuckDB takes") and meter.choices[1].startswith("spark: ")
    )


def test_workers_of_a_run_are_chosen_by_its_own_asset(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    settings = load_settings(home=shop.runtime.settings.home, step_seconds=600)
    runtime = Runtime(settings, shop.project, clock=lambda: FIRST.replace(day=3))
    record = ran("spark", 300.0, GB, JobUsage("j", "emr", 300.0, instances=2))
    runtime.ledger.lake.write(COSTS.key(record.name), COSTS.sign(runtime.ledger.signer, record))
    bounds = WorkerBounds(least=2, most=20)
    with metering(FEATURES) as meter:
        note_size(5 * GB)
        assert runtime.workers(bounds) == 5
    assert meter is not None and meter.choices == ["5 workers: 600 worker seconds a GB by 1 jobs make 5 for 5 GB in 600 s"]
    with metering("late/other/features"):
        note_size(5 * GB)
        assert runtime.workers(bounds) == 2
