"""`vault witness`: since when what is in the vault is proven to have been there, by a place outside it."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.lookup import open_existing, this_user
from orchestrai.cli.output import OK, AsJson, emit, out, table
from orchestrai.errors import ConfigError
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.vault.witness.witness_record import WitnessReport


def witness_command(
    snapshot: Annotated[
        str | None,
        typer.Argument(help="a snapshot's id: since when it is proven to have been there; default: the whole witness"),
    ] = None,
    now: Annotated[bool, typer.Option("--now", help="write where every chain stands now, and have it stamped")] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="take the vault for what it is, whatever was witnessed before; needs --reason")
    ] = False,
    reason: Annotated[str, typer.Option(help="why a loss is accepted, kept in the signed record")] = "",
    as_json: AsJson = False,
) -> None:
    """Hold the witness outside the vault against it, and say since when what is proven. Exit code 1 where something was lost.

    The witness lies where ORCHESTRAI_WITNESS says, by default in the home. With ORCHESTRAI_TIMESTAMP_URL an RFC 3161 authority
    stamps each record; ORCHESTRAI_TIMESTAMP_ROOTS names the certificates by which its stamps are judged.

    Example: orchestrai vault witness 3f2a
    """
    from orchestrai.vault.protection import witness_of
    from orchestrai.vault.witness.witness_log import ends_of

    source = witness_of(load_settings())
    if source is None:
        raise ConfigError("expected a witness, found none: ORCHESTRAI_WITNESS is `none`")
    kept = open_existing(None)
    log = source.of(kept)
    if accept:
        log.accept(kept, this_user(), reason)
    elif now:
        log.note(kept, ends_of(kept))
    if snapshot is not None:
        commit = kept.get(snapshot)
        since = log.since(kept, commit.dataset, commit.seq)
        body = {
            "snapshot_id": commit.snapshot_id,
            "committed": commit.committed.isoformat(),
            "witnessed": since.witnessed.isoformat() if since else None,
            "stamped": since.stamped.isoformat() if since and since.stamped else None,
        }
        if as_json:
            emit(body)
        else:
            for name, value in body.items():
                out.print(f"{name}: {value or 'not proven'}", soft_wrap=True)
        raise typer.Exit(0)
    report = log.check(kept)
    if as_json:
        emit(report.as_json())
    else:
        rows = [(name, str(place.seq)) for name, place in sorted(report.heads.items())]
        table("Witnessed", ("chain", "up to record"), rows)
        for loss in report.losses:
            out.print(f"[red]lost[/red]: {loss}", soft_wrap=True)
        for line in witness_lines(report):
            out.print(line, soft_wrap=True)
        out.print(f"{OK[not report.losses]}: {len(report.losses)} chain(s) lost something")
    raise typer.Exit(1 if report.losses else 0)


def witness_lines(report: "WitnessReport | None") -> list[str]:
    """What a witness proves, in lines for people."""
    if report is None or report.first is None or report.last is None:
        return ["witness outside the vault: none; nothing bounds the times that the vault tells of itself"]
    span = f"{report.first:%Y-%m-%d %H:%M:%S} to {report.last:%Y-%m-%d %H:%M:%S} UTC"
    lines = [f"witness outside the vault: {report.records:,} records, {span}"]
    if report.stamped_until is not None:
        until = f"{report.stamped_until:%Y-%m-%d %H:%M:%S}"
        lines.append(f"time-stamps: {report.stamps:,} hold; what was witnessed by the newest was there at {until} UTC")
    if report.unstamped:
        lines.append(f"time-stamps: {report.unstamped}")
    return [*lines, *(f"a loss was accepted {told}" for told in report.accepted)]
