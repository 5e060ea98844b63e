"""The catalog of a pipeline: what is current at each stage of each dataset, and what is kept of it, published like any other data."""

from collections.abc import Iterator

from orchestrai.core.canonical import JsonValue
from orchestrai.core.code_identity import Producer
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import canonical_json
from orchestrai.ledger.receipt import InputRef
from orchestrai.ledger.report import Meter, StageReport
from orchestrai.pipeline.nodes import Pipeline
from orchestrai.pipeline.stages import Stage

PRODUCER = Producer("catalog", __name__)

STAGES: tuple[Stage, ...] = ("raw_events", "snapshot", "restored")
# what a backup's receipt says of it
FACTS = ("snapshot_id", "locked", "locked_until", "replica", "destination", "tier", "recovery_point", "copy")


def write_catalog(ledger: Ledger, pipeline: Pipeline, asset: str) -> StageReport:
    """Publish catalog.json with a line per dataset and stage; the same state gives the same bytes."""
    with Meter() as meter:
        lines: list[JsonValue] = []
        inputs = []
        for name in catalogued(pipeline):
            found = ledger.find(name)
            if found is not None:
                lines.append(_line(found))
                inputs.append(InputRef(found.asset, found.version))
        session = ledger.session(asset, PRODUCER)
        entry = session.add_bytes("all", "catalog.json", canonical_json(lines), rows=len(lines))
        meter.written = entry.size
    return session.commit({"all": ()}, inputs=inputs, cost=meter.cost(), facts={"catalog": lines})


def catalogued(pipeline: Pipeline) -> Iterator[str]:
    """The assets that a pipeline's catalog lists, where they are published."""
    for dataset in pipeline.datasets:
        yield from (dataset.asset(stage) for stage in STAGES)
    kept: dict[Stage, tuple[str, ...]] = {
        "feature_backup": tuple(view.prefix for view in pipeline.views),
        "model_backup": tuple(model.prefix for model in pipeline.models),
        "dump": tuple(f"{pipeline.name}/{database.name}" for database in pipeline.spec.databases),
        "recovery_point": tuple(f"{pipeline.name}/{managed.name}" for managed in pipeline.spec.managed_backups),
    }
    yield from (f"{prefix}/{stage}" for stage, prefixes in kept.items() for prefix in prefixes)
    own = [dataset.prefix for dataset in pipeline.datasets if dataset.pipeline == pipeline.name]
    yield from (f"{prefix}/cold_copy" for prefix in [*own, *kept["feature_backup"], *kept["model_backup"], *kept["dump"]])


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
