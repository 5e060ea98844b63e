"""Give bytes back and publish how many: one prune of the whole vault, which deletes what an earlier one marked and marks anew.

The record that is published is what waits afterwards: a prune that deletes and marks nothing publishes nothing new.
"""

from collections.abc import Sequence
from typing import cast

from orchestrai.core.canonical import JsonValue, canonical_json
from orchestrai.core.code_identity import Producer
from orchestrai.core.time.calendar import WHOLE
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.vault.lifecycle.prune import PrunePlan, PruneReport, Pruning

PRODUCER = Producer("prune", __name__)
# of what a lock holds, so many objects are named with the store's reason
NAMED = 20


def give_back(
    ledger: Ledger, pruning: Pruning, *, asset: str, inputs: Sequence[InputRef] = ()
) -> tuple[StageReport, PruneReport]:
    """Delete what has waited long enough and no lock holds, mark what nothing needs, and publish `asset`. Idempotent.

    Raises IntegrityError for damage in a snapshot or in a chain: nothing is deleted then.
    """
    with Meter() as meter:
        session = ledger.session(asset, PRODUCER)
        plan = pruning.plan()
        done = pruning.apply(plan)
        waiting = {**plan.waiting, **plan.mark, **{key: plan.delete[key] for key in done.deferred}}
        marks = sorted(info.key for info in pruning.open_marks())
        body = {"vault": pruning.vault.identity(), "objects": len(waiting), "bytes": sum(waiting.values()), "marks": marks}
        entry = session.add_bytes(WHOLE, "prune.json", canonical_json(body), rows=len(waiting))
        meter.written = entry.size
    return session.commit({WHOLE: ()}, inputs=inputs, cost=meter.cost(), facts=prune_facts(plan, done)), done


def prune_facts(plan: PrunePlan, done: PruneReport) -> dict[str, JsonValue]:
    """What a prune planned and did, as its receipt carries it; `groups` are a table."""
    groups = {
        "planned for deletion": plan.delete,
        "deleted": {key: plan.delete[key] for key in done.deleted},
        "held by a lock, tried again by the next prune": {key: plan.delete[key] for key in done.deferred},
        "marked now, deleted later": plan.mark,
        "marked before, waiting": plan.waiting,
    }
    rows = [{"what": what, "objects": len(group), "bytes": sum(group.values())} for what, group in groups.items()]
    return {
        "groups": cast("JsonValue", rows),
        "deleted": len(done.deleted),
        "deleted_bytes": done.bytes,
        "marked": done.marked,
        "deferred": len(done.deferred),
        "deferred_bytes": sum(plan.delete[key] for key in done.deferred),
        "deferred_reasons": dict(sorted(done.deferred.items())[:NAMED]),
        "next_due": plan.next_due.isoformat() if plan.next_due else None,
    }
