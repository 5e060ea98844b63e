"""Declarations -> the asset graph, as plain values that any orchestrator could draw.

landing --> raw_events --> snapshot --> restored --> features --> training_set --> candidate --> evaluation --> champion --> predictions
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrai.contracts.checks import CheckInfo, check_names
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.pipeline.nodes import AssetNode, DatasetNode, ModelNode, Pipeline, ViewNode
from orchestrai.pipeline.stages import (
    BASELINE_CHECK,
    CANDIDATE_CHECKS,
    CHAMPION_CHECKS,
    DEPLOYMENT_CHECKS,
    DESCRIPTIONS,
    DRILL_CHECKS,
    EVALUATION_CHECKS,
    PREDICTION_CHECKS,
    TRAINING_CHECKS,
    VERSION_CHECK,
    WAREHOUSE_CHECKS,
    Stage,
)


def asset_graph(pipelines: Sequence[Pipeline]) -> list[AssetNode]:
    """Every asset of every pipeline, upstream first."""
    nodes = [node for pipeline in pipelines for node in _pipeline_nodes(pipeline)]
    return nodes


def _pipeline_nodes(pipeline: Pipeline) -> Iterator[AssetNode]:
    owner = pipeline.spec.owner
    for dataset in pipeline.datasets:
        if dataset.pipeline == pipeline.name:
            yield from _dataset_nodes(dataset, owner)
    own = [dataset for dataset in pipeline.datasets if dataset.pipeline == pipeline.name]
    yield AssetNode(
        f"{pipeline.name}/catalog",
        "catalog",
        pipeline.name,
        owner,
        DESCRIPTIONS["catalog"],
        pipeline,
        deps=tuple(dataset.asset("snapshot") for dataset in own),
    )
    for view in pipeline.views:
        like = view.partitioned_like
        yield AssetNode(
            view.asset,
            "features",
            pipeline.name,
            owner,
            DESCRIPTIONS["features"],
            view,
            deps=tuple(node.asset("restored") for node in view.inputs.values()),
            checks=_feature_checks(view),
            grain=like.spec.partitions.grain if like else "all",
            source_files=(pipeline.folder / "pipeline.yaml", *_sql_files(view, pipeline.folder)),
        )
    for model in pipeline.models:
        yield from _model_nodes(model, owner)
    for load in pipeline.loads:
        like = load.partitioned_like
        yield AssetNode(
            load.asset,
            "warehouse",
            pipeline.name,
            owner,
            f"{DESCRIPTIONS['warehouse']}\n\nTable {load.spec.table}.",
            load,
            deps=(load.source_asset,),
            checks=WAREHOUSE_CHECKS,
            grain=like.spec.partitions.grain if like else "all",
            source_files=(pipeline.folder / "pipeline.yaml",),
        )


def _dataset_nodes(dataset: DatasetNode, owner: str) -> Iterator[AssetNode]:
    grain = dataset.spec.partitions.grain
    gates = tuple(check_names(dataset.contract))
    files = (dataset.folder / "pipeline.yaml", dataset.folder / dataset.spec.contract)
    about = dataset.spec.description

    def node(stage: Stage, deps: tuple[str, ...], checks: tuple[CheckInfo, ...] = ()) -> AssetNode:
        text = DESCRIPTIONS[stage] + (f"\n\n{about}" if about else "")
        return AssetNode(dataset.asset(stage), stage, dataset.pipeline, owner, text, dataset, deps, checks, grain, files)

    yield node("landing", ())
    yield node("raw_events", (dataset.asset("landing"),), gates)
    yield node("dead_letters", (dataset.asset("landing"),))
    yield node("snapshot", (dataset.asset("raw_events"),), (VERSION_CHECK,))
    yield node("restored", (dataset.asset("snapshot"),), (VERSION_CHECK, *gates))
    # a drill is of the whole dataset, however it is cut
    yield replace(node("drill", (dataset.asset("snapshot"),), DRILL_CHECKS), grain="all")


def _sql_files(view: ViewNode, folder: Path) -> tuple[Path, ...]:
    if view.view.python is not None:
        return (view.view.python.path,)
    path = folder / view.view.spec.sql if view.view.spec.sql.endswith(".sql") else None
    return (path,) if path else ()


def _feature_checks(node: ViewNode) -> tuple[CheckInfo, ...]:
    found = [
        CheckInfo("entity_not_null", True, "No row without its entity."),
        CheckInfo("unique_key", True, "One row per entity and moment: no join multiplied rows."),
    ]
    spec = node.view.spec
    if isinstance(spec, FeatureViewSpec):
        if spec.checks.null_rate:
            found.append(CheckInfo("null_rate", True, "Shares of nulls within their declared limits."))
        if spec.checks.ranges:
            found.append(CheckInfo("value_range", True, "Values within their declared ranges."))
        if spec.checks.coverage is not None:
            found.append(CheckInfo("coverage", False, "Enough of the entities in the input have features."))
        if spec.checks.freshness is not None:
            found.append(CheckInfo("freshness", False, "The newest features are young enough."))
    return tuple(found)


def _candidate_checks(model: ModelNode) -> tuple[CheckInfo, ...]:
    found = list(CANDIDATE_CHECKS)
    if model.spec.sla is not None:
        found.append(CheckInfo("training_time", False, "Training took no longer than declared."))
    if model.spec.search is not None:
        found.append(
            CheckInfo("search_complete", False, "Every trial of the search ran, so training again chooses the same.")
        )
    return tuple(found)


def _model_nodes(model: ModelNode, owner: str) -> Iterator[AssetNode]:
    def node(stage: Stage, deps: tuple[str, ...], checks: tuple[CheckInfo, ...] = ()) -> AssetNode:
        files = (model.folder / "pipeline.yaml",)
        return AssetNode(
            model.asset(stage), stage, model.pipeline, owner, DESCRIPTIONS[stage], model, deps, checks, "all", files
        )

    features = tuple(view.asset for view in model.views)
    labels = tuple(dataset.asset("restored") for dataset in model.label_inputs.values())
    training, candidate, evaluation, champion = (
        model.asset(stage) for stage in ("training_set", "candidate", "evaluation", "champion")
    )
    yield node("training_set", (*features, *labels), TRAINING_CHECKS)
    yield node("candidate", (training,), _candidate_checks(model))
    judged = (*EVALUATION_CHECKS, BASELINE_CHECK) if model.spec.baseline else EVALUATION_CHECKS
    yield node("evaluation", (candidate, training), judged)
    yield node("champion", (candidate, evaluation), CHAMPION_CHECKS)
    if model.spec.deployed:
        yield node("deployment", (champion,), DEPLOYMENT_CHECKS)
    yield node("predictions", (champion, *features), PREDICTION_CHECKS)
