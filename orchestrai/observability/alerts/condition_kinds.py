"""The kinds of conditions there are; each has a section of its name in docs/runbooks.md."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["warning", "error", "critical"]
SEVERITIES: tuple[Severity, ...] = ("warning", "error", "critical")


@dataclass(frozen=True)
class ConditionKind:
    """A kind: its title, how bad it is, and whether what joins an open one is told anew."""

    name: str
    title: str
    severity: Severity = "error"
    told_again: bool = False

    @property
    def anchor(self) -> str:
        """Where its runbook begins in the page."""
        return self.name.replace("_", "-")


_ALL = (
    ConditionKind("silence", "a source is silent"),
    ConditionKind("unprotected", "data is without a backup for too long", "critical"),
    ConditionKind("dead_letters", "rows or objects were refused", "warning", told_again=True),
    ConditionKind("held", "partitions wait for a yes", "warning", told_again=True),
    ConditionKind("gate_closed", "a gate is closed", told_again=True),
    ConditionKind("stale", "published data is stale", "warning"),
    ConditionKind("sla_missed", "a model has not learned in time"),
    ConditionKind("drill_overdue", "a restore drill is overdue"),
    ConditionKind("champion_old", "a champion is older than declared", "warning"),
    ConditionKind("promotion_refused", "a candidate was not promoted", "warning"),
    ConditionKind("over_budget", "a pipeline costs what was declared as the most", "warning"),
    ConditionKind("cost_unrecorded", "what runs cost could not be recorded", "warning"),
    ConditionKind("check_failed", "a check failed", "warning"),
    ConditionKind("vault_finding", "the vault has a finding", "critical"),
    ConditionKind("left_out", "a pipeline is left out"),
    ConditionKind("unreadable", "something could not be looked at", "critical"),
    ConditionKind("run_failed", "a run failed"),
    ConditionKind("run_canceled", "a run was cancelled", "warning"),
    ConditionKind("tick_failed", "a sensor or schedule fails"),
    ConditionKind("receiver_down", "a receiver of alerts takes none"),
    ConditionKind("test", "a test: nothing is wrong", "warning"),
)
KINDS: dict[str, ConditionKind] = {kind.name: kind for kind in _ALL}
