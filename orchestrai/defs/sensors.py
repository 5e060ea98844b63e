"""Landing sensors: new objects become runs of exactly the partitions they belong to, once."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from orchestrai.contracts.calendar import Grain, keys_between, window
from orchestrai.defs.jobs import job_name, offered, own_datasets
from orchestrai.errors import StorageError
from orchestrai.ingest import Discovery, discover
from orchestrai.pipeline import DatasetNode, Pipeline, Runtime
from orchestrai.storage import Store

MAX_OBJECTS_PER_TICK = 5_000
AHEAD = timedelta(days=1)
# what orchestrai fetches itself: there is no landing to watch, the schedule asks for it
PULLED = ("http", "sql")


def build_sensors(pipelines: Sequence[Pipeline]) -> list[dg.SensorDefinition]:
    """A sensor for each dataset that asks for one and lands as objects."""
    return [
        landing_sensor(dataset)
        for pipeline in pipelines
        for dataset in own_datasets(pipeline)
        if dataset.spec.sensor and dataset.spec.source.format not in PULLED
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
        listing, early = decode_cursor(context.cursor)
        grain, now = dataset.spec.partitions.grain, runtime.clock()
        landing = require_landing(runtime.landing(dataset))
        found = discover(landing, dataset.spec.source, grain, listing, now=now, limit=MAX_OBJECTS_PER_TICK)
        arrived = merge(early, found)
        wanted = sorted(key for key in arrived if offered(dataset, key, now))
        waiting = {key: arrived[key] for key in sorted(set(arrived) - set(wanted)) if opens_soon(dataset, key, now)}
        requests = [
            run_request(group, sorted(arrival for key in group for arrival in arrived[key]))
            for group in contiguous(wanted, grain)
        ]
        _warn(context, sorted(set(arrived) - set(wanted) - set(waiting)), found)
        return dg.SensorResult(run_requests=requests, cursor=encode_cursor(found.cursor, waiting))

    return watch


def _warn(context: dg.SensorEvaluationContext, outside: Sequence[str], found: Discovery) -> None:
    if outside:
        context.log.warning(f"{len(outside)} partition(s) lie outside the declared span, for example {outside[0]}")
    if found.unplaced:
        context.log.warning(f"{len(found.unplaced)} object(s) name no partition, for example {found.unplaced[0].key}")


def require_landing(landing: Store) -> Store:
    """The landing; raises StorageError for a folder that is not there, which a store of files would list as empty."""
    inside = landing.local_path("probe")
    if inside is not None and not inside.parent.is_dir():
        raise StorageError(f"expected the landing folder {inside.parent}, found none: mount or make it, or mend source.url")
    return landing


def merge(early: Mapping[str, Sequence[str]], found: Discovery) -> dict[str, list[str]]:
    """Arrivals by partition: those that waited for their partition to open, and the new ones."""
    arrived = {key: list(arrivals) for key, arrivals in early.items()}
    for key, infos in found.partitions.items():
        arrived.setdefault(key, []).extend(f"{info.key}@{info.version or info.etag}" for info in infos)
    return arrived


def opens_soon(dataset: DatasetNode, partition: str, now: datetime) -> bool:
    """True for a partition within the declared span that Dagster does not offer yet: the running day or month, or the next.

    A day's file may land before midnight; it is remembered until its partition exists.
    """
    begins, ends = window(partition, dataset.spec.partitions.grain)
    return begins <= now + AHEAD and offered(dataset, partition, max(ends, now))


def decode_cursor(text: str | None) -> tuple[str | None, dict[str, list[str]]]:
    """The listing's cursor, and the arrivals that wait for their partition; a bare listing cursor is understood too."""
    if not text or '"early"' not in text:
        return text, {}
    document = json.loads(text)
    return document["listing"], document["early"]


def encode_cursor(listing: str, early: Mapping[str, Sequence[str]]) -> str:
    """What the next tick gets; the bare listing cursor where nothing waits."""
    return json.dumps({"early": early, "listing": listing}, separators=(",", ":")) if early else listing


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
