"""What a person wants to know of a pipeline at a glance, read from the ledger alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrai.core.identity import describe
from orchestrai.errors import NotReceipted
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.quarantine import closed_gates
from orchestrai.pipeline.nodes.model_node import ModelNode
from orchestrai.pipeline.nodes.pipeline_node import Pipeline


@dataclass(frozen=True)
class DatasetSummary:
    """A dataset from landing to restored; seconds are of the newest restore.

    `refused` are partitions with nothing published, `held_back` those whose newest content was refused while older stands.
    """

    name: str
    partitions: int
    rows: int
    bytes: int
    raw_version: str
    snapshot_version: str
    restored_version: str
    snapshot_id: str
    restore_seconds: float | None
    refused: tuple[str, ...] = ()
    held_back: tuple[str, ...] = ()
    dead_letters: int = 0
    waived: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def proven(self) -> bool:
        """True when raw events, snapshot and restored data are one version."""
        return bool(self.restored_version) and self.raw_version == self.snapshot_version == self.restored_version


@dataclass(frozen=True)
class ModelSummary:
    """A model's newest evaluation and who serves; `lineage` runs from the champion to a raw object."""

    name: str
    champion: str
    promoted: bool
    metrics: Mapping[str, float] = field(default_factory=dict)
    headline: str = ""
    baseline: str = ""
    lineage: tuple[str, ...] = ()


@dataclass(frozen=True)
class PipelineSummary:
    """A pipeline at a glance."""

    name: str
    datasets: tuple[DatasetSummary, ...]
    models: tuple[ModelSummary, ...]
    feature_rows: Mapping[str, int] = field(default_factory=dict)


def summarize(ledger: Ledger, pipeline: Pipeline) -> PipelineSummary:
    """Summarize a pipeline; whatever was not materialized yet is empty."""
    datasets = tuple(_dataset(ledger, node.prefix, node.spec.name) for node in pipeline.datasets)
    models = tuple(_model(ledger, node) for node in pipeline.models)
    rows = {}
    for view in pipeline.views:
        features = ledger.find(view.asset)
        rows[view.name] = features.rows if features else 0
    return PipelineSummary(pipeline.name, datasets, models, rows)


def _version(dataset: Dataset | None) -> str:
    return dataset.version if dataset else ""


def _newest_facts(dataset: Dataset | None) -> Mapping[str, object]:
    return dataset.ledger.receipt(dataset.head.receipt).facts if dataset else {}


def _dataset(ledger: Ledger, prefix: str, name: str) -> DatasetSummary:
    raw, snapshot, restored = (ledger.find(f"{prefix}/{stage}") for stage in ("raw_events", "snapshot", "restored"))
    letters = ledger.find(f"{prefix}/dead_letters")
    skips = ledger.skips().of(f"{prefix}/")
    refused = closed_gates(ledger, f"{prefix}/raw_events", raw)
    unrestored = closed_gates(ledger, f"{prefix}/restored", restored)
    there = restored.partitions if restored else {}
    seconds = _newest_facts(restored).get("rto_seconds")
    return DatasetSummary(
        name=name,
        partitions=len(raw.partitions) if raw else 0,
        rows=raw.rows if raw else 0,
        bytes=sum(entry.size for entry in raw.partitions.values()) if raw else 0,
        raw_version=_version(raw),
        snapshot_version=_version(snapshot),
        restored_version=_version(restored),
        snapshot_id=str(_newest_facts(snapshot).get("snapshot_id", "")),
        restore_seconds=float(seconds) if isinstance(seconds, int | float) else None,
        refused=tuple(
            sorted({key for key in refused if raw is None or key not in raw.partitions} | {*unrestored} - {*there})
        ),
        held_back=tuple(sorted({key for key in refused if raw and key in raw.partitions} | {*unrestored} & {*there})),
        dead_letters=letters.rows if letters else 0,
        waived=tuple(line for dataset in (raw, restored) if dataset for line in waived_partitions(dataset)),
        left_out=tuple(f"{skip.asset}@{skip.partition} {skip.note}" for skip in skips),
    )


def waived_partitions(dataset: Dataset) -> list[str]:
    """A line for each partition that is published under an override: which, what was waived, by whom and why."""
    lines = []
    for key, entry in sorted(dataset.partitions.items()):
        override = dataset.ledger.receipt(entry.receipt).override(key)
        if override is not None:
            lines.append(f"{dataset.asset}@{key} {', '.join(override.checks)} {override.note}")
    return lines


def _model(ledger: Ledger, node: ModelNode) -> ModelSummary:
    champion, evaluation = ledger.find(node.asset("champion")), ledger.find(node.asset("evaluation"))
    facts = _newest_facts(evaluation)
    metrics, baseline = metric_values(facts.get("metrics")), metric_values(facts.get("baseline_metrics"))
    wanted = node.spec.promote_when.metric
    headline = f"{wanted} {metrics[wanted]:.3f}" if wanted in metrics else ""
    return ModelSummary(
        name=node.shown,
        champion=_version(champion),
        promoted=_promoted(champion, ledger.find(node.asset("candidate"))),
        baseline=f"{baseline[wanted]:.3f}" if wanted in baseline else "",
        metrics=metrics,
        headline=headline,
        lineage=tuple(lineage_line(ledger, node.asset("champion"))) if champion else (),
    )


def _promoted(champion: Dataset | None, candidate: Dataset | None) -> bool:
    return champion is not None and candidate is not None and champion.version == candidate.version


def metric_values(metrics: object) -> dict[str, float]:
    """Metric values, given plainly or with their interval as {value, low, high}."""
    values = {}
    for name, measured in metrics.items() if isinstance(metrics, Mapping) else ():
        value = measured.get("value") if isinstance(measured, Mapping) else measured
        if isinstance(value, int | float) and not isinstance(value, bool):
            values[str(name)] = float(value)
    return values


def lineage_line(ledger: Ledger, asset: str) -> list[str]:
    """One path from an asset back to a raw object, newest partition at each step, following receipts only."""
    steps: list[str] = []
    version: str | None = None
    while True:
        try:
            dataset = ledger.open(asset, version)
        except NotReceipted:
            return [*steps, f"{asset} (not in this lake)"]
        if not dataset.partitions:
            return [*steps, f"{asset} (all of it was dropped)"]
        partition = max(dataset.partitions)
        try:
            receipt = dataset.receipt(partition)
        except NotReceipted:
            return [*steps, f"{asset}@{describe(dataset.version)} (recalled)"]
        steps.append(f"{asset}@{describe(dataset.version)}")
        if receipt.materials:
            materials = [m for m in receipt.materials if m.partition in ("", partition)] or list(receipt.materials)
            return [*steps, materials[-1].uri]
        if not receipt.inputs:
            return steps
        asset, version = receipt.inputs[0].asset, receipt.inputs[0].version
