"""One micro-batch: what a stream holds unread, through every stage that is cut like it, by the same door as a run of Dagster's."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrai.core.canonical import JsonValue
from orchestrai.features.run import FEATURES
from orchestrai.features.staleness.stale_features import missing_features
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.view_node import ViewNode
from orchestrai.pipeline.reports.stale_assets import stale_assets
from orchestrai.pipeline.runtime import Runtime
from orchestrai.restore.open_partitions.pending_restores import pending_restores
from orchestrai.stage.names import VERBATIM
from orchestrai.stage.stage import AssetNode


@dataclass(frozen=True)
class Batch:
    """What a micro-batch did: records taken, the partitions that were carried on, and why some were refused, by `asset@partition`.

    `stuck` says that the next records stay in the stream.
    """

    records: int
    partitions: tuple[str, ...]
    refused: dict[str, str] = field(default_factory=dict)
    stuck: bool = False

    @property
    def idle(self) -> bool:
        """True when there was nothing to do."""
        return not (self.records or self.partitions or self.refused)


class BatchRun:
    """Carries a stream dataset on, batch by batch: what the job `<pipeline>_<dataset>_ingest` does, without a run of Dagster's."""

    def __init__(self, runtime: Runtime, dataset: DatasetNode) -> None:
        self._runtime, self._dataset = runtime, dataset
        nodes, pipelines = runtime.project.nodes, runtime.project.pipelines
        raw, *rest = (nodes[dataset.asset(stage)] for stage in VERBATIM)
        views = [nodes[view.asset] for one in pipelines for view in one.views if view.partitioned_like == dataset]
        loads = [nodes[load.asset] for one in pipelines for load in one.loads if load.partitioned_like == dataset]
        made = {raw.asset, *(node.asset for node in (*rest, *views))}
        self._tables = [nodes[share.asset] for one in pipelines for share in one.shares if share.source_asset in made]
        self._raw: AssetNode[Any] = raw
        self._views, self._further = views, [*rest, *views, *loads]
        self._catalog = nodes[f"{dataset.pipeline}/catalog"]
        self._settled = False

    def run(self) -> Batch:
        """Take what is unread and carry it on, with what an earlier process left half way; raises OrchestraiError.

        A batch that its gate refuses stays in the stream.
        """
        report = self._runtime.run(self._raw, [])
        refused = {f"{self._raw.asset}@{one.partition}": _why(one.verdicts) for one in report.refused}
        fed = [] if report.refused else [outcome.partition for outcome in report.outcomes]
        left = pending_restores(self._runtime.ledger, self._dataset, self._runtime.clock())
        keys = sorted({*fed, *left})
        for node in self._further:
            due = sorted({*keys, *self._unfinished(node)})
            if due:
                refused |= self._carried(node, due)
                keys = sorted({*keys, *due})
        for whole in (*self._tables, self._catalog) if keys else ():
            self._runtime.run(whole, ["all"])
        self._settled = True
        records = 0 if report.refused else _count(report.facts.get("records"))
        return Batch(records, tuple(keys), refused, bool(report.refused))

    def _unfinished(self, node: AssetNode[Any]) -> Iterator[str]:
        """Partitions of a view that a process which died left without features: looked for once, before the first batch of this one."""
        if self._settled or node.stage is not FEATURES or not isinstance(node.subject, ViewNode):
            return
        runtime = self._runtime
        left = stale_assets(runtime.context(), runtime.project.nodes, [node.asset])
        # what only other code makes stale is left to a person
        for one in left.partitions:
            if any(cause.kind not in ("code", "upstream") for cause in one.causes):
                yield one.partition
        yield from missing_features(runtime.ledger, node.subject, runtime.clock())

    def _carried(self, node: AssetNode[Any], keys: Sequence[str]) -> dict[str, str]:
        report = self._runtime.run(node, keys)
        return {f"{node.asset}@{one.partition}": _why(one.verdicts) for one in report.refused}


def _why(verdicts: Sequence[Any]) -> str:
    return next((verdict.message for verdict in verdicts if verdict.closes_gate), "refused")


def _count(value: JsonValue) -> int:
    return value if isinstance(value, int) else 0
