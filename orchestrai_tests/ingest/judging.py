"""A landing held against a ledger, as tests ask."""

from datetime import datetime, timedelta
from typing import Any

from orchestrai.core.time.calendar import Grain
from orchestrai.ingest.discovery.known_objects import Records
from orchestrai.ingest.discovery.opening import Span
from orchestrai.ingest.discovery.partitioning import Zone
from orchestrai.ingest.discovery.reconciliation import Judge, Reconciliation, reconcile
from orchestrai.ingest.spec import SourceSpec
from orchestrai.ledger.ledger import Ledger
from orchestrai_tests.ingest.conftest import NOW


def judge_for(
    ledger: Ledger,
    asset: str,
    landing: Any,
    source: SourceSpec,
    grain: Grain = "day",
    now: datetime = NOW,
    release_after: timedelta | None = None,
    **span: datetime,
) -> Judge:
    """The judge over the ledger as it is now."""
    return Judge(Zone(landing, source, grain), Span(grain, **span), Records(ledger, asset), now, release_after)


def whole(ledger: Ledger, asset: str, landing: Any, source: SourceSpec, **options: Any) -> Reconciliation:
    """A whole look; what is listed is counted in one place."""
    found = reconcile(judge_for(ledger, asset, landing, source, **options))
    assert found.listed == sum(1 for _ in landing.list())
    return found


def counts(found: Reconciliation) -> tuple[int, int, int, int]:
    """Raw events, dead letters, waiting, passed over."""
    told = found.counts
    return told["raw_events"], told["dead_letters"], told["waiting"], told["passed_over"]
