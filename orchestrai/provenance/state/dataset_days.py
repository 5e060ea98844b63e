"""The newest partitions of a dataset as their verdicts have them: rows beside what was expected, and how fresh they were."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orchestrai.core.time.calendar import window
from orchestrai.core.verdict import Verdict
from orchestrai.ledger.manifest import PartitionEntry
from orchestrai.ledger.quarantine import Refusal, closed_gates
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.runtime import Runtime

# so many partitions are drawn
DRAWN = 120


@dataclass(frozen=True)
class DatasetDay:
    """One partition: `state` is published, held or refused, and of what is not published the rows are those that wait.

    `low` and `high` bound what was expected, None where nothing was; `behind_seconds` is from its newest event to the end of the
    partition, or to the run that took it where that came first.
    """

    partition: str
    state: str
    rows: int
    low: float | None = None
    high: float | None = None
    behind_seconds: float | None = None
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return dict(self.__dict__)


def dataset_days(runtime: Runtime, node: DatasetNode) -> tuple[DatasetDay, ...]:
    """The newest partitions of its raw events and of what its gate holds back, oldest first; none for one not cut by time."""
    if node.grain == "all":
        return ()
    asset = node.asset("raw_events")
    raw = runtime.ledger.find(asset)
    closed = closed_gates(runtime.ledger, asset, raw)
    there = raw.partitions if raw is not None else {}
    newest = sorted({*there, *closed})[-DRAWN:]
    # what comes batch by batch is judged as a whole when it is restored
    judged = runtime.ledger.find(node.asset("restored")) if node.positioned else raw
    receipts = {key: entry.receipt for key, entry in (judged.partitions if judged is not None else {}).items()}
    return tuple(
        _held(key, closed[key])
        if key in closed
        else _published(runtime, node, there[key], receipts.get(key, there[key].receipt))
        for key in newest
    )


def _held(key: str, refusal: Refusal) -> DatasetDay:
    found = _details(refusal.verdicts)
    rows = found.get("row_volume", {}).get("rows", 0)
    return DatasetDay(key, "held" if refusal.held else "refused", int(rows), *_band(found), None, refusal.reason)


def _published(runtime: Runtime, node: DatasetNode, entry: PartitionEntry, judged: str) -> DatasetDay:
    receipt = runtime.ledger.receipt(judged)
    found = _details(receipt.verdicts.get(entry.partition, ()))
    newest, taken = found.get("freshness", {}).get("newest"), datetime.fromisoformat(receipt.finished)
    behind = _behind(node, entry.partition, newest, taken)
    return DatasetDay(entry.partition, "published", entry.rows, *_band(found), behind)


def _details(verdicts: Iterable[Verdict]) -> dict[str, Mapping[str, Any]]:
    return {verdict.check: verdict.details for verdict in verdicts}


def _band(found: Mapping[str, Mapping[str, Any]]) -> tuple[float | None, float | None]:
    volume = found.get("row_volume", {})
    if volume.get("expected") is None:
        return None, None
    return volume.get("low"), volume.get("high")


def _behind(node: DatasetNode, key: str, newest: object, taken: datetime) -> float | None:
    if not isinstance(newest, str):
        return None
    event = datetime.fromisoformat(newest)
    event = event if event.tzinfo else event.replace(tzinfo=UTC)
    return max(0.0, (min(window(key, node.grain)[1], taken) - event).total_seconds())
