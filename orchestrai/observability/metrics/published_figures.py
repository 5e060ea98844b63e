"""What heads and receipts say of each asset; an asset is read anew only when its log has grown, so that a scrape costs what is new."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrai.errors import OrchestraiError, StorageError
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.heads import has_head
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import Receipt
from orchestrai.models.run import CHAMPION
from orchestrai.observability.metrics import metric_names as names
from orchestrai.observability.metrics.exposition import Figures
from orchestrai.pipeline.reports.summary import metric_values
from orchestrai.stage.stage import AssetNode
from orchestrai.vault.run import SNAPSHOT


@dataclass(frozen=True)
class _Known:
    """What an asset's log said when it ended at `seq`."""

    seq: int
    version: str
    figures: Figures


class PublishedFigures:
    """Figures of published assets, kept by the number of each asset's newest entry."""

    name = "ledger"

    def __init__(self, ledger: Ledger, nodes: Mapping[str, AssetNode[Any]]) -> None:
        self._ledger = ledger
        self._nodes = nodes
        self._known: dict[str, _Known] = {}

    def tell(self, figures: Figures) -> None:
        """Note what is published; a store or a record that cannot be read is a figure, and the other assets are told."""
        for asset, node in self._nodes.items():
            try:
                known = self._look(asset, node)
            except OrchestraiError as error:
                # what was known is not told as if it were so still
                self._known.pop(asset, None)
                figures.put(names.PROBLEM, 1, f"{asset}: {type(error).__name__}")
                if isinstance(error, StorageError):
                    # one that does not answer would be asked once an asset, for as long as its retries take
                    return
                continue
            if known is not None:
                figures.add(known.figures)
        self._serving(figures)

    def _look(self, asset: str, node: AssetNode[Any]) -> _Known | None:
        known = self._known.get(asset)
        if known is not None and self._ends_at(asset, known.seq):
            return known
        with self._ledger.reading():
            dataset = self._ledger.find(asset)
            if dataset is None:
                self._known.pop(asset, None)
                return None
            figures = Figures()
            _of_asset(figures, node, dataset)
        known = self._known[asset] = _Known(dataset.head.seq, dataset.version, figures)
        return known

    def _ends_at(self, asset: str, seq: int) -> bool:
        """Whether a log ends where it did; one that was put back or goes on is read with all its checks."""
        lake, vault = self._ledger.lake, self._ledger.vault
        if not has_head(lake, asset, seq) or has_head(lake, asset, seq + 1):
            return False
        return vault is None or not has_head(vault, asset, seq + 1)

    def _serving(self, figures: Figures) -> None:
        for asset, node in self._nodes.items():
            if node.stage is CHAMPION and asset in self._known:
                candidate = self._known.get(f"{node.subject.prefix}/candidate")
                serves = candidate is not None and candidate.version == self._known[asset].version
                figures.put(names.PROMOTED, serves, node.pipeline, node.subject.prefix)


def _of_asset(figures: Figures, node: AssetNode[Any], dataset: Dataset) -> None:
    receipt = dataset.ledger.receipt(dataset.head.receipt)
    published = datetime.fromisoformat(dataset.head.time).timestamp()
    labels = (node.pipeline, node.asset, node.stage.name)
    entries = dataset.partitions
    if not node.stage.rowless:
        figures.put(names.ROWS, dataset.rows, *labels)
        if entries:
            figures.put(names.NEWEST_ROWS, entries[max(entries)].rows, *labels)
    figures.put(names.BYTES, sum(entry.size for entry in entries.values()), *labels)
    figures.put(names.PARTITIONS, len(entries), *labels)
    figures.put(names.PUBLISHED, published, *labels)
    figures.put(names.WALL, receipt.cost.wall_seconds, *labels)
    figures.put(names.CPU, receipt.cost.cpu_seconds, *labels)
    figures.put(names.READ, receipt.cost.bytes_read, *labels)
    price = _price(receipt)
    if price is not None:
        figures.put(names.COST, price, *labels)
    _checks(figures, labels, receipt)
    by_stage = _BY_STAGE.get(node.stage.name)
    if by_stage is not None:
        by_stage(figures, node, dataset, receipt)


