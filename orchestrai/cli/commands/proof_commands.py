"""`model trace|verify|reproduce`: where a model comes from, and whether that can be proven or done again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.commands.audit_commands import show_checks
from orchestrai.cli.lookup import (
    KeyFile,
    KeyFolder,
    RecordsUrl,
    chosen_records,
    declared_project,
    open_records,
    open_runtime,
    vault_key,
)
from orchestrai.cli.output import OK, AsJson, bars, emit, make_app, out, table
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.provenance.today import Today

model = make_app("Where a model comes from, whether that can be proven, and whether it can be made again.")


@model.command("trace")
def trace_command(
    name: Annotated[str, typer.Argument(help="NAME, NAME@candidate, NAME@<version>, or an asset's key")],
    html: Annotated[Path | None, typer.Option("--html", help="write one self-contained page to this file")] = None,
    vault: RecordsUrl = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the way from a model, or any asset, to its raw objects: versions, times, checks and costs.

    Says which of the partitions that it learned from are stale by now. With --vault or --key from a vault's records and public keys
    alone, which do not tell that.

    Examples: orchestrai model trace churn@champion --html churn.html    orchestrai model trace churn/orders/restored --json
    """
    from orchestrai.provenance.export.page import trace_html
    from orchestrai.provenance.export.text_tree import trace_text
    from orchestrai.provenance.naming import find_asset
    from orchestrai.provenance.trace import trace_records

    records = chosen_records(vault, key)[0]
    trace = trace_records(records, *find_asset(records, name), _today() if vault is None and not key else None)
    if html is not None:
        html.write_text(trace_html(trace), encoding="utf-8")
    if as_json:
        emit(trace.as_json())
    elif html is not None:
        out.print(f"wrote {html}", soft_wrap=True)
    else:
        typer.echo(trace_text(trace))


def _today() -> "Today":
    from orchestrai.pipeline.reports.stale_assets import stale_assets
    from orchestrai.provenance.today import Today

    runtime = open_runtime()
    return Today(runtime.ledger.find, stale_assets(runtime.context(), runtime.project.nodes).of)


@model.command("verify")
def verify_command(
    file: Annotated[Path, typer.Argument(help="the model's file, for example model.ubj")],
    vault: RecordsUrl = None,
    key: KeyFile = None,
    asset: Annotated[str | None, typer.Option(help="look only in this asset, for example churn/churn/champion")] = None,
    read_bytes: Annotated[bool, typer.Option("--bytes", help="also read every snapshot file back and hash it")] = False,
    anchor: Annotated[Path | None, typer.Option(help="file outside the vault that remembers its newest commits")] = None,
    keys: KeyFolder = None,
    as_json: AsJson = False,
) -> None:
    """Check every signature, hash and Merkle root from a model's file back to the landed objects.

    Needs the vault and a public key: no lake, no Dagster, no database. Exit code 1 when something does not verify.

    Example: orchestrai model verify model.ubj --vault s3://bucket/vault --key signer.pem
    """
    from orchestrai.ledger.decisions.renames import renames_in
    from orchestrai.provenance.verify.model_proof import verify_model

    store, keyring = open_records(vault, key)
    sealed = vault_key(store, keyring, keys) if read_bytes else None
    asset = renames_in(store, keyring).key(asset) if asset else None
    verification = verify_model(
        file, vault=store, keyring=keyring, asset=asset, read_bytes=read_bytes, anchor=anchor, encryption=sealed
    )
    if as_json:
        emit(verification.as_json())
    else:
        where = f" is {verification.asset}@{verification.version[7:19]}" if verification.asset else ""
        out.print(f"{file.name} sha256 {verification.sha256[:12]}{where}", soft_wrap=True)
        show_checks(verification.checks, verification.problems, verification.unprovable)
        out.print(f"{OK[verification.ok]} in {verification.seconds:.2f} s")
    raise typer.Exit(0 if verification.ok else 1)


@model.command("reproduce")
def reproduce_command(
    name: Annotated[str, typer.Argument(help="NAME, NAME@candidate, or NAME@<version>")],
    home: Annotated[Path, typer.Option("--home", help="an empty folder to work in")],
    vault: RecordsUrl = None,
    key: KeyFile = None,
    keys: KeyFolder = None,
    as_json: AsJson = False,
) -> None:
    """Make a model again from the vault alone and compare it byte for byte, stage by stage.

    The vault is only read. Exit code 1 when something came out otherwise; the first stage that differs is the cause.

    Example: orchestrai model reproduce churn@champion --vault s3://bucket/vault --key signer.pem --home ./again
    """
    from orchestrai.provenance.naming import find_asset
    from orchestrai.provenance.recall.reproduce import reproduce
    from orchestrai.provenance.verified_records import Records

    store, keyring = open_records(vault, key)
    project = declared_project()
    asset, version = find_asset(Records(store, keyring), name)
    with bars(quiet=as_json) as progress:
        folder = keys or load_settings().key_folder
        reproduction = reproduce(
            asset, version, vault=store, keyring=keyring, home=home, project=project, key_folder=folder, progress=progress
        )
    if as_json:
        emit(reproduction.as_json())
    else:
        rows = [
            (s.asset, s.partitions, s.expected[7:19], s.found[7:19], OK[s.equal] if s.equal else f"{OK[False]} {s.note}")
            for s in reproduction.stages
        ]
        table(f"{asset}@{reproduction.version[7:19]}", ("made again", "partitions", "recorded", "came out", ""), rows)
        first = reproduction.first_difference
        where = f"first difference in {first.asset}: {', '.join(first.differ[:3])}" if first else "identical bytes"
        out.print(f"{where}, in {reproduction.seconds:.1f} s", soft_wrap=True)
    raise typer.Exit(0 if reproduction.ok else 1)
