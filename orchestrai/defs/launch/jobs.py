"""Jobs: what sensors and schedules launch, and what a person finds in the UI."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from orchestrai.core.time.calendar import window
from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.assets import AGAIN, partitions_of
from orchestrai.defs.launch.backup_jobs import kept_with_snapshot
from orchestrai.defs.launch.run_tags import dataset_tags, machine_tags
from orchestrai.pipeline.costs.run_spec import ResourcesSpec
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.load_node import LoadNode
from orchestrai.pipeline.nodes.model_node import ModelNode
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.pipeline.nodes.share_node import ShareNode
from orchestrai.pipeline.nodes.view_node import ViewNode
from orchestrai.pipeline.refresh.run_assets import (
    ingest_assets,
    kept_with_models,
    loaded_whole,
    model_assets,
    tables_of,
    train_assets,
)
from orchestrai.stage.stage import AssetNode

AHEAD = timedelta(days=1)
MAX_RUNTIME = {"dagster/max_runtime": str(4 * 3600)}
# a refresh trains on what it has just restored from the vault, whatever is here already
PROVING = {**MAX_RUNTIME, AGAIN: "true"}


def job_name(*parts: str) -> str:
    """`churn_orders_ingest` and the like."""
    return "_".join(part.replace("/", "_") for part in parts)


def offered(dataset: DatasetNode, partition: str, now: datetime) -> bool:
    """True when Dagster has this partition of the dataset at a moment: within the declared span, and over if it is a day or month."""
    known = partitions_of(dataset)
    with dg.partition_loading_context(effective_dt=now):
        return known is None or known.has_partition_key(partition)


def opens_soon(dataset: DatasetNode, partition: str, now: datetime) -> bool:
    """True for a partition within the declared span that Dagster does not offer yet: the running day or month, or the next.

    A day's file may land before midnight; it is remembered until its partition exists.
    """
    begins, ends = window(partition, dataset.spec.partitions.grain)
    return begins <= now + AHEAD and offered(dataset, partition, max(ends, now))


def ingest_job(dataset: DatasetNode, pipelines: Sequence[Pipeline]) -> UnresolvedAssetJobDefinition:
    """landing -> raw events -> snapshot -> restored, and the feature views that are cut like the dataset."""
    return dg.define_asset_job(
        job_name(dataset.prefix, "ingest"),
        selection=dg.AssetSelection.assets(*map(asset_key, ingest_assets(dataset, pipelines))),
        tags={**MAX_RUNTIME, **dataset_tags(dataset)},
        description="Validate new objects, back them up, restore them from that backup and prove them equal.",
    )


def nightly_job(dataset: DatasetNode, nodes: Sequence[AssetNode] = ()) -> UnresolvedAssetJobDefinition:
    """Validate -> snapshot -> catalog; the catalog is not partitioned and runs last."""
    assets = [dataset.asset("raw_events"), dataset.asset("snapshot"), *kept_with_snapshot(nodes, dataset)]
    assets += tables_of([node.subject for node in nodes if isinstance(node.subject, ShareNode)], assets)
    return dg.define_asset_job(
        job_name(dataset.prefix, "nightly"),
        selection=dg.AssetSelection.assets(*map(asset_key, assets))
        | dg.AssetSelection.assets(asset_key(f"{dataset.pipeline}/catalog")),
        tags={**MAX_RUNTIME, **dataset_tags(dataset)},
        description="Nightly: validate the day's data, back it up, update the catalog.",
    )


@dataclass(frozen=True)
class Refresh:
    """What one schedule restores and retrains: `part` is the pipeline with the models of one cron, and what they read."""

    name: str
    cron: str | None
    part: Pipeline


def refreshes(pipeline: Pipeline) -> list[Refresh]:
    """A refresh for each cron that a model declares; the first one restores all of the pipeline and trains what declares none too."""
    crons = list(dict.fromkeys(model.spec.retrain for model in pipeline.models if model.spec.retrain))
    first = crons[0] if crons else None
    found = []
    if pipeline.models:
        models = tuple(model for model in pipeline.models if model.spec.retrain in (None, first))
        found.append(Refresh(pipeline.name, first, replace(pipeline, models=models, loads=_loads(pipeline, models))))
    for cron in crons[1:]:
        models = tuple(model for model in pipeline.models if model.spec.retrain == cron)
        views = tuple(view for view in pipeline.views if any(view in model.views for model in models))
        read = [dataset for model in models for dataset in model.label_inputs.values()]
        datasets = tuple(dataset for dataset in pipeline.datasets if dataset in read)
        part = replace(pipeline, models=models, views=views, datasets=datasets, loads=_loads(pipeline, models, views))
        found.append(Refresh(models[0].prefix, cron, part))
    return found


def _loads(pipeline: Pipeline, models: Sequence[ModelNode], views: Sequence[ViewNode] | None = None) -> tuple[LoadNode, ...]:
    """The warehouse tables that a refresh fills: those of its models and, where not all of the pipeline is meant, of its views."""
    return tuple(
        load
        for load in pipeline.loads
        if (load.source in models if isinstance(load.source, ModelNode) else views is None or load.source in views)
    )


def refresh_anchor(pipeline: Pipeline) -> DatasetNode | None:
    """The dataset whose partitions a refresh runs over: the first one cut by time, the pipeline's own before others'."""
    cut = [dataset for dataset in pipeline.datasets if partitions_of(dataset) is not None]
    own = [dataset for dataset in pipeline.own_datasets if dataset in cut]
    return next(iter([*own, *cut]), None)


def refreshed(pipeline: Pipeline) -> list[DatasetNode]:
    """The datasets a refresh restores: those cut like its anchor, and those that are not cut.

    One run has one set of partitions. A dataset that is cut otherwise has a restore job of its own.
    """
    anchor = refresh_anchor(pipeline)
    cut = partitions_of(anchor) if anchor else None
    return [dataset for dataset in pipeline.datasets if partitions_of(dataset) in (None, cut)]


def restored_apart(pipeline: Pipeline) -> list[DatasetNode]:
    """The pipeline's own datasets that its refresh cannot restore in the same run; what it borrows, the lender refreshes."""
    together = refreshed(pipeline)
    return [dataset for dataset in pipeline.own_datasets if dataset not in together]


