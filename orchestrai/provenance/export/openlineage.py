"""OpenLineage run events (spec 2-0-2) with official facets; one START and one COMPLETE per receipt.

A receipt's own facts go into a run facet `orchestrai_receipt` (a custom facet, as the specification names them).
"""

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from orchestrai.ledger.manifest import PartitionEntry
from orchestrai.ledger.receipt import Receipt
from orchestrai.provenance.lineage import Step

PRODUCER = "urn:orchestrai"
NAMESPACE = "orchestrai"
_FACETS = "https://openlineage.io/spec/facets/"
_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, PRODUCER)


def openlineage_events(steps: Sequence[Step]) -> Iterator[dict[str, Any]]:
    """The events of every receipt behind the first step, upstream first."""
    seen = set()
    for step in reversed(steps):
        for digest, receipt in step.receipts.items():
            if digest not in seen:
                seen.add(digest)
                entries = [entry for entry in step.use.entries.values() if entry.receipt == digest]
                yield _event("START", receipt.started, digest, receipt, entries)
                yield _event("COMPLETE", receipt.finished, digest, receipt, entries)


def _facet(schema: str, **values: Any) -> dict[str, Any]:
    name = schema.rpartition("/")[2].removesuffix(".json")
    return {"_producer": PRODUCER, "_schemaURL": f"{_FACETS}{schema}#/$defs/{name}", **values}


def _event(kind: str, moment: str, digest: str, receipt: Receipt, entries: Sequence[PartitionEntry]) -> dict[str, Any]:
    inputs = [_dataset(ref.asset, ref.version) for ref in receipt.inputs]
    inputs += [
        {"namespace": uri.rpartition("/")[0] or uri, "name": uri} for uri in sorted({m.uri for m in receipt.materials})
    ]
    output = _dataset(receipt.asset, receipt.version)
    output["outputFacets"] = {
        "outputStatistics": _facet(
            "1-0-2/OutputStatisticsOutputDatasetFacet.json",
            rowCount=sum(entry.rows for entry in entries),
            size=sum(entry.size for entry in entries),
            fileCount=sum(entry.files for entry in entries),
        )
    }
    return {
        "eventType": kind,
        "eventTime": moment,
        "producer": PRODUCER,
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": str(uuid.uuid5(_SPACE, digest)), "facets": {"orchestrai_receipt": _about(digest, receipt)}},
        "job": {
            "namespace": NAMESPACE,
            "name": receipt.asset,
            "facets": {
                "jobType": _facet(
                    "2-0-4/JobTypeJobFacet.json", processingType="BATCH", integration="ORCHESTRAI", jobType=receipt.stage
                )
            },
        },
        "inputs": inputs,
        "outputs": [output],
    }


def _about(digest: str, receipt: Receipt) -> dict[str, Any]:
    verdicts = [verdict for group in receipt.verdicts.values() for verdict in group]
    return {
        "_producer": PRODUCER,
        "_schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunFacet",
        "receipt": f"sha256:{digest}",
        "codeVersion": receipt.code_version,
        "checksPassed": sum(verdict.passed for verdict in verdicts),
        "checksFailed": sum(not verdict.passed for verdict in verdicts),
        "wallSeconds": receipt.cost.wall_seconds,
        "cpuSeconds": receipt.cost.cpu_seconds,
        "bytesRead": receipt.cost.bytes_read,
        "bytesWritten": receipt.cost.bytes_written,
    }


def _dataset(asset: str, version: str) -> dict[str, Any]:
    return {
        "namespace": NAMESPACE,
        "name": asset,
        "facets": {"version": _facet("1-0-1/DatasetVersionDatasetFacet.json", datasetVersion=version)},
    }
