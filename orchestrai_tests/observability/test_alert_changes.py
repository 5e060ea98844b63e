"""What changes is told: one condition is one alert until it is over."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from orchestrai.errors import ConfigError
from orchestrai.observability.alerts.alert_changes import Outbox, Policy, Route, acknowledge, look_at
from orchestrai.observability.alerts.condition import Condition, Sight
from orchestrai_tests.observability.hooks import NOW, seen, silent

HOUR = timedelta(hours=1)
POLICY = Policy((Route("chat"),), escalate_after=HOUR)


def steps(*sights: Sight, policy: Policy = POLICY) -> tuple[Outbox, list[list[str]]]:
    """Look several times; the outbox, and the changes of each look."""
    outbox, told = Outbox(), []
    for sight in sights:
        outbox, changes = look_at(outbox, sight, policy)
        told.append([change for change, _ in changes])
    return outbox, told


def later(sight: Sight, by: timedelta) -> Sight:
    return replace(sight, now=sight.now + by)


def test_a_condition_is_one_alert_until_it_is_over_whatever_is_found_meanwhile() -> None:
    older = replace(silent(), found="none for two days")
    outbox, told = steps(seen(silent()), seen(older), seen(), seen(), seen(silent()))
    assert told == [["opened"], [], ["resolved"], [], ["opened"]]
    assert [message.change for message in outbox.messages] == ["opened", "resolved", "opened"]


def test_what_could_not_be_looked_at_or_is_of_another_source_is_not_said_to_be_well() -> None:
    for again in (seen(unseen=("churn",)), seen(unseen=("churn/orders",)), seen(unseen=("",)), seen(source="dagster")):
        assert steps(seen(silent()), again)[1] == [["opened"], []]
    assert steps(seen(silent()), seen(unseen=("churn/order",)))[1] == [["opened"], ["resolved"]]


def test_what_gets_worse_is_told_again_and_what_joins_is_where_the_kind_says_so() -> None:
    held = Condition("held", "a", "e", "f", "r", members=("1",))
    more = replace(held, members=("1", "2"))
    failed = Condition("run_failed", "job", "e", "f", "r", members=("1",))
    worse = replace(silent(), severity="critical")
    assert steps(seen(held), seen(more), seen(more), seen(held))[1] == [["opened"], ["grew"], [], []]
    assert steps(seen(failed), seen(replace(failed, members=("1", "2", "3"))))[1] == [["opened"], []]
    assert steps(seen(silent()), seen(worse), seen(silent()))[1] == [["opened"], ["worsened"], []]


def test_nobody_s_alert_is_escalated_once_and_somebody_s_never() -> None:
    wait = [later(seen(silent()), HOUR * n) for n in (0, 0.9, 1, 2)]
    _, told = steps(*wait)
    assert told == [["opened"], [], ["escalated"], []]
    opened = steps(wait[0])[0]
    taken, changes = acknowledge(opened, opened.alerts[0], "ann", "on it", NOW, POLICY)
    assert [change for change, _ in changes] == ["acknowledged"] and taken.alerts[0].by == "ann"
    assert look_at(taken, wait[3], POLICY)[1] == []
    worse = later(seen(replace(silent(), severity="critical")), HOUR * 3)
    after, changes = look_at(taken, worse, POLICY)
    assert [change for change, _ in changes] == ["worsened"] and after.alerts[0].by == ""
    assert steps(*wait, policy=replace(POLICY, escalate_after=None))[1] == [["opened"], [], [], []]


def test_each_receiver_is_told_what_it_asked_for() -> None:
    routes = (Route("chat"), Route("pager", "critical"), Route("boss", only_escalated=True))
    outbox, _ = steps(
        seen(silent()), later(seen(silent()), HOUR), later(seen(), 2 * HOUR), policy=Policy(routes, escalate_after=HOUR)
    )
    told = {route.name: [m.change for m in outbox.messages if m.receiver == route.name] for route in routes}
    assert told == {"chat": ["opened", "escalated", "resolved"], "pager": [], "boss": ["escalated", "resolved"]}
    never = steps(seen(silent()), seen(), policy=Policy(routes))[0]
    assert {message.receiver for message in never.messages} == {"chat"}


def test_messages_of_one_alert_to_one_receiver_keep_their_order_and_wait_longer_each_time() -> None:
    outbox, _ = steps(seen(silent()), later(seen(), HOUR))
    now = NOW + HOUR
    waits = []
    for _ in range(8):
        (due,) = outbox.due(now)
        assert due.change == "opened"
        outbox = outbox.attempted([due], now)
        assert outbox.due(now) == []
        waits.append(min(message.due for message in outbox.messages if message.change == "opened"))
        now = max(NOW + HOUR, *(type(now).fromisoformat(wait) for wait in waits))
    spans = [type(now).fromisoformat(wait) for wait in waits]
    assert [(b - a).total_seconds() for a, b in pairwise(spans)] == [60, 120, 240, 480, 900, 900, 900]
    (resolved,) = outbox.delivered([due.key]).due(now)
    assert resolved.change == "resolved"


def test_two_looks_at_one_condition_are_put_together_and_the_worse_speaks() -> None:
    mild = silent(members=("1",))
    bad = replace(mild, severity="critical", found="nothing at all", members=("2",))
    outbox, _ = steps(seen(mild, bad))
    (alert,) = outbox.alerts
    assert (alert.condition.found, alert.condition.members) == ("nothing at all", ("1", "2"))


def test_a_kind_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="add it and its runbook"):
        Condition("odd", "a", "e", "f", "r")
