"""What a run of a dataset left undone: published raw events that no snapshot, restore or view has carried on.

Of an object the landing says what no run has taken. What was taken and then stopped half way, by a store that was down for longer than a
step waits or by a process that died too often, is found here: by the ledger alone, whatever became of the run.
"""

from collections.abc import Collection, Iterator
from datetime import datetime

from orchestrai.core.canonical import sha256_hex
from orchestrai.features.staleness.stale_features import missing_features
from orchestrai.ledger.quarantine import closed_gates
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.view_node import ViewNode
from orchestrai.pipeline.runtime import Runtime
from orchestrai.restore.open_partitions.pending_restores import pending_restores


def open_work(runtime: Runtime, dataset: DatasetNode, begun: Collection[str] = ()) -> dict[str, frozenset[int]]:
    """The partitions that a run has to carry on, each with a number for what it lacks: the same as long as that is the same.

    Of the partitions `begun`, by runs that did not end well, views that are computed in the same run count too; the rest of a view that
    is new is left to whoever declared it. What a gate refused, or what was recalled, waits for a person and is no work.
    """
    lacking: dict[str, set[str]] = {}
    for partition, what in _left(runtime, dataset, {*begun}, runtime.clock()):
        lacking.setdefault(partition, set()).add(what)
    return {key: frozenset(map(_number, sorted(some))) for key, some in sorted(lacking.items())}


def views_of(runtime: Runtime, dataset: DatasetNode) -> list[ViewNode]:
    """The views that are cut like a dataset, and computed in the run that restores it."""
    return [view for pipeline in runtime.project.pipelines for view in pipeline.views if view.partitioned_like == dataset]


def _left(runtime: Runtime, dataset: DatasetNode, begun: set[str], now: datetime) -> Iterator[tuple[str, str]]:
    ledger, waiting = runtime.ledger, set[str]()
    raw = ledger.find(dataset.asset("raw_events"))
    if raw is None:
        return
    for asset in (dataset.asset("snapshot"), dataset.asset("restored")):
        refused = closed_gates(ledger, asset, ledger.find(asset))
        waiting |= {key for key, one in refused.items() if key in raw.partitions and one.root == raw.partitions[key].root}
    for key, task in pending_restores(ledger, dataset, now).items():
        entry = raw.partitions.get(key)
        recalled = entry is not None and raw.recalls.find(raw.asset, key, entry.root, entry.receipt)
        if key not in waiting and not recalled:
            yield key, f"{dataset.asset('restored')} {task}"
    for view in views_of(runtime, dataset) if begun else ():
        refused = closed_gates(ledger, view.asset, ledger.find(view.asset))
        yield from ((key, view.asset) for key in missing_features(ledger, view, now) if key in begun and key not in refused)


def _number(text: str) -> int:
    """A number of eight bytes with a sign, as arrivals have."""
    return int.from_bytes(bytes.fromhex(sha256_hex(text.encode())[:16]), "big", signed=True)
