"""What Dagster is told while a worker carries a stream on: one run for each declared span of minutes, over what changed in it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrai.ledger.ledger import Ledger


@dataclass(frozen=True)
class Told:
    """Up to which head of the raw events, and in which span of minutes, Dagster was told; a hint, as every cursor is."""

    seq: int = 0
    span: int = 0

    @classmethod
    def read(cls, text: str) -> "Told":
        """From a sensor's cursor; another text tells nothing."""
        seq, _, span = text.partition(":")
        return cls(int(seq), int(span)) if seq.isdigit() and span.isdigit() else cls()

    def __str__(self) -> str:
        return f"{self.seq}:{self.span}"


def to_tell(ledger: Ledger, asset: str, told: Told, now: datetime, every: timedelta) -> tuple[list[str], Told]:
    """The partitions of raw events that changed since what was told, once a span is over; and what is told with them.

    Without a cursor, those that changed within the last two spans: older ones were told by runs before.
    """
    span = int(now.timestamp() // every.total_seconds())
    head = ledger.head(asset)
    if span <= told.span or head is None or head.seq <= told.seq:
        return [], told if span <= told.span else Told(told.seq, span)
    changed: set[str] = set()
    for entry in ledger.history(asset):
        if entry.seq <= told.seq or (not told.seq and now - datetime.fromisoformat(entry.time) > 2 * every):
            break
        changed |= set(entry.changed)
    return sorted(changed), Told(head.seq, span)
