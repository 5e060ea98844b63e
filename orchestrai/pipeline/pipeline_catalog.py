"""The catalog of a pipeline: what is current at each stage of each dataset, and what is kept of it, published like any other data."""

from collections.abc import Iterable

from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import canonical_json
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, StageReport

PRODUCER = Producer("catalog", __name__)

# what a backup's receipt says of it
FACTS = ("snapshot_id", "locked", "locked_until", "replica", "destination", "tier", "recovery_point", "copy")


def write_catalog(ledger: Ledger, listed: Iterable[str], asset: str) -> StageReport:
    """Publish catalog.json with a line for each asset of those listed that is published; the same state gives the same bytes."""
    with Meter() as meter:
        lines: list[JsonValue] = []
        inputs = []
        for name in listed:
            found = ledger.find(name)
            if found is not None:
                lines.append(_line(found))
                inputs.append(InputRef(found.asset, found.version))
        session = ledger.session(asset, PRODUCER)
        entry = session.add_bytes("all", "catalog.json", canonical_json(lines), rows=len(lines))
        meter.written = entry.size
    return session.commit({"all": ()}, inputs=inputs, cost=meter.cost(), facts={"catalog": lines})


def _line(found: Dataset) -> dict[str, JsonValue]:
    keys = sorted(found.partitions)
    facts = found.ledger.receipt(found.head.receipt).facts if found.head.receipt else {}
    return {
        "asset": found.asset,
        "kind": found.asset.rsplit("/", 1)[-1],
        "version": found.version,
        "partitions": len(keys),
        "first": keys[0] if keys else None,
        "last": keys[-1] if keys else None,
        "rows": found.rows,
        "bytes": sum(entry.size for entry in found.partitions.values()),
        **{name: facts[name] for name in FACTS if name in facts},
    }
