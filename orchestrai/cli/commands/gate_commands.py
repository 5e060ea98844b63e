"""`gate list|show|override|release|skip|lift`: why a gate is closed, and a person's signed decision to open it or go on without."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from orchestrai.cli.lookup import open_runtime, this_user
from orchestrai.cli.output import AsJson, bars, emit, make_app, out, table
from orchestrai.errors import ConfigError

if TYPE_CHECKING:
    from orchestrai.pipeline.runtime import Runtime
    from orchestrai.stage.stage import AssetNode

gate = make_app("Closed gates: why a partition was refused, and how to publish it all the same or go on without it.")
AssetName = Annotated[str, typer.Argument(help="raw events or restored data, for example churn/orders/raw_events")]
PartitionName = Annotated[str, typer.Argument(help="for example 2011-03-14")]


@gate.command("list")
def list_command(as_json: AsJson = False) -> None:
    """List the closed gates: what was refused and not answered since, why, and what stands in its place.

    Reads the ledger alone. Partitions that a person skipped are named by `orchestrai report`. Example: orchestrai gate list
    """
    from orchestrai.pipeline.reports.gate_list import gate_list

    gates = list(gate_list(open_runtime()))
    if as_json:
        emit([gate.as_json() for gate in gates])
        return
    rows = [(g.asset, g.partition, g.state, g.refusal.time[:16], g.in_its_place, g.refusal.reason) for g in gates]
    table(f"{len(rows)} closed gates", ("asset", "partition", "", "since (UTC)", "in its place", "why"), rows)


@gate.command("show")
def show_command(asset: AssetName, partition: PartitionName, as_json: AsJson = False) -> None:
    """Show what the gate said of a partition when it refused it last.

    Example: orchestrai gate show churn/orders/raw_events 2011-03-14
    """
    from orchestrai.ledger.quarantine import last_refusal

    runtime, node = _opened(asset)
    refusal = last_refusal(runtime.ledger.lake, node.asset, partition)
    if as_json:
        verdicts = [verdict.as_json() for verdict in refusal.verdicts]
        emit({"asset": node.asset, "partition": partition, "root": refusal.root, "time": refusal.time, "verdicts": verdicts})
        return
    rows = [
        (v.check, "passed" if v.passed else "closed" if v.closes_gate else "warned", v.message) for v in refusal.verdicts
    ]
    table(f"{node.asset}@{partition} {refusal.root[7:19]} at {refusal.time[:19]}", ("check", "", "message"), rows)


@gate.command("override")
def override_command(
    asset: AssetName,
    partition: PartitionName,
    reason: Annotated[str, typer.Option(help="why, kept in the signed receipt")],
    check: Annotated[list[str], typer.Option("--check", help="a check to waive; repeat it for each")],
    by: Annotated[str | None, typer.Option(help="who decides; default: the user of this process")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a refused stage again and publish the partition although the checks named have failed.

    Only for the very content that was refused last; other content is judged anew. What proves that bytes are whole is never
    waived. Exit code 1 when the gate stays closed. Restored data has a gate of its own.

    Example: orchestrai gate override churn/orders/raw_events 2011-03-14 --check row_volume --reason "public holiday"
    """
    from orchestrai.ledger.decisions.overrides import Override
    from orchestrai.ledger.quarantine import last_refusal
    from orchestrai.ledger.report import shown_verdicts

    runtime, node = _opened(asset)
    root = last_refusal(runtime.ledger.lake, node.asset, partition).root
    given = Override(node.asset, partition, root, tuple(sorted(set(check))), reason, this_user(by))
    with bars(quiet=as_json) as progress:
        report = runtime.run(node, [partition], progress, overrides=[given])
    outcome = next(o for o in report.outcomes if o.partition == partition)
    closed = [f"{verdict.check}: {verdict.message}" for verdict in shown_verdicts(outcome) if verdict.closes_gate]
    if not outcome.published and last_refusal(runtime.ledger.lake, node.asset, partition).root != root:
        closed.insert(0, f"its content is no longer what was refused as {root[7:19]}, look at it again")
    if as_json:
        emit({**given.as_json(), "published": outcome.published, "version": report.version, "closed": closed})
    else:
        message = f"published, {given.note}" if outcome.published else "refused: " + "; ".join(closed)
        out.print(f"{node.asset}@{partition} {message}", markup=False, soft_wrap=True)
    raise typer.Exit(0 if outcome.published else 1)


