"""`landing status`: where every landed object is, by the ledger."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from orchestrai.cli.lookup import open_runtime
from orchestrai.cli.output import AsJson, emit, make_app, out, table
from orchestrai.errors import ConfigError

if TYPE_CHECKING:
    from orchestrai.ingest.discovery.reconciliation import Reconciliation
    from orchestrai.pipeline.nodes.dataset_node import DatasetNode
    from orchestrai.pipeline.runtime import Runtime

landing = make_app("Landings held against the ledger.")


@landing.command("status")
def status(
    dataset: Annotated[
        str | None, typer.Argument(help="for example churn/orders; default: every dataset whose objects land")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Count every landed object in one of four places: raw events, dead letters, waiting, passed over by a rule; and say why.

    Says too how old the oldest is that no counted snapshot protects. Exit code 1 when objects wait for a person (they were refused or
    held with their partition, or are no dead letters yet), or when more would be lost than the declared RPO.

    Example: orchestrai landing status churn/orders --json
    """
    from orchestrai.ingest.discovery.reconciliation import reconcile
    from orchestrai.pipeline.reports.landing_status import judge_of
    from orchestrai.pipeline.reports.recovery_point import recovery_point

    runtime = open_runtime()
    nodes = _landed(runtime, dataset)
    wholes = [(node, reconcile(judge_of(runtime, node))) for node in nodes]
    points = [recovery_point(runtime, node, whole) for node, whole in wholes]
    if as_json:
        emit([{**_facts(node, whole), **point.as_json()} for (node, whole), point in zip(wholes, points, strict=True)])
    else:
        rows = [
            (node.shown, whole.listed, *whole.counts.values(), escape(whole.oldest.key) if whole.oldest else "-")
            for node, whole in wholes
        ]
        columns = ("dataset", "landed", "raw events", "dead letters", "waiting", "passed over", "oldest waiting")
        table("Landings", columns, rows)
        for node, whole in wholes:
            for reason in whole.reasons:
                example = (
                    f"{reason.count:,} {reason.place.replace('_', ' ')}: {reason.reason}, for example {reason.example!r}"
                )
                out.print(f"{node.shown}: {example}", markup=False, highlight=False, soft_wrap=True)
        for point in points:
            out.print(f"{point.dataset}: rpo: {point.message}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(
        1 if not all(point.passed for point in points) or any(whole.held_up or whole.unplaced for _, whole in wholes) else 0
    )


def _landed(runtime: "Runtime", dataset: str | None) -> "list[DatasetNode]":
    nodes = [node for pipeline in runtime.project.pipelines for node in pipeline.own_datasets]
    if dataset is None:
        return [node for node in nodes if node.spec.source.kind == "objects"]
    node = runtime.project.dataset(dataset)
    if node.spec.source.kind != "objects":
        raise ConfigError(
            f"expected a dataset whose objects land, found {node.shown}, which is read from a {node.spec.source.kind} source"
        )
    return [node]


def _facts(node: "DatasetNode", whole: "Reconciliation") -> dict[str, Any]:
    from dataclasses import asdict

    oldest = whole.oldest
    return {
        "dataset": node.shown,
        "landed": whole.listed,
        **{place: count for place, count in whole.counts.items()},
        "sum": sum(whole.counts.values()),
        "held_up": whole.held_up,
        "due": sorted(whole.due),
        "oldest_waiting": {"key": oldest.key, "modified": oldest.modified.isoformat()} if oldest is not None else None,
        "reasons": [asdict(reason) for reason in whole.reasons],
    }
