"""Lineage in the forms that other tools read: in-toto bundle, CycloneDX ML-BOM, OpenLineage events.

Sources: in-toto Statement v1 in DSSE, one envelope a line; CycloneDX 1.6 (bom-1.6.schema.json); OpenLineage 2-0-2 run events.
All are written from verified records alone; the same records give the same bytes.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from orchestrai.contracts.verdict import JsonValue
from orchestrai.ledger import Receipt
from orchestrai.ledger.manifest import PartitionEntry
from orchestrai.provenance.lineage import Step, use_of, walk
from orchestrai.provenance.records import Records

PRODUCER = "urn:orchestrai"
FORMATS = ("intoto", "cyclonedx", "openlineage")
_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, PRODUCER)


def export(records: Records, asset: str, version: str | None = None, *, form: str) -> str:
    """The lineage of a model or any asset in one of FORMATS; raises NotReceipted, IntegrityError."""
    steps = walk(records, use_of(records, asset, version))
    if form == "cyclonedx":
        return json.dumps(bill_of_materials(records, steps), indent=2, sort_keys=True) + "\n"
    lines = bundle(records, steps) if form == "intoto" else map(_line, openlineage_events(steps))
    return "".join(f"{line}\n" for line in lines)


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event, sort_keys=True, separators=(",", ":"))


def bundle(records: Records, steps: Sequence[Step]) -> Iterator[str]:
    """Every receipt as it was signed, upstream first: check each with any DSSE verifier and the public key."""
    seen = set()
    for step in reversed(steps):
        for digest in step.receipts:
            if digest not in seen:
                seen.add(digest)
                yield records.blob("receipts", digest).decode()


def _hashes(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]


def bill_of_materials(records: Records, steps: Sequence[Step]) -> dict[str, Any]:
    """A CycloneDX 1.6 ML-BOM: the model with its files, the datasets behind it, what depends on what."""
    root, finished = steps[0], max((r.finished for step in steps for r in step.receipts.values()), default="")
    references = {step.use.identity: f"{step.use.asset}@{step.use.version}" for step in steps}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_SPACE, references[root.use.identity])}",
        "version": 1,
        "metadata": {
            "timestamp": finished,
            "tools": {"components": [{"type": "application", "name": "orchestrai"}]},
            "component": _model(records, root, references[root.use.identity]),
        },
        "components": [_data(step, references[step.use.identity]) for step in steps[1:]],
        "dependencies": [
            {
                "ref": references[step.use.identity],
                "dependsOn": sorted({references[above.identity] for above in step.upstream}),
            }
            for step in steps
        ],
    }


def _properties(step: Step) -> list[dict[str, str]]:
    receipts = list(step.receipts.values())
    checks = sum(len(r.verdicts.get(key, ())) for r in receipts for key in r.partitions)
    found = {
        "stage": step.use.stage,
        "partitions": str(len(step.use.entries)),
        "rows": str(sum(entry.rows for entry in step.use.entries.values())),
        "checks": str(checks),
        "code_version": ", ".join(sorted({r.code_version for r in receipts if r.code_version})),
    }
    return [{"name": f"orchestrai:{name}", "value": value} for name, value in sorted(found.items()) if value]


def _model(records: Records, step: Step, reference: str) -> dict[str, Any]:
    files = [file for entry in step.use.entries.values() for file in records.files(step.use.asset, entry).files]
    facts = next(iter(step.receipts.values())).facts if step.receipts else {}
    metrics = facts.get("metrics")
    card: dict[str, Any] = {
        "modelParameters": {"datasets": [{"ref": f"{above.asset}@{above.version}"} for above in step.upstream]}
    }
    if isinstance(metrics, dict):
        card["quantitativeAnalysis"] = {
            "performanceMetrics": [
                {"type": name, "value": str(value)} for name, value in sorted(metrics.items()) if _is_number(value)
            ]
        }
    return {
        "type": "machine-learning-model",
        "bom-ref": reference,
        "name": step.use.asset,
        "version": step.use.version,
        "modelCard": card,
        "properties": _properties(step),
        "components": [
            {"type": "file", "bom-ref": f"{reference}#{file.path}", "name": file.path, "hashes": _hashes(file.sha256)}
            for file in files
        ],
    }


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _data(step: Step, reference: str) -> dict[str, Any]:
    kind = "machine-learning-model" if step.use.stage == "candidate" else "data"
    component: dict[str, Any] = {
        "type": kind,
        "bom-ref": reference,
        "name": step.use.asset,
        "version": step.use.version,
        "hashes": _hashes(step.use.version),
        "properties": _properties(step),
    }
    if kind == "data":
        component["data"] = [{"type": "dataset", "name": step.use.asset}]
    if step.materials:
        component["externalReferences"] = [
            {"type": "distribution", "url": material.uri, "hashes": _hashes(material.sha256)}
            for material in sorted(step.materials, key=lambda m: (m.uri, m.sha256))
        ]
    return component


def openlineage_events(steps: Sequence[Step]) -> Iterator[dict[str, Any]]:
    """One START and one COMPLETE event per receipt, upstream first, datasets with their versions and row counts."""
    seen = set()
    for step in reversed(steps):
        for digest, receipt in step.receipts.items():
            if digest not in seen:
                seen.add(digest)
                entries = [entry for entry in step.use.entries.values() if entry.receipt == digest]
                yield _event("START", receipt.started, digest, receipt, entries)
                yield _event("COMPLETE", receipt.finished, digest, receipt, entries)


def _event(kind: str, moment: str, digest: str, receipt: Receipt, entries: Sequence[PartitionEntry]) -> dict[str, Any]:
    inputs = [_dataset(ref.asset, ref.version) for ref in receipt.inputs]
    inputs += [
        {"namespace": uri.rpartition("/")[0] or uri, "name": uri} for uri in sorted({m.uri for m in receipt.materials})
    ]
    output = _dataset(receipt.asset, receipt.version)
    output["outputFacets"] = {
        "outputStatistics": {
            "_producer": PRODUCER,
            "_schemaURL": "https://openlineage.io/spec/facets/1-0-2/OutputStatisticsOutputDatasetFacet.json",
            "rowCount": sum(entry.rows for entry in entries),
            "size": sum(entry.size for entry in entries),
        }
    }
    return {
        "eventType": kind,
        "eventTime": moment,
        "producer": PRODUCER,
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": str(uuid.uuid5(_SPACE, digest))},
        "job": {"namespace": "orchestrai", "name": receipt.asset},
        "inputs": inputs,
        "outputs": [output],
    }


def _dataset(asset: str, version: str) -> dict[str, Any]:
    return {
        "namespace": "orchestrai",
        "name": asset,
        "facets": {
            "version": {
                "_producer": PRODUCER,
                "_schemaURL": "https://openlineage.io/spec/facets/1-0-1/DatasetVersionDatasetFacet.json",
                "datasetVersion": version,
            }
        },
    }
