"""`report` and `stale`: what is current, what is protected, and what would come out otherwise now."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrai.cli.lookup import declared_project, open_existing, open_ledger, open_runtime
from orchestrai.cli.output import AsJson, emit, out, table
from orchestrai.cli.result_tables import show, show_stale
from orchestrai.errors import ConfigError


def report(
    page: Annotated[
        Path | None,
        typer.Option("--out", help="write all of it to this file as one self-contained page, for people without Dagster"),
    ] = None,
    models: Annotated[
        bool, typer.Option("--models", help="with --out: also a page for each version of the models, in a folder beside it")
    ] = False,
    compliance: Annotated[
        bool,
        typer.Option("--compliance", help="what is protected, since when, proven when, and what is not, for an auditor"),
    ] = False,
    to: Annotated[
        Path | None, typer.Option("--to", help="with --compliance: write one self-contained page to this file")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is current: rows, versions, snapshots, restore times, refused partitions, metrics, champions, lineage.

    With --out or --json also gates with what opens them, the vault with RPO and RTO over time, every version of the models and why it
    was refused, costs, and alerts with what mends them. Reads the ledger, the vault's records, and landings for what no snapshot
    protects: works with Dagster down and its database gone.

    With --compliance: protected datasets with their proofs, holds, locks, keys, replicas, retention, RPO and RTO over time, findings, and
    what nothing protects; from the signed records of ledger and vault alone. Exit code 1 when something needs a person.

    Examples: orchestrai report --json    orchestrai report --out state.html --models
    orchestrai report --compliance --to compliance.html
    """
    if models and page is None:
        raise ConfigError("expected --out FILE.html with --models, found no --out: the pages are written beside it")
    if compliance or to is not None:
        if page is not None:
            raise ConfigError("expected --to FILE with --compliance, found --out: that is the page of the whole state")
        _compliance(to, as_json)
    if page is not None or as_json:
        _state(page, models, as_json)
        return
    from orchestrai.pipeline.reports.overview import overview

    told = overview(open_runtime())
    show(told.summaries)
    show_stale(told.stale)
    for point in (point for point in told.all_points if not point.passed):
        out.print(f"{point.dataset}: rpo: {point.message}", style="red", markup=False, soft_wrap=True)
    for alarm in told.unusual:
        out.print(f"unusual: {alarm.message}", style="red", markup=False, soft_wrap=True)
    for position in told.positions:
        for verdict in position.verdicts:
            style = "" if verdict.passed else "red"
            out.print(f"{position.name}: {verdict.check}: {verdict.message}", style=style, markup=False, soft_wrap=True)


def _state(page: Path | None, models: bool, as_json: bool) -> None:
    from orchestrai.cli.reports.page_commands import write_state
    from orchestrai.provenance.state.state import state_of

    runtime = open_runtime()
    told = state_of(runtime, pictures=page is not None)
    written = write_state(runtime, told, page, models) if page is not None else []
    if as_json:
        emit({**told.as_json(), "files": [str(path) for path in written]})
        return
    out.print(f"wrote {page}" + (f" and {len(written) - 1} pages of models" if models else ""), soft_wrap=True)


def _compliance(to: Path | None, as_json: bool) -> None:
    from orchestrai.pipeline.graph import declared_backups
    from orchestrai.provenance.compliance.compliance import compliance
    from orchestrai.provenance.compliance.compliance_page import compliance_html

    project = declared_project()
    told = compliance(open_ledger(), open_existing(None), declared_backups(tuple(project.nodes.values())))
    if to is not None:
        to.write_text(compliance_html(told), encoding="utf-8")
    if as_json:
        emit(told.as_json())
    else:
        rows = [
            (
                one.dataset,
                one.snapshots,
                f"{one.newest:%Y-%m-%d %H:%M}",
                f"{one.proven:%Y-%m-%d %H:%M}" if one.proven else "never",
            )
            for one in told.datasets
        ]
        table("Protected", ("dataset", "snapshots", "newest (UTC)", "last drill (UTC)"), rows)
        for finding in told.findings:
            out.print(f"finding: {finding}", style="red", markup=False, soft_wrap=True)
        for message in (message for one in told.datasets for message in one.unusual):
            out.print(f"unusual: {message}", style="red", markup=False, soft_wrap=True)
        for gap in told.gaps:
            out.print(f"not protected: {gap.asset}: {gap.count}, {gap.why}", style="yellow", markup=False, soft_wrap=True)
        read = told.read_whole[:16] or "never: run orchestrai vault verify --level read"
        out.print(f"every byte read and proven: {read}", soft_wrap=True)
        if to is not None:
            out.print(f"wrote {to}", soft_wrap=True)
    raise typer.Exit(0 if told.ok else 1)


def stale(
    name: Annotated[
        str | None, typer.Argument(help="a pipeline, or what an asset's key begins with; default: everything")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the partitions that would come out of other inputs or code now: features, training sets, predictions, tables.

    Reads the ledger alone, and as much of it as changed. Exit code 1 when something is stale.

    Examples: orchestrai stale    orchestrai stale churn --json
    """
    from orchestrai.pipeline.reports.stale_assets import stale_assets

    runtime = open_runtime()
    chosen = None
    if name is not None:
        chosen = [asset for asset in runtime.project.nodes if asset == name or asset.startswith(f"{name.rstrip('/')}/")]
        if not chosen:
            known = ", ".join(pipeline.name for pipeline in runtime.project.pipelines)
            raise ConfigError(f"expected a pipeline among {known}, or the beginning of an asset's key, found {name!r}")
    left = stale_assets(runtime.context(), runtime.project.nodes, chosen)
    if as_json:
        emit(left.as_json())
    else:
        show_stale(left)
        if not left.partitions and not left.unreadable:
            out.print("[green]current[/green]: nothing is stale")
    raise typer.Exit(1 if left.partitions or left.unreadable else 0)