def drill_job(dataset: DatasetNode) -> UnresolvedAssetJobDefinition:
    """Restore the newest and a random snapshot to scratch and prove them."""
    return dg.define_asset_job(
        job_name(dataset.prefix, "drill"),
        selection=dg.AssetSelection.assets(asset_key(dataset.asset("drill"))),
        tags=MAX_RUNTIME,
        description="Restore the newest and a random snapshot to scratch, prove every byte, measure RTO and RPO.",
    )


def refresh_job(refresh: Refresh, nodes: Sequence[AssetNode] = ()) -> UnresolvedAssetJobDefinition:
    """Weekly: restore from the golden backup -> verify -> features -> train -> evaluate -> promote."""
    pipeline = refresh.part
    datasets = refreshed(pipeline)
    restored = [dataset.asset("restored") for dataset in datasets]
    views = [view.asset for view in pipeline.views if view.partitioned_like in (None, *datasets)]
    models = [*model_assets(pipeline), *kept_with_models(nodes, pipeline), *loaded_whole(pipeline)]
    assets = [*restored, *views, *models]
    return dg.define_asset_job(
        job_name(refresh.name, "refresh"),
        selection=dg.AssetSelection.assets(*map(asset_key, [*assets, *tables_of(pipeline.shares, assets)])),
        tags={**PROVING, **machine_tags(_resources(pipeline))},
        description="Restore the training data from the golden backup, verify it, then compute features, train, evaluate, promote.",
    )


def _resources(pipeline: Pipeline) -> list[ResourcesSpec | None]:
    """What is declared for all that a refresh runs."""
    models = [model.spec.resources for model in pipeline.models]
    return [*models, *(dataset.spec.resources for dataset in refreshed(pipeline))]


def restore_job(dataset: DatasetNode, pipelines: Sequence[Pipeline]) -> UnresolvedAssetJobDefinition:
    """Restore and verify one dataset, and compute the views that are cut like it."""
    assets = [view.asset for pipeline in pipelines for view in pipeline.views if view.partitioned_like == dataset]
    assets.append(dataset.asset("restored"))
    assets += tables_of([share for pipeline in pipelines for share in pipeline.shares], assets)
    return dg.define_asset_job(
        job_name(dataset.prefix, "restore"),
        selection=dg.AssetSelection.assets(*map(asset_key, assets)),
        tags={**PROVING, **dataset_tags(dataset)},
        description="Restore this dataset from the golden backup and verify it, beside the refresh of its pipeline.",
    )


def train_job(pipeline: Pipeline, nodes: Sequence[AssetNode] = ()) -> UnresolvedAssetJobDefinition:
    """Features to predictions on what is restored already."""
    return dg.define_asset_job(
        job_name(pipeline.name, "train"),
        selection=dg.AssetSelection.assets(*map(asset_key, train_assets(pipeline, nodes))),
        tags={**MAX_RUNTIME, **machine_tags(model.spec.resources for model in pipeline.models)},
        description="Features, training set, candidate, evaluation, promotion and predictions from the data restored so far.",
    )


def moments_job(pipeline: Pipeline) -> UnresolvedAssetJobDefinition | None:
    """The as-of features of a pipeline without models, and what is loaded of them; None where it has neither."""
    wanted = train_assets(pipeline)
    if pipeline.models or not wanted:
        return None
    return dg.define_asset_job(
        job_name(pipeline.name, "features"),
        selection=dg.AssetSelection.assets(*map(asset_key, wanted)),
        tags=MAX_RUNTIME,
        description="Features at moments from the data restored so far; with models they are made by the job that trains.",
    )


def build_jobs(pipelines: Sequence[Pipeline], nodes: Sequence[AssetNode] = ()) -> list[UnresolvedAssetJobDefinition]:
    """All jobs of all pipelines; `nodes` is their graph."""
    jobs = [job for pipeline in pipelines if (job := moments_job(pipeline)) is not None]
    for pipeline in pipelines:
        for dataset in pipeline.own_datasets:
            jobs += [ingest_job(dataset, pipelines), nightly_job(dataset, nodes), drill_job(dataset)]
        if pipeline.models:
            jobs.append(train_job(pipeline, nodes))
            jobs += [refresh_job(refresh, nodes) for refresh in refreshes(pipeline)]
            apart = [dataset for refresh in refreshes(pipeline) for dataset in restored_apart(refresh.part)]
            jobs += [
                restore_job(dataset, pipelines) for number, dataset in enumerate(apart) if dataset not in apart[:number]
            ]
    return jobs
