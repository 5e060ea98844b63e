"""Outcomes by partition: what was published upstream, what is missing, where nothing was due or a person left it out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from orchestrai.core.calendar import Grain
from orchestrai.core.verdict import Verdict
from orchestrai.ledger.decisions.skips import Skips
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.quarantine import refusals
from orchestrai.ledger.report import PartitionOutcome, StageReport
from orchestrai.stage.names import StageName
from orchestrai.stage.stage import Subject

if TYPE_CHECKING:
    from orchestrai.contracts.contract import Contract


class Partitioned(Subject, Protocol):
    """A dataset as everybody after its ingest knows it: cut by time, under a contract, behind gates."""

    @property
    def contract(self) -> "Contract":
        """What its data looks like."""
        ...

    @property
    def grain(self) -> Grain:
        """How it is cut."""
        ...

    @property
    def gates(self) -> tuple[str, ...]:
        """Its assets that hold back what fails their checks."""
        ...

    def asset(self, stage: StageName) -> str:
        """The asset key of a stage."""
        ...


def published(
    ledger: Ledger, upstream: str, dataset: Partitioned, partitions: Sequence[str]
) -> tuple[list[str], tuple[PartitionOutcome, ...]]:
    """The partitions that `upstream` has, and an outcome for each that it should have and has not."""
    found = ledger.find(upstream)
    there = found.partitions if found else {}
    absent = [key for key in partitions if key not in there and is_due(dataset, key)]
    skips = ledger.skips() if absent else Skips()
    refused = {key for gate in dataset.gates if absent for key in refused_partitions(ledger, gate)}
    outcomes = tuple(_absent(upstream, dataset, key, skips, refused=key in refused) for key in absent)
    return [key for key in partitions if key in there], outcomes


def _absent(upstream: str, dataset: Partitioned, partition: str, skips: Skips, *, refused: bool = False) -> PartitionOutcome:
    """Refused for want of what comes before it, or done where a person left it out."""
    skip = next((found for gate in dataset.gates if (found := skips.find(gate, partition))), None)
    if skip is not None:
        return PartitionOutcome(partition, True, verdicts=(skip.verdict("upstream"),))
    message = f"expected {upstream}@{partition} to be published, found none"
    # a day that came and was refused keeps runs red, one that never came does not
    return PartitionOutcome(partition, False, verdicts=(Verdict("upstream", False, message, details={"refused": refused}),))


def refused_partitions(ledger: Ledger, asset: str) -> tuple[str, ...]:
    """Partitions in quarantine that have no good version published."""
    current = ledger.find(asset)
    return tuple(sorted(set(refusals(ledger.lake, asset)) - set(current.partitions if current else ())))


def is_due(dataset: Partitioned, partition: str) -> bool:
    """False for a partition in which nothing has to arrive, such as a closed day."""
    return dataset.contract.closed.due(partition, dataset.grain)


def settle(report: StageReport, dataset: Partitioned, partitions: Sequence[str]) -> StageReport:
    """Count partitions in which nothing was due as done, with no rows and no version, so that a backfill can end."""
    told = {outcome.partition for outcome in report.outcomes}
    idle = [PartitionOutcome(key, True) for key in partitions if key not in told and not is_due(dataset, key)]
    return with_outcomes(report, idle)


def with_outcomes(report: StageReport, more: Sequence[PartitionOutcome]) -> StageReport:
    """The report with further outcomes, sorted by partition."""
    if not more:
        return report
    outcomes = tuple(sorted((*report.outcomes, *more), key=lambda outcome: outcome.partition))
    return StageReport(report.asset, report.version, outcomes, report.cost, report.facts, report.plots)
