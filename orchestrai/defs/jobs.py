"""Jobs: what sensors and schedules launch, and what a person finds in the UI."""

from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from orchestrai.defs.assets import asset_key, partitions_of
from orchestrai.pipeline import DatasetNode, Pipeline, Stage

MODEL_STAGES: tuple[Stage, ...] = ("training_set", "candidate", "evaluation", "champion", "predictions")
MAX_RUNTIME = {"dagster/max_runtime": str(4 * 3600)}


def job_name(*parts: str) -> str:
    """`churn_orders_ingest` and the like."""
    return "_".join(part.replace("/", "_") for part in parts)


def own_datasets(pipeline: Pipeline) -> list[DatasetNode]:
    """The datasets a pipeline declares itself."""
    return [dataset for dataset in pipeline.datasets if dataset.pipeline == pipeline.name]


def ingest_job(dataset: DatasetNode, pipelines: Sequence[Pipeline]) -> UnresolvedAssetJobDefinition:
    """landing -> raw events -> snapshot -> restored, and the feature views that are cut like the dataset."""
    views = [view.asset for pipeline in pipelines for view in pipeline.views if view.partitioned_like == dataset]
    stages: tuple[Stage, ...] = ("raw_events", "snapshot", "restored")
    return dg.define_asset_job(
        job_name(dataset.prefix, "ingest"),
        selection=dg.AssetSelection.assets(*map(asset_key, [*(dataset.asset(stage) for stage in stages), *views])),
        partitions_def=partitions_of(dataset),
        tags=MAX_RUNTIME,
        description="Validate new objects, back them up, restore them from that backup and prove them equal.",
    )


def nightly_job(dataset: DatasetNode) -> UnresolvedAssetJobDefinition:
    """Validate -> snapshot; the catalog is a job of its own because it is not partitioned."""
    keys = [asset_key(dataset.asset(stage)) for stage in ("raw_events", "snapshot")]
    return dg.define_asset_job(
        job_name(dataset.prefix, "nightly"),
        selection=dg.AssetSelection.assets(*keys) | dg.AssetSelection.assets(asset_key(f"{dataset.pipeline}/catalog")),
        partitions_def=partitions_of(dataset),
        tags=MAX_RUNTIME,
        description="Nightly: validate the day's data, back it up, update the catalog.",
    )


def refresh_job(pipeline: Pipeline) -> UnresolvedAssetJobDefinition:
    """Weekly: restore from the golden backup -> verify -> features -> train -> evaluate -> promote.

    One run has one set of partitions, so the job takes the datasets cut like the pipeline's first one.
    """
    partitions = partitions_of(pipeline.datasets[0])
    restored = [dataset.asset("restored") for dataset in pipeline.datasets if partitions_of(dataset) == partitions]
    views = [view.asset for view in pipeline.views if view.partitioned_like in (None, *pipeline.datasets)]
    return dg.define_asset_job(
        job_name(pipeline.name, "refresh"),
        selection=dg.AssetSelection.assets(*map(asset_key, [*restored, *views, *model_assets(pipeline)])),
        partitions_def=partitions,
        tags=MAX_RUNTIME,
        description="Restore the training data from the golden backup, verify it, then compute features, train, evaluate, promote.",
    )


def model_assets(pipeline: Pipeline) -> list[str]:
    """The asset keys of every model stage."""
    return [model.asset(stage) for model in pipeline.models for stage in MODEL_STAGES]


def train_job(pipeline: Pipeline) -> UnresolvedAssetJobDefinition:
    """Features to predictions on what is restored already."""
    views = [view.asset for view in pipeline.views if view.partitioned_like is None]
    return dg.define_asset_job(
        job_name(pipeline.name, "train"),
        selection=dg.AssetSelection.assets(*map(asset_key, [*views, *model_assets(pipeline)])),
        tags=MAX_RUNTIME,
        description="Features, training set, candidate, evaluation, promotion and predictions from the data restored so far.",
    )


def build_jobs(pipelines: Sequence[Pipeline]) -> list[UnresolvedAssetJobDefinition]:
    """All jobs of all pipelines."""
    jobs = []
    for pipeline in pipelines:
        for dataset in own_datasets(pipeline):
            jobs += [ingest_job(dataset, pipelines), nightly_job(dataset)]
        if pipeline.models:
            jobs += [train_job(pipeline), refresh_job(pipeline)]
    return jobs
