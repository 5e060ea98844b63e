"""Clean retraining after a recall: a signed request in the ledger becomes runs of exactly what it lacks, once for the same inputs."""

from collections.abc import Iterator, Sequence

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from orchestrai.core.time.calendar import Grain
from orchestrai.core.time.key_groups import contiguous
from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.launch.jobs import MAX_RUNTIME, job_name
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.pipeline.refresh.run_assets import model_assets
from orchestrai.pipeline.runtime import Runtime
from orchestrai.provenance.recall.retraining import (
    Outstanding,
    RetrainingRequest,
    outstanding,
    read_requests,
    requested,
    steps_of,
)


def build_recall_sensors(pipelines: Sequence[Pipeline]) -> list[dg.SensorDefinition]:
    """A sensor for each pipeline with models."""
    return [recall_sensor(pipeline) for pipeline in pipelines if pipeline.models]


def recall_sensor(pipeline: Pipeline) -> dg.SensorDefinition:
    """Runs by itself: it acts only on what a person has requested with `orchestrai recall --apply`."""
    views = [view.asset for view in pipeline.views]
    models = {model.prefix for model in pipeline.models}

    @dg.sensor(
        name=job_name(pipeline.name, "retrain_after_recall"),
        asset_selection=[asset_key(asset) for asset in [*views, *model_assets(pipeline)]],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Trains again, on data without what was recalled, the models that a recall in force has reached.",
    )
    def watch(
        context: dg.SensorEvaluationContext, orchestrai_runtime: dg.ResourceParam[Runtime]
    ) -> dg.SensorResult | dg.SkipReason:
        ledger = orchestrai_runtime.ledger
        wanted = requested(read_requests(ledger.lake, ledger.keyring), sorted(models))
        requests: list[dg.RunRequest] = []
        for request in wanted:
            left = outstanding(ledger, orchestrai_runtime.project, request)
            mine = Outstanding(
                {asset: keys for asset, keys in left.features.items() if asset in views},
                tuple(name for name in left.models if name in models),
                left.inputs,
            )
            requests += _runs(orchestrai_runtime, request, mine)
        return dg.SensorResult(run_requests=requests) if requests else dg.SkipReason(f"{len(wanted)} request(s), all done")

    return watch


def _runs(runtime: Runtime, request: RetrainingRequest, left: Outstanding) -> Iterator[dg.RunRequest]:
    """Features first; the models in a later tick, when every feature partition is there."""
    tags = {**MAX_RUNTIME, "orchestrai/recall": request.recall[:12]}
    for asset, keys in left.features.items():
        grain: Grain = runtime.project.nodes[asset].grain
        for group in contiguous(keys, grain):
            run_key = f"recall:{request.recall[:16]}:{asset}:{group[0]}..{group[-1]}"
            span = {ASSET_PARTITION_RANGE_START_TAG: group[0], ASSET_PARTITION_RANGE_END_TAG: group[-1]}
            yield dg.RunRequest(run_key=run_key, asset_selection=[asset_key(asset)], tags={**tags, **span})
    if left.models and not left.features:
        assets = [asset_key(node.asset) for node in steps_of(runtime.project, left)]
        run_key = f"recall:{request.recall[:16]}:{','.join(left.models)}@{left.inputs}"
        yield dg.RunRequest(run_key=run_key, asset_selection=assets, tags=tags)
