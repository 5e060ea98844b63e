"""Training halts while the data it needs does not come."""

from collections.abc import Iterable
from datetime import datetime

from orchestrai.core.calendar import window
from orchestrai.core.time import format_duration
from orchestrai.core.verdict import Verdict
from orchestrai.ledger.ledger import Ledger
from orchestrai.pipeline.nodes import DatasetNode, ModelNode


def inputs_current(ledger: Ledger, model: ModelNode, now: datetime) -> Verdict:
    """Whether every dataset that a model learns from has restored data as new as it declares.

    `halt_training_after` counts from `now`; `halt_training_behind` from the newest restored partition of the model's other datasets,
    so that it holds for data of any age.
    """
    datasets = {dataset.prefix: dataset for dataset in model.label_inputs.values()}
    late = [told for dataset in datasets.values() if (told := _late(ledger, dataset, now))]
    late += [told for dataset in datasets.values() if (told := _behind(ledger, dataset, datasets.values()))]
    if late:
        return Verdict("inputs_current", False, "; ".join(late))
    return Verdict("inputs_current", True, "all inputs are as new as declared")


def _late(ledger: Ledger, dataset: DatasetNode, now: datetime) -> str:
    if dataset.spec.halt_training_after is None:
        return ""
    asset, grain = dataset.asset("restored"), dataset.spec.partitions.grain
    limit = now - dataset.spec.halt_training_after
    restored = ledger.find(asset)
    due = f"expected data of {dataset.prefix} since {limit:%Y-%m-%d %H:%M}"
    if restored is None or not restored.partitions:
        return f"{due}, found none restored: look at its ingest"
    newest = max(restored.partitions)
    ended = datetime.fromisoformat(restored.head.time) if grain == "all" else window(newest, grain)[1]
    return f"{due}, found {newest} the newest restored: look at its ingest, then train again" if ended < limit else ""


def _behind(ledger: Ledger, dataset: DatasetNode, all_datasets: Iterable[DatasetNode]) -> str:
    """Its newest partition ended longer before another's newest began; one that is not cut by time goes on with none."""
    if dataset.spec.halt_training_behind is None:
        return ""
    newest = {other.prefix: _newest(ledger, other) for other in all_datasets if other.prefix != dataset.prefix}
    others = [(found[0], name) for name, found in newest.items() if found]
    if not others:
        return ""
    begun, other = max(others)
    found = _newest(ledger, dataset)
    if found is not None and found[1] >= begun - dataset.spec.halt_training_behind:
        return ""
    last = f"{found[1]:%Y-%m-%d %H:%M} the end of the newest restored" if found else "none restored"
    return (
        f"expected data of {dataset.prefix} at most {format_duration(dataset.spec.halt_training_behind)} behind {other}, which goes on to "
        f"{begun:%Y-%m-%d %H:%M}, found {last}: look at its ingest, then train again"
    )


def _newest(ledger: Ledger, dataset: DatasetNode) -> tuple[datetime, datetime] | None:
    """The span of the newest restored partition."""
    grain, restored = dataset.spec.partitions.grain, ledger.find(dataset.asset("restored"))
    return window(max(restored.partitions), grain) if restored and restored.partitions and grain != "all" else None
