"""What Dagster is told of a partition's inputs, so that its own "stale" and "unsynced" are true as far as it can see.

A step that reports partitions itself has to say which events of its inputs it had seen, and which input partitions a window reads; without
that every partition counts as having new dependencies, or as depending on its own day alone.
"""

from collections.abc import Mapping
from datetime import timedelta

import dagster as dg
from dagster._core.definitions.data_version import (
    DEFAULT_DATA_VERSION,
    NULL_EVENT_POINTER,
    extract_data_version_from_entry,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)

from orchestrai.core.time.calendar import Grain, name_of
from orchestrai.features.run import FEATURES
from orchestrai.pipeline.nodes.view_node import ViewNode
from orchestrai.stage.stage import AssetNode

# partitions that a window of some length may hold; the shortest ones count
LENGTHS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=28)}
# with as many input partitions or more Dagster looks at none of them
DAGSTER_SEES = 99


def seen_inputs(context: dg.AssetExecutionContext) -> Mapping[str, str]:
    """Tags that name the newest event of each input as of now: to be asked before a step reads."""
    tags: dict[str, str] = {}
    for key in sorted(context.assets_def.asset_deps.get(context.asset_key, ())):
        record = context.instance.get_latest_data_version_record(key)
        version = extract_data_version_from_entry(record.event_log_entry) if record is not None else None
        tags[get_input_data_version_tag(key)] = (version or DEFAULT_DATA_VERSION).value
        tags[get_input_event_pointer_tag(key)] = str(record.storage_id) if record is not None else NULL_EVENT_POINTER
    return tags


def look_back(node: AssetNode, cut: bool) -> dg.TimeWindowPartitionMapping | None:
    """How a partition of a row-level view maps to those of its inputs: its own and those that its look-back in time reaches.

    None where it reaches no other, or more than Dagster looks at; a search for earlier rows cannot be said in advance.
    """
    if node.stage is not FEATURES or not cut or not isinstance(node.subject, ViewNode):
        return None
    reached = partitions_back(node.subject.view.lookback.time, node.grain)
    if not 0 < reached < DAGSTER_SEES:
        return None
    return dg.TimeWindowPartitionMapping(start_offset=-reached, allow_nonexistent_upstream_partitions=True)


def partitions_back(span: timedelta | None, grain: Grain) -> int:
    """How many partitions before its own a look-back reaches at most."""
    length = LENGTHS.get(name_of(grain))
    return 0 if span is None or length is None else -(-span // length)
