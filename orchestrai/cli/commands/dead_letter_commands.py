"""`deadletters list|show|replay`: refused rows and objects, why, and another try."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrai.cli.lookup import open_runtime, span_of
from orchestrai.cli.output import AsJson, bars, emit, make_app, out, table
from orchestrai.errors import ConfigError

if TYPE_CHECKING:
    from orchestrai.pipeline.nodes.dataset_node import DatasetNode
    from orchestrai.pipeline.runtime import Runtime

deadletters = make_app("Refused rows and objects: list them with their reasons, show one, replay them.")
DatasetName = Annotated[str, typer.Argument(help="for example churn/orders")]
Partitions = Annotated[str | None, typer.Option(help="A..B, both included, or one partition")]


@deadletters.command("list")
def list_command(
    dataset: Annotated[str | None, typer.Argument(help="for example churn/orders; default: every dataset")] = None,
    each: Annotated[bool, typer.Option("--each", help="every letter instead of counts by reason")] = False,
    partitions: Partitions = None,
    as_json: AsJson = False,
) -> None:
    """Count the dead letters of a dataset by partition and reason, the most frequent first; without a dataset, those of all.

    Example: orchestrai deadletters list churn/orders --each
    """
    from orchestrai.ingest.dead_letter_list import count_letters, list_letters

    if dataset is None:
        if each or partitions:
            raise ConfigError("expected a dataset with --each and --partitions, found none: name one, such as churn/orders")
        _list_all(as_json)
        return
    runtime, node = _opened(dataset)
    wanted = _wanted(runtime, node, partitions)
    letters = list_letters(runtime.ledger, node.asset("raw_events"), partitions=wanted)
    groups = count_letters(letters)
    if as_json:
        body = {"dataset": node.shown, "letters": len(letters), "reasons": [asdict(group) for group in groups]}
        emit({**body, "each": [letter.as_json() for letter in letters]} if each else body)
    elif each:
        # of a stream the partition and the offset in it, of an object the line
        streamed = node.spec.source.kind == "stream"
        columns = ("id", "partition", "kind", "offset" if streamed else "line", "column", "reason")
        places = [f"{x.line}:{x.offset}" if streamed else str(x.line) for x in letters]
        rows = [(x.id, x.partition, x.kind, at, x.column or "-", x.reason) for x, at in zip(letters, places, strict=True)]
        table(f"Dead letters of {node.shown}", columns, rows)
    else:
        counted = [(g.count, g.partition, g.kind, g.column or "-", g.reason) for g in groups]
        table(f"{len(letters):,} dead letters of {node.shown}", ("count", "partition", "kind", "column", "reason"), counted)


def _list_all(as_json: bool) -> None:

    runtime = open_runtime()
    datasets = []
    for pipeline in runtime.project.pipelines:
        for node in pipeline.datasets:
            dead = runtime.ledger.find(node.asset("dead_letters"))
            datasets.append((node.shown, dead.rows if dead else 0, sorted(dead.partitions) if dead and dead.rows else []))
    if as_json:
        emit([{"dataset": name, "letters": rows, "partitions": keys} for name, rows, keys in datasets])
        return
    shown = [(name, rows, len(keys), keys[0] if keys else "-", keys[-1] if keys else "-") for name, rows, keys in datasets]
    table("Dead letters", ("dataset", "letters", "partitions", "first", "last"), shown)


@deadletters.command("show")
def show_command(
    dataset: DatasetName,
    letter: Annotated[str, typer.Argument(help="a letter's id, or the start of it")],
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: where it lies in which object, why it was refused, and the row as it was found.

    Example: orchestrai deadletters show churn/orders 4be1
    """
    from orchestrai.ingest.dead_letter_list import show_letter

    runtime, node = _opened(dataset)
    dead_letter = show_letter(runtime.ledger, node.asset("raw_events"), letter)
    if as_json:
        emit(dead_letter.as_json())
        return
    for name, value in dead_letter.as_json().items():
        # the row is somebody else's text: no markup in it counts
        out.print(f"{name:<16} {value}", markup=False, soft_wrap=True)


@deadletters.command("replay")
def replay_command(dataset: DatasetName, partitions: Partitions = None, as_json: AsJson = False) -> None:
    """Make raw events anew of the partitions that have dead letters, exactly once, after the contract or the data was mended.

    Exit code 1 when letters remain. Snapshots and what follows come with the next run, for example `orchestrai backfill`.

    Example: orchestrai deadletters replay churn/orders --partitions 2011-03-14
    """
    from orchestrai.ingest.dead_letter_list import list_letters, replay
    from orchestrai.ingest.spec import DatasetTask

    runtime, node = _opened(dataset)
    raw = node.asset("raw_events")
    wanted = _wanted(runtime, node, partitions)
    before = len(list_letters(runtime.ledger, raw, partitions=wanted))
    with bars(quiet=as_json) as progress:
        source = node.spec.source
        task = DatasetTask(raw, source, node.contract, node.spec.partitions.grain)
        landing = None if source.positioned else runtime.landing(node)
        report = replay(runtime.context(progress), task, landing, wanted)
    after = len(list_letters(runtime.ledger, raw, partitions=wanted))
    outcomes = report.outcomes if report else ()
    if as_json:
        refused = {o.partition: [v.check for v in o.verdicts if v.closes_gate] for o in outcomes if not o.published}
        published = [o.partition for o in outcomes if o.published]
        emit({"dataset": node.shown, "before": before, "after": after, "published": published, "refused": refused})
    else:
        for outcome in outcomes:
            why = "; ".join(f"{v.check}: {v.message}" for v in outcome.verdicts if v.closes_gate)
            result = f"{outcome.rows:,} rows" if outcome.published else f"refused, {why}"
            out.print(f"{outcome.partition} {result}", markup=False, soft_wrap=True)
        out.print(f"{before:,} dead letters before, {after:,} now")
    raise typer.Exit(1 if after else 0)


def _opened(dataset: str) -> "tuple[Runtime, DatasetNode]":

    runtime = open_runtime()
    return runtime, runtime.project.dataset(dataset)


def _wanted(runtime: "Runtime", node: "DatasetNode", partitions: str | None) -> list[str] | None:
    if partitions is None:
        return None
    dead = runtime.ledger.find(node.asset("dead_letters"))
    return span_of(sorted(dead.partitions) if dead else [], partitions)
