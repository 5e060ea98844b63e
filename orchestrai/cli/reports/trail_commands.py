"""`orchestrai trail`: who did what to which data, when and why, from signed records; its proof, and its export for a SIEM."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.lookup import KeyFile, RecordsUrl, moment_of, open_records
from orchestrai.cli.output import OK, AsJson, emit, out, table
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.provenance.audit_trail import Event

trail = typer.Typer(
    help="Who did what to which data, when and why.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
Subject = Annotated[
    str | None, typer.Option("--asset", "--subject", help="only what was done to this, or to what is under it")
]
Action = Annotated[str | None, typer.Option(help="only this, for example recall, erasure, rollback, override, key ended")]
Who = Annotated[str | None, typer.Option(help="only what a person or a key did: a name, or the id of a key")]
Since = Annotated[str | None, typer.Option(help="only from this time on (ISO, UTC)")]


@dataclass(frozen=True)
class Wanted:
    """What of a trail is asked for."""

    subject: str | None
    action: str | None
    who: str | None
    since: str

    def takes(self, event: "Event") -> bool:
        """Whether an operation is asked for."""
        return (
            event.time >= self.since
            and (self.action is None or event.action == self.action)
            and (self.subject is None or event.subject == self.subject or event.subject.startswith(f"{self.subject}/"))
            and (
                self.who is None
                or self.who in event.who.replace("(", " ").replace(")", " ").replace(";", " ").replace(",", " ").split()
            )
        )


@trail.callback()
def show(
    context: typer.Context,
    asset: Subject = None,
    action: Action = None,
    who: Who = None,
    since: Since = None,
    last: Annotated[int, typer.Option(min=1, help="how many to show, the newest")] = 100,
    vault: RecordsUrl = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Who did what to which data, when, why and from which interface: publications, restores, promotions, rollbacks, overrides, releases,
    skips, recalls, erasures, forgotten snapshots, legal holds, keys that came and went, alerts taken on.

    Read from signed records, so that it needs no database; from the vault, which also tells of forgotten snapshots. The person
    is the one that the machine knew: the user of the process, or whom the proxy before Dagster let in. A name given by --by is a claim.

    Examples: orchestrai trail --action recall    orchestrai trail --asset churn/orders --since 2026-11-01 --json
    """
    if context.invoked_subcommand is not None:
        return
    events = _events(asset, action, who, since, (vault, key))
    if as_json:
        emit([event.as_json() for event in events])
        return
    rows = [(e.time[:19], e.action, e.subject, e.who, e.interface, e.what, e.why) for e in events[-last:]]
    table(f"{len(events):,} operations", ("when (UTC)", "what", "on", "who", "from", "", "why"), rows)


@trail.command("export")
def export_command(
    file: Annotated[Path | None, typer.Argument(help="where to write; default: standard output")] = None,
    asset: Subject = None,
    action: Action = None,
    who: Who = None,
    since: Since = None,
    vault: RecordsUrl = None,
    key: KeyFile = None,
) -> None:
    """Write the trail as JSON lines, one operation a line, for a SIEM. Each names its record, so that a second export adds nothing twice.

    Example: orchestrai trail export trail.jsonl --since 2026-11-01
    """
    events = _events(asset, action, who, since, (vault, key))
    lines = "".join(json.dumps(event.as_json(), sort_keys=True) + "\n" for event in events)
    if file is None:
        sys.stdout.write(lines)
    else:
        file.write_text(lines, encoding="utf-8")


@trail.command("verify")
def verify_command(
    full: Annotated[bool, typer.Option("--full", help="read every entry again, also what was verified before")] = False,
    vault: RecordsUrl = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Check that nothing was changed in the trail, taken out of its middle or cut off its end: signatures, numbers, chains.

    What was verified before is remembered under the home, signed by its key: only its end is looked at again, and what came since is
    read. With --full every entry is, and where the home has no key. Exit code 1 when something does not verify. `orchestrai audit`
    also checks what the entries name.

    Example: orchestrai trail verify --full
    """
    from orchestrai.ledger.signing import load_signer
    from orchestrai.provenance.verify.trail_check import check_trail

    store, keyring = open_records(vault, key)
    settings = load_settings()
    report = check_trail(store, keyring, settings.home / "trail", load_signer(settings.key_folder), full=full)
    if as_json:
        emit(report.as_json())
    else:
        for problem in report.problems[:50]:
            out.print(problem, markup=False, style="red", soft_wrap=True)
        known = f", {report.entries - report.read:,} of them verified before" if report.read < report.entries else ""
        out.print(f"{OK[report.ok]}: {report.entries:,} entries of {report.logs:,} logs{known}, in {report.seconds:.2f} s")
    raise typer.Exit(0 if report.ok else 1)


def _events(
    asset: str | None,
    action: str | None,
    who: str | None,
    since: str | None,
    where: tuple[str | None, Sequence[Path] | None],
) -> "list[Event]":
    from orchestrai.ledger.decisions.renames import renames_in
    from orchestrai.provenance.audit_trail import trail as read
    from orchestrai.provenance.verified_records import Records

    store, keyring = open_records(*where)
    start = moment_of(since).isoformat() if since else ""
    wanted = Wanted(renames_in(store, keyring).key(asset) if asset else None, action, who, start)
    return [event for event in read(Records(store, keyring)) if wanted.takes(event)]
