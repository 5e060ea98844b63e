"""The catalog of a pipeline: what is current at each stage of each dataset, and what is kept of it, published like any other data."""

from collections.abc import Iterable, Mapping, Sequence

from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import canonical_json
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.stage.context import RunContext
from orchestrai.stage.making import Making, unless_it_stands

PRODUCER = Producer("catalog", __name__)

# what a backup's receipt says of it
FACTS = ("snapshot_id", "locked", "locked_until", "replica", "destination", "tier", "recovery_point", "copy")


def write_catalog(context: RunContext, listed: Iterable[str], asset: str) -> StageReport:
    """Publish catalog.json with a line for each asset of those listed that is published; the same state gives the same bytes.

    Nothing is written where the newest one was made of the same entries.
    """
    ledger = context.ledger
    datasets = [dataset for name in listed if (dataset := ledger.find(name)) is not None]
    # what an entry says besides its manifest is named by the entry itself
    making = Making(asset, PRODUCER, datasets, [dataset.head.digest for dataset in datasets])
    return unless_it_stands(context, making, lambda noted: _written(ledger, datasets, asset, noted))


def _written(ledger: Ledger, datasets: Sequence[Dataset], asset: str, noted: Mapping[str, JsonValue]) -> StageReport:
    with Meter() as meter:
        lines: list[JsonValue] = [_line(dataset) for dataset in datasets]
        inputs = [InputRef(dataset.asset, dataset.version) for dataset in datasets]
        session = ledger.session(asset, PRODUCER)
        entry = session.add_bytes("all", "catalog.json", canonical_json(lines), rows=len(lines))
        meter.written = entry.size
    return session.commit({"all": ()}, inputs=inputs, cost=meter.cost(), facts={"catalog": lines, **noted})


def _line(dataset: Dataset) -> dict[str, JsonValue]:
    keys = sorted(dataset.partitions)
    facts = dataset.ledger.receipt(dataset.head.receipt).facts if dataset.head.receipt else {}
    return {
        "asset": dataset.asset,
        "kind": dataset.asset.rsplit("/", 1)[-1],
        "version": dataset.version,
        "partitions": len(keys),
        "first": keys[0] if keys else None,
        "last": keys[-1] if keys else None,
        "rows": dataset.rows,
        "bytes": sum(entry.size for entry in dataset.partitions.values()),
        **{name: facts[name] for name in FACTS if name in facts},
    }