@gate.command("release")
def release_command(
    asset: AssetName,
    partition: PartitionName,
    reason: Annotated[str, typer.Option(help="why, kept in the signed receipt")],
    by: Annotated[str | None, typer.Option(help="who decides; default: the user of this process")] = None,
    as_json: AsJson = False,
) -> None:
    """Publish a held partition: it breaks no rule, it only looks unlike those before it, and you know why.

    As an override of the check `ordinary` alone: for the very content that was held, signed, with who and why in its receipt. What was
    refused for another check is not released by this. Exit code 1 when it stays held.

    Example: orchestrai gate release churn/orders/raw_events 2011-03-14 --reason "public holiday"
    """
    from orchestrai.contracts.anomaly.ordinary import ORDINARY
    from orchestrai.ledger.quarantine import last_refusal

    runtime, node = _opened(asset, partition)
    refusal = last_refusal(runtime.ledger.lake, node.asset, partition)
    if not refusal.held:
        raise ConfigError(
            f"expected {node.asset}@{partition} to be held, found it refused by {', '.join(refusal.closed)}: look at it with "
            "`orchestrai gate show`, and waive those checks by `orchestrai gate override` if they are wrong"
        )
    override_command(node.asset, partition, reason, [ORDINARY], by, as_json)


@gate.command("skip")
def skip_command(
    asset: AssetName,
    partition: PartitionName,
    reason: Annotated[str, typer.Option(help="why, kept in the signed record")],
    by: Annotated[str | None, typer.Option(help="who decides; default: the user of this process")] = None,
    as_json: AsJson = False,
) -> None:
    """Leave a refused partition out: later runs that meet it count as done, and nothing of it is published.

    Only as long as the content refused is what was refused last: when the producer sends another, that is judged anew. The record
    is signed, kept in lake and vault, and shown in the report, in the UI and in the lineage of whatever learned without the day.

    Example: orchestrai gate skip churn/orders/raw_events 2011-03-14 --reason "export lost, the shop was closed"
    """
    from orchestrai.ledger.quarantine import last_refusal

    runtime, node = _opened(asset)
    refusal = last_refusal(runtime.ledger.lake, node.asset, partition)
    _decide(runtime, node, Decided(partition, refusal.root, refusal.closed, reason, by, "skip"), as_json)


@gate.command("lift")
def lift_command(
    asset: AssetName,
    partition: PartitionName,
    reason: Annotated[str, typer.Option(help="why, kept in the signed record")],
    by: Annotated[str | None, typer.Option(help="who decides; default: the user of this process")] = None,
    as_json: AsJson = False,
) -> None:
    """End a skip: the partition's gate counts again.

    Example: orchestrai gate lift churn/orders/raw_events 2011-03-14 --reason "the export was found"
    """
    runtime, node = _opened(asset)
    standing = runtime.ledger.skips().find(node.asset, partition)
    if standing is None:
        raise ConfigError(
            f"expected {node.asset}@{partition} to be left out, found no such decision: see `orchestrai report`"
        )
    _decide(runtime, node, Decided(partition, standing.root, standing.checks, reason, by, "lift"), as_json)


class Decided(NamedTuple):
    """What a person said about a partition."""

    partition: str
    root: str
    checks: tuple[str, ...]
    reason: str
    by: str | None
    action: Literal["skip", "lift"]


def _decide(runtime: "Runtime", node: "AssetNode[Any]", said: Decided, as_json: bool) -> None:
    from orchestrai.ledger.decisions.skips import SKIPS, Skip
    from orchestrai.pipeline.stage_registry import gates

    if not node.stage.gate:
        raise ConfigError(f"expected a gate of {' or '.join(gates())}, found {node.stage.name} of {node.asset}")
    ledger = runtime.ledger
    record = Skip(
        id=ledger.new_id(),
        asset=node.asset,
        partition=said.partition,
        root=said.root,
        reason=said.reason,
        by=this_user(said.by),
        time=ledger.clock().isoformat(),
        checks=said.checks,
        action=said.action,
    )
    ledger.require_may("decide")
    SKIPS.put(
        [store for store in (ledger.lake, ledger.vault) if store is not None], ledger.signer, record, keyring=ledger.keyring
    )
    if as_json:
        emit(record.as_json())
    else:
        message = record.note if said.action == "skip" else f"counts again, says {record.by} ({record.reason})"
        out.print(f"{node.asset}@{said.partition} {message}", markup=False, soft_wrap=True)


def _opened(asset: str, held: str = "") -> "tuple[Runtime, AssetNode[Any]]":
    """The gate that is meant: of a dataset named alone its first one, or the one that holds the partition `held`."""
    from orchestrai.ledger.quarantine import refusals
    from orchestrai.pipeline.stage_registry import gates

    runtime = open_runtime()
    key = runtime.project.key_of(asset.rstrip("/"))
    node = runtime.project.nodes.get(key)
    if node is None:
        nodes = [own for name in gates() if (own := runtime.project.nodes.get(f"{key}/{name}")) is not None]
        holds = [own for own in nodes if held and refusals(runtime.ledger.lake, own.asset, [held])]
        node = next(iter([*holds, *nodes]), None)
    if node is None:
        raise ConfigError(f"expected an asset such as churn/orders/raw_events, found {asset!r}: see `orchestrai gate list`")
    return runtime, node