def _price(receipt: Receipt) -> float | None:
    job = receipt.facts.get("job")
    usd = job.get("usd") if isinstance(job, Mapping) else getattr(receipt.cost, "usd", None)
    return float(usd) if isinstance(usd, int | float) else None


def _checks(figures: Figures, labels: tuple[str, str, str], receipt: Receipt) -> None:
    counts = {"passed": 0, "failed": 0, "waived": 0}
    for partition, verdicts in receipt.verdicts.items():
        override = receipt.override(partition)
        for verdict in verdicts:
            waived = override is not None and verdict.check in override.checks
            counts["passed" if verdict.passed else "waived" if waived else "failed"] += 1
            if not verdict.passed:
                figures.put(names.FAILING, 1, *labels, verdict.check, verdict.severity)
    for outcome, count in counts.items():
        figures.put(names.CHECKS, count, *labels, outcome)


def _raw_events(figures: Figures, node: AssetNode[Any], dataset: Dataset, receipt: Receipt) -> None:
    labels, contract = (node.pipeline, node.subject.prefix), node.subject.contract
    if contract.freshness is not None:
        figures.put(names.FRESH_FOR, contract.freshness.total_seconds(), *labels)
    keys = [key for key in sorted(receipt.verdicts) if key in dataset.partitions]
    newest = max(dataset.partitions, default="")
    # what was published last may be a day of long ago
    told = receipt if newest in keys else dataset.ledger.receipt(dataset.partitions[newest].receipt) if newest else receipt
    for verdict in told.verdicts.get(newest, ()):
        moment = verdict.details.get("newest") if verdict.check == "freshness" else None
        if isinstance(moment, str):
            figures.put(names.NEWEST_EVENT, datetime.fromisoformat(moment).timestamp(), *labels)


def _letters(figures: Figures, node: AssetNode[Any], dataset: Dataset, receipt: Receipt) -> None:
    figures.put(names.LETTERS, dataset.rows, node.pipeline, node.subject.prefix)


def _snapshot(figures: Figures, node: AssetNode[Any], dataset: Dataset, receipt: Receipt) -> None:
    labels = (node.pipeline, node.subject.prefix)
    figures.put(names.BACKED_UP, datetime.fromisoformat(dataset.head.time).timestamp(), *labels)


def _drill(figures: Figures, node: AssetNode[Any], dataset: Dataset, receipt: Receipt) -> None:
    seconds = receipt.facts.get("rto_seconds")
    if isinstance(seconds, int | float):
        figures.put(names.RTO, float(seconds), node.pipeline, node.asset)
        figures.put(names.DRILLED, datetime.fromisoformat(dataset.head.time).timestamp(), node.pipeline, node.asset)


def _evaluation(figures: Figures, node: AssetNode[Any], dataset: Dataset, receipt: Receipt) -> None:
    for metric, value in metric_values(receipt.facts.get("metrics")).items():
        figures.put(names.MODEL, value, node.pipeline, node.subject.prefix, metric)


def _champion(figures: Figures, node: AssetNode[Any], dataset: Dataset, receipt: Receipt) -> None:
    moment = datetime.fromisoformat(dataset.head.time).timestamp()
    figures.put(names.CHAMPION, moment, node.pipeline, node.subject.prefix)


_BY_STAGE = {
    "raw_events": _raw_events,
    "dead_letters": _letters,
    "snapshot": _snapshot,
    "drill": _drill,
    "evaluation": _evaluation,
    "champion": _champion,
}


def declared(figures: Figures, nodes: Mapping[str, AssetNode[Any]]) -> None:
    """Note the targets that backups are declared with, published or not."""
    for node in nodes.values():
        if node.stage is SNAPSHOT:
            labels = (node.pipeline, node.subject.prefix)
            for metric, target in ((names.RPO_TARGET, node.subject.backup.rpo), (names.RTO_TARGET, node.subject.backup.rto)):
                if isinstance(target, timedelta):
                    figures.put(metric, target.total_seconds(), *labels)
