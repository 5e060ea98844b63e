"""The frozen graph: a change of asset keys, dependencies, checks, jobs, sensors or schedules shows as a diff of graph.txt.

To accept a change: `ORCHESTRAI_TEST_ACCEPT_GRAPH=1 pytest orchestrai_tests/defs/test_graph.py`, then read the diff.
"""

import os
from pathlib import Path

import dagster as dg

from orchestrai.defs.build import build_definitions
from orchestrai.pipeline.load import load_project, pipeline_folders
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings

GOLDEN = Path(__file__).with_name("graph.txt")


def draw(definitions: dg.Definitions) -> str:
    """The definitions as text."""
    repository = definitions.get_repository_def()
    graph = repository.asset_graph
    lines = []
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        cut = (
            type(node.partitions_def).__name__.removesuffix("PartitionsDefinition").lower()
            if node.partitions_def
            else "whole"
        )
        kind = "runs" if node.is_executable else "seen"
        lines.append(f"asset {key.to_user_string()} [{node.group_name}, {cut}, {kind}]")
        lines += [f"    <- {parent.to_user_string()}" for parent in sorted(node.parent_keys)]
        for check in sorted(graph.get_check_keys_for_assets({key}), key=lambda check: check.name):
            blocking = "blocking" if graph.get_check_spec(check).blocking else "informing"
            lines.append(f"    check {check.name} ({blocking})")
    lines += [
        f"job {job.name}"
        for job in sorted(repository.get_all_jobs(), key=lambda job: job.name)
        if not job.name.startswith("__")
    ]
    lines += [f"sensor {sensor.name}" for sensor in sorted(repository.sensor_defs, key=lambda sensor: sensor.name)]
    schedules = sorted(repository.schedule_defs, key=lambda schedule: schedule.name)
    lines += [f"schedule {schedule.name} {schedule.cron_schedule} -> {schedule.job_name}" for schedule in schedules]
    return "\n".join(lines) + "\n"


def shipped(tmp_path: Path) -> dg.Definitions:
    return build_definitions(Runtime(Settings(home=tmp_path), load_project(pipeline_folders(), {})))


def test_the_graph_is_what_was_agreed(tmp_path: Path) -> None:
    drawn = draw(shipped(tmp_path))
    if os.environ.get("ORCHESTRAI_TEST_ACCEPT_GRAPH"):
        GOLDEN.write_text(drawn)
    assert drawn == GOLDEN.read_text()


def test_no_asset_uses_an_io_manager_that_unpickles(tmp_path: Path) -> None:
    """Every output is Nothing, so that no IO manager is ever asked to store or load."""
    for asset in shipped(tmp_path).assets or ():
        if isinstance(asset, dg.AssetsDefinition) and asset.is_executable:
            for output in asset.node_def.output_defs:
                assert output.dagster_type.is_nothing or output.name != "result", asset.key
