"""A runtime -> one `dagster.Definitions`."""

import warnings

import dagster as dg

from orchestrai.defs.assets import build_assets
from orchestrai.defs.checks import build_complete_checks
from orchestrai.defs.jobs import build_jobs
from orchestrai.defs.schedules import build_schedules
from orchestrai.defs.sensors import build_sensors
from orchestrai.pipeline import Runtime


def build_definitions(runtime: Runtime) -> dg.Definitions:
    """Everything of a project, as Dagster sees it."""
    with warnings.catch_warnings():
        # Dagster's decorators warn in their own name, not in that of the caller
        warnings.simplefilter("ignore", dg.PreviewWarning)
        warnings.simplefilter("ignore", dg.BetaWarning)
        return _build(runtime)


def _build(runtime: Runtime) -> dg.Definitions:
    project = runtime.project
    nodes = list(project.nodes.values())
    executor = dg.multiprocess_executor if runtime.settings.executor == "multiprocess" else dg.in_process_executor
    return dg.Definitions(
        assets=build_assets(nodes),
        asset_checks=build_complete_checks(nodes),
        jobs=build_jobs(project.pipelines),
        sensors=build_sensors(project.pipelines),
        schedules=build_schedules(project.pipelines),
        resources={"runtime": runtime},
        executor=executor,
    )
