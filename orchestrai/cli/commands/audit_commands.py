"""`orchestrai audit|trail|rebuild`: every record checked, every operation told, and a lost lake made whole."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.lookup import KeyFile, RecordsUrl, moment_of, open_ledger, open_records
from orchestrai.cli.output import OK, AsJson, emit, out, table
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.provenance.verify.findings import Check, Problem


def audit(
    vault: RecordsUrl = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Walk every log in lake and vault: check all signatures, hashes and roots, and that both tell the same story.

    With --vault only that vault is looked at. Exit code 1 when something does not verify.

    Example: orchestrai audit --json
    """
    from orchestrai.provenance.verify.audit import audit as look
    from orchestrai.storage.url import open_store

    store, keyring = open_records(vault, key)
    if vault is None:
        report = look(open_store(load_settings().lake), keyring, witness=store)
    else:
        report = look(store, keyring)
    if as_json:
        emit(report.as_json())
    else:
        show_checks(report.checks, report.problems, report.unprovable)
        out.print(f"{OK[report.ok]}: {report.assets} assets in {report.seconds:.2f} s")
    raise typer.Exit(0 if report.ok else 1)


def trail(
    asset: Annotated[str | None, typer.Option(help="only what was done to this asset, or to those under it")] = None,
    action: Annotated[str | None, typer.Option(help="only this, for example recall, erasure, rollback, override")] = None,
    since: Annotated[str | None, typer.Option(help="only from this time on (ISO, UTC)")] = None,
    last: Annotated[int, typer.Option(min=1, help="how many to show, the newest")] = 100,
    vault: RecordsUrl = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Who did what to which data, when and why: every publication, rollback, override, recall, erasure and forgotten snapshot.

    Read from signed records, so that it needs no database; from the vault, which also tells of forgotten snapshots. `orchestrai
    audit` checks that nothing was taken out of it.

    Examples: orchestrai trail --action recall    orchestrai trail --asset churn/orders --since 2026-11-01 --json
    """
    from orchestrai.ledger.decisions.renames import renames_in
    from orchestrai.provenance.audit_trail import trail as read
    from orchestrai.provenance.verified_records import Records

    store, keyring = open_records(vault, key)
    start = moment_of(since).isoformat() if since else ""
    asset = renames_in(store, keyring).key(asset) if asset else None
    events = [
        event
        for event in read(Records(store, keyring))
        if event.time >= start
        and (action is None or event.action == action)
        and (asset is None or event.subject == asset or event.subject.startswith(f"{asset}/"))
    ]
    if as_json:
        emit([event.as_json() for event in events])
        return
    rows = [(e.time[:19], e.action, e.subject, e.who, e.what, e.why) for e in events[-last:]]
    table(f"{len(events):,} operations", ("when (UTC)", "what", "on", "who", "", "why"), rows)


def rebuild(
    read_bytes: Annotated[bool, typer.Option("--bytes", help="also put lost files back from snapshots")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a lost or damaged lake whole from the vault: logs, receipts and manifests, with --bytes also data.

    What no snapshot holds (training sets, evaluations) is then computed again by the next run. Safe to repeat; never overwrites records.

    Example: orchestrai rebuild --bytes
    """
    from orchestrai.provenance.recall.rebuild import rebuild as rebuild_records
    from orchestrai.provenance.recall.rebuild import recover_bytes
    from orchestrai.vault.protection import open_vault

    ledger = open_ledger()
    report = rebuild_records(ledger)
    # what is put back was signed for by its hash, and whoever uses it then asks for its evidence
    with ledger.showing():
        vault = open_vault(ledger, load_settings().key_folder, lambda: False) if read_bytes else None
        recovered = recover_bytes(ledger, vault) if vault is not None else None
    if as_json:
        emit({**report.as_json(), "recovered": recovered.as_json() if recovered else None})
        return
    table("Rebuilt", ("records", "copied"), list(report.copied.items()))
    out.print(f"{report.assets} assets, {report.heads} log entries equal in lake and vault")
    if recovered is not None:
        out.print(f"{recovered.files:,} files, {recovered.size:,} bytes put back")
        for asset, keys in recovered.dropped.items():
            out.print(f"to be computed again: {asset} ({len(keys)} partitions)", soft_wrap=True)


def show_checks(checks: "Sequence[Check]", problems: "Sequence[Problem]", unprovable: Sequence[str]) -> None:
    """What was checked, what failed, what cannot be shown."""
    table("Checks", ("check", "done", "", "what"), [(c.name, c.count, OK[c.passed], c.about) for c in checks])
    for problem in problems[:50]:
        out.print(f"[red]{problem.check}[/red] {problem.where}: {problem.message}", soft_wrap=True)
    if len(problems) > 50:
        out.print(f"and {len(problems) - 50} more; see --json")
    for text in unprovable:
        out.print(f"[dim]not proven here: {text}[/dim]", soft_wrap=True)
