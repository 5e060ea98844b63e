"""Records of costs as tests look at them, and change them under the site's own key."""

from collections.abc import Callable

from orchestrai.ledger.costs.cost_record import COSTS, CostRecord, days_of
from orchestrai.pipeline.costs.day_costs import _SUMMED
from orchestrai.pipeline.runtime import Runtime


def records(runtime: Runtime) -> list[CostRecord]:
    """Every record in the lake."""
    ledger = runtime.ledger
    return [
        record
        for day in days_of(ledger.lake)
        for info in ledger.lake.list(f"{COSTS.folder}{day}/")
        for record in [COSTS.read(ledger.lake, ledger.keyring, info.key)]
    ]


def rewritten(runtime: Runtime, change: Callable[[CostRecord], CostRecord]) -> None:
    """Put other records in the place of those that are there."""
    ledger = runtime.ledger
    # a record is written once: whoever read it need not look again
    _SUMMED.pop(ledger, None)
    for record in records(runtime):
        ledger.lake.delete(COSTS.key(record.name))
        other = change(record)
        ledger.lake.write(COSTS.key(other.name), COSTS.sign(ledger.signer, other))
