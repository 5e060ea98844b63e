"""Whether what a record names is there: what lets a run report a partition as it is instead of making it again."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrai.ledger.dataset import Dataset, as_recorded
from orchestrai.ledger.report import PartitionOutcome, StageReport


def intact(dataset: Dataset, partition: str) -> bool:
    """Whether each file of a published partition is there as recorded, by the ledger's look at it."""
    return as_recorded(dataset.ledger, dataset.files(partition).files)


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
