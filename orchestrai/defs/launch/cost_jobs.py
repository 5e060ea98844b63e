"""The daily report of what each pipeline cost: its job and its schedule."""

from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from orchestrai.defs.asset_keys import asset_key
from orchestrai.stage.stage import AssetNode

# the day is over at midnight UTC; what ran over it has ended by then
DAILY = "0 7 * * *"


def build_cost_jobs(nodes: Sequence[AssetNode]) -> list[UnresolvedAssetJobDefinition]:
    """A job for the report of each pipeline."""
    return [
        dg.define_asset_job(
            f"{node.pipeline}_costs",
            selection=dg.AssetSelection.assets(asset_key(node.asset)),
            description="Sum what the runs of each day used and cost.",
        )
        for node in _reports(nodes)
    ]


def build_cost_schedules(nodes: Sequence[AssetNode]) -> list[dg.ScheduleDefinition]:
    """Each report once a day."""
    return [
        dg.ScheduleDefinition(
            name=f"{node.pipeline}_daily_costs",
            cron_schedule=DAILY,
            job_name=f"{node.pipeline}_costs",
            execution_timezone="UTC",
        )
        for node in _reports(nodes)
    ]


def _reports(nodes: Sequence[AssetNode]) -> list[AssetNode]:
    return [node for node in nodes if node.stage.role == "account"]
