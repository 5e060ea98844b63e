"""Landing sensors: new objects become runs of exactly the partitions they belong to, once."""

import json
from collections.abc import Mapping, Sequence

import dagster as dg

from orchestrai.defs.launch.jobs import job_name, offered, opens_soon, own_datasets
from orchestrai.defs.sensors.queue_sensors import queue_sensor
from orchestrai.defs.sensors.run_spans import contiguous as contiguous
from orchestrai.defs.sensors.run_spans import run_request
from orchestrai.defs.sensors.stream_sensors import late_sensor, stream_sensor
from orchestrai.ingest.discovery.listing import Discovery, discover
from orchestrai.ingest.sources.landing import require_landing
from orchestrai.pipeline.nodes import DatasetNode, Pipeline
from orchestrai.pipeline.runtime import Runtime

MAX_OBJECTS_PER_TICK = 5_000
# an HTTP API is asked by the schedule alone: there is nothing to watch
SENSORS = {"objects": lambda dataset: landing_sensor(dataset), "stream": stream_sensor, "sql": late_sensor}


def build_sensors(pipelines: Sequence[Pipeline]) -> list[dg.SensorDefinition]:
    """A sensor for each dataset that asks for one."""
    return [
        SENSORS[dataset.spec.source.kind](dataset)
        for pipeline in pipelines
        for dataset in own_datasets(pipeline)
        if dataset.spec.sensor and dataset.spec.source.kind in SENSORS
    ]


def landing_sensor(dataset: DatasetNode) -> dg.SensorDefinition:
    """Watches one landing; an outage fails the tick, it never looks like "nothing new"."""
    if dataset.spec.source.notifications:
        return queue_sensor(dataset, dataset.spec.source.notifications)

    @dg.sensor(
        name=job_name(dataset.prefix, "landing_sensor"),
        job_name=job_name(dataset.prefix, "ingest"),
        minimum_interval_seconds=30,
        description=f"Requests runs for new or changed objects. {dataset.spec.source.described}",
    )
    def watch(context: dg.SensorEvaluationContext, runtime: dg.ResourceParam[Runtime]) -> dg.SensorResult:
        listing, early = decode_cursor(context.cursor)
        grain, now = dataset.spec.partitions.grain, runtime.clock()
        landing = require_landing(runtime.landing(dataset), dataset.spec.source)
        discovery = discover(landing, dataset.spec.source, grain, listing, now=now, limit=MAX_OBJECTS_PER_TICK)
        arrived = merge(early, discovery)
        wanted = sorted(key for key in arrived if offered(dataset, key, now))
        waiting = {key: arrived[key] for key in sorted(set(arrived) - set(wanted)) if opens_soon(dataset, key, now)}
        requests = [
            run_request(group, sorted(arrival for key in group for arrival in arrived[key]))
            for group in contiguous(wanted, grain)
        ]
        _warn(context, sorted(set(arrived) - set(wanted) - set(waiting)), discovery)
        return dg.SensorResult(run_requests=requests, cursor=encode_cursor(discovery.cursor, waiting))

    return watch


def _warn(context: dg.SensorEvaluationContext, outside: Sequence[str], discovery: Discovery) -> None:
    if outside:
        context.log.warning(f"{len(outside)} partition(s) lie outside the declared span, for example {outside[0]}")
    if discovery.unplaced:
        context.log.warning(
            f"{len(discovery.unplaced)} object(s) name no partition, for example {discovery.unplaced[0].key}"
        )


def merge(early: Mapping[str, Sequence[str]], discovery: Discovery) -> dict[str, list[str]]:
    """Arrivals by partition: those that waited for their partition to open, and the new ones."""
    arrived = {key: list(arrivals) for key, arrivals in early.items()}
    for key, infos in discovery.partitions.items():
        arrived.setdefault(key, []).extend(f"{info.key}@{info.version or info.etag}" for info in infos)
    return arrived


def decode_cursor(text: str | None) -> tuple[str | None, dict[str, list[str]]]:
    """The listing's cursor, and the arrivals that wait for their partition; a bare listing cursor is understood too."""
    if not text or '"early"' not in text:
        return text, {}
    document = json.loads(text)
    return document["listing"], document["early"]


def encode_cursor(listing: str, early: Mapping[str, Sequence[str]]) -> str:
    """What the next tick gets; the bare listing cursor where nothing waits."""
    return json.dumps({"early": early, "listing": listing}, separators=(",", ":")) if early else listing
