"""Whether what a record names is there: what lets a run report a partition as it is instead of making it again."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from orchestrai.core.time.calendar import Grain, window
from orchestrai.errors import NotReceipted
from orchestrai.ledger.dataset import Dataset, as_recorded
from orchestrai.ledger.receipt import Receipt
from orchestrai.ledger.report import PartitionOutcome, StageReport


def intact(dataset: Dataset, partition: str) -> bool:
    """Whether each file of a published partition is there as recorded, by the ledger's look at it."""
    return as_recorded(dataset.ledger, dataset.files(partition).files)


def made_when_over(dataset: Dataset, partition: str, grain: Grain, code: str) -> Receipt | None:
    """The receipt of a partition that this code made and judged when it was over: no verdict depends on the clock since; else None."""
    try:
        receipt = dataset.receipt(partition)
    except NotReceipted:
        return None
    over = window(partition, grain)[1] <= datetime.fromisoformat(receipt.started)
    return receipt if over and receipt.code_version == code else None


def as_published(dataset: Dataset, partition: str) -> PartitionOutcome:
    """The outcome of a partition for which a run has nothing to do: its root, figures and verdicts as its receipt has them."""
    entry, receipt = dataset.partitions[partition], dataset.receipt(partition)
    verdicts = tuple(receipt.verdicts.get(partition, ()))
    override = receipt.overrides.get(partition)
    return PartitionOutcome(partition, True, entry.root, entry.rows, entry.size, verdicts, override, standing=True)


def with_standing(report: StageReport, current: Dataset | None, outcomes: Sequence[PartitionOutcome]) -> StageReport:
    """The report with partitions that this run left as they were; the version is theirs where nothing else was made."""
    if current is None or not outcomes:
        return report
    together = sorted((*report.outcomes, *outcomes), key=lambda outcome: outcome.partition)
    return replace(report, version=report.version or current.version, outcomes=tuple(together))
