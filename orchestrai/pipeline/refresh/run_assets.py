"""The assets of the runs that a backfill makes: jobs are built of them, and a trial asks each of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.pipeline.nodes.share_node import ShareNode
from orchestrai.pipeline.stage_registry import stages_of
from orchestrai.stage.names import VERBATIM
from orchestrai.stage.stage import AssetNode


def ingest_assets(dataset: DatasetNode, pipelines: Sequence[Pipeline]) -> list[str]:
    """Landing to restored of a dataset, the feature views and warehouse tables that are cut like it, and the catalog."""
    views = [view.asset for pipeline in pipelines for view in pipeline.views if view.partitioned_like == dataset]
    loads = [load.asset for pipeline in pipelines for load in pipeline.loads if load.partitioned_like == dataset]
    assets = [*(dataset.asset(stage) for stage in VERBATIM), catalog_of(dataset.pipeline), *views, *loads]
    return [*assets, *tables_of([share for pipeline in pipelines for share in pipeline.shares], assets)]


def train_assets(pipeline: Pipeline, nodes: Sequence[AssetNode[Any]] = ()) -> list[str]:
    """As-of features to predictions, what is kept of the models, what is loaded whole, and the catalog, which lists these.

    Without models it is the features and the tables; nothing where a pipeline has neither.
    """
    views = [view.asset for view in pipeline.views if view.partitioned_like is None]
    if pipeline.models:
        models = [*model_assets(pipeline), *kept_with_models(nodes, pipeline)]
        assets = [*views, *models, *loaded_whole(pipeline), catalog_of(pipeline.name)]
    else:
        assets = [*views, *loaded_whole(pipeline)] if views else []
    return [*assets, *tables_of(pipeline.shares, assets)]


def catalog_of(pipeline: str) -> str:
    """The catalog of a pipeline: it lists what the others are, so it is built last."""
    return f"{pipeline}/catalog"


def loaded_whole(pipeline: Pipeline) -> list[str]:
    """The warehouse tables that are loaded whole, from as-of features, predictions and what is not cut by time."""
    return [load.asset for load in pipeline.loads if load.partitioned_like is None]


def tables_of(shares: Sequence[ShareNode], assets: Sequence[str]) -> list[str]:
    """The tables with time travel of what a run makes: each follows its source as a whole."""
    return [share.asset for share in shares if share.source_asset in assets]


def model_assets(pipeline: Pipeline) -> list[str]:
    """The asset keys of every model stage."""
    return [
        stage.asset(model.prefix)
        for model in pipeline.models
        for stage in stages_of(model.kind)
        if stage.role == "data" and stage.applies(model)
    ]


def kept_with_models(nodes: Sequence[AssetNode[Any]], pipeline: Pipeline) -> list[str]:
    """What is kept in the same run as a pipeline's models: their versions, and managed resources declared to come after them."""
    champions = {model.asset("champion") for model in pipeline.models}
    return [node.asset for node in nodes if node.stage.role == "backup" and champions.intersection(node.deps)]


def in_order(assets: Sequence[str], nodes: Mapping[str, AssetNode[Any]]) -> list[AssetNode[Any]]:
    """The nodes of some assets, upstream first, as the graph has them."""
    wanted = {*assets}
    return [node for asset, node in nodes.items() if asset in wanted]
