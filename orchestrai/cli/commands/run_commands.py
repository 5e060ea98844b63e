"""`demo` and `backfill`: run pipelines without a daemon, and show what came of it."""

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrai.cli.lookup import open_runtime
from orchestrai.cli.output import AsJson, bars, emit, err, out, table
from orchestrai.cli.result_tables import show, show_replaced, show_runs, show_stale
from orchestrai.core.time.partition_key import with_value
from orchestrai.demo.items_port import items_port
from orchestrai.settings import load_settings

if TYPE_CHECKING:
    from orchestrai.defs.launch.backfill import RunSummary
    from orchestrai.pipeline.nodes.pipeline_node import Pipeline
    from orchestrai.pipeline.runtime import Runtime


def backfill(
    pipeline: Annotated[str, typer.Argument(help="a pipeline's name, for example churn")],
    first: Annotated[str | None, typer.Option("--from", help="first partition, for example 2010-12-01")] = None,
    last: Annotated[str | None, typer.Option("--to", help="last partition, included")] = None,
    only: Annotated[str | None, typer.Option(help="one value of the datasets' dimension, for example eu")] = None,
    models: Annotated[bool, typer.Option(help="go on to features, training and promotion")] = True,
    again: Annotated[bool, typer.Option("--again", help="run it in Dagster also where nothing is new")] = False,
    as_json: AsJson = False,
) -> None:
    """Run every stage of a pipeline over a span of partitions, one run per dataset, without a daemon.

    First every stage is asked, over stores in which nothing can be written, whether it would publish anything. Where none would, this says
    so, and Dagster is not loaded; --again runs it all the same.

    A refused partition does not hold back the others; the exit code is then 1. So it is where changed data leaves features stale that
    the run did not compute again. A partition that was published before and holds other content now is named. Of a dataset with a
    dimension beside time all values are run, or the one named by --only; datasets without it are read by all.

    Example: ORDERS_URL=./by-day ORDERS_START=2010-12-01 orchestrai backfill churn --from 2010-12-01 --to 2011-05-31
    """

    runtime = open_runtime()
    declared = runtime.project.pipeline(pipeline)
    span = (with_value(first, only) if first and only else first, with_value(last, only) if last and only else last)
    if not again and _nothing_new(runtime, declared, span, models=models, quiet=as_json):
        return
    from orchestrai.pipeline.refresh.replaced_partitions import replaced_partitions

    raw = [dataset.asset("raw_events") for dataset in declared.own_datasets]
    before = {asset: runtime.ledger.find(asset) for asset in raw}
    runs, _ = run_pipelines(runtime, {declared.name: span}, models=models, quiet=as_json)
    replaced = {asset: keys for asset in raw if (keys := replaced_partitions(before[asset], runtime.ledger.find(asset)))}
    from orchestrai.pipeline.reports.stale_assets import stale_assets
    from orchestrai.pipeline.reports.summary import summarize

    summary = summarize(runtime.ledger, declared)
    left = stale_assets(runtime.context(), runtime.project.nodes, [view.asset for view in declared.views])
    if as_json:
        emit({"runs": [vars(run) for run in runs], "summary": asdict(summary), "replaced": replaced, **left.as_json()})
    else:
        show_runs(runs)
        show_replaced(replaced)
        show([summary])
        show_stale(left)
    raise typer.Exit(0 if all(run.success for run in runs) and not left.by_inputs else 1)


def _nothing_new(
    runtime: "Runtime", declared: "Pipeline", span: tuple[str | None, str | None], *, models: bool, quiet: bool
) -> bool:
    """Whether a backfill would publish nothing; says so."""
    from orchestrai.pipeline.refresh.trial import Span, what_is_new
    from orchestrai.pipeline.reports.summary import summarize

    with bars(quiet) as progress:
        if what_is_new(runtime, declared, Span(*span, models=models), progress):
            return False
    summary = summarize(runtime.ledger, declared)
    if quiet:
        emit({"runs": [], "summary": asdict(summary), "replaced": {}, "stale": [], "unreadable": {}})
    else:
        out.print("nothing new: every stage stands as it is published, so nothing was run; --again runs it all the same")
        show([summary])
    return True


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
                "pipelines": [asdict(s) for s in summaries],
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


