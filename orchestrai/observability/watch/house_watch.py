"""What may be wrong across the graph: closed gates, failed checks, stale data, drills that did not run, findings of the vault."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from orchestrai.core.time.duration_cron import previous_tick
from orchestrai.errors import ObjectNotFound, OrchestraiError
from orchestrai.ledger.quarantine import Refusal, closed_gates
from orchestrai.models.run import CHAMPION
from orchestrai.observability.alerts.condition import Condition
from orchestrai.pipeline.drill_crons import drill_cron
from orchestrai.pipeline.reports.database_findings import log_positions
from orchestrai.pipeline.reports.stale_assets import stale_assets
from orchestrai.pipeline.reports.unusual_snapshots import unusual_snapshots
from orchestrai.pipeline.runtime import Runtime
from orchestrai.restore.drill_run import DRILL
from orchestrai.stage.stage import AssetNode

# how long after its time a drill may begin and end
GRACE = timedelta(days=1)
# what other conditions tell of
ELSEWHERE = frozenset({"rpo", "unusual_change"})
OF_DATA = frozenset({"changed", "late", "gone", "recalled"})


def refused_assets(runtime: Runtime) -> frozenset[str]:
    """The assets of which anything was ever refused."""
    return frozenset(
        info.key.removeprefix("quarantine/").rpartition("/")[0] for info in runtime.ledger.lake.list("quarantine/")
    )


def gates(runtime: Runtime, node: AssetNode[Any], now: datetime) -> Iterator[Condition]:
    """Partitions of an asset were refused or are held, and nobody has answered; of a champion: a candidate was not promoted."""
    closed = closed_gates(runtime.ledger, node.asset, runtime.ledger.find(node.asset))
    for kind, some in (
        ("held", {key: one for key, one in closed.items() if one.held}),
        (
            "promotion_refused" if node.stage is CHAMPION else "gate_closed",
            {k: r for k, r in closed.items() if not r.held},
        ),
    ):
        if some:
            yield _refused(node, kind, some)


def _refused(node: AssetNode[Any], kind: str, some: Mapping[str, Refusal]) -> Condition:
    partition, first = min(some.items(), key=lambda item: (item[1].time, item[0]))
    show = f"orchestrai gate show {node.asset} {partition}"
    remedies = {
        "held": f'{show}; if it is well: orchestrai gate release {node.asset} {partition} --reason "..."',
        "promotion_refused": "orchestrai report; the champion of before goes on serving",
        "gate_closed": f"{show}; have the producer send it again" if node.stage.gate else show,
    }
    return Condition(
        kind,
        node.asset,
        "every partition to pass its checks" if kind != "promotion_refused" else "the candidate to be promoted",
        f"{first.reason} (since {first.time[:19]})",
        remedies[kind],
        members=tuple(sorted(some)),
    )


def checks(runtime: Runtime, node: AssetNode[Any], now: datetime) -> Iterator[Condition]:
    """Checks that hold nothing back and failed in the newest publication of an asset."""
    head = runtime.ledger.head(node.asset)
    if head is None:
        return
    receipt = runtime.ledger.receipt(head.receipt)
    failed: dict[str, dict[str, str]] = {}
    for partition in head.changed:
        for verdict in receipt.verdicts.get(partition, ()):
            if not verdict.passed and verdict.severity == "warn" and verdict.check not in ELSEWHERE:
                failed.setdefault(verdict.check, {})[partition] = verdict.message
    for check, messages in sorted(failed.items()):
        partition = min(messages)
        yield Condition(
            "check_failed",
            node.asset,
            f"the check {check} to pass",
            messages[partition] or f"it failed for {partition}",
            f"orchestrai model trace {node.asset}",
            cause=check,
            members=tuple(sorted(messages)),
        )


def drills(runtime: Runtime, node: AssetNode[Any], now: datetime) -> Iterator[Condition]:
    """A drill was due, there was something to try, and none has been published since."""
    cron = drill_cron(node)
    if cron is None:
        return
    due = previous_tick(cron, now - GRACE)
    try:
        begun = min(
            datetime.fromisoformat(runtime.ledger.numbered(dep, 1).time) for dep in node.deps if runtime.ledger.head(dep)
        )
    except (ValueError, ObjectNotFound):
        return  # nothing is kept of it yet
    last = runtime.ledger.head(node.asset)
    if begun <= due and (last is None or datetime.fromisoformat(last.time) < due):
        yield Condition(
            "drill_overdue",
            node.asset,
            f"a drill at {due.isoformat()} or since",
            f"the last at {last.time[:19]}" if last else "none ever",
            f"orchestrai vault drill {node.asset.rpartition('/')[0]}"
            if node.stage is DRILL
            else f"materialize {node.asset} in Dagster",
        )


def stale(runtime: Runtime, now: datetime) -> tuple[list[Condition], Mapping[str, OrchestraiError]]:
    """Published partitions whose inputs changed, an asset each; and the assets that could not be judged, with why."""
    left = stale_assets(runtime.context(), runtime.project.nodes)
    found = []
    for asset, partitions in left.by_asset.items():
        # what is stale only by what it is made of is told there
        own = [one for one in partitions if any(cause.kind in OF_DATA for cause in one.causes)]
        if own:
            found.append(
                Condition(
                    "stale",
                    asset,
                    "every partition to be what it would be now",
                    f"{len(own):,} are not, for example {own[0].partition}: {own[0].why}",
                    f"orchestrai stale; then orchestrai backfill {asset.partition('/')[0]} "
                    f"--from {min(one.partition for one in own)} --to {max(one.partition for one in own)}",
                    members=tuple(one.partition for one in own),
                )
            )
    return found, left.errors


def vault_findings(runtime: Runtime, now: datetime) -> Iterator[Condition]:
    """Snapshots that change more than those before them, and databases whose log the vault does not follow."""
    for alarm in unusual_snapshots(runtime):
        snapshot = alarm.commit.snapshot_id
        yield Condition(
            "vault_finding",
            f"vault/{alarm.commit.dataset}",
            f"snapshot {alarm.commit.seq} to change as those before it",
            "; ".join(alarm.reasons),
            f'orchestrai vault show {snapshot[:12]}; if it is well: orchestrai vault acknowledge {snapshot[:12]} --reason "..."',
            cause=snapshot,
        )
    for position in log_positions(runtime):
        for verdict in position.verdicts:
            if not verdict.passed:
                yield Condition(
                    "unprotected",
                    f"vault/{position.name}",
                    f"the check {verdict.check} of its log to pass",
                    verdict.message,
                    f"orchestrai backup receive {position.name}",
                    cause=verdict.check,
                )


def left_out(runtime: Runtime, now: datetime) -> Iterator[Condition]:
    """Pipelines that cannot be read, so that nothing of them runs."""
    for pipeline in runtime.project.left_out:
        yield Condition(
            "left_out", pipeline.name, "its declarations to load", pipeline.mistakes[0].message, "orchestrai check"
        )
