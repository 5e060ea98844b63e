"""What may be wrong with a model: it has not learned in time, its champion is old."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from orchestrai.core.time.duration_cron import format_duration, previous_tick
from orchestrai.errors import NotReceipted
from orchestrai.ledger.ledger import Ledger
from orchestrai.observability.alerts.condition import Condition
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.model_node import ModelNode
from orchestrai.pipeline.runtime import Runtime

# from the evaluation back to the data there are so many steps at most
STEPS = 6


def sla_missed(runtime: Runtime, model: ModelNode, now: datetime) -> Iterator[Condition]:
    """Data arrived, training was due, and the declared SLA later no candidate that knows it has been judged."""
    sla, cron = model.spec.sla, model.spec.retrain
    if sla is None:
        return
    learned = learned_versions(runtime.ledger, model.asset("evaluation"))
    late = []
    for dataset in model.datasets:
        arrived = unlearned_since(runtime.ledger, dataset, learned.get(dataset.asset("restored"), ""))
        if arrived is None:
            continue
        due = arrived if cron is None else previous_tick(str(cron), now - sla)
        if arrived <= due and due + sla < now:
            late.append((arrived, dataset.shown))
    if late:
        arrived, name = min(late)
        yield Condition(
            "sla_missed",
            model.prefix,
            f"what arrived to be judged in a candidate within {format_duration(sla)} of {'its training' if cron else 'its arrival'}",
            f"{name} arrived at {arrived.isoformat()} and no judged candidate knows it",
            f"orchestrai backfill {model.pipeline} --from FIRST --to LAST, of the partitions that arrived; then orchestrai report",
            members=tuple(sorted(name for _, name in late)),
        )


def champion_old(runtime: Runtime, model: ModelNode, now: datetime) -> Iterator[Condition]:
    """The champion was promoted longer ago than declared."""
    most, head = model.spec.champion_max_age, runtime.ledger.head(model.asset("champion"))
    if most is None or head is None:
        return
    age = now - datetime.fromisoformat(head.time)
    if age > most:
        yield Condition(
            "champion_old",
            model.prefix,
            f"a champion of at most {format_duration(most)}",
            f"one that was promoted at {head.time[:19]}, {format_duration(timedelta(days=age.days))} ago",
            f"orchestrai report says whether candidates were refused; else run the job {model.pipeline}_train",
        )


def learned_versions(ledger: Ledger, evaluation: str) -> dict[str, str]:
    """The versions of restored data that the newest judged candidate goes back to, by asset; each by the receipt that names it."""
    learned: dict[str, str] = {}
    current = ledger.find(evaluation)
    ahead = {evaluation: current.version} if current is not None else {}
    for _ in range(STEPS):
        further: dict[str, str] = {}
        for asset, version in ahead.items():
            try:
                receipt = ledger.receipt(ledger.open(asset, version).head.receipt)
            except NotReceipted:
                continue  # of a version that is no more in this lake nothing is known
            for ref in receipt.inputs:
                (learned if ref.asset.endswith("/restored") else further).setdefault(ref.asset, ref.version)
        ahead = further
    return learned


def unlearned_since(ledger: Ledger, dataset: DatasetNode, learned: str) -> datetime | None:
    """When the oldest data arrived that came after a version (or at all, for none); None where none did."""
    first = None
    for head in ledger.history(dataset.asset("raw_events")):
        if head.version == learned:
            break
        first = head
    if first is None:
        return None
    receipt = ledger.receipt(first.receipt)
    seen = [datetime.fromisoformat(one.arrived) for one in receipt.materials if one.arrived]
    return min([*seen, datetime.fromisoformat(first.time)])
