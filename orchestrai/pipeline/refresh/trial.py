"""Whether a backfill would publish anything: its stages are run as they are, over stores in which nothing can be written.

Nothing is judged here: each stage decides as in a run, asks the same evidence and hashes the same bytes. One that comes to where it would
make or write something ends the trial. So does whatever is unclear, and the backfill then runs as if there had been no trial.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import NoReturn
from zoneinfo import ZoneInfo

from orchestrai.core.progress import Progress
from orchestrai.core.time.calendar import Grain, dimension_of, keys_between, span_named, start_of_day, window, zone_of
from orchestrai.core.time.partition_key import time_part
from orchestrai.errors import OrchestraiError, WouldPublish
from orchestrai.pipeline.instance.settings_file import NAME, instance_folder
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.pipeline.refresh.run_assets import in_order, ingest_assets, train_assets
from orchestrai.pipeline.refresh.write_proof_store import WriteProofStore
from orchestrai.pipeline.runtime import Runtime
from orchestrai.stage.outcomes import incomplete
from orchestrai.storage.base import Store
from orchestrai.storage.url import opened_through


@dataclass(frozen=True)
class Span:
    """What a backfill was asked for: the first and the last partition in a person's words, and whether models follow."""

    first: str | None
    last: str | None
    models: bool = True


class _Trial:
    """One trial; `found` is the first thing that it came to, also where a stage took the error for an outage."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def refuse(self, what: str) -> NoReturn:
        self.found.append(what)
        raise WouldPublish(f"expected nothing new, found {what}: run it")

    def proof(self, store: Store) -> Store:
        return WriteProofStore(store, self.refuse)


def what_is_new(runtime: Runtime, pipeline: Pipeline, span: Span, progress: Progress | None = None) -> str:
    """The first thing that a backfill would do, in words, or why that cannot be said; empty where it would publish nothing at all.

    Nothing is written, in no store, and no record is left. Empty also means that every gate is open and nothing is stale.
    """
    settings, trial = runtime.settings, _Trial()
    # what is not there yet is made by who needs it first, and Dagster was told nothing of what the ledger has
    if not settings.key_folder.is_dir() or not (instance_folder(settings.home) / NAME).is_file():
        return "a home in which nothing ran yet"
    if settings.anchor:
        return "an anchor, which is a file of its own"
    if settings.engine != "auto" or settings.spark_url:
        return "an engine that is not this process"
    with opened_through(trial.proof):
        tried = Runtime(settings, runtime.project, runtime.clock)
        try:
            with tried.ledger.using(), tried.ledger.reading():
                unclear = _asked(tried, pipeline, span, trial.refuse, progress)
        except OrchestraiError as error:
            return trial.found[0] if trial.found else error.message
    return trial.found[0] if trial.found else unclear


def _asked(
    tried: Runtime, pipeline: Pipeline, span: Span, refuse: Callable[[str], NoReturn], progress: Progress | None
) -> str:
    """Ask every stage that the backfill would run, upstream first; why it cannot be said, or nothing."""
    nodes, keys = tried.project.nodes, dict[str, list[str]]()
    for dataset in pipeline.own_datasets:
        if dataset.positioned or dimension_of(dataset.grain) is not None:
            return f"{dataset.shown}, which is read on from where the last run ended, or cut by more than time"
        wanted = _keys(dataset, span, tried.clock())
        if not wanted:
            return f"a span of {dataset.shown} to be judged"
        for asset in ingest_assets(dataset, tried.project.pipelines):
            keys[asset] = wanted if nodes[asset].grain != "all" else ["all"]
    for asset in train_assets(pipeline, [*nodes.values()]) if span.models else ():
        keys[asset] = ["all"]
    order = in_order([*keys], nodes)
    for number, node in enumerate(order):
        if progress is not None:
            progress("anything new?", number, len(order))
        if not node.stage.tried:
            return f"{node.asset}, which is not in the ledger alone"
        report = tried.run(node, keys[node.asset], trial=refuse)
        if report.refused or (node.stage.gate and incomplete(tried.ledger, node, keys[node.asset])):
            return f"{node.asset} with a gate that is closed"
    return _stale(tried, pipeline)


def _stale(tried: Runtime, pipeline: Pipeline) -> str:
    from orchestrai.pipeline.reports.stale_assets import stale_assets

    left = stale_assets(tried.context(), tried.project.nodes, [view.asset for view in pipeline.views])
    if left.errors:
        return f"{next(iter(left.errors))}, which cannot be judged"
    return f"{left.partitions[0].asset}@{left.partitions[0].partition} to be stale" if left.by_inputs else ""


def _keys(dataset: DatasetNode, span: Span, now: datetime) -> list[str]:
    """The partitions that are meant; none where the run has to say what is wrong with the span, or the last one is not over."""
    spec, grain = dataset.spec.partitions, dataset.grain
    if grain == "all":
        return ["all"]
    if not span.first or not span.last or spec.start is None:
        return []
    first, last = span_named(time_part(span.first), grain)[0], span_named(time_part(span.last), grain)[1]
    begins, ends = window(first, grain)[0], window(last, grain)[1]
    start, end = (_moment(one, grain) for one in (spec.start, spec.end or now))
    return keys_between(first, last, grain) if start <= begins and ends <= min(end, now) else []


def _moment(value: date, grain: Grain) -> datetime:
    if not isinstance(value, datetime):
        return start_of_day(value, grain)
    return value if value.tzinfo is not None else value.replace(tzinfo=ZoneInfo(zone_of(grain)))
