"""A condition: something that is not as it should be, with what was expected, what was found, and what mends it."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from orchestrai.core.canonical import canonical_json, sha256_hex
from orchestrai.errors import ConfigError
from orchestrai.observability.alerts.condition_kinds import KINDS, SEVERITIES, Severity

Source = Literal["ledger", "dagster", "outbox", "person"]
DIGITS = 12


@dataclass(frozen=True, order=True)
class Condition:
    """What is wrong with a subject. It is the same one as long as kind, subject and cause are: what was found may change.

    `members` are what it is of, such as partitions or runs. Raises ConfigError for a kind that there is not.
    """

    kind: str
    subject: str
    expected: str
    found: str
    remedy: str
    cause: str = ""
    members: tuple[str, ...] = ()
    source: Source = "ledger"
    severity: Severity | Literal[""] = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"expected a condition of {', '.join(KINDS)}, found {self.kind!r}: add it and its runbook")
        if not self.severity:
            object.__setattr__(self, "severity", KINDS[self.kind].severity)

    @property
    def id(self) -> str:
        """Names it for as long as it lasts."""
        return sha256_hex(canonical_json([self.kind, self.subject, self.cause]))[:DIGITS]

    @property
    def title(self) -> str:
        """What is the matter, and with what."""
        return f"{KINDS[self.kind].title}: {self.subject}"

    @property
    def anchor(self) -> str:
        """The section of the runbooks that says what to do."""
        return KINDS[self.kind].anchor

    def worse_than(self, other: "Condition") -> bool:
        """Whether it is more severe."""
        return SEVERITIES.index(self.severity or "warning") > SEVERITIES.index(other.severity or "warning")

    def at_least(self, severity: Severity) -> bool:
        """Whether it is as severe as that, or more."""
        return SEVERITIES.index(self.severity or "warning") >= SEVERITIES.index(severity)

    def together(self, other: "Condition") -> "Condition":
        """The same with the members of both."""
        return replace(self, members=tuple(sorted({*self.members, *other.members})))

    def as_json(self) -> dict[str, Any]:
        """The form that is kept and shown."""
        return {**self.__dict__, "members": list(self.members)}


def read_condition(body: dict[str, Any]) -> Condition:
    """From the form that is kept; raises ConfigError for a kind of a later release."""
    return Condition(**{**body, "members": tuple(body["members"])})


@dataclass(frozen=True)
class Sight:
    """What was seen at one look: the conditions of some sources; of subjects that could not be looked at nothing is said to be well."""

    now: datetime
    sources: frozenset[Source]
    conditions: frozenset[Condition] = frozenset()
    unseen: frozenset[str] = frozenset()

    def covers(self, condition: Condition) -> bool:
        """Whether an open condition that is not among these is over."""
        hidden = any(condition.subject == one or condition.subject.startswith((f"{one}/", f"{one}@")) for one in self.unseen)
        return condition.source in self.sources and not hidden and "" not in self.unseen

    def and_also(self, other: "Sight") -> "Sight":
        """Both looks as one."""
        return Sight(self.now, self.sources | other.sources, self.conditions | other.conditions, self.unseen | other.unseen)
