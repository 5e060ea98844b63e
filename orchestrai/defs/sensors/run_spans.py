"""Spans of partitions as run requests: neighbours share a run."""

import hashlib
from collections.abc import Mapping, Sequence

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from orchestrai.core.calendar import Grain, keys_between


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


def contiguous(keys: Sequence[str], grain: Grain) -> list[list[str]]:
    """Group sorted partition keys into runs without a gap."""
    groups: list[list[str]] = []
    for key in keys:
        if groups and grain != "all" and keys_between(groups[-1][-1], key, grain)[1:] == [key]:
            groups[-1].append(key)
        else:
            groups.append([key])
    return groups
