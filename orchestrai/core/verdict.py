"""What a rule says about data: the value every gate decides on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from orchestrai.core.canonical import JsonValue

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
