"""`report` and `stale`: what is current, what is protected, and what would come out otherwise now."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from orchestrai.cli.lookup import declared_project, open_existing, open_ledger, open_runtime
from orchestrai.cli.output import AsJson, emit, out, table
from orchestrai.cli.result_tables import show, show_stale
from orchestrai.errors import ConfigError


def report(
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

    Reads the ledger, and landings for what no snapshot protects: works with Dagster down and its database gone.

    With --compliance: protected datasets with their proofs, holds, locks, keys, replicas, retention, RPO and RTO over time, findings, and
    what nothing protects; from the signed records of ledger and vault alone. Exit code 1 when something needs a person.

    Examples: orchestrai report --json    orchestrai report --compliance --to compliance.html
    """
    if compliance or to is not None:
        _compliance(to, as_json)
    from orchestrai.pipeline.reports.database_findings import log_positions
    from orchestrai.pipeline.reports.recovery_point import recovery_point
    from orchestrai.pipeline.reports.stale_assets import stale_assets
    from orchestrai.pipeline.reports.summary import summarize
    from orchestrai.pipeline.reports.unusual_snapshots import unusual_snapshots

    runtime = open_runtime()
    summaries = [summarize(runtime.ledger, pipeline) for pipeline in runtime.project.pipelines]
    left = stale_assets(runtime.context(), runtime.project.nodes)
    positions = log_positions(runtime)
    points = {
        pipeline.name: [recovery_point(runtime, node) for node in pipeline.own_datasets]
        for pipeline in runtime.project.pipelines
    }
    raised = unusual_snapshots(runtime)
    if as_json:
        told = {name: {point.dataset: point.as_json() for point in some} for name, some in points.items()}
        emit(
            [
                {
                    **asdict(summary),
                    "stale": left.counts(f"{summary.name}/"),
                    "recovery_points": told[summary.name],
                    "unusual_changes": [a.as_json() for a in raised if a.commit.dataset.startswith(f"{summary.name}/")],
                    "databases": [p.as_json() for p in positions if p.name.startswith(f"{summary.name}/")],
                }
                for summary in summaries
            ]
        )
        return
    show(summaries)
    show_stale(left)
    for point in (point for some in points.values() for point in some if not point.passed):
        out.print(f"{point.dataset}: rpo: {point.message}", style="red", markup=False, soft_wrap=True)
    for alarm in raised:
        out.print(f"unusual: {alarm.message}", style="red", markup=False, soft_wrap=True)
    for position in positions:
        for verdict in position.verdicts:
            style = "" if verdict.passed else "red"
            out.print(f"{position.name}: {verdict.check}: {verdict.message}", style=style, markup=False, soft_wrap=True)


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
