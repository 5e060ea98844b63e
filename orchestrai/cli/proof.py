"""`model trace|verify|reproduce`, `recall`, `rebuild`, `audit`: what a person or a stranger asks of the records."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.output import AsJson, bars, emit, make_app, out, table
from orchestrai.errors import ConfigError
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.ledger import Keyring, Ledger
    from orchestrai.provenance import Check, Problem
    from orchestrai.storage import Store
    from orchestrai.vault import Vault

model = make_app("Where a model comes from, whether that can be proven, and whether it can be made again.")
VaultUrl = Annotated[str | None, typer.Option("--vault", help="URL of the vault; default: the one in the settings")]
KeyFile = Annotated[
    list[Path] | None, typer.Option("--key", help="public key (PEM) whose signatures count; may be repeated")
]
OK = {True: "[green]ok[/green]", False: "[red]failed[/red]"}


def open_ledger() -> "Ledger":
    """The ledger of the settings, without loading any pipeline."""
    from orchestrai.ledger import Ledger, load_or_create_signer, trusted_keyring
    from orchestrai.storage import open_store

    settings = load_settings()
    folder = settings.key_folder
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    signer = load_or_create_signer(folder)
    return Ledger(open_store(settings.lake), signer, trusted_keyring(folder), vault=open_store(settings.vault))


def open_vault(vault: str | None, keys: Sequence[Path] | None) -> "tuple[Store, Keyring]":
    """A vault and the public keys to trust, from options or else from the settings; makes no key."""
    from orchestrai.ledger import trusted_keyring
    from orchestrai.ledger.signing import load_keyring
    from orchestrai.storage import open_store

    settings = load_settings()
    for path in keys or ():
        if not path.is_file():
            raise ConfigError(f"expected a public key at {path}, found no file")
    keyring = load_keyring(path.read_bytes() for path in keys) if keys else trusted_keyring(settings.key_folder)
    if not keyring.keys:
        raise ConfigError("expected a public key to check signatures with, found none: give --key PUB.pem")
    return open_store(vault or settings.vault), keyring


@model.command("trace")
def trace_command(
    name: Annotated[str, typer.Argument(help="NAME, NAME@candidate, NAME@<version>, or an asset's key")],
    html: Annotated[Path | None, typer.Option("--html", help="write one self-contained page to this file")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the way from a model, or any asset, to its raw objects: versions, times, checks and costs.

    Examples: orchestrai model trace churn@champion --html churn.html    orchestrai model trace churn/orders/restored --json
    """
    from orchestrai.provenance import trace, trace_html, trace_text
    from orchestrai.provenance.naming import find_asset
    from orchestrai.provenance.records import Records

    ledger = open_ledger()
    found = trace(ledger, *find_asset(Records(ledger.lake, ledger.keyring), name))
    if html is not None:
        html.write_text(trace_html(found), encoding="utf-8")
    if as_json:
        emit(found.as_json())
    elif html is not None:
        out.print(f"wrote {html}", soft_wrap=True)
    else:
        typer.echo(trace_text(found))


@model.command("verify")
def verify_command(
    file: Annotated[Path, typer.Argument(help="the model's file, for example model.ubj")],
    vault: VaultUrl = None,
    key: KeyFile = None,
    asset: Annotated[str | None, typer.Option(help="look only in this asset, for example churn/churn/champion")] = None,
    read_bytes: Annotated[bool, typer.Option("--bytes", help="also read every snapshot file back and hash it")] = False,
    anchor: Annotated[Path | None, typer.Option(help="file outside the vault that remembers its newest commits")] = None,
    as_json: AsJson = False,
) -> None:
    """Check every signature, hash and Merkle root from a model's file back to the landed objects.

    Needs the vault and a public key: no lake, no Dagster, no database. Exit code 1 when something does not verify.

    Example: orchestrai model verify model.ubj --vault s3://bucket/vault --key signer.pem
    """
    from orchestrai.provenance import verify_model

    store, keyring = open_vault(vault, key)
    found = verify_model(file, vault=store, keyring=keyring, asset=asset, read_bytes=read_bytes, anchor=anchor)
    if as_json:
        emit(found.as_json())
    else:
        where = f" is {found.asset}@{found.version[7:19]}" if found.asset else ""
        out.print(f"{file.name} sha256 {found.sha256[:12]}{where}", soft_wrap=True)
        show_checks(found.checks, found.problems, found.unprovable)
        out.print(f"{OK[found.ok]} in {found.seconds:.2f} s")
    raise typer.Exit(0 if found.ok else 1)


