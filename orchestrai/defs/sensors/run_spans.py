"""Spans of partitions as run requests: neighbours share a run."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from orchestrai.defs.sensors.run_history import ARRIVALS, ASKED, ATTEMPT
from orchestrai.ingest.discovery.asking import Asking


def run_request(group: Sequence[str], arrivals: Sequence[str], about: Mapping[str, str] | None = None) -> dg.RunRequest:
    """One run for a contiguous group of partitions, tagged with the number of arrivals or `about`; the same arrivals give the same
    run key.
    """
    digest = hashlib.sha256("\n".join(arrivals).encode()).hexdigest()[:24]
    run_key = f"{group[0]}..{group[-1]}@{digest}"
    tags = dict(about) if about is not None else {"orchestrai/objects": str(len(arrivals))}
    if len(group) == 1:
        return dg.RunRequest(run_key=run_key, partition_key=group[0] if group[0] != "all" else None, tags=tags)
    span = {ASSET_PARTITION_RANGE_START_TAG: group[0], ASSET_PARTITION_RANGE_END_TAG: group[-1]}
    return dg.RunRequest(run_key=run_key, tags={**tags, **span})


def asking_request(group: Sequence[str], asking: Asking, objects: int, now: datetime) -> dg.RunRequest:
    """One run for a contiguous group of partitions, with what a later tick has to know of it in its tags.

    The run key holds attempt and time: it keeps one tick from asking twice, and no later one from asking again.
    """
    digests = "".join(asking.due[key] for key in group)
    key = hashlib.sha256(digests.encode()).hexdigest()[:24]
    request = run_request(
        group,
        [],
        {"orchestrai/objects": str(objects), ARRIVALS: digests, ASKED: now.isoformat(), ATTEMPT: str(asking.attempt)},
    )
    return request._replace(run_key=f"{group[0]}..{group[-1]}@{key}#{asking.attempt}+{now:%Y%m%dT%H%M%S}")
