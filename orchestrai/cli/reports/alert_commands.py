"""`orchestrai watch` and `orchestrai alerts list|ack|runbook|test`: what is wrong, who took it on, what to do, who is told."""

import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from orchestrai.cli.lookup import open_ledger, open_runtime, this_user
from orchestrai.cli.output import AsJson, emit, make_app, out, table
from orchestrai.errors import ConfigError, OrchestraiError
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.observability.alerts.alert_changes import Alert, Change, Outbox
    from orchestrai.observability.alerts.alert_desk import AlertDesk, Delivery

alerts = make_app("Alerts: what is wrong, who was told, who took it on.")
LEAST_SECONDS = 1


def watch(
    every: Annotated[int | None, typer.Option(help="look again after so many seconds, until it is interrupted")] = None,
    dry: Annotated[bool, typer.Option("--dry", help="only say what is wrong: nothing is noted and nobody is told")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at everything that may be wrong without a run, note what changed, and tell the receivers.

    A silent source, data without a backup, refused rows, held days, closed gates, failed checks, stale data, a missed SLA, overdue
    drills, an old champion, findings of the vault. Exit code 1 when something is wrong, 3 when the lake does not answer.

    Examples: orchestrai watch --dry --json    orchestrai watch --every 60
    """
    if every is not None and every < LEAST_SECONDS:
        raise ConfigError(f"expected at least {LEAST_SECONDS} second for --every, found {every}")
    while True:
        try:
            wrong = _look_once(dry, as_json)
        except OrchestraiError as error:
            if every is None or isinstance(error, ConfigError):
                raise
            # a loop outlives an outage, which it tells on its own output
            out.print(f"cannot look: {error.message}", markup=False, style="red", soft_wrap=True)
            wrong = True
        if every is None:
            raise typer.Exit(1 if wrong else 0)
        time.sleep(every)


def _look_once(dry: bool, as_json: bool) -> bool:
    from orchestrai.observability.alerts.alert_desk import AlertDesk
    from orchestrai.observability.alerts.alert_settings import tellers_of
    from orchestrai.observability.watch.watcher import watch as look

    runtime = open_runtime()
    sight = look(runtime)
    found = sorted(sight.conditions)
    changes: list[tuple[Change, Alert]] = []
    delivery: Delivery | None = None
    if not dry:
        desk = AlertDesk(runtime.ledger, tellers_of(runtime.settings))
        changes = desk.observe(sight)
        delivery = desk.deliver(runtime.clock())
    if as_json:
        emit(
            {
                "conditions": [{"id": one.id, **one.as_json()} for one in found],
                "unseen": sorted(sight.unseen),
                "changes": [{"change": change, "alert": alert.condition.id} for change, alert in changes],
                "sent": len(delivery.sent) if delivery else 0,
                "failed": [reason for _, reason in delivery.failed] if delivery else [],
            }
        )
        return bool(found)
    for one in found:
        out.print(f"[bold]{one.severity}[/bold] {escape(one.title)} [dim]{one.id}[/dim]", soft_wrap=True)
        for name in ("expected", "found", "remedy"):
            out.print(f"  {name}: {getattr(one, name)}", markup=False, highlight=False, soft_wrap=True)
    out.print(f"{len(found)} wrong; {len(changes)} changed" + (f"; {len(delivery.sent)} messages sent" if delivery else ""))
    for _, reason in delivery.failed if delivery else ():
        out.print(f"not told: {reason}", markup=False, style="yellow", soft_wrap=True)
    return bool(found)


@alerts.command("list")
def list_command(as_json: AsJson = False) -> None:
    """List the alerts that are open, and the messages that no receiver has taken yet. Exit code 1 when there are any.

    Example: orchestrai alerts list --json
    """
    outbox = _desk().outbox()
    if as_json:
        emit(_as_json(outbox))
    else:
        rows = [
            (
                one.condition.id,
                one.condition.severity,
                escape(one.condition.title),
                one.opened[:19],
                f"{one.by}: {one.reason}" if one.by else "escalated" if one.escalated else "-",
            )
            for one in outbox.alerts
        ]
        table("Alerts", ("id", "severity", "what", "since (UTC)", "taken on by"), rows)
        waiting = [
            (one.receiver, one.change, escape(one.alert.condition.title), one.attempts, one.due[:19])
            for one in outbox.messages
        ]
        if waiting:
            table("Messages that wait", ("receiver", "change", "what", "tried", "next (UTC)"), waiting)
    raise typer.Exit(1 if outbox.alerts or outbox.messages else 0)


def _as_json(outbox: "Outbox") -> dict[str, Any]:
    return {
        "alerts": [{"id": one.condition.id, **one.as_json()} for one in outbox.alerts],
        "messages": [one.as_json() for one in outbox.messages],
    }


@alerts.command("ack")
def ack_command(
    alert: Annotated[str, typer.Argument(help="its id, or a beginning of it that only one has")],
    reason: Annotated[str, typer.Option(help="what you do about it, kept in the signed record")],
    by: Annotated[str | None, typer.Option(help="who takes it on; default: the user of this process")] = None,
    as_json: AsJson = False,
) -> None:
    """Take an alert on: it is not escalated, and it is resolved when what is wrong is over.

    Example: orchestrai alerts ack 3f2a --reason "the producer sends it again tonight"
    """
    desk, now = _desk(), _now()
    taken = desk.acknowledge(alert, this_user(by), reason, now)
    desk.deliver(now)
    if as_json:
        emit({"id": taken.condition.id, **taken.as_json()})
    else:
        out.print(f"{taken.condition.title}: taken on by {taken.by} ({taken.reason})", markup=False, soft_wrap=True)


@alerts.command("runbook")
def runbook_command(
    kind: Annotated[str, typer.Argument(help="a kind of condition, such as gate-closed or drill-overdue")],
    as_json: AsJson = False,
) -> None:
    """Say what to do about a kind of alert: the section of the runbooks, which comes with the package.

    Example: orchestrai alerts runbook gate-closed
    """
    from orchestrai.observability.alerts.alert_settings import tellers_of
    from orchestrai.observability.alerts.condition_kinds import KINDS
    from orchestrai.observability.alerts.runbook_page import runbook_section

    text = runbook_section(kind)
    page = f"{tellers_of(load_settings()).wording.runbooks}#{KINDS[kind.replace('-', '_')].anchor}"
    if as_json:
        emit({"kind": kind, "runbook": text, "page": page})
    else:
        out.print(f"{text}\n\n{page}", markup=False, highlight=False, soft_wrap=True)


@alerts.command("test")
def test_command(as_json: AsJson = False) -> None:
    """Send every receiver an alert that is a test, and its end. Exit code 1 when one of them did not take it.

    Example: orchestrai alerts test
    """
    from orchestrai.observability.alerts.condition import Condition, Sight

    desk, now = _desk(), _now()
    test = Condition(
        "test",
        "orchestrai alerts test",
        "this to arrive",
        "that it has",
        "nothing: it ends itself",
        source="person",
        severity="critical",
    )
    sources = frozenset({"person"})
    told: list[Delivery] = []
    for conditions in (frozenset({test}), frozenset()):
        desk.observe(Sight(now, sources, conditions))  # type: ignore[arg-type]
        told.append(desk.deliver(now))
    failed = [{"message": key, "reason": reason} for delivery in told for key, reason in delivery.failed]
    names = sorted(desk.tellers.receivers)
    if as_json:
        emit({"receivers": names, "sent": sum(len(delivery.sent) for delivery in told), "failed": failed})
    else:
        out.print(f"told: {', '.join(names)}" if names else "nobody is declared: alerts are kept and logged")
        for one in failed:
            out.print(f"not taken: {one['reason']}", markup=False, style="red", soft_wrap=True)
    raise typer.Exit(1 if failed else 0)


def _desk() -> "AlertDesk":
    from orchestrai.observability.alerts.alert_desk import AlertDesk
    from orchestrai.observability.alerts.alert_settings import tellers_of

    return AlertDesk(open_ledger(), tellers_of(load_settings()))


def _now() -> datetime:
    from orchestrai.core.identity import utc_now

    return utc_now()
