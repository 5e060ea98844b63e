"""Training halts while the data it needs does not come."""

from datetime import datetime

from orchestrai.contracts.calendar import window
from orchestrai.contracts.duration import parse_duration
from orchestrai.contracts.verdict import Verdict
from orchestrai.ledger import Ledger
from orchestrai.pipeline.nodes import DatasetNode, ModelNode


def inputs_current(ledger: Ledger, model: ModelNode, now: datetime) -> Verdict:
    """Whether every dataset that a model learns from has restored data as new as it declares (`halt_training_after`)."""
    late = [told for dataset in model.label_inputs.values() if (told := _late(ledger, dataset, now))]
    if late:
        return Verdict("inputs_current", False, "; ".join(late))
    return Verdict("inputs_current", True, "all inputs are as new as declared")


def _late(ledger: Ledger, dataset: DatasetNode, now: datetime) -> str:
    if dataset.spec.halt_training_after is None:
        return ""
    asset, grain = dataset.asset("restored"), dataset.spec.partitions.grain
    limit = now - parse_duration(dataset.spec.halt_training_after)
    restored = ledger.find(asset)
    due = f"expected data of {dataset.prefix} since {limit:%Y-%m-%d %H:%M}"
    if restored is None or not restored.partitions:
        return f"{due}, found none restored: look at its ingest"
    newest = max(restored.partitions)
    ended = datetime.fromisoformat(restored.head.time) if grain == "all" else window(newest, grain)[1]
    return f"{due}, found {newest} the newest restored: look at its ingest, then train again" if ended < limit else ""
