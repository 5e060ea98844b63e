"""`orchestrai model export`: lineage in the forms that other tools read."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrai.cli.lookup import KeyFile, RecordsUrl, chosen_records
from orchestrai.cli.output import AsJson, emit, out


def export(
    name: Annotated[str, typer.Argument(help="NAME, NAME@candidate, NAME@<version>, or an asset's key")],
    form: Annotated[str, typer.Option("--format", help="in-toto, slsa, cyclonedx or openlineage")] = "in-toto",
    to: Annotated[Path | None, typer.Option("--to", help="write to this file instead of stdout")] = None,
    vault: RecordsUrl = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Write a model's lineage for other tools: signed in-toto statements, SLSA provenance, a CycloneDX ML-BOM, OpenLineage events.

    With --vault it is written from a vault and public keys alone; SLSA needs the signing key of the settings.

    Examples: orchestrai model export churn@champion --format slsa --to churn.slsa.json
    orchestrai export churn@champion --format cyclonedx --to churn.cdx.json
    """
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
