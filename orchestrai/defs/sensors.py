"""Landing sensors: new objects become runs of exactly the partitions they belong to, once."""

import hashlib
from collections.abc import Sequence

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from orchestrai.contracts.calendar import Grain, keys_between
from orchestrai.defs.assets import partitions_of
from orchestrai.defs.jobs import job_name, own_datasets
from orchestrai.ingest import discover
from orchestrai.pipeline import DatasetNode, Pipeline, Runtime

MAX_OBJECTS_PER_TICK = 5_000


def build_sensors(pipelines: Sequence[Pipeline]) -> list[dg.SensorDefinition]:
    """A sensor for each dataset that asks for one and lands as objects."""
    return [
        landing_sensor(dataset)
        for pipeline in pipelines
        for dataset in own_datasets(pipeline)
        if dataset.spec.sensor and dataset.spec.source.format != "http"
    ]


def landing_sensor(dataset: DatasetNode) -> dg.SensorDefinition:
    """Watches one landing; an outage fails the tick, it never looks like "nothing new"."""

    @dg.sensor(
        name=job_name(dataset.prefix, "landing_sensor"),
        job_name=job_name(dataset.prefix, "ingest"),
        minimum_interval_seconds=30,
        description=f"Requests runs for new or changed objects under {dataset.spec.source.url}.",
    )
    def watch(context: dg.SensorEvaluationContext, runtime: dg.ResourceParam[Runtime]) -> dg.SensorResult:
        found = discover(
            runtime.landing(dataset),
            dataset.spec.source,
            dataset.spec.partitions.grain,
            context.cursor,
            now=runtime.clock(),
            limit=MAX_OBJECTS_PER_TICK,
        )
        known = partitions_of(dataset)
        requests = []
        wanted = sorted(key for key in found.partitions if known is None or known.has_partition_key(key))
        for group in contiguous(wanted, dataset.spec.partitions.grain):
            arrivals = sorted(f"{info.key}@{info.version or info.etag}" for key in group for info in found.partitions[key])
            requests.append(run_request(group, arrivals))
        outside = sorted(set(found.partitions) - set(wanted))
        if outside:
            context.log.warning(f"{len(outside)} partition(s) lie outside the declared span, for example {outside[0]}")
        return dg.SensorResult(run_requests=requests, cursor=found.cursor)

    return watch


def run_request(group: Sequence[str], arrivals: Sequence[str]) -> dg.RunRequest:
    """One run for a contiguous group of partitions; the same arrivals give the same run key."""
    digest = hashlib.sha256("\n".join(arrivals).encode()).hexdigest()[:24]
    run_key = f"{group[0]}..{group[-1]}@{digest}"
    tags = {"orchestrai/objects": str(len(arrivals))}
    if len(group) == 1:
        return dg.RunRequest(run_key=run_key, partition_key=group[0] if group[0] != "all" else None, tags=tags)
    span = {ASSET_PARTITION_RANGE_START_TAG: group[0], ASSET_PARTITION_RANGE_END_TAG: group[-1]}
    return dg.RunRequest(run_key=run_key, tags={**tags, **span})


def contiguous(keys: Sequence[str], grain: Grain) -> list[list[str]]:
    """Group sorted partition keys into runs without a gap."""
    groups: list[list[str]] = []
    for key in keys:
        if groups and grain != "all" and keys_between(groups[-1][-1], key, grain)[1:] == [key]:
            groups[-1].append(key)
        else:
            groups.append([key])
    return groups