@model.command("reproduce")
def reproduce_command(
    name: Annotated[str, typer.Argument(help="NAME, NAME@candidate, or NAME@<version>")],
    home: Annotated[Path, typer.Option("--home", help="an empty folder to work in")],
    vault: VaultUrl = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a model again from the vault alone and compare it byte for byte, stage by stage.

    The vault is only read. Exit code 1 when something came out otherwise; the first stage that differs is the cause.

    Example: orchestrai model reproduce churn@champion --vault s3://bucket/vault --key signer.pem --home ./again
    """
    from orchestrai.pipeline import load_project, pipeline_folders
    from orchestrai.provenance.naming import find_asset
    from orchestrai.provenance.records import Records
    from orchestrai.provenance.reproduce import reproduce

    store, keyring = open_vault(vault, key)
    project = load_project(pipeline_folders(load_settings().pipelines))
    asset, version = find_asset(Records(store, keyring), name)
    with bars(quiet=as_json) as progress:
        found = reproduce(asset, version, vault=store, keyring=keyring, home=home, project=project, progress=progress)
    if as_json:
        emit(found.as_json())
    else:
        rows = [
            (s.asset, s.partitions, s.expected[7:19], s.found[7:19], OK[s.equal] if s.equal else f"{OK[False]} {s.note}")
            for s in found.stages
        ]
        table(f"{asset}@{found.version[7:19]}", ("made again", "partitions", "recorded", "came out", ""), rows)
        first = found.first_difference
        where = f"first difference in {first.asset}: {', '.join(first.differ[:3])}" if first else "identical bytes"
        out.print(f"{where}, in {found.seconds:.1f} s", soft_wrap=True)
    raise typer.Exit(0 if found.ok else 1)


def audit(
    vault: VaultUrl = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Walk every log: check all signatures, hashes and roots, and that lake and vault tell the same story.

    With --vault only that vault is looked at. Exit code 1 when something does not verify.

    Example: orchestrai audit --json
    """
    from orchestrai.provenance import audit as look
    from orchestrai.storage import open_store

    store, keyring = open_vault(vault, key)
    if vault is None:
        found = look(open_store(load_settings().lake), keyring, witness=store)
    else:
        found = look(store, keyring)
    if as_json:
        emit(found.as_json())
    else:
        show_checks(found.checks, found.problems, found.unprovable)
        out.print(f"{OK[found.ok]}: {found.assets} assets in {found.seconds:.2f} s")
    raise typer.Exit(0 if found.ok else 1)


def recall(
    target: Annotated[
        str, typer.Argument(help="URI or SHA-256 of a landed object, snapshot id, asset@partition, or version")
    ],
    apply: Annotated[
        bool, typer.Option("--apply", help="refuse all of it, drop its partitions, roll champions back")
    ] = False,
    reason: Annotated[str, typer.Option(help="why, kept in the signed record")] = "",
    as_json: AsJson = False,
) -> None:
    """Name every snapshot, dataset, feature table, model and prediction that something bad reached.

    Example: orchestrai recall s3://landing/orders/2011-03-14.csv --apply --reason "truncated export"
    """
    from orchestrai.provenance import ReceiptIndex, apply_recall, plan_recall

    ledger = open_ledger()
    plan = plan_recall(ledger, ReceiptIndex.build(ledger.lake, ledger.keyring), target, reason)
    if apply:
        plan = apply_recall(ledger, plan)
    if as_json:
        emit(plan.as_json())
        return
    stages: dict[str, list[str]] = {}
    for found in plan.reach.derivations:
        stages.setdefault(found.asset if found.receipt else "landed", []).append(found.partition or found.asset)
    rows = [(asset, len(keys), keys[0], keys[-1]) for asset, keys in sorted(stages.items())]
    table(f"Reached by {target}", ("asset", "partitions", "first", "last"), rows)
    for move in plan.champions:
        out.print(f"{move.asset}: serves {move.reached[7:19]}, last untouched: {move.to[7:19] or 'none'}", soft_wrap=True)
    if plan.retrain:
        out.print("to be made again: " + ", ".join(plan.retrain), soft_wrap=True)
    out.print("[green]in force[/green]" if plan.in_force else "nothing was changed; add --apply to recall it")


def erase(
    person: Annotated[str, typer.Argument(help="the value that names the person, for example a customer id")],
    yes: Annotated[bool, typer.Option("--yes", help="destroy the key without asking")] = False,
    as_json: AsJson = False,
) -> None:
    """Destroy a person's key, so that no snapshot, however old or locked, gives the person back; name the models concerned.

    Covers columns tokenised at ingest; it cannot be undone. With --json and without --yes nothing is changed.

    Example: orchestrai erase 17850 --yes
    """
    from orchestrai.ledger.persons import PersonKeys
    from orchestrai.provenance.erasure import erase as destroy
    from orchestrai.provenance.erasure import plan_erasure
    from orchestrai.storage import open_store

    ledger = open_ledger()
    keys = PersonKeys(open_store(str(load_settings().key_folder / "persons")))
    plan = plan_erasure(ledger, keys, person)
    if not as_json:
        table("Tokens of this person", ("asset", "partition", "root"), [(a, p, r[7:19]) for a, p, r in plan.partitions])
        for model_version in plan.models:
            out.print(f"learned from it: {model_version.asset}@{model_version.root[7:19]}", soft_wrap=True)
    if yes or (not as_json and not plan.done and typer.confirm("Destroy the key? This cannot be undone.")):
        plan = destroy(ledger, keys, person)
    if as_json:
        emit(plan.as_json())
    else:
        out.print("erased" if plan.done else "nothing was changed")


def export(
    name: Annotated[str, typer.Argument(help="NAME, NAME@candidate, NAME@<version>, or an asset's key")],
    form: Annotated[str, typer.Option("--format", help="intoto, cyclonedx or openlineage")] = "intoto",
    to: Annotated[Path | None, typer.Option("--to", help="write to this file instead of stdout")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a model's lineage for other tools: signed in-toto statements, a CycloneDX ML-BOM, or OpenLineage events.

    Example: orchestrai export churn@champion --format cyclonedx --to churn.cdx.json
    """
    from orchestrai.provenance.export import FORMATS
    from orchestrai.provenance.export import export as write
    from orchestrai.provenance.naming import find_asset
    from orchestrai.provenance.records import Records

    if form not in FORMATS:
        raise ConfigError(f"expected one of the formats {', '.join(FORMATS)}, found {form!r}")
    ledger = open_ledger()
    records = Records(ledger.lake, ledger.keyring)
    asset, version = find_asset(records, name)
    text = write(records, asset, version, form=form)
    if to is not None:
        to.write_text(text, encoding="utf-8")
    if as_json:
        emit(
            {
                "asset": asset,
                "version": version,
                "format": form,
                "file": str(to) if to else None,
                "bytes": len(text.encode()),
            }
        )
    elif to is None:
        typer.echo(text, nl=False)
    else:
        out.print(f"wrote {to}", soft_wrap=True)


def rebuild(
    read_bytes: Annotated[bool, typer.Option("--bytes", help="also put lost files back from snapshots")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a lost or damaged lake whole from the vault: logs, receipts and manifests, with --bytes also data.

    What no snapshot holds (features, models) is then computed again by the next run. Safe to repeat; never overwrites records.

    Example: orchestrai rebuild --bytes
    """
    from orchestrai.provenance import rebuild as rebuild_records
    from orchestrai.provenance import recover_bytes

    ledger = open_ledger()
    report = rebuild_records(ledger)
    recovered = recover_bytes(ledger, _vault_of(ledger)) if read_bytes else None
    if as_json:
        emit({**report.as_json(), "recovered": recovered.as_json() if recovered else None})
        return
    table("Rebuilt", ("records", "copied"), list(report.copied.items()))
    out.print(f"{report.assets} assets, {report.heads} log entries equal in lake and vault")
    if recovered is not None:
        out.print(f"{recovered.files:,} files, {recovered.size:,} bytes put back")
        for asset, keys in recovered.dropped.items():
            out.print(f"to be computed again: {asset} ({len(keys)} partitions)", soft_wrap=True)


def _vault_of(ledger: "Ledger") -> "Vault":
    from orchestrai.vault import Vault

    if ledger.vault is None:
        raise ConfigError("expected a vault, found none: set ORCHESTRAI_VAULT_URL")
    return Vault(ledger.vault, ledger.signer, ledger.keyring, clock=ledger.clock, new_id=ledger.new_id)


def show_checks(checks: "Sequence[Check]", problems: "Sequence[Problem]", unprovable: Sequence[str]) -> None:
    """What was checked, what failed, what cannot be shown."""
    table("Checks", ("check", "done", "", "what"), [(c.name, c.count, OK[c.passed], c.about) for c in checks])
    for problem in problems[:50]:
        out.print(f"[red]{problem.check}[/red] {problem.where}: {problem.message}", soft_wrap=True)
    if len(problems) > 50:
        out.print(f"and {len(problems) - 50} more; see --json")
    for text in unprovable:
        out.print(f"[dim]not proven here: {text}[/dim]", soft_wrap=True)
