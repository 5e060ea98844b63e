"""Where looks become alerts and alerts become messages: every change goes into the signed log before anything is sent."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestrai.errors import ConcurrentCommit, ConfigError, OrchestraiError
from orchestrai.ledger.log import Log
from orchestrai.observability.alerts.alert_changes import Alert, Change, Message, Outbox, acknowledge, look_at
from orchestrai.observability.alerts.alert_log import AlertLog
from orchestrai.observability.alerts.alert_settings import Tellers
from orchestrai.observability.alerts.condition import Condition, Sight

LOG = logging.getLogger("orchestrai.alerts")
LEVELS = {"warning": logging.WARNING, "error": logging.ERROR, "critical": logging.CRITICAL}
# other writers may be first some times, not always
TRIES = 20
# what one delivery sends at most: a message is late rather than a tick endless
MOST_MESSAGES = 200
DOWN_AFTER, DOWN_ATTEMPTS = timedelta(minutes=10), 3
Next = Callable[[Outbox], tuple[Outbox, Sequence[tuple[Change, Alert]]]]


@dataclass(frozen=True)
class Delivery:
    """What was sent, and what was not taken, with why."""

    sent: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()


class AlertDesk:
    """The alerts of one ledger."""

    def __init__(self, ledger: Log, tellers: Tellers) -> None:
        self.log = AlertLog(ledger)
        self.tellers = tellers

    def outbox(self) -> Outbox:
        """What is open and owed now."""
        return self.log.newest().outbox

    def observe(self, sight: Sight) -> list[tuple[Change, Alert]]:
        """Take in what was seen; returns what changed. Writes nothing where nothing did."""
        changes: list[tuple[Change, Alert]] = []

        def step(before: Outbox) -> tuple[Outbox, Sequence[tuple[Change, Alert]]]:
            whole = sight.and_also(self._receivers(before, sight.now))
            after, changes[:] = look_at(before, whole, self.tellers.policy)
            # ages and counts in the words alone are no news
            same = not changes and [one.condition.members for one in after.alerts] == [
                one.condition.members for one in before.alerts
            ]
            return (before if same else after), changes

        self._move(step, sight.now)
        for change, alert in changes:
            told = Message(change, alert, sight.now.isoformat(), "log", "")
            LOG.log(LEVELS[alert.condition.severity or "warning"], "%s", self.tellers.wording.text(told))
        return changes

    def acknowledge(self, beginning: str, by: str, reason: str, now: datetime) -> Alert:
        """Note that a person takes an open alert on; raises ConfigError unless one id begins so, or without a name and a reason."""
        if not by.strip() or not reason.strip():
            raise ConfigError("expected a name and a reason for an acknowledgement, found none: say who takes it on and how")
        changes: list[tuple[Change, Alert]] = []

        def step(before: Outbox) -> tuple[Outbox, Sequence[tuple[Change, Alert]]]:
            named = before.find(beginning)
            if len(named) != 1:
                raise ConfigError(
                    f"expected the id of one open alert, found {beginning!r} of {len(named)}: see `orchestrai alerts list`"
                )
            after, changes[:] = acknowledge(before, named[0], by, reason, now, self.tellers.policy)
            return after, changes

        self._move(step, now)
        return changes[0][1]

    def deliver(self, now: datetime) -> Delivery:
        """Send what is due. Each message is noted before it is sent and struck out after: what dies between is sent once more."""
        sent: list[str] = []
        failed: list[tuple[str, str]] = []
        while len(sent) + len(failed) < MOST_MESSAGES:
            mine = self._take(now)
            if not mine:
                break
            arrived = []
            for message in mine:
                problem = self._send(message)
                if problem:
                    failed.append((message.key, problem))
                else:
                    arrived.append(message.key)
            sent += arrived
            self._move(lambda before, gone=tuple(arrived): (before.delivered(gone), ()), now)  # type: ignore[misc]
        self.log.copy()
        return Delivery(tuple(sent), tuple(failed))

    # -- steps -----------------------------------------------------------------------------------------------

    def _take(self, now: datetime) -> list[Message]:
        """The messages that this process may send now, noted as tried."""
        mine: list[Message] = []

        def step(before: Outbox) -> tuple[Outbox, Sequence[tuple[Change, Alert]]]:
            known = self.tellers.receivers
            left = replace(before, messages=tuple(one for one in before.messages if one.receiver in known))
            mine[:] = left.due(now)[:MOST_MESSAGES]
            return left.attempted(mine, now), ()

        self._move(step, now)
        return mine

    def _move(self, step: Next, now: datetime) -> Outbox:
        """Put the next record, from whatever the newest one is then; none where the step changes nothing."""
        for _ in range(TRIES):
            newest = self.log.newest()
            after, changes = step(newest.outbox)
            if after == newest.outbox and not changes:
                return after
            try:
                return self.log.append(newest, after, changes, now).outbox
            except ConcurrentCommit:
                continue
        raise ConcurrentCommit(
            f"expected to write a record of alerts in {TRIES} tries, found others first each time: try again"
        )

    def _send(self, message: Message) -> str:
        """Try once; returns what was wrong."""
        try:
            self.tellers.receivers[message.receiver].send(message, self.tellers.wording)
        except OrchestraiError as exc:
            LOG.warning("alert %s not taken by %s: %s", message.alert.condition.id, message.receiver, exc.message)
            return exc.message
        return ""

    def _receivers(self, before: Outbox, now: datetime) -> Sight:
        """Receivers that have taken nothing for long: the others are told of them."""
        waiting: dict[str, Message] = {}
        for message in before.messages:
            late = now - datetime.fromisoformat(message.time) >= DOWN_AFTER and message.attempts >= DOWN_ATTEMPTS
            if late and message.receiver in self.tellers.receivers:
                waiting.setdefault(message.receiver, message)
        down = [
            Condition(
                "receiver_down",
                name,
                "every message to be taken within minutes",
                f"one has waited since {message.time[:19]} and was tried {message.attempts} times",
                "look at the receiver and at where its secret lies; then: orchestrai alerts test",
                source="outbox",
            )
            for name, message in waiting.items()
        ]
        return Sight(now, frozenset({"outbox"}), frozenset(down))
