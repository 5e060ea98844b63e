"""What came of runs, and what is current, as a person wants to read it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from orchestrai.cli.output import out, table

if TYPE_CHECKING:
    from orchestrai.defs.launch.backfill import RunSummary
    from orchestrai.pipeline.reports.stale_assets import StaleAssets
    from orchestrai.pipeline.reports.summary import ModelSummary, PipelineSummary


def show_runs(runs: Sequence["RunSummary"]) -> None:
    """Tell what failed or was refused; silence means that all went well."""
    for run in runs:
        for checks, partitions in _refused_alike(run):
            out.print(f"[yellow]refused[/yellow] {run.job} {_span(partitions)}: {', '.join(checks)}", soft_wrap=True)
            out.print(f"  {run.reasons.get(partitions[0], '')}", markup=False, highlight=False, soft_wrap=True)
        for error in (*run.unreadable, *(run.errors if not run.refused else ())):
            out.print(f"[red]failed[/red] {run.job}: {error}", soft_wrap=True)


def show_replaced(replaced: Mapping[str, Sequence[str]]) -> None:
    """Partitions that were published before and hold other content now; silence means that there is none."""
    for asset, keys in replaced.items():
        subject = asset.rpartition("/")[0]
        out.print(
            f"[yellow]replaced[/yellow] {asset} {_span(keys)}: what landed of it is not what was taken before; the new content stands, "
            f"the former is in the snapshots of `orchestrai vault list {subject}`",
            soft_wrap=True,
        )


def show_stale(stale: "StaleAssets") -> None:
    """What is stale, an asset and a reason a line; silence means that nothing is."""
    for asset, partitions in stale.by_asset.items():
        alike: dict[str, list[str]] = {}
        for one in partitions:
            alike.setdefault(" and ".join(sorted({cause.kind for cause in one.causes})), []).append(one.partition)
        for kinds, keys in alike.items():
            first = next(one for one in partitions if one.partition == keys[0])
            out.print(f"[yellow]stale[/yellow] {asset} {_span(keys)} ({kinds}): {escape(first.why)}", soft_wrap=True)
    for asset, message in stale.unreadable.items():
        out.print(f"[red]cannot be judged[/red] {asset}: {escape(message)}", soft_wrap=True)


def _refused_alike(run: "RunSummary") -> list[tuple[list[str], list[str]]]:
    """Partitions that the same checks refused, one after another, a line for each such group."""
    groups: list[tuple[list[str], list[str]]] = []
    for partition, checks in sorted(run.refused.items()):
        if groups and groups[-1][0] == checks:
            groups[-1][1].append(partition)
        else:
            groups.append((checks, [partition]))
    return groups


def _span(partitions: Sequence[str]) -> str:
    if len(partitions) < 3:
        return ", ".join(partitions)
    return f"{len(partitions)} partitions, {partitions[0]} to {partitions[-1]}"


def show(summaries: Sequence["PipelineSummary"]) -> None:
    """The table a person wants to read."""
    from orchestrai.core.identity import describe

    rows = []
    for summary in summaries:
        for data in summary.datasets:
            refused = [*data.refused, *(f"{key} (older content stands)" for key in data.held_back)]
            rows.append(
                (
                    f"{summary.name}/{data.name}",
                    data.partitions,
                    data.rows,
                    describe(data.raw_version),
                    describe(data.snapshot_id)[:12],
                    f"{data.restore_seconds:.2f} s" if data.restore_seconds is not None else "-",
                    "[green]raw = snapshot = restored[/green]" if data.proven else "[red]not proven[/red]",
                    ", ".join(refused[:2]) + (f" and {len(refused) - 2} more" if len(refused) > 2 else "") or "-",
                )
            )
    table("Data", ("dataset", "partitions", "rows", "version", "snapshot", "restore", "proof", "refused"), rows)
    for summary in summaries:
        for data in summary.datasets:
            for line in data.waived:
                out.print(f"waived: {line}", style="yellow", markup=False, soft_wrap=True)
            for line in data.left_out:
                out.print(line, style="yellow", markup=False, soft_wrap=True)
    models = [
        (
            model.name,
            model.headline or "-",
            model.baseline or "-",
            describe(model.champion) or "-",
            _decision(model),
        )
        for summary in summaries
        for model in summary.models
    ]
    table("Models", ("model", "metric", "baseline", "champion", "decision"), models)
    for summary in summaries:
        for model in summary.models:
            if model.lineage:
                out.print(f"[bold]{model.name}[/bold] " + " [dim]<-[/dim] ".join(model.lineage), soft_wrap=True)


def _decision(model: "ModelSummary") -> str:
    if model.promoted:
        return "[green]promoted[/green]"
    if model.champion:
        return "kept the champion"
    return "rejected" if model.metrics else "not trained yet"
