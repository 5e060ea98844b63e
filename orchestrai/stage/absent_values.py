"""Which declared values of a dimension have not arrived for a time while others have."""

from collections.abc import Iterable
from datetime import datetime

from orchestrai.core.time.calendar import window
from orchestrai.core.time.key_groups import keys_of
from orchestrai.core.time.partition_key import time_part, value_part
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.quarantine import closed_gates
from orchestrai.stage.outcomes import Partitioned, is_due


def absent_values(
    ledger: Ledger, dataset: Partitioned, partitions: Iterable[str] | None, now: datetime
) -> dict[str, list[str]]:
    """The values that are lacking, by time, of the times of some partitions or of all that have arrived; from the ledger alone.

    A value that came and was refused has arrived; one that a person left out, or on a day on which nothing is due, lacks nothing.
    """
    asset = dataset.gates[0]
    current, skips = ledger.find(asset), ledger.skips()
    arrived = {*(current.partitions if current else ()), *closed_gates(ledger, asset, current)}
    times = {time_part(key) for key in (arrived if partitions is None else partitions)}
    absent: dict[str, list[str]] = {}
    for time in sorted(times):
        keys = keys_of(time, dataset.grain)
        if window(keys[0], dataset.grain)[1] > now or not arrived.intersection(keys):
            continue
        lacking = [key for key in keys if key not in arrived and is_due(dataset, key) and skips.find(asset, key) is None]
        if lacking:
            absent[time] = [value_part(key) for key in lacking]
    return absent
