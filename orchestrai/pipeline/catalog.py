"""The catalog of a pipeline: what is current at each stage of each dataset, published like any other data."""

from orchestrai.contracts.verdict import JsonValue
from orchestrai.ledger import InputRef, Ledger, Meter, StageReport
from orchestrai.ledger.manifest import canonical_json
from orchestrai.pipeline.graph import Pipeline, Stage

STAGES: tuple[Stage, ...] = ("raw_events", "snapshot", "restored")


def write_catalog(ledger: Ledger, pipeline: Pipeline, asset: str) -> StageReport:
    """Publish catalog.json with a line per dataset and stage; the same state gives the same bytes."""
    with Meter() as meter:
        lines: list[JsonValue] = []
        inputs = []
        for dataset in pipeline.datasets:
            for stage in STAGES:
                found = ledger.find(dataset.asset(stage))
                if found is None:
                    continue
                keys = sorted(found.partitions)
                lines.append(
                    {
                        "asset": found.asset,
                        "version": found.version,
                        "partitions": len(keys),
                        "first": keys[0] if keys else None,
                        "last": keys[-1] if keys else None,
                        "rows": found.rows,
                        "bytes": sum(entry.size for entry in found.partitions.values()),
                    }
                )
                inputs.append(InputRef(found.asset, found.version))
        session = ledger.session(asset, "catalog")
        entry = session.add_bytes("all", "catalog.json", canonical_json(lines), rows=len(lines))
        meter.written = entry.size
    return session.commit({"all": ()}, inputs=inputs, cost=meter.cost(), facts={"catalog": lines})
