"""`orchestrai erase`: a person's data made unreadable everywhere, old and locked snapshots included."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.lookup import open_ledger, open_or_none, this_user
from orchestrai.cli.output import AsJson, emit, out, table
from orchestrai.errors import ConfigError
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.provenance.erasure.erasure import Erasure


def erase(
    person: Annotated[str, typer.Argument(help="the value that names the person, for example a customer id")],
    plan: Annotated[bool, typer.Option("--plan", help="only say what it would reach, and what it would not")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="destroy the key without asking")] = False,
    by: Annotated[str | None, typer.Option(help="who decides; default: the user of this process")] = None,
    as_json: AsJson = False,
) -> None:
    """Destroy a person's key, so that no snapshot, however old or locked, gives the person back; name the models concerned.

    Covers columns tokenised at ingest; it cannot be undone. What was backed up before a contract tokenised is in clear, and is
    listed with its remedy: the exit code is then 1. With --json and without --yes nothing is changed. A person whom the data does not
    know is a mistake: nothing is recorded. Of a number or of blanks around it the spelling of the data is found, and shown.

    Examples: orchestrai erase 17850 --plan    orchestrai erase 17850 --yes
    """
    from orchestrai.privacy.persons import open_person_keys
    from orchestrai.provenance.erasure.erasure import erase as destroy
    from orchestrai.provenance.erasure.erasure import plan_erasure

    if plan and yes:
        raise ConfigError("expected --plan or --yes, found both: a plan changes nothing")
    ledger, vault = open_ledger(), open_or_none(None, may_be_new=True)
    keys = open_person_keys(load_settings())
    # what is erased is found whatever proves it
    with ledger.showing():
        erasure = plan_erasure(ledger, keys, person, vault)
    erasure.require_known()
    if not as_json:
        _show(erasure, person)
    ask = not plan and not yes and not as_json and not erasure.done
    if yes or (ask and typer.confirm("Destroy the key? This cannot be undone.")):
        with ledger.showing():
            erasure = destroy(ledger, keys, person, vault, by=this_user(by))
    if as_json:
        emit(erasure.as_json())
    elif not erasure.done:
        out.print("nothing was changed")
    else:
        out.print("erased" if erasure.complete else "[red]erased from what was tokenised; not from the copies above[/red]")
    raise typer.Exit(0 if erasure.complete else 1)


def _show(erasure: "Erasure", typed: str) -> None:
    from orchestrai.provenance.erasure.plaintext_copies import REMEDY

    if erasure.spelling.person != typed:
        out.print(f"{typed!r} is {erasure.spelling.person!r} in the data", markup=False)
    for other in erasure.spelling.others:
        out.print(f"[yellow]also known, and not reached by this:[/yellow] {other!r}: erase it too, if it is the same person")
    table("Tokens of this person", ("asset", "partition", "root"), [(a, p, r[7:19]) for a, p, r in erasure.partitions])
    for version in erasure.models:
        out.print(f"learned from it: {version.asset}@{version.root[7:19]}", soft_wrap=True)
    if erasure.clear:
        rows = [
            (c.asset, c.partition, _short(c.root), ", ".join(c.snapshots) or "none", c.locked[:19] or "-", len(c.lake_keys))
            for c in erasure.clear
        ]
        columns = ("asset", "partition", "root", "snapshots that give it back", "locked until (UTC)", "files in the lake")
        table("IN CLEAR: kept before the contract tokenised; destroying the key does not reach it", columns, rows)
        out.print(f"[red]in clear:[/red] {', '.join(erasure.in_clear)}", soft_wrap=True)
        out.print(f"remedy: {REMEDY}", soft_wrap=True)
    for letters in erasure.letters:
        state = "what they quote was taken out" if erasure.done else "what they quote goes with the key"
        where = f"{letters.asset}@{letters.partition}"
        out.print(f"dead letters in clear: {letters.letters:,} in {where} ({_short(letters.root)}): {state}", soft_wrap=True)
    for place in erasure.unchecked:
        out.print(f"[yellow]could not be read, so not checked:[/yellow] {place}", soft_wrap=True)


def _short(root: str) -> str:
    """A root's first digits; of what a gate refused, the session."""
    return root[7:19] if root.startswith("sha256:") else f"refused {root.rsplit('/', 1)[-1][:12]}"
