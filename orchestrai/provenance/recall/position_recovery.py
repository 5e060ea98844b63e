"""Lost raw events of a source that is read on from a position: the position goes back with them, so that they are read again.

Objects that a lost partition was made from are waiting again by themselves, since no receipt that counts names them. A table or a
stream is read on behind what was published, so what is dropped from the middle would never be read again.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from orchestrai.core.code_identity import Producer
from orchestrai.errors import GateClosed, NotReceipted
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.heads import Head
from orchestrai.ledger.ledger import Ledger
from orchestrai.pipeline.rollback import Move, RollbackPlan, apply_rollback

REASON = "its bytes were lost and no snapshot holds them"


def positioned_format(dataset: Dataset) -> str:
    """How a dataset is read on: "stream" or "sql"; "" for what is no raw events of such a source."""
    if not dataset.asset.endswith("/raw_events") or not dataset.partitions:
        return ""
    told = dataset.ledger.receipt(next(iter(dataset.partitions.values())).receipt).parameters.get("format")
    return str(told) if told in ("stream", "sql") else ""


def take_back(ledger: Ledger, asset: str, put_back: Callable[[Dataset], bool]) -> tuple[str, ...]:
    """Return a stream's dataset to its newest version that is whole, with the offsets that were read by then; what was dropped.

    `put_back` brings the bytes of a version back and says whether it has them all. Where no version is whole all is dropped, and the
    stream is read from its beginning.
    """
    current = ledger.open(asset)
    for head in ledger.history(asset):
        target = ledger.dataset(head)
        if head.version == current.version or not target.partitions:
            continue
        try:
            if put_back(target):
                return _moved(ledger, current, target, head)
        except (NotReceipted, GateClosed):
            continue  # recalled, or let through by a person: an older one
    gone = tuple(sorted(current.partitions))
    ledger.session(asset, Producer("raw_events", __name__)).commit(drop=gone, reason=REASON)
    return gone


def _moved(ledger: Ledger, current: Dataset, target: Dataset, head: Head) -> tuple[str, ...]:
    now, then = current.partitions, target.partitions
    back = tuple(sorted(key for key, entry in then.items() if key not in now or now[key].root != entry.root))
    gone = tuple(sorted({*now} - {*then}))
    moment = datetime.fromisoformat(head.time).astimezone(UTC)
    move = Move(current.asset, "raw_events", current.head, head, back, gone)
    apply_rollback(ledger, RollbackPlan(current.asset.partition("/")[0], moment, (move,)), reason=REASON)
    return tuple(sorted({*back, *gone}))
