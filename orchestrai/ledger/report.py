"""What a stage tells of its work: one shape for all stages."""

import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType

from orchestrai.core.canonical import JsonValue
from orchestrai.core.verdict import Verdict
from orchestrai.ledger.decisions.overrides import Override
from orchestrai.ledger.decisions.skips import Skip


@dataclass(frozen=True, slots=True)
class Cost:
    """What a step used; seconds and bytes."""

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    peak_rss_bytes: int = 0

    def as_json(self) -> dict[str, JsonValue]:
        """The form in which receipts carry it."""
        return {
            "wall_seconds": round(self.wall_seconds, 6),
            "cpu_seconds": round(self.cpu_seconds, 6),
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "peak_rss_bytes": self.peak_rss_bytes,
        }


class Meter:
    """A context that measures a step: `with Meter() as meter: ...; meter.read += n`, then `meter.cost()`."""

    def __init__(self) -> None:
        self.read = 0
        self.written = 0
        self._start = (time.perf_counter(), time.process_time())

    def __enter__(self) -> "Meter":
        self._start = (time.perf_counter(), time.process_time())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def cost(self) -> Cost:
        """What was used since the context was entered."""
        return Cost(
            wall_seconds=time.perf_counter() - self._start[0],
            cpu_seconds=time.process_time() - self._start[1],
            bytes_read=self.read,
            bytes_written=self.written,
            peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        )


@dataclass(frozen=True, slots=True)
class PartitionOutcome:
    """What became of one partition: published under `root`, or refused by the verdicts listed.

    The verdicts are those that were judged, as the receipt carries them; a person's `override` or `skip` stands beside them. One that is
    `standing` is as published before: this run had nothing to do for it.
    """

    partition: str
    published: bool
    root: str | None = None
    rows: int = 0
    size: int = 0
    verdicts: tuple[Verdict, ...] = ()
    override: Override | None = None
    skip: Skip | None = None
    standing: bool = False


@dataclass(frozen=True)
class StageReport:
    """What a stage did: the asset's version afterwards, an outcome per partition, facts and plots (PNG) for people.

    `measured` is what the run took, for people: it is in no receipt.
    """

    asset: str
    version: str | None
    outcomes: tuple[PartitionOutcome, ...]
    cost: Cost = field(default_factory=Cost)
    facts: Mapping[str, JsonValue] = field(default_factory=dict)
    plots: Mapping[str, bytes] = field(default_factory=dict)
    measured: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def refused(self) -> tuple[PartitionOutcome, ...]:
        """The partitions whose gate stayed closed."""
        return tuple(outcome for outcome in self.outcomes if not outcome.published)

    @property
    def rows(self) -> int:
        """Rows published."""
        return sum(outcome.rows for outcome in self.outcomes if outcome.published)


def together(reports: Sequence[StageReport]) -> StageReport:
    """What was done to one asset in several steps, as one report: numbers are added, of other facts the last one counts."""
    last = reports[-1]
    if len(reports) == 1:
        return last
    facts: dict[str, JsonValue] = {}
    for report in reports:
        for name, value in report.facts.items():
            before = facts.get(name)
            facts[name] = before + value if isinstance(value, int) and isinstance(before, int) else value
    outcomes = sorted((o for report in reports for o in report.outcomes), key=lambda outcome: outcome.partition)
    cost = Cost(
        sum(report.cost.wall_seconds for report in reports),
        sum(report.cost.cpu_seconds for report in reports),
        sum(report.cost.bytes_read for report in reports),
        sum(report.cost.bytes_written for report in reports),
        max(report.cost.peak_rss_bytes for report in reports),
    )
    return replace(last, outcomes=tuple(outcomes), cost=cost, facts=facts)


def shown_verdicts(outcome: PartitionOutcome) -> tuple[Verdict, ...]:
    """An outcome's verdicts as people see them: one that closed a gate which a person opened or left out is a warning that says who."""
    if outcome.override is not None:
        by: dict[str, JsonValue] = {"waived_by": outcome.override.by, "waived_because": outcome.override.reason}
        note = outcome.override.note
    elif outcome.skip is not None:
        by, note = outcome.skip.details, outcome.skip.note
    else:
        return outcome.verdicts
    return tuple(
        replace(verdict, severity="warn", message=f"{note}: {verdict.message}", details={**verdict.details, **by})
        if verdict.closes_gate
        else verdict
        for verdict in outcome.verdicts
    )
