"""What takes a look at stores or a comparison of many records: landings, RPO, closed gates, staleness.

Once in a while, and with its age.
"""

import time
from collections.abc import Callable
from functools import partial

from orchestrai.errors import OrchestraiError
from orchestrai.ingest.discovery.reconciliation import Reconciliation, reconcile
from orchestrai.ledger.quarantine import closed_gates
from orchestrai.observability.metrics import metric_names as names
from orchestrai.observability.metrics.exposition import Figures
from orchestrai.pipeline.costs.budgets import budget_use, spent
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.pipeline.reports.landing_status import judge_of
from orchestrai.pipeline.reports.recovery_point import recovery_point
from orchestrai.pipeline.reports.stale_assets import stale_assets
from orchestrai.pipeline.runtime import Runtime
from orchestrai.stage.names import VERBATIM


def survey(runtime: Runtime, cpu: Callable[[], float] = time.thread_time) -> Figures:
    """Look at every dataset and every asset; raises nothing for what cannot be read, which is a figure."""
    figures, began = Figures(), cpu()
    with runtime.ledger.reading():
        for pipeline in runtime.project.pipelines:
            for dataset in pipeline.own_datasets:
                _look(figures, f"landing of {dataset.prefix}", partial(_landing, figures, runtime, dataset))
                _look(figures, f"gates of {dataset.prefix}", partial(_gates, figures, runtime, dataset))
            _look(figures, f"costs of {pipeline.name}", partial(_costs, figures, runtime, pipeline))
        _look(figures, "staleness", lambda: _stale(figures, runtime))
    figures.put(names.SURVEYED, runtime.clock().timestamp())
    figures.put(names.SURVEY_CPU, cpu() - began)
    return figures


def _look(figures: Figures, source: str, look: Callable[[], None]) -> None:
    try:
        look()
    except OrchestraiError as error:
        figures.put(names.PROBLEM, 1, f"{source}: {type(error).__name__}")


def _landing(figures: Figures, runtime: Runtime, dataset: DatasetNode) -> None:
    whole: Reconciliation | None = None
    labels = (dataset.pipeline, dataset.prefix)
    if dataset.spec.source.kind == "objects":
        whole = reconcile(judge_of(runtime, dataset))
        for place, count in whole.counts.items():
            figures.put(names.LANDED, count, *labels, place)
        if whole.oldest is not None:
            figures.put(names.WAITING, whole.oldest.modified.timestamp(), *labels)
    point = recovery_point(runtime, dataset, whole)
    if point.problem:
        figures.put(names.PROBLEM, 1, f"rpo of {dataset.prefix}")
    else:
        figures.put(names.RPO, point.age.total_seconds(), *labels)
        figures.put(names.UNPROTECTED, point.count, *labels)


def _gates(figures: Figures, runtime: Runtime, dataset: DatasetNode) -> None:
    for stage in VERBATIM:
        asset = dataset.asset(stage)
        if asset not in dataset.gates:
            continue
        closed = closed_gates(runtime.ledger, asset, runtime.ledger.find(asset))
        held = sum(refusal.held for refusal in closed.values())
        figures.put(names.HELD, held, dataset.pipeline, asset)
        figures.put(names.REFUSED, len(closed) - held, dataset.pipeline, asset)


def _costs(figures: Figures, runtime: Runtime, pipeline: Pipeline) -> None:
    now = runtime.clock()
    today = spent(runtime.ledger, pipeline, now, "day")
    figures.put(names.COST_DAY, today.total.usd, pipeline.name)
    figures.put(names.COST_CPU, today.cpu_seconds, pipeline.name)
    bad = today.total.failed + today.total.refused
    for outcome, count in (
        ("published", today.total.runs - bad),
        ("failed", today.total.failed),
        ("refused", today.total.refused),
        ("idle", today.quiet_runs),
    ):
        figures.put(names.COST_RUNS, count, pipeline.name, outcome)
    for use in budget_use(runtime.ledger, pipeline, now):
        figures.put(names.BUDGET, use.share, pipeline.name, use.what, use.per)


def _stale(figures: Figures, runtime: Runtime) -> None:
    nodes = runtime.project.nodes
    left = stale_assets(runtime.context(), nodes)
    for asset, node in nodes.items():
        if asset in left.unreadable:
            figures.put(names.PROBLEM, 1, f"staleness of {asset}")
        elif node.executable:
            figures.put(names.STALE, len(left.by_asset.get(asset, ())), node.pipeline, asset)
