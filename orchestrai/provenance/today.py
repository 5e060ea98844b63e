"""What has become of traced data since: partitions that are stale by now, or of which another version is published."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrai.ledger.dataset import Dataset
from orchestrai.provenance.lineage import Use
from orchestrai.stage.staleness import StalePartition

MOST = 5
# made anew as a whole: that a newer one is there says nothing of the one that was used
WHOLE_STAGES = frozenset({"training_set", "candidate", "evaluation", "champion", "predictions"})


@dataclass(frozen=True)
class Today:
    """What is published and what of it is stale, by asset."""

    published: Callable[[str], Dataset | None]
    stale: Callable[[str], Sequence[StalePartition]]

    def told(self, use: Use) -> tuple[str, ...]:
        """What is to be said of partitions that were used; nothing where they are what they would be now."""
        dataset = self.published(use.asset)
        there = dataset.partitions if dataset is not None else {}
        stale = {one.partition: one for one in self.stale(use.asset)}
        held = [key for key, entry in use.entries.items() if key in there and there[key].root == entry.root]
        moved = [key for key in use.entries if key not in held] if use.stage not in WHOLE_STAGES else []
        lines = [f"stale by now: {key} ({stale[key].why})" for key in sorted(held) if key in stale]
        more = [f"and {len(lines) - MOST} more are stale by now"] if len(lines) > MOST else []
        if moved:
            names = ", ".join(sorted(moved)[:MOST]) + (f" and {len(moved) - MOST} more" if len(moved) > MOST else "")
            more.append(f"another version is published by now of {len(moved)} of {len(use.entries)} partitions: {names}")
        return (*lines[:MOST], *more)
