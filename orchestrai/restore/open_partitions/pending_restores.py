"""Which partitions of a stream or a table a restore has something to do for, for the sensors and backfills that ask for it."""

from datetime import datetime

from orchestrai.contracts.anomaly.past import WINDOW
from orchestrai.ingest.discovery.known_objects import Records
from orchestrai.ingest.incremental import behind
from orchestrai.ingest.ports import LandedDataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.restore.open_partitions.closed_partitions import closing_check, grew, is_over


def pending_restores(ledger: Ledger, dataset: LandedDataset, now: datetime) -> dict[str, str]:
    """The partitions that a restore has something to do for, each with what makes that a task of its own.

    Raw events that are newer than what was restored; a partition that was restored while it grew and is over now; a held one that the
    declared rule releases by now. What is held as it is waits, and is no task.
    """
    asset = dataset.asset("restored")
    tasks = behind(ledger, dataset.asset("raw_events"), asset)
    if not closing_check(dataset):
        return tasks
    records, after = Records(ledger, asset), dataset.contract.hold.release_after
    for key, root in list(tasks.items()):
        refused = records.refused(key)
        if refused is None or not refused.held or refused.root != root:
            continue
        if after is not None and now - datetime.fromisoformat(refused.since) >= after:
            tasks[key] = f"{root} released"
        else:
            del tasks[key]
    restored = ledger.find(asset)
    for key in sorted(restored.partitions)[-WINDOW:] if restored else ():
        if restored is not None and key not in tasks and is_over(dataset, key, now) and grew(restored, key):
            tasks[key] = f"{restored.partitions[key].root} over"
    return dict(sorted(tasks.items()))