def sync(
    forget_former_keys: Annotated[
        bool,
        typer.Option(
            "--forget-former-keys", help="remove the history under keys of before 2026-11-30 from Dagster's database"
        ),
    ] = False,
    prune: Annotated[bool, typer.Option("--prune", help="first delete the runs that the settings let go")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell Dagster what the ledger holds and its database does not: materialized partitions and the verdicts of checks.

    For a database that was lost or made anew, and after a process that died before it had told all. Nothing is computed; a second call
    tells nothing. Exit code 1 where something published has no valid receipt.

    Keys of assets said their subject in a part of its own once, `churn/orders/snapshot`; what Dagster remembers by these is named, and
    removed with --forget-former-keys.

    A database that was lost took with it which sensors and schedules were on: those that are off are named, with what starts them.

    With --prune finished runs older than ORCHESTRAI_KEEP_RUNS days, or beyond ORCHESTRAI_MOST_RUNS, are deleted first, as a sensor does
    each hour.

    Example: orchestrai sync --prune
    """
    runtime = open_runtime()
    from orchestrai.defs.build import build_definitions
    from orchestrai.defs.instance import site_instance
    from orchestrai.defs.platform.run_retention import prune as delete_runs
    from orchestrai.defs.platform.run_retention import run_limits
    from orchestrai.defs.reporting.idle_sensors import idle
    from orchestrai.defs.reporting.ledger_sync import former_keys
    from orchestrai.defs.reporting.ledger_sync import sync as tell

    deleted = 0
    with site_instance(runtime.settings) as instance:
        more = prune
        while more:
            done = delete_runs(runtime, instance, run_limits(runtime.settings), runtime.clock())
            deleted, more = deleted + len(done.runs), done.more
        told = list(tell(runtime, instance))
        former = former_keys(runtime, instance)
        if forget_former_keys:
            instance.wipe_assets(former)
        off = idle(build_definitions(runtime), instance)
    if as_json:
        former_keys_told = [key.to_user_string() for key in former]
        told_off = [{"kind": one.kind, "name": one.name, "command": one.command} for one in off]
        emit({"told": [asdict(one) for one in told], "former_keys": former_keys_told, "deleted": deleted, "off": told_off})
    else:
        if prune:
            out.print(f"deleted {deleted} runs from Dagster's database")
        rows = [(one.asset, one.partitions, one.checks, ", ".join(one.uncounted[:5]) or "-") for one in told]
        if rows:
            table("Told", ("asset", "partitions", "checks", "without a valid receipt"), rows)
        else:
            out.print("nothing new: Dagster knows all that is published")
        if former:
            became = "were removed" if forget_former_keys else "stay until `orchestrai sync --forget-former-keys`"
            out.print(f"{len(former)} assets under the keys that they had before {became}")
        if off:
            table("Off, so that nothing of theirs begins by itself", ("what starts it",), [(one.command,) for one in off])
            out.print('Type these where DAGSTER_HOME is the instance: export DAGSTER_HOME="$(orchestrai instance)"')
    raise typer.Exit(1 if any(one.uncounted for one in told) else 0)


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
    from orchestrai.defs.instance import site_instance
    from orchestrai.defs.launch.backfill import backfill as run_all

    definitions = build_definitions(runtime)
    runs: list[RunSummary] = []
    later: list[str] = []
    with site_instance(runtime.settings) as instance, bars(quiet) as progress:
        for name, (first, last) in spans.items():
            pipeline = runtime.project.pipeline(name)
            runs += run_all(definitions, runtime, instance, pipeline, first, last, models=models, progress=progress)
    if again:
        later = [line for run in runs for line in _downstream(definitions, runtime, run)]
    return runs, later


def _downstream(definitions: Any, runtime: "Runtime", run: "RunSummary") -> list[str]:
    from orchestrai.defs.launch.backfill import is_refused_later
    from orchestrai.defs.launch.jobs import job_name

    lines = []
    datasets = {job_name(d.prefix, "ingest"): d for pipeline in runtime.project.pipelines for d in pipeline.datasets}
    for partition in sorted(run.refused):
        dataset = datasets[run.job]
        refused = is_refused_later(definitions, dataset, partition)
        verdict = "[green]refused again[/green]" if refused else "[red]let through[/red]"
        lines.append(f"a later run of only the downstream of {dataset.shown}@{partition}: {verdict}")
    return lines
