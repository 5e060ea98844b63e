"""What a look changes: the alerts that are open and the messages that are owed, before and after. No I/O, no clock of its own."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from orchestrai.observability.alerts.condition import Condition, Sight, read_condition
from orchestrai.observability.alerts.condition_kinds import KINDS, Severity

Change = Literal["opened", "grew", "worsened", "escalated", "acknowledged", "resolved"]
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(minutes=15)


@dataclass(frozen=True)
class Alert:
    """A condition that people are told of, since when, and who took it on; `asked` is since when an answer is waited for."""

    condition: Condition
    opened: str
    asked: str = ""
    by: str = ""
    reason: str = ""
    acknowledged: str = ""
    escalated: str = ""

    @property
    def key(self) -> str:
        """Names it among all alerts there ever were."""
        return f"{self.condition.id}@{self.opened}"

    def as_json(self) -> dict[str, Any]:
        """The form that is kept and shown."""
        return {**self.__dict__, "condition": self.condition.as_json()}


def read_alert(body: dict[str, Any]) -> Alert:
    """From the form that is kept."""
    return Alert(**{**body, "condition": read_condition(body["condition"])})


@dataclass(frozen=True)
class Message:
    """What one receiver is owed: a change of an alert as it was then; tried `attempts` times, not again before `due`."""

    change: Change
    alert: Alert
    time: str
    receiver: str
    due: str
    attempts: int = 0

    @property
    def key(self) -> str:
        """The same at each try, so that a repeat can be told from news."""
        return f"{self.alert.key}:{self.change}:{self.time}:{self.receiver}"

    def as_json(self) -> dict[str, Any]:
        """The form that is kept and shown."""
        return {**self.__dict__, "alert": self.alert.as_json()}


def read_message(body: dict[str, Any]) -> Message:
    """From the form that is kept."""
    return Message(**{**body, "alert": read_alert(body["alert"])})


@dataclass(frozen=True)
class Route:
    """Who is told of what: from which severity on, and whether only of what nobody took on in time."""

    name: str
    least: Severity = "warning"
    only_escalated: bool = False

    def takes(self, change: Change, alert: Alert) -> bool:
        """Whether it is told of a change. Of a receiver that takes nothing only the others are told."""
        if not alert.condition.at_least(self.least) or (alert.condition.kind, alert.condition.subject) == (
            "receiver_down",
            self.name,
        ):
            return False
        return change == "escalated" or not self.only_escalated or bool(alert.escalated)


@dataclass(frozen=True)
class Policy:
    """Who is told, and after how long without an answer once more; None for never."""

    routes: tuple[Route, ...] = ()
    escalate_after: timedelta | None = timedelta(hours=1)


@dataclass(frozen=True)
class Outbox:
    """The alerts that are open, by age, and the messages that are owed, in order."""

    alerts: tuple[Alert, ...] = ()
    messages: tuple[Message, ...] = ()

    def find(self, beginning: str) -> list[Alert]:
        """The open alerts whose id begins so."""
        return [alert for alert in self.alerts if alert.condition.id.startswith(beginning)]

    def due(self, now: datetime) -> list[Message]:
        """What is to be sent now: of each alert and receiver the oldest message, if it has waited enough."""
        first: dict[tuple[str, str], Message] = {}
        for message in self.messages:
            first.setdefault((message.alert.key, message.receiver), message)
        return [message for message in first.values() if datetime.fromisoformat(message.due) <= now]

    def attempted(self, messages: Iterable[Message], now: datetime) -> "Outbox":
        """As it is noted before these are sent."""
        keys = {message.key for message in messages}
        return replace(self, messages=tuple(_tried(one, now) if one.key in keys else one for one in self.messages))

    def delivered(self, keys: Iterable[str]) -> "Outbox":
        """Without what has arrived."""
        gone = set(keys)
        return replace(self, messages=tuple(one for one in self.messages if one.key not in gone))


def _tried(message: Message, now: datetime) -> Message:
    wait = min(FIRST_WAIT * 2**message.attempts, LONGEST_WAIT)
    return replace(message, attempts=message.attempts + 1, due=(now + wait).isoformat())


@dataclass
class Step:
    """One step from an outbox to the next: what changed is noted, and owed to every route that takes it."""

    policy: Policy
    now: datetime
    changes: list[tuple[Change, Alert]] = field(default_factory=list)

    def tell(self, change: Change, alert: Alert) -> Alert:
        """Note a change."""
        self.changes.append((change, alert))
        return alert

    def owed(self) -> Iterator[Message]:
        """The messages of all changes."""
        time = self.now.isoformat()
        for change, alert in self.changes:
            for route in self.policy.routes:
                if route.takes(change, alert):
                    yield Message(change, alert, time, route.name, time)

    def onto(self, before: Outbox, alerts: Iterable[Alert]) -> Outbox:
        """The outbox after it."""
        return Outbox(
            tuple(sorted(alerts, key=lambda one: (one.opened, one.condition.id))), (*before.messages, *self.owed())
        )


def look_at(before: Outbox, sight: Sight, policy: Policy) -> tuple[Outbox, list[tuple[Change, Alert]]]:
    """The outbox after a look, and what changed: one alert for a condition until it is over, told again when it gets worse.

    What nobody took on within the declared time is escalated, once. Nothing changed where the second is empty.
    """
    step = Step(policy, sight.now)
    seen = _by_id(sight.conditions)
    alerts = []
    for alert in before.alerts:
        now = seen.pop(alert.condition.id, None)
        if now is None and sight.covers(alert.condition):
            step.tell("resolved", alert)
            continue
        alerts.append(_escalated(step, _renewed(step, alert, now) if now is not None else alert))
    time = sight.now.isoformat()
    alerts += [step.tell("opened", Alert(condition, time)) for _, condition in sorted(seen.items())]
    return step.onto(before, alerts), step.changes


def acknowledge(
    before: Outbox, alert: Alert, by: str, reason: str, now: datetime, policy: Policy
) -> tuple[Outbox, list[tuple[Change, Alert]]]:
    """The outbox after a person took an alert on."""
    step = Step(policy, now)
    taken = step.tell("acknowledged", replace(alert, by=by, reason=reason, acknowledged=now.isoformat()))
    return step.onto(before, [taken if one.key == alert.key else one for one in before.alerts]), step.changes


def _by_id(conditions: Iterable[Condition]) -> dict[str, Condition]:
    """Conditions by id; what two looks saw of one is put together, and the worse of them speaks."""
    seen: dict[str, Condition] = {}
    for condition in sorted(conditions):
        known = seen.get(condition.id)
        if known is None:
            seen[condition.id] = condition
        else:
            worse, other = (condition, known) if condition.worse_than(known) else (known, condition)
            seen[condition.id] = worse.together(other)
    return seen


def _renewed(step: Step, alert: Alert, now: Condition) -> Alert:
    before, renewed = alert.condition, replace(alert, condition=now)
    if now.worse_than(before):
        # whoever took it on took on less
        return step.tell(
            "worsened", replace(renewed, by="", reason="", acknowledged="", escalated="", asked=step.now.isoformat())
        )
    if KINDS[now.kind].told_again and set(now.members) - set(before.members):
        return step.tell("grew", renewed)
    return renewed


def _escalated(step: Step, alert: Alert) -> Alert:
    after = step.policy.escalate_after
    waits = after is not None and not alert.acknowledged and not alert.escalated
    if after is None or not waits or step.now - datetime.fromisoformat(alert.asked or alert.opened) < after:
        return alert
    return step.tell("escalated", replace(alert, escalated=step.now.isoformat()))
