"""`orchestrai export`: lineage in the forms that other tools read, and masked copies of pipelines for development."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.lookup import KeyFile, RecordsUrl, chosen_records, open_ledger, open_runtime
from orchestrai.cli.output import AsJson, emit, out

if TYPE_CHECKING:
    from orchestrai.ledger.ledger import Ledger
    from orchestrai.storage.base import Store


def export(
    name: Annotated[
        str,
        typer.Argument(
            help="NAME, NAME@candidate, NAME@<version>, or an asset's key; with --masked pipelines, comma-separated"
        ),
    ],
    form: Annotated[
        str, typer.Option("--format", help="in-toto, slsa, cyclonedx, openlineage, oms, proof or dossier")
    ] = "in-toto",
    to: Annotated[Path | None, typer.Option("--to", help="write to this file instead of stdout")] = None,
    vault: RecordsUrl = None,
    key: KeyFile = None,
    masked: Annotated[
        bool, typer.Option("--masked", help="write a copy of pipelines for development, without personal data")
    ] = False,
    mask_as: Annotated[
        list[str] | None,
        typer.Option("--as", help="PIPELINE/DATASET.COLUMN=METHOD: token, permute, band or synthetic; may be repeated"),
    ] = None,
    mask_key: Annotated[
        str, typer.Option("--mask-key", help="where the masking key lies (env://NAME); default: the site's own")
    ] = "",
    reason: Annotated[str, typer.Option(help="why a masked copy is made, for the record")] = "development",
    by: Annotated[str | None, typer.Option(help="who makes a masked copy; default: the user of this process")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a model's lineage for other tools: signed in-toto statements, SLSA provenance, a CycloneDX ML-BOM, OpenLineage events.

    With --vault it is written from a vault and public keys alone; SLSA needs the signing key of the settings. `oms` is a folder with the
    model's files and their signature as OpenSSF Model Signing. `proof` is all that a stranger needs, the model and a verifier of plain
    Python among it, as a folder or a zip file named by --to. `dossier` is a page for an auditor, and the same as JSON beside it.

    Examples: orchestrai model export churn@champion --format slsa --to churn.slsa.json
    orchestrai export churn@champion --format oms --to churn-signed
    orchestrai export churn@champion --format proof --to churn-proof.zip
    orchestrai export churn@champion --format dossier --to churn.html

    With --masked it writes a copy of pipelines that orchestrai itself runs on: landings and declarations, in which every column that its
    contract does not declare public is masked, joins and types kept, proven to hold no original value of a person. Exit code 1, and nothing
    written, where the proof finds one. The copy is in the audit trail.

    Example: orchestrai export churn,recommendations --masked --to dev-home --reason "new starter"
    """
    if masked:
        _masked(name, to, (mask_as or [], mask_key), (reason, by), as_json)
        return
    if form == "dossier":
        _dossier(name, to, vault, key, as_json)
        return
    if form in ("proof", "oms"):
        place = _folder(form, to, vault is not None or bool(key))
        (_proof if form == "proof" else _signed)(name, place, as_json)
        return
    from orchestrai.provenance.export.export import export as write
    from orchestrai.provenance.naming import find_asset

    records, signer = chosen_records(vault, key)
    asset, version = find_asset(records, name)
    text = write(records, asset, version, form=form, signer=signer)
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


def _masked(name: str, to: Path | None, how: tuple[list[str], str], why: tuple[str, str | None], as_json: bool) -> None:
    from orchestrai.cli.lookup import this_user
    from orchestrai.cli.output import bars
    from orchestrai.errors import ConfigError
    from orchestrai.privacy.masking.mask_key import load_mask_key
    from orchestrai.provenance.masking.masked_copy import Request, write_masked_copy

    if to is None:
        raise ConfigError("expected --to FOLDER for a masked copy, found no --to")
    asked = [tuple(text.partition("=")[::2]) for text in how[0]]
    runtime = open_runtime()
    request = Request(tuple(name.split(",")), this_user(why[1]), why[0], tuple((place, method) for place, method in asked))
    with bars(as_json) as say:
        copy = write_masked_copy(runtime.project, runtime.ledger, request, load_mask_key(runtime.settings, how[1]), to, say)
    if as_json:
        emit({**copy.record.as_json(), "record": copy.record.digest, "to": str(to), "files": copy.files, "bytes": copy.size})
        return
    for dataset, columns in copy.record.columns.items():
        out.print(
            f"{dataset}: {', '.join(f'{column} {method}' for column, method in columns.items())}",
            soft_wrap=True,
            markup=False,
        )
    out.print(f"wrote {to}: {copy.record.told}", soft_wrap=True)
    for pipeline, (first, last) in copy.spans.items():
        home = f"ORCHESTRAI_HOME={to} ORCHESTRAI_PIPELINES={to}/pipelines"
        out.print(f"run it: {home} orchestrai backfill {pipeline} --from {first} --to {last}", soft_wrap=True, markup=False)


