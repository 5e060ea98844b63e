"""A runtime -> one `dagster.Definitions`."""

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

from orchestrai.defs.assets import RUNTIME, build_assets
from orchestrai.defs.broken_pipelines import build_broken_pipelines
from orchestrai.defs.checks.complete_checks import build_complete_checks
from orchestrai.defs.checks.dimension_checks import build_dimension_checks
from orchestrai.defs.checks.drift_checks import build_drift_checks
from orchestrai.defs.checks.landing_checks import build_landing_checks
from orchestrai.defs.current import build_current_checks, build_current_sensors
from orchestrai.defs.launch.backup_jobs import build_keeping_jobs, build_keeping_schedules
from orchestrai.defs.launch.cost_jobs import build_cost_jobs, build_cost_schedules
from orchestrai.defs.launch.jobs import build_jobs
from orchestrai.defs.launch.schedules import build_schedules
from orchestrai.defs.platform.dead_runs import build_dead_run_sensor
from orchestrai.defs.platform.run_retention import build_retention_sensor
from orchestrai.defs.platform.run_traces import build_trace_sensors
from orchestrai.defs.sensors.alert_sensors import build_alert_sensors
from orchestrai.defs.sensors.deployment_sensors import build_deployment_sensors
from orchestrai.defs.sensors.landing_sensors import build_sensors
from orchestrai.defs.sensors.log_sensors import build_log_sensors
from orchestrai.defs.sensors.recall_sensors import build_recall_sensors
from orchestrai.defs.spark.spark_transport import spark_resources
from orchestrai.pipeline.engines import executors_chosen
from orchestrai.pipeline.runtime import Runtime
from orchestrai.project.in_force import connections


def build_definitions(
    runtime: Runtime, resources: Mapping[str, object] | None = None, *, executor: bool = True
) -> dg.Definitions:
    """Everything of a project, as Dagster sees it, with more `resources`; without an executor where a host has its own.

    One of dagster-aws, dagster-azure or dagster-gcp that has the name of a connection takes its place here. Raises ConfigError.
    """
    with warnings.catch_warnings():
        # Dagster's decorators warn in their own name, not in that of the caller
        warnings.simplefilter("ignore", dg.PreviewWarning)
        warnings.simplefilter("ignore", dg.BetaWarning)
        return _build(runtime, resources or {}, executor)


def _build(runtime: Runtime, resources: Mapping[str, object], executor: bool) -> dg.Definitions:
    offered = _connection_resources(resources, executors_chosen(runtime.settings))
    project = runtime.project
    nodes = list(project.nodes.values())
    broken = build_broken_pipelines(project.left_out)
    declared = dg.multiprocess_executor if runtime.settings.executor == "multiprocess" else dg.in_process_executor
    return dg.Definitions(
        assets=[*build_assets(nodes, runtime), *broken.assets],
        asset_checks=[
            *build_complete_checks(nodes),
            *build_current_checks(nodes),
            *build_dimension_checks(nodes),
            *build_drift_checks(project.pipelines),
            *build_landing_checks([dataset for pipeline in project.pipelines for dataset in pipeline.own_datasets]),
            *broken.checks,
        ],
        jobs=[*build_jobs(project.pipelines, nodes), *build_keeping_jobs(nodes), *build_cost_jobs(nodes)],
        sensors=[
            *build_sensors(project.pipelines),
            *build_recall_sensors(project.pipelines),
            *build_deployment_sensors(project.pipelines),
            *build_alert_sensors(),
            *build_current_sensors(nodes),
            *build_log_sensors(nodes),
            build_dead_run_sensor(),
            *build_trace_sensors(runtime.settings),
            # whose runs an instance holds is known only where the project is alone in it
            *([build_retention_sensor()] if executor else []),
            *broken.sensors,
        ],
        schedules=[*build_schedules(project.pipelines), *build_keeping_schedules(nodes), *build_cost_schedules(nodes)],
        resources={**offered, RUNTIME: runtime, **spark_resources(runtime), **resources},
        executor=declared if executor else None,
    )


def _connection_resources(resources: Mapping[str, object], sent: bool) -> dict[str, Any]:
    """What connections offer, once the resources stand in their place; with `sent` each must be one that workers can call by too."""
    declared = connections()
    if not declared.by_name:
        return {}
    # here, because most projects declare none
    from orchestrai.defs.connection_resources.as_resources import connection_resources
    from orchestrai.defs.connection_resources.from_resources import adopt_resources

    adopt_resources(declared, resources)
    if sent:
        from orchestrai.storage.cloud.access.own_secrets import require_sendable

        require_sendable(connections())
    return dict(connection_resources(declared))
