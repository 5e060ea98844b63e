"""What a rule says about data: the value every gate decides on, and the one place where a run's verdicts are gathered."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from orchestrai.core.canonical import JsonValue
from orchestrai.errors import IntegrityError

Severity = Literal["error", "warn"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One rule's finding on one partition; `check` is a stable snake_case name such as "schema" or "row_volume".

    A failed verdict of severity "error" closes the gate; "warn" is reported and lets the data through.
    """

    check: str
    passed: bool
    message: str = ""
    severity: Severity = "error"
    details: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def closes_gate(self) -> bool:
        """True when this verdict alone keeps the data from being published."""
        return not self.passed and self.severity == "error"

    def as_json(self) -> dict[str, JsonValue]:
        """The form in which receipts carry it."""
        return {
            "check": self.check,
            "passed": self.passed,
            "severity": self.severity,
            "message": self.message,
            "details": dict(self.details),
        }


def gate_open(verdicts: Iterable[Verdict]) -> bool:
    """True when no verdict closes the gate."""
    return not any(verdict.closes_gate for verdict in verdicts)


@dataclass(frozen=True, slots=True)
class CheckInfo:
    """A check that a stage always reports of an asset."""

    name: str
    blocking: bool
    description: str


def combined(first: Verdict, *others: Verdict) -> Verdict:
    """One verdict of several findings under one check: the worst speaks, of equally bad ones all do; details of all are kept.

    Raises IntegrityError for findings of different checks.
    """
    findings = (first, *others)
    if len({finding.check for finding in findings}) > 1:
        names = ", ".join(finding.check for finding in findings)
        raise IntegrityError(
            f"expected findings of one check to combine, found {names}: give each check a verdict of its own"
        )
    worst = max(map(_badness, findings))
    speaking = [finding for finding in findings if _badness(finding) == worst]
    details = {name: value for finding in findings for name, value in finding.details.items()}
    message = "; ".join(dict.fromkeys(finding.message for finding in speaking if finding.message))
    return Verdict(first.check, speaking[0].passed, message, speaking[0].severity, details)


def _badness(verdict: Verdict) -> tuple[bool, bool]:
    return verdict.closes_gate, not verdict.passed


class Audit(Mapping[str, tuple[Verdict, ...]]):
    """The verdicts of one run by partition, each check once: what the gate decides on and what the receipt carries.

    Every rule adds what it found before the commit; nothing that was added is changed or replaced afterwards.
    """

    def __init__(self) -> None:
        self._verdicts: dict[str, dict[str, Verdict]] = {}

    @classmethod
    def of(cls, verdicts: Mapping[str, Iterable[Verdict]]) -> Self:
        """An audit of verdicts already at hand; raises IntegrityError when a partition has two of one check."""
        audit = cls()
        for partition, judged in verdicts.items():
            audit.add(partition, *judged)
        return audit

    def add(self, partition: str, *verdicts: Verdict) -> None:
        """Take verdicts on a partition, of which there may be none; raises IntegrityError for a check it has already."""
        known = self._verdicts.setdefault(partition, {})
        for verdict in verdicts:
            if verdict.check in known:
                raise IntegrityError(
                    f"expected one verdict of {verdict.check} on {partition}, found a second: a check is judged once, before the "
                    "commit; combine its findings",
                    partition=partition,
                )
            known[verdict.check] = verdict

    def combine(self, partition: str, *findings: Verdict) -> None:
        """Take findings of which some may be of one check: the worst speaks, as in `combined`."""
        known = self._verdicts.setdefault(partition, {})
        for finding in findings:
            before = known.get(finding.check)
            known[finding.check] = finding if before is None else combined(before, finding)

    def verdict(self, partition: str, check: str) -> Verdict | None:
        """The verdict of a check on a partition; None where there is none."""
        return self._verdicts.get(partition, {}).get(check)

    def is_open(self, partition: str) -> bool:
        """True when no verdict on a partition closes its gate."""
        return gate_open(self._verdicts.get(partition, {}).values())

    @property
    def closed(self) -> tuple[str, ...]:
        """The partitions whose gate is closed, sorted."""
        return tuple(sorted(partition for partition in self._verdicts if not self.is_open(partition)))

    def __getitem__(self, partition: str) -> tuple[Verdict, ...]:
        return tuple(self._verdicts[partition].values())

    def __iter__(self) -> Iterator[str]:
        return iter(self._verdicts)

    def __len__(self) -> int:
        return len(self._verdicts)
