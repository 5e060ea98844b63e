"""Outcomes by partition: what was published upstream, what is missing, where nothing was due or a person left it out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from orchestrai.core.time.calendar import Grain
from orchestrai.core.verdict import Verdict
from orchestrai.ledger.decisions.skips import Skips
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.quarantine import closed_gates
from orchestrai.ledger.report import PartitionOutcome, StageReport
from orchestrai.stage.names import StageName
from orchestrai.stage.stage import AssetNode, Subject

if TYPE_CHECKING:
    from orchestrai.contracts.contract import Contract

# the check that says that what comes before a partition is not there
UPSTREAM = "upstream"


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
    def positioned(self) -> bool:
        """Whether its source is read on from a position, so that one reading feeds whatever partitions it finds."""
        ...

    @property
    def gates(self) -> tuple[str, ...]:
        """Its assets that hold back what fails their checks, upstream first."""
        ...

    def asset(self, stage: StageName) -> str:
        """The asset key of a stage."""
        ...


def published(
    ledger: Ledger, upstream: str, dataset: Partitioned, partitions: Sequence[str]
) -> tuple[list[str], tuple[PartitionOutcome, ...]]:
    """The partitions that `upstream` has, and an outcome for each that it should have and has not."""
    current = ledger.find(upstream)
    there = current.partitions if current else {}
    absent = [key for key in partitions if key not in there and is_due(dataset, key)]
    skips = ledger.skips() if absent else Skips()
    refused = refused_before(ledger, dataset.gates) if absent else {}
    outcomes = tuple(_absent(upstream, dataset, key, skips, refused=key in refused) for key in absent)
    return [key for key in partitions if key in there], outcomes


def _absent(upstream: str, dataset: Partitioned, partition: str, skips: Skips, *, refused: bool = False) -> PartitionOutcome:
    """Refused for want of what comes before it, or done where a person left it out."""
    skip = next((candidate for gate in dataset.gates if (candidate := skips.find(gate, partition))), None)
    if skip is not None and not refused:
        return PartitionOutcome(partition, True, verdicts=(skip.verdict(UPSTREAM),))
    message = f"expected {upstream}@{partition} to be published, found none"
    # a day that came and was refused keeps runs red, one that never came does not
    return PartitionOutcome(partition, False, verdicts=(Verdict(UPSTREAM, False, message, details={"refused": refused}),))


def blocked(outcome: PartitionOutcome) -> Verdict | None:
    """The verdict that says that an earlier gate refused what this partition is made from; None where it was not so."""
    return next((verdict for verdict in outcome.verdicts if verdict.details.get("refused") is True), None)


def refused_before(ledger: Ledger, gates: Sequence[str]) -> dict[str, str]:
    """Partitions that one of a dataset's gates (assets) holds back and of which it has nothing good, with what it said."""
    refused: dict[str, str] = {}
    for asset in gates:
        current = ledger.find(asset)
        for key, refusal in closed_gates(ledger, asset, current).items():
            if current is None or key not in current.partitions:
                refused.setdefault(key, f"expected {asset}@{key} to be published, found it refused ({refusal.reason})")
    return refused


def incomplete(ledger: Ledger, node: AssetNode[Any], partitions: Sequence[str] | None) -> dict[str, dict[str, str]]:
    """Those of some partitions of a stage that stay refused, with the checks that closed a gate and what these said.

    Worked out from the ledger alone, for the check `complete` and for the command line: what the stage's own gate refused and no
    publication or skip has answered, what a gate before it holds back, and of raw events what is due and never came. None stands
    for all partitions; a source with a position of its own may feed any of them, whichever are asked for.
    """
    current, dataset = ledger.find(node.asset), _cut_like(node)
    arrives = dataset is not None and node.asset == dataset.gates[0]
    fed = dataset is not None and arrives and dataset.positioned
    wanted = None if partitions is None or fed else {*partitions}
    there = {*current.partitions} if current else set()
    refused = {
        key: refusal.reasons
        for key, refusal in closed_gates(ledger, node.asset, current).items()
        if wanted is None or key in wanted
    }
    absent = [] if partitions is None or dataset is None else [key for key in partitions if key not in there]
    if dataset is not None and absent and arrives:
        skips = ledger.skips()
        for key in absent:
            if key not in refused and is_due(dataset, key) and skips.find(node.asset, key) is None:
                refused[key] = {"row_volume": f"expected rows for {key}, found none: have the producer send them"}
    elif dataset is not None and absent:
        held = refused_before(ledger, gates_before(node))
        refused |= {key: {UPSTREAM: held[key]} for key in absent if key in held and key not in refused}
    return dict(sorted(refused.items()))


def gates_before(node: AssetNode[Any]) -> tuple[str, ...]:
    """The gates (assets) that hold back what a stage is made from, upstream first."""
    dataset = _cut_like(node)
    if dataset is None:
        return ()
    return tuple(gate for gate in (dataset.gates[:1] if node.stage.verbatim else dataset.gates) if gate != node.asset)


def _cut_like(node: AssetNode[Any]) -> Partitioned | None:
    """The dataset whose partitions a stage has."""
    like: Partitioned | None = None
    if node.subject.kind == "dataset":
        like = node.subject
    elif node.subject.kind in ("view", "load"):
        like = node.subject.partitioned_like
    return like


def is_due(dataset: Partitioned, partition: str) -> bool:
    """False for a partition in which nothing has to arrive, such as a closed day."""
    return dataset.contract.closed.due(partition, dataset.grain)


def settle(report: StageReport, dataset: Partitioned, partitions: Sequence[str]) -> StageReport:
    """Count partitions in which nothing was due as done, with no rows and no version, so that a backfill can end."""
    present = {outcome.partition for outcome in report.outcomes}
    idle = [PartitionOutcome(key, True) for key in partitions if key not in present and not is_due(dataset, key)]
    return with_outcomes(report, idle)


def with_outcomes(report: StageReport, more: Sequence[PartitionOutcome]) -> StageReport:
    """The report with further outcomes, sorted by partition."""
    if not more:
        return report
    outcomes = tuple(sorted((*report.outcomes, *more), key=lambda outcome: outcome.partition))
    return StageReport(report.asset, report.version, outcomes, report.cost, report.facts, report.plots)
