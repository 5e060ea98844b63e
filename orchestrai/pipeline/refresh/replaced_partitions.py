"""Partitions that were published before and hold other content now: what a run replaced, told from two versions by the ledger alone."""

from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.manifest import PartitionEntry


def replaced_partitions(before: Dataset | None, after: Dataset | None) -> list[str]:
    """The partitions, sorted, of which something that was taken `before` is not there `after`; one that only got more is none.

    Raw events are looked at by the originals that lie beside them, others by their files. Costs the pages that differ, and two lists of
    files for each partition that does.
    """
    if before is None or after is None or before.version == after.version:
        return []
    was, now = before.roots_unlike(after)
    both = sorted(was.keys() & now.keys())
    return [key for key in both if _taken(before, before.partitions[key]) - _taken(after, after.partitions[key])]


def _taken(dataset: Dataset, entry: PartitionEntry) -> set[str]:
    files = dataset.ledger.partition(entry.manifest).files
    originals = {file.sha256 for file in files if file.role == "landed"}
    return originals or {file.sha256 for file in files}