def _open_vault() -> "tuple[Ledger, Store]":
    from orchestrai.errors import ConfigError

    ledger = open_runtime().ledger
    if ledger.vault is None:
        raise ConfigError("expected a vault whose records prove the model, found none: set the vault's URL")
    return ledger, ledger.vault


def _folder(form: str, to: Path | None, elsewhere: bool) -> Path:
    from orchestrai.errors import ConfigError

    if to is None or elsewhere:
        asked = "--vault or --key" if elsewhere else "no --to"
        places = "--to FOLDER or --to FILE.zip" if form == "proof" else "--to FOLDER"
        raise ConfigError(f"expected {places} for {form}, of the settings' own home, found {asked}")
    return to


def _proof(name: str, to: Path, as_json: bool) -> None:
    from orchestrai.provenance.export.proof_folder import write_proof
    from orchestrai.provenance.naming import find_asset
    from orchestrai.provenance.verified_records import Records
    from orchestrai.settings import load_settings
    from orchestrai.vault.protection import witness_store

    ledger, vault = _open_vault()
    asset, version = find_asset(Records(vault, ledger.keyring), name)
    with ledger.open(asset, version).fetched(["all"]) as files:
        model = {file.entry.path: file.path for file in files["all"]}
        witness = witness_store(load_settings(), vault)
        proof = write_proof(model, vault=vault, keyring=ledger.keyring, asset=asset, to=to, witness=witness)
    if as_json:
        emit(proof.as_json())
    else:
        out.print(
            f"wrote {to}: {proof.records:,} records, {proof.size:,} bytes; check it by python3 -S verify.py", soft_wrap=True
        )


def _signed(name: str, to: Path, as_json: bool) -> None:
    from orchestrai.provenance.export.model_signing import MODEL, PUBLIC_KEY, SIGNATURE, write_signed_model
    from orchestrai.provenance.naming import find_asset
    from orchestrai.provenance.verified_records import Records
    from orchestrai.settings import load_settings

    ledger = open_runtime().ledger
    asset, version = find_asset(Records(ledger.lake, ledger.keyring), name)
    with ledger.open(asset, version).fetched(["all"]) as files:
        model = {file.entry.path: file.path for file in files["all"]}
        signed = write_signed_model(
            model, name=f"{asset}@{version}", keys=load_settings().key_folder, signer=ledger.signer, to=to
        )
    if as_json:
        emit({"asset": asset, "version": version, **signed.as_json()})
    else:
        out.print(
            f"wrote {to}: {len(signed.files)} files; check them by model_signing verify key {to}/{MODEL} --signature {to}/{SIGNATURE} "
            f"--public_key {to}/{PUBLIC_KEY}",
            soft_wrap=True,
        )


def _dossier(name: str, to: Path | None, vault: str | None, key: list[Path] | None, as_json: bool) -> None:
    """From the vault's records where there is one; pictures come out of the lake, where it is at hand."""
    from dataclasses import replace

    from orchestrai.errors import ConfigError
    from orchestrai.provenance.export.dossier.dossier import dossier
    from orchestrai.provenance.export.dossier.dossier_page import write_dossier
    from orchestrai.provenance.export.dossier.dossier_parts import evaluation_of
    from orchestrai.provenance.lineage import use_of, walk
    from orchestrai.provenance.naming import find_asset
    from orchestrai.provenance.verified_records import Records

    if to is None:
        raise ConfigError("expected --to FILE.html for a dossier, found no --to")
    ledger = open_ledger() if vault is None and not key else None
    if ledger is None:
        records, _ = chosen_records(vault, key)
    else:
        records = Records(ledger.vault or ledger.lake, ledger.keyring)
    asset, version = find_asset(records, name)
    page = dossier(records, asset, version)
    judged = evaluation_of(walk(records, use_of(records, asset, version)))
    if ledger is not None and judged is not None:
        # a dossier says what it found of the model, and shows what there is
        with ledger.showing(), ledger.open(judged.use.asset, judged.use.version).fetched(["all"]) as files:
            page = replace(
                page, pictures={f.entry.path: f.path.read_bytes() for f in files["all"] if f.entry.path.endswith(".png")}
            )
    written = write_dossier(page, to)
    if as_json:
        emit({"asset": asset, "version": version, "format": "dossier", "files": [str(path) for path in written]})
    else:
        out.print(f"wrote {written[0]} and {written[1]}", soft_wrap=True)
