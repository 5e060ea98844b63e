"""Partitions that end too early or begin too late, by what their like cover."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from orchestrai.contracts.contract import Contract
from orchestrai.contracts.coverage import SEASONS, Coverage, Span, alike, judge_coverage
from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.calendar import Grain, window
from orchestrai.core.verdict import Severity, Verdict
from orchestrai.errors import IntegrityError, ObjectNotFound
from orchestrai.ingest.schema_audit import accepted
from orchestrai.ledger.dataset import Dataset

# the share of the usual span by whose end something has to have come
STOPPED = 0.5


def coverage_finding(
    verdicts: Sequence[Verdict],
    contract: Contract,
    partition: str,
    grain: Grain,
    now: datetime,
    dataset: Dataset | None,
    before: Mapping[str, Sequence[Verdict]],
) -> tuple[Verdict, ...]:
    """A finding on `freshness`, a warning where part of the usual span is missing; none for a partition still open or unlike others.

    An error where more than half is missing at the end, and the promise is as long as a partition or longer: within a partition such a
    promise says nothing of its own, and this is what it says of one that stopped.

    `verdicts` are what the contract said of the partition. `before` has the verdicts of partitions judged in this run, which come
    before what is published.
    """
    current, rule = span_of(verdicts), contract.volume
    if current is None or now < window(partition, grain)[1]:
        return ()
    spans: dict[str, Span] = {}
    for key in alike(rule, partition, grain, before, dataset.partitions if dataset else {}):
        if len(spans) == SEASONS:
            break
        try:
            span = span_of(accepted(key, dataset, before) or ())
        except (IntegrityError, ObjectNotFound):
            continue  # damaged, which its own readers are told; what is judged here is another partition
        if span is not None:
            spans[key] = span
    coverage = judge_coverage(rule, current, partition, grain, spans)
    if coverage is None:
        return ()
    details: dict[str, JsonValue] = {
        "covered": round(coverage.share, 3),
        "usual_first": coverage.first.isoformat(timespec="seconds"),
        "usual_last": coverage.last.isoformat(timespec="seconds"),
    }
    message = (
        f"expected events from about {coverage.first:%H:%M} to {coverage.last:%H:%M} as the last {len(spans)} like it have, found "
        f"{current.first:%H:%M} to {current.last:%H:%M}, {coverage.share:.0%} of that: have the producer send what is missing"
    )
    severity: Severity = "error" if _stopped(contract, current, coverage, partition, grain) else "warn"
    return (Verdict("freshness", not coverage.flagged, message if coverage.flagged else "", severity, details),)


def _stopped(contract: Contract, current: Span, coverage: Coverage, partition: str, grain: Grain) -> bool:
    """Whether the partition ends before the middle of its usual span, under a promise that the partition's own end cannot break."""
    start, end = window(partition, grain)
    if not coverage.flagged or contract.freshness is None or contract.freshness < end - start:
        return False
    return current.last < coverage.first + STOPPED * (coverage.last - coverage.first)


def span_of(verdicts: Sequence[Verdict]) -> Span | None:
    """When a partition's first and last events were, as its verdicts say."""
    details = {verdict.check: verdict.details for verdict in verdicts}
    events, rows = details.get("freshness", {}), details.get("row_volume", {}).get("rows")
    first, last = events.get("earliest"), events.get("newest")
    if not isinstance(first, str) or not isinstance(last, str) or not isinstance(rows, int):
        return None
    return Span(datetime.fromisoformat(first), datetime.fromisoformat(last), rows)
