"""Runs are asked for as the queue has room, of the size that was declared or measured, with the tags that a platform counts them by."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG, PARTITION_NAME_TAG

from orchestrai.defs.build import build_definitions
from orchestrai.defs.instance import open_instance
from orchestrai.defs.launch.run_tags import machine_tags, store_of
from orchestrai.errors import ConfigError
from orchestrai.ledger.costs.usage import Usage
from orchestrai.pipeline.costs.run_spec import ResourcesSpec
from orchestrai.pipeline.instance.instance_options import InstanceOptions
from orchestrai.pipeline.instance.settings_file import settings_text
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai_tests.features.shop import FIRST, Shop, sales_of
from orchestrai_tests.pipeline.costs.cost_records import rewritten

SENSOR, JOB = "late_sales_landing_sensor", "late_sales_ingest"


def shop_with(folder: Path, dataset: str) -> Shop:
    """A shop whose dataset says more."""
    shop = Shop(folder)
    file = folder / "declared" / "pipeline.yaml"
    file.write_text(file.read_text().replace("    contract: sales", f"    {dataset}\n    contract: sales"))
    shop.runtime = Runtime(shop.runtime.settings, shop.project, clock=lambda: shop.now)
    return shop


def landed(shop: Shop, days: list[int]) -> None:
    for number in days:
        day = FIRST + timedelta(days=number)
        (shop.landing / f"{day:%Y-%m-%d}.csv").write_text(sales_of(day))
    shop.now = FIRST + timedelta(days=max(days) + 2)


def tick(shop: Shop, instance: dg.DagsterInstance, cursor: str | None = None) -> Any:
    definitions = build_definitions(shop.runtime)
    sensor = definitions.get_sensor_def(SENSOR)
    context = dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={"orchestrai_runtime": shop.runtime}, definitions=definitions
    )
    return sensor(context)


def spans(result: Any) -> list[tuple[str, str]]:
    return [
        (request.partition_key, request.partition_key)
        if request.partition_key
        else (request.tags[ASSET_PARTITION_RANGE_START_TAG], request.tags[ASSET_PARTITION_RANGE_END_TAG])
        for request in result.run_requests
    ]


def begun(shop: Shop, instance: dg.DagsterInstance, result: Any) -> None:
    """What the daemon does with requests, up to the beginning of their runs."""
    job = build_definitions(shop.runtime).resolve_job_def(JOB)
    for request in result.run_requests:
        tags = dict(request.tags)
        if request.partition_key:
            tags[PARTITION_NAME_TAG] = request.partition_key
        instance.create_run_for_job(job, tags=tags, status=DagsterRunStatus.STARTED)


def test_a_backlog_becomes_as_many_runs_as_the_queue_has_room_for_and_the_rest_comes_later(tmp_path: Path) -> None:
    shop = shop_with(tmp_path / "shop", "runs: {most: 2, waiting: 3}")
    landed(shop, [0, 1, 2, 3, 4, 6, 8])
    with dg.DagsterInstance.ephemeral() as instance:
        first = tick(shop, instance)
        assert spans(first) == [("2026-10-01", "2026-10-02"), ("2026-10-03", "2026-10-04"), ("2026-10-05", "2026-10-05")]
        begun(shop, instance, first)
        again = tick(shop, instance, first.cursor)
        assert spans(again) == [], "no room"
        (run, *_) = instance.get_runs(limit=1)
        instance.report_run_canceled(run)
        shop.now += timedelta(hours=2)
        third = tick(shop, instance, again.cursor)
        assert len(spans(third)) == 1, "one has ended, so one is asked for"


def test_the_size_of_a_run_follows_from_what_a_partition_took(tmp_path: Path) -> None:
    shop = shop_with(tmp_path / "shop", "runs: {seconds: 10s, most: 50}")
    shop.restored(shop.days(0, 2))
    rewritten(shop.runtime, lambda one: replace(one, usage=Usage(wall_seconds=1.0 * one.partitions)))
    landed(shop, list(range(2, 12)))
    with dg.DagsterInstance.ephemeral() as instance:
        found = spans(tick(shop, instance))
    # a second a partition in each of three stages
    assert found[0] == ("2026-10-03", "2026-10-05") and len(found) == 4


def test_without_a_declaration_neighbours_share_one_run_as_before(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop")
    landed(shop, list(range(12)))
    with dg.DagsterInstance.ephemeral() as instance:
        assert spans(tick(shop, instance)) == [("2026-10-01", "2026-10-12")]


def test_jobs_say_of_which_dataset_and_store_they_are_and_what_machine_they_need(tmp_path: Path) -> None:
    shop = shop_with(tmp_path / "shop", "resources: {cpu: 1.5, memory_gb: 4}")
    tags = build_definitions(shop.runtime).resolve_job_def(JOB).tags
    assert tags["orchestrai/dataset"] == "late/sales" and tags["orchestrai/store"] == "home"
    resources = {"requests": {"cpu": "1500m", "memory": "4096Mi"}, "limits": {"memory": "4096Mi"}}
    config = yaml.safe_load(tags["dagster-k8s/config"])
    assert config == {"container_config": {"resources": resources}}
    plain = build_definitions(Shop(tmp_path / "plain").runtime).resolve_job_def(JOB).tags
    assert "dagster-k8s/config" not in plain
    assert machine_tags([None, ResourcesSpec(cpu=1), ResourcesSpec(cpu=4, memory_gb=2)]) == {
        "dagster-k8s/config": {
            "container_config": {
                "resources": {"requests": {"cpu": "4000m", "memory": "2048Mi"}, "limits": {"memory": "2048Mi"}}
            }
        }
    }


@pytest.mark.parametrize(
    ("url", "store"),
    [
        ("landing/sales/", "home"),
        ("s3://bucket/prefix/sales", "s3://bucket"),
        ("kafka://broker:9092/topic", "kafka://broker:9092"),
        ("postgresql://reader@db.internal:5432/shop", "postgresql://db.internal:5432"),
    ],
)
def test_a_store_is_named_by_its_server_alone(tmp_path: Path, url: str, store: str) -> None:
    dataset = Shop(tmp_path / "shop").runtime.project.dataset("late/sales")
    source = dataset.spec.source.model_copy(update={"url": url})
    assert store_of(replace(dataset, spec=dataset.spec.model_copy(update={"source": source}))) == store


def test_the_queue_of_a_real_instance_keeps_to_the_limits_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with open_instance(tmp_path / "home", InstanceOptions(max_runs=6, store_runs=3)) as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None and queue.max_concurrent_runs == 6
        limits = {one["key"]: one["limit"] for one in queue.tag_concurrency_limits}
        assert limits == {"orchestrai/dataset": 2, "orchestrai/store": 3}
        assert all(one["value"] == {"applyLimitPerUniqueValue": True} for one in queue.tag_concurrency_limits)
    plain = yaml.safe_load(settings_text("base"))["concurrency"]["runs"]
    assert plain["max_concurrent_runs"] == 2 and [one["key"] for one in plain["tag_concurrency_limits"]] == [
        "orchestrai/dataset"
    ]


def test_wrong_numbers_are_told() -> None:
    with pytest.raises(ConfigError, match="ORCHESTRAI_MAX_RUNS"):
        Settings(max_runs=0)
    with pytest.raises(ConfigError, match="ORCHESTRAI_KEEP_RUNS"):
        Settings(keep_runs=-1)
