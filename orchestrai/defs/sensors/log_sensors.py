"""Sensors of databases that are kept by their log: without a receiver that runs all the time, each tick brings the log up to now."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES, RunsFilter

from orchestrai.backup.wal.log_position import base_needed
from orchestrai.backup.wal.run import WAL
from orchestrai.defs.asset_keys import asset_key
from orchestrai.pipeline.runtime import Runtime
from orchestrai.stage.stage import AssetNode

# a run of Dagster takes seconds to begin: who needs less runs `orchestrai backup receive`
LEAST_SECONDS = 30


def build_log_sensors(nodes: Sequence[AssetNode[Any]]) -> list[dg.SensorDefinition]:
    """A sensor for each log."""
    return [_sensor(node) for node in nodes if node.stage is WAL]


def _sensor(node: AssetNode[Any]) -> dg.SensorDefinition:
    name, job = f"{node.asset.replace('/', '_')}_sensor", f"{node.pipeline}_backup"
    every = max(LEAST_SECONDS, round(node.subject.spec.rpo.total_seconds() / 2))

    @dg.sensor(
        name=name,
        job_name=job,
        minimum_interval_seconds=every,
        description="Brings the write-ahead log in the vault up to now, and takes a base backup where none leads to the present.",
    )
    def watch(
        context: dg.SensorEvaluationContext, orchestrai_runtime: dg.ResourceParam[Runtime]
    ) -> dg.RunRequest | dg.SkipReason:
        running = RunsFilter(tags={"orchestrai/log": node.asset}, statuses=IN_PROGRESS_RUN_STATUSES)
        if context.instance.get_runs_count(running):
            return dg.SkipReason(f"a run of {node.asset} is under way")
        missing = base_needed(node.subject, orchestrai_runtime.vault)
        keys = [asset_key(asset) for asset in ([node.subject.backup_asset] if missing else []) + [node.asset]]
        return dg.RunRequest(asset_selection=keys, tags={"orchestrai/log": node.asset})

    return watch
