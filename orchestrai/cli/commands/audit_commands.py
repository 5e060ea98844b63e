"""`orchestrai audit|rebuild`: every record checked, and a lost lake made whole."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.lookup import KeyFile, RecordsUrl, open_ledger, open_records, this_user
from orchestrai.cli.output import OK, AsJson, emit, out, table
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.provenance.verify.findings import Check, Problem


def audit(
    vault: RecordsUrl = None,
    key: KeyFile = None,
    acknowledge: Annotated[
        str | None,
        typer.Option("--acknowledge", help="an entry that does not count, as ASSET@NUMBER: sign that you know of it"),
    ] = None,
    reason: Annotated[str, typer.Option(help="why it is there, with --acknowledge")] = "",
    as_json: AsJson = False,
) -> None:
    """Walk every log in lake and vault: check all signatures, hashes and roots, and that both tell the same story.

    With --vault only that vault is looked at. Exit code 1 when something does not verify. An entry of a log that its key might not
    sign counts for nothing and is a finding, until somebody acknowledges it: then it is told, with who and why, and is none.

    Example: orchestrai audit --json
    """
    from orchestrai.provenance.verify.audit import audit as look
    from orchestrai.storage.url import open_store

    if acknowledge is not None:
        _acknowledge(acknowledge, reason, as_json)
        return
    store, keyring = open_records(vault, key)
    if vault is None:
        report = look(open_store(load_settings().lake), keyring, witness=store)
    else:
        report = look(store, keyring)
    if as_json:
        emit(report.as_json())
    else:
        show_checks(report.checks, report.problems, report.unprovable)
        for told in report.known:
            out.print(f"[yellow]known[/yellow] {told}", soft_wrap=True)
        out.print(f"{OK[report.ok]}: {report.assets} assets in {report.seconds:.2f} s")
    raise typer.Exit(0 if report.ok else 1)


def _acknowledge(entry: str, reason: str, as_json: bool) -> None:
    from orchestrai.errors import ConfigError
    from orchestrai.ledger.decisions.void_heads import acknowledge_void

    asset, _, number = entry.rpartition("@")
    if not asset or not number.isdigit():
        raise ConfigError(f"expected ASSET@NUMBER, found {entry!r}: `orchestrai audit` names the entries that do not count")
    record = acknowledge_void(open_ledger(), asset, int(number), by=this_user(), reason=reason)
    if as_json:
        emit(record.as_json())
    else:
        out.print(f"entry {record.seq} of {record.asset} is known to be void", soft_wrap=True)


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
