"""Registries and endpoints follow a champion that moved without them: by a command on another machine, or a run of it alone."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import dagster as dg

from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.launch.jobs import MAX_RUNTIME, job_name
from orchestrai.models.registry.deployment import not_deployed
from orchestrai.pipeline.nodes.model_node import ModelNode
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.pipeline.runtime import Runtime

# the run that promotes deploys too: it is given this long before another one does
GRACE = timedelta(minutes=2)


def build_deployment_sensors(pipelines: Sequence[Pipeline]) -> list[dg.SensorDefinition]:
    """A sensor for each pipeline with models that are registered or served besides the lake."""
    return [_sensor(pipeline, models) for pipeline in pipelines if (models := _deployed(pipeline))]


def _deployed(pipeline: Pipeline) -> list[ModelNode]:
    return [model for model in pipeline.models if model.spec.deployed]


def _sensor(pipeline: Pipeline, models: Sequence[ModelNode]) -> dg.SensorDefinition:
    @dg.sensor(
        name=job_name(pipeline.name, "deploy_moved_champion"),
        asset_selection=[asset_key(model.asset("deployment")) for model in models],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Deploys a champion that serves and is not in every declared registry and endpoint; tried once an hour until it is.",
    )
    def watch(orchestrai_runtime: dg.ResourceParam[Runtime]) -> dg.SensorResult | dg.SkipReason:
        requests = list(_runs(orchestrai_runtime, models))
        return dg.SensorResult(run_requests=requests) if requests else dg.SkipReason("every champion is deployed")

    return watch


def _runs(runtime: Runtime, models: Sequence[ModelNode]) -> Iterator[dg.RunRequest]:
    now = runtime.clock()
    for model in models:
        asset = model.asset("deployment")
        head = not_deployed(runtime.ledger, champion=model.asset("champion"), asset=asset)
        if head is None or (head.action == "publish" and now - datetime.fromisoformat(head.time) < GRACE):
            continue
        yield dg.RunRequest(
            run_key=f"deploy:{asset}@{head.digest[:16]}:{now:%Y-%m-%dT%H}",
            asset_selection=[asset_key(asset)],
            tags={**MAX_RUNTIME, "orchestrai/champion": head.version[7:19]},
        )
