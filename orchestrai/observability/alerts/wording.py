"""A message in words: what is the matter, what was expected, what was found, what mends it, where it is explained."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.duration_cron import format_duration
from orchestrai.observability.alerts.alert_changes import Message

SHOWN_MEMBERS = 10
RUNBOOKS = "docs/runbooks.md"
_BEFORE = {
    "opened": "",
    "grew": "more of it: ",
    "worsened": "worse: ",
    "escalated": "nobody took it on: ",
    "acknowledged": "taken on: ",
    "resolved": "well again: ",
}


@dataclass(frozen=True)
class Wording:
    """How a deployment speaks: its name, and where its runbooks are."""

    environment: str = "local"
    runbooks: str = RUNBOOKS

    def headline(self, message: Message) -> str:
        """One line."""
        condition = message.alert.condition
        return f"[{self.environment}] {_BEFORE[message.change]}{condition.title} ({condition.severity})"

    def runbook(self, message: Message) -> str:
        """Where it is said what to do."""
        return f"{self.runbooks}#{message.alert.condition.anchor}"

    def lines(self, message: Message) -> list[tuple[str, str]]:
        """The parts of a message, each with its name."""
        alert, condition = message.alert, message.alert.condition
        if message.change == "resolved":
            lasted = datetime.fromisoformat(message.time) - datetime.fromisoformat(alert.opened)
            return [
                ("it was", condition.found),
                ("lasted", format_duration(timedelta(seconds=round(lasted.total_seconds())))),
            ]
        parts = [("expected", condition.expected), ("found", condition.found)]
        if condition.members:
            more = len(condition.members) - SHOWN_MEMBERS
            names = ", ".join(condition.members[:SHOWN_MEMBERS])
            parts.append(("of", f"{names} and {more} more" if more > 0 else names))
        if message.change == "acknowledged":
            parts.append(("taken on by", f"{alert.by}: {alert.reason}"))
        return [*parts, ("to mend it", condition.remedy), ("runbook", self.runbook(message))]

    def text(self, message: Message) -> str:
        """All of it, for people."""
        parts = [f"{name}: {text}" for name, text in self.lines(message)]
        return "\n".join([self.headline(message), *parts, f"alert {message.alert.condition.id}"])

    def document(self, message: Message) -> dict[str, JsonValue]:
        """All of it, for programs; `key` is the same when a message comes twice."""
        condition = message.alert.condition
        return {
            "key": message.key,
            "change": message.change,
            "time": message.time,
            "alert": condition.id,
            "opened": message.alert.opened,
            "environment": self.environment,
            "kind": condition.kind,
            "subject": condition.subject,
            "severity": condition.severity,
            "expected": condition.expected,
            "found": condition.found,
            "remedy": condition.remedy,
            "members": list(condition.members),
            "runbook": self.runbook(message),
            "acknowledged_by": message.alert.by,
        }
