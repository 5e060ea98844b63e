"""`demo`, `backfill`, `report` and `stale`: run pipelines without a daemon, and show what came of it."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrai.cli.lookup import declared_project, open_existing, open_ledger, open_runtime
from orchestrai.cli.output import AsJson, bars, emit, err, out, table
from orchestrai.cli.result_tables import show, show_runs, show_stale
from orchestrai.core.time.partition_key import with_value
from orchestrai.demo.items_port import items_port
from orchestrai.errors import ConfigError
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.defs.launch.backfill import RunSummary
    from orchestrai.pipeline.reports.stale_assets import StaleAssets
    from orchestrai.pipeline.runtime import Runtime


def backfill(
    pipeline: Annotated[str, typer.Argument(help="a pipeline's name, for example churn")],
    first: Annotated[str | None, typer.Option("--from", help="first partition, for example 2010-12-01")] = None,
    last: Annotated[str | None, typer.Option("--to", help="last partition, included")] = None,
    only: Annotated[str | None, typer.Option(help="one value of the datasets' dimension, for example eu")] = None,
    models: Annotated[bool, typer.Option(help="go on to features, training and promotion")] = True,
    as_json: AsJson = False,
) -> None:
    """Run every stage of a pipeline over a span of partitions, one run per dataset, without a daemon.

    A refused partition does not hold back the others; the exit code is then 1. So it is where changed data leaves features stale that
    the run did not compute again. Of a dataset with a dimension beside time all values are run, or the one named by --only; datasets
    without it are read by all.

    Example: ORDERS_URL=./by-day orchestrai backfill churn --from 2010-12-01 --to 2011-05-31
    """

    runtime = open_runtime()
    declared = runtime.project.pipeline(pipeline)
    span = (with_value(first, only) if first and only else first, with_value(last, only) if last and only else last)
    runs, _ = run_pipelines(runtime, {declared.name: span}, models=models, quiet=as_json)
    from orchestrai.pipeline.reports.summary import summarize

    summary = summarize(runtime.ledger, declared)
    left = _stale(runtime, [view.asset for view in declared.views])
    if as_json:
        emit({"runs": [vars(run) for run in runs], "summary": _plain(summary), **left.as_json()})
    else:
        show_runs(runs)
        show([summary])
        show_stale(left)
    raise typer.Exit(0 if all(run.success for run in runs) and not left.by_inputs else 1)


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
    from orchestrai.pipeline.reports.summary import summarize
    from orchestrai.pipeline.reports.unusual_snapshots import unusual_snapshots

    runtime = open_runtime()
    summaries = [summarize(runtime.ledger, pipeline) for pipeline in runtime.project.pipelines]
    left = _stale(runtime)
    positions = log_positions(runtime)
    points = {
        pipeline.name: [recovery_point(runtime, node) for node in pipeline.datasets if node.pipeline == pipeline.name]
        for pipeline in runtime.project.pipelines
    }
    raised = unusual_snapshots(runtime)
    if as_json:
        told = {name: {point.dataset: point.as_json() for point in some} for name, some in points.items()}
        emit(
            [
                {
                    **_plain(summary),
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
    runtime = open_runtime()
    chosen = None
    if name is not None:
        chosen = [asset for asset in runtime.project.nodes if asset == name or asset.startswith(f"{name.rstrip('/')}/")]
        if not chosen:
            known = ", ".join(pipeline.name for pipeline in runtime.project.pipelines)
            raise ConfigError(f"expected a pipeline among {known}, or the beginning of an asset's key, found {name!r}")
    left = _stale(runtime, chosen)
    if as_json:
        emit(left.as_json())
    else:
        show_stale(left)
        if not left.partitions and not left.unreadable:
            out.print("[green]current[/green]: nothing is stale")
    raise typer.Exit(1 if left.partitions or left.unreadable else 0)


def _stale(runtime: "Runtime", chosen: Sequence[str] | None = None) -> "StaleAssets":
    from orchestrai.pipeline.reports.stale_assets import stale_assets

    return stale_assets(runtime.context(), runtime.project.nodes, chosen)


def demo(
    seed: Annotated[int, typer.Option(help="seed of the generated landing objects")] = 7,
    as_json: AsJson = False,
) -> None:
    """Write a few weeks of landing objects, run every stage of all shipped pipelines, and show what came of it.

    Safe to run again: the same objects give the same versions. Example: orchestrai demo
    """
    from orchestrai.demo.demo_landing import write_landing
    from orchestrai.demo.items_api import items_api

    started = time.perf_counter()
    settings = load_settings()
    with ExitStack() as stack:
        with bars(quiet=as_json) as progress:
            home = settings.home
            landed = write_landing(
                home / "landing", seed=seed, streams=home / "streams", database=home / "shop.sqlite", progress=progress
            )
        os.environ["ITEMS_URL"] = stack.enter_context(items_api(settings.home / "landing", port=items_port(settings.home)))
        from orchestrai.pipeline.reports.summary import summarize
        from orchestrai.pipeline.runtime import Runtime

        runtime = Runtime(settings)
        spans = {pipeline.name: landed.spans[pipeline.name] for pipeline in runtime.project.pipelines}
        runs, later = run_pipelines(runtime, spans, quiet=as_json, again=True)
        summaries = [summarize(runtime.ledger, pipeline) for pipeline in runtime.project.pipelines]
    seconds = time.perf_counter() - started
    failures = [error for run in runs for error in run.errors if not run.refused]
    if as_json:
        emit(
            {
                "seconds": seconds,
                "runs": [vars(run) for run in runs],
                "pipelines": [_plain(s) for s in summaries],
                "later": later,
            }
        )
    else:
        show_runs(runs)
        for line in later:
            out.print(line)
        show(summaries)
        out.print(f"\nDone in {seconds:.0f} s. Open the UI with [bold]make dev[/bold] and go to http://127.0.0.1:3000")
    raise typer.Exit(1 if failures else 0)


def run_pipelines(
    runtime: "Runtime",
    spans: Mapping[str, tuple[str | None, str | None]],
    *,
    models: bool = True,
    quiet: bool = False,
    again: bool = False,
) -> tuple[list["RunSummary"], list[str]]:
    """Backfill pipelines in this process, in the instance that the UI shows.

    With `again`, ask for only the downstream of each refused partition in a later run too, and tell what came of it.
    """
    if not quiet:
        err.print("[dim]loading Dagster ...[/dim]")
    from orchestrai.defs.build import build_definitions
    from orchestrai.defs.instance import open_instance
    from orchestrai.defs.launch.backfill import backfill as run_all

    definitions = build_definitions(runtime)
    runs: list[RunSummary] = []
    later: list[str] = []
    with open_instance(runtime.settings.home) as instance, bars(quiet) as progress:
        for name, (first, last) in spans.items():
            pipeline = runtime.project.pipeline(name)
            runs += run_all(definitions, runtime, instance, pipeline, first, last, models=models, progress=progress)
        if again:
            later = [line for run in runs for line in _downstream(definitions, runtime, instance, run)]
    return runs, later


def _downstream(definitions: Any, runtime: "Runtime", instance: Any, run: "RunSummary") -> list[str]:
    from orchestrai.defs.launch.backfill import run_dataset
    from orchestrai.defs.launch.jobs import job_name

    lines = []
    datasets = {job_name(d.prefix, "ingest"): d for pipeline in runtime.project.pipelines for d in pipeline.datasets}
    for partition in sorted(run.refused):
        dataset = datasets[run.job]
        result = run_dataset(definitions, instance, dataset, (partition, partition), only=("snapshot", "restored"))
        verdict = "[red]let through[/red]" if result.success else "[green]refused again[/green]"
        lines.append(f"a later run of only the downstream of {dataset.shown}@{partition}: {verdict}")
    return lines


def _plain(summary: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(summary)
