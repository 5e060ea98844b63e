"""When the rows of a partition's files first came, noted in its manifest.

Snapshots and restores carry the note along, so it is read from the vault wherever data is built again.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from orchestrai.errors import IntegrityError
from orchestrai.ledger.manifest import FileEntry, PartitionManifest

ARRIVED = "arrived"
Run = tuple[int, str]


def arrival_stats(earlier: Mapping[str, Any] | None, path: str, runs: Iterable[Run]) -> dict[str, Any]:
    """The note on one more file beside those in `earlier` stats: its rows in order, as (how many, when they came)."""
    joined = [[sum(rows for rows, _ in same), moment] for moment, same in groupby(runs, key=lambda run: run[1])]
    return {ARRIVED: {**dict(earlier or {}).get(ARRIVED, {}), path: [run for run in joined if run[0]]}}


def arrivals_of(manifest: PartitionManifest, entry: FileEntry) -> list[tuple[int, datetime]]:
    """The rows of a file in order, as (how many, when they came); raises IntegrityError where the manifest does not say."""
    runs = dict(manifest.stats.get(ARRIVED, {})).get(entry.path, [])
    if sum(rows for rows, _ in runs) != entry.rows or not all(moment for _, moment in runs):
        raise IntegrityError(
            f"expected the arrival of all {entry.rows} rows of {entry.path} in the manifest of {manifest.partition}, found "
            f"{sum(rows for rows, moment in runs if moment)}: they came before arrivals were noted; name a known_at column instead",
            partition=manifest.partition,
        )
    return [(rows, datetime.fromisoformat(moment).astimezone(UTC)) for rows, moment in runs]
