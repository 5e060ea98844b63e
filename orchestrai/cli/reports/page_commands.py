"""`report --out` and `model page`: the state of everything, and one version of a model, as pages for people without Dagster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.lookup import open_runtime
from orchestrai.cli.output import AsJson, emit, out
from orchestrai.errors import ConfigError, IntegrityError, OrchestraiError

if TYPE_CHECKING:
    from orchestrai.pipeline.runtime import Runtime
    from orchestrai.provenance.state.model_page import ModelPage
    from orchestrai.provenance.state.state import State
    from orchestrai.provenance.today import Today
    from orchestrai.provenance.verified_records import Records
    from orchestrai.provenance.verify.findings import Verification


def model_page(
    name: Annotated[str, typer.Argument(help="NAME@<version>, NAME for what serves, NAME@candidate, or an asset's key")],
    to: Annotated[Path, typer.Option("--out", help="write the page to this file")],
    as_json: AsJson = False,
) -> None:
    """Write one version of a model as a page: its way from landed objects, proof, evaluation, cost, and what a rebuild takes.

    The page needs nothing but itself. The records behind the version are verified against the vault when it is written. Exit code 1
    when one of them does not verify.

    Examples: orchestrai model page churn --out churn.html    orchestrai model page churn@3c794140 --out old.html --json
    """
    from orchestrai.provenance.naming import find_asset
    from orchestrai.provenance.state.model_page import model_html
    from orchestrai.provenance.verified_records import Records

    runtime = open_runtime()
    records = Records(runtime.ledger.lake, runtime.ledger.keyring)
    asset, version = find_asset(records, name)
    if asset.rpartition("/")[2] not in ("candidate", "champion"):
        raise ConfigError(f"expected a version of a model, found {asset}: see `orchestrai model trace {asset} --html FILE`")
    told = gathered(runtime, records, asset, version, today_of(runtime))
    to.write_text(model_html(told), encoding="utf-8")
    if as_json:
        emit({**told.as_json(), "file": str(to)})
    else:
        out.print(f"wrote {to}", soft_wrap=True)
    raise typer.Exit(0 if told.proof is None or told.proof.ok else 1)


def gathered(runtime: "Runtime", records: "Records", asset: str, version: str, today: "Today | None") -> "ModelPage":
    """A version with what was verified of it, and with the plots of its evaluation where they are at hand."""
    from dataclasses import replace

    from orchestrai.provenance.lineage import use_of, walk
    from orchestrai.provenance.state.model_page import judged_by
    from orchestrai.provenance.state.model_page import model_page as gather
    from orchestrai.provenance.state.model_versions import evaluation_pictures

    told = gather(records, asset, version, today)
    judged = judged_by(records, walk(records, use_of(records, asset, version)))
    drawn = evaluation_pictures(runtime.ledger, judged.use.asset, judged.use.version) if judged is not None else {}
    return replace(told, proof=_verified(runtime, asset, version), pictures=drawn)


def _verified(runtime: "Runtime", asset: str, version: str) -> "Verification | None":
    """What the vault says of its file and all that is behind it; None where there is no vault, or no file at hand."""
    from orchestrai.provenance.verify.model_proof import verify_model
    from orchestrai.vault.protection import is_sealed

    ledger = runtime.ledger
    store = ledger.vault
    if store is None or is_sealed(store, ledger.keyring) is None:
        return None
    try:
        with ledger.showing(), ledger.open(asset, version).fetched(["all"]) as files:
            model = next(
                (one.path for one in files["all"] if one.entry.path.startswith("model.") and one.path.suffix != ".json"),
                None,
            )
            return verify_model(model, vault=store, keyring=ledger.keyring, asset=asset) if model is not None else None
    except IntegrityError:
        return None


def today_of(runtime: "Runtime") -> "Today":
    """What is published and stale by now."""
    from orchestrai.pipeline.reports.stale_assets import stale_assets
    from orchestrai.provenance.today import Today

    return Today(runtime.ledger.find, stale_assets(runtime.context(), runtime.project.nodes).of)


def write_state(runtime: "Runtime", state: "State", to: Path, models: bool) -> list[Path]:
    """Write the page of the state and, with `models`, a page for each version that serves or waits, in a folder beside it."""
    from orchestrai.provenance.state.model_page import model_html
    from orchestrai.provenance.state.state_page import state_html
    from orchestrai.provenance.verified_records import Records

    written, pages = [to], {}
    if models:
        folder = to.with_name(f"{to.stem}-models")
        folder.mkdir(exist_ok=True)
        records, today = Records(runtime.ledger.lake, runtime.ledger.keyring), today_of(runtime)
        for model in state.models:
            for one in model.versions:
                asset = f"{model.prefix}/{'champion' if one.state in ('serves', 'served') else 'candidate'}"
                file = folder / f"{model.prefix.replace('/', '-')}-{one.short}.html"
                try:
                    told = gathered(runtime, records, asset, one.version, today)
                except OrchestraiError:
                    # what is wrong with it stands in the report, without a link
                    continue
                file.write_text(model_html(told, report=f"../{to.name}"), encoding="utf-8")
                pages[one.version] = f"{folder.name}/{file.name}"
                written.append(file)
    to.write_text(state_html(state, pages), encoding="utf-8")
    return written
