"""OpenLineage run events (spec 2-0-2) with official facets: of each receipt, of the checks behind it, of refusals, of what was dropped.

A receipt's own facts go into a run facet `orchestrai_receipt` (a custom facet, as the specification names them). What a gate refused
is no signed record: such events say so.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrai.ledger.heads import Head
from orchestrai.ledger.manifest import PartitionEntry
from orchestrai.ledger.receipt import Receipt
from orchestrai.provenance.export.openlineage_facets import (
    NAMESPACE,
    PRODUCER,
    DatasetFacets,
    assertions,
    facet,
    landed,
    version_facet,
)
from orchestrai.provenance.lineage import Step
from orchestrai.provenance.verified_records import Records

_SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"
_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, PRODUCER)
Event = dict[str, Any]


def openlineage_events(records: Records, steps: Sequence[Step]) -> Iterator[Event]:
    """The events of every receipt behind the first step, upstream first, then what its gates refused and what was taken out."""
    facets, seen = DatasetFacets(records), set()
    for step in reversed(steps):
        numbers = {head.receipt: head.seq for head in reversed(records.log(step.use.asset))}
        for digest, receipt in step.receipts.items():
            if digest not in seen:
                seen.add(digest)
                entries = {key: entry for key, entry in step.use.entries.items() if entry.receipt == digest}
                yield from _run(facets, digest, receipt, entries, numbers.get(digest, 0))
                yield from _checks(digest, receipt)
    for asset in sorted({step.use.asset for step in steps}):
        yield from _refused(records, asset)
        yield from _dropped(records, asset)


def _run(
    facets: DatasetFacets, digest: str, receipt: Receipt, entries: Mapping[str, PartitionEntry], seq: int
) -> Iterator[Event]:
    output = _dataset(receipt.asset) | {"facets": facets.of(receipt, entries, seq)}
    output["outputFacets"] = {
        "outputStatistics": facet(
            "1-0-2/OutputStatisticsOutputDatasetFacet.json",
            rowCount=sum(entry.rows for entry in entries.values()),
            size=sum(entry.size for entry in entries.values()),
            fileCount=sum(entry.files for entry in entries.values()),
        )
    }
    inputs = [_dataset(ref.asset, ref.version) for ref in receipt.inputs]
    inputs += [landed(uri) for uri in sorted({material.uri for material in receipt.materials})]
    run = {"orchestrai_receipt": _about(digest, receipt), "processing_engine": _engine(receipt)}
    for kind, moment in (("START", receipt.started), ("COMPLETE", receipt.finished)):
        yield {
            **_event(kind, moment, _id(digest), run),
            "job": _job(receipt.asset, receipt),
            "inputs": inputs,
            "outputs": [output],
        }


def _checks(digest: str, receipt: Receipt) -> Iterator[Event]:
    """The audit of what a run staged, as a run of its own below it, which reads what was judged."""
    judged = assertions(receipt)
    if not judged:
        return
    about = facet(
        "1-2-0/ParentRunFacet.json",
        run={"runId": _id(digest)},
        job={"namespace": NAMESPACE, "name": receipt.asset},
    )
    read = _dataset(receipt.asset, receipt.version)
    read["inputFacets"] = {"dataQualityAssertions": facet("1-1-0/DataQualityAssertionsDatasetFacet.json", assertions=judged)}
    for kind, moment in (("START", receipt.started), ("COMPLETE", receipt.finished)):
        yield {
            **_event(kind, moment, _id(f"{digest}/checks"), {"parent": about}),
            "job": _job(f"{receipt.asset}/checks"),
            "inputs": [read],
            "outputs": [],
        }


def _refused(records: Records, asset: str) -> Iterator[Event]:
    """What a gate kept out; a lake's note, not signed, and none in a vault."""
    for info in records.store.list(f"quarantine/{asset}/"):
        note = json.loads(records.store.read(info.key))
        said = [
            f"{key}: {verdict['check']}: {verdict['message']}"
            for key, held in sorted(note["partitions"].items())
            for verdict in held["verdicts"]
            if not verdict["passed"] and verdict["severity"] == "error"
        ]
        if said:
            error = facet("1-0-1/ErrorMessageRunFacet.json", message="; ".join(said), programmingLanguage="PYTHON")
            run = {"errorMessage": error, "orchestrai_refusal": _custom(record=info.key, signed=False)}
            for kind in ("START", "FAIL"):
                yield {
                    **_event(kind, str(note["time"]), _id(info.key), run),
                    "job": _job(asset),
                    "inputs": [],
                    "outputs": [_dataset(asset)],
                }


def _dropped(records: Records, asset: str) -> Iterator[Event]:
    """Partitions that were taken out again, as a recall or a rollback does, from the asset's own log."""
    for head in records.log(asset):
        receipt = records.receipt(head.receipt)
        gone = [key for key in head.changed if key not in receipt.partitions]
        if gone or head.action == "rollback":
            yield from _taken_out(head, gone)


def _taken_out(head: Head, gone: Sequence[str]) -> Iterator[Event]:
    change = "DROP" if gone else "OVERWRITE"
    output = _dataset(head.asset, head.version)
    output["facets"]["lifecycleStateChange"] = facet(
        "1-0-1/LifecycleStateChangeDatasetFacet.json", lifecycleStateChange=change
    )
    run = {"orchestrai_decision": _custom(head=f"sha256:{head.digest}", partitions=list(gone), reason=head.reason)}
    for kind in ("START", "COMPLETE"):
        yield {
            **_event(kind, head.time, _id(head.digest), run),
            "job": _job(f"{head.asset}/{'drop' if gone else 'rollback'}"),
            "inputs": [],
            "outputs": [output],
        }


def _event(kind: str, moment: str, run: str, facets: Mapping[str, Any]) -> Event:
    return {
        "eventType": kind,
        "eventTime": moment,
        "producer": PRODUCER,
        "schemaURL": f"{_SPEC}RunEvent",
        "run": {"runId": run, "facets": dict(facets)},
    }


def _id(name: str) -> str:
    return str(uuid.uuid5(_SPACE, name))


def _dataset(asset: str, version: str = "") -> dict[str, Any]:
    return {"namespace": NAMESPACE, "name": asset, "facets": version_facet(version) if version else {}}


def _job(name: str, receipt: Receipt | None = None) -> dict[str, Any]:
    stage = receipt.stage if receipt is not None else name.rsplit("/", 1)[-1]
    kind = facet("2-0-4/JobTypeJobFacet.json", processingType="BATCH", integration="ORCHESTRAI", jobType=stage)
    facets = {"jobType": kind}
    if receipt is not None and receipt.code_version:
        code = receipt.code_version
        facets["sourceCodeLocation"] = facet(
            "1-1-0/SourceCodeLocationJobFacet.json", type="orchestrai", url=f"urn:orchestrai:code:{code}", version=code
        )
    sql = receipt.parameters.get("sql") or receipt.parameters.get("label_sql") if receipt is not None else None
    if isinstance(sql, str):
        facets["sql"] = facet("1-1-0/SQLJobFacet.json", query=sql, dialect="spark")
    return {"namespace": NAMESPACE, "name": name, "facets": facets}


def _engine(receipt: Receipt) -> dict[str, Any]:
    """What computed: the engine that a receipt names, at its version where that is named too, else at that of our code."""
    named = str(receipt.facts.get("engine") or receipt.parameters.get("engine") or "orchestrai")
    name, _, version = named.partition(" ")
    return facet("1-1-1/ProcessingEngineRunFacet.json", name=name, version=version or receipt.code_version or "unknown")


def _custom(**values: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": f"{_SPEC}RunFacet", **values}


def _about(digest: str, receipt: Receipt) -> dict[str, Any]:
    verdicts = [verdict for group in receipt.verdicts.values() for verdict in group]
    return _custom(
        receipt=f"sha256:{digest}",
        codeVersion=receipt.code_version,
        checksPassed=sum(verdict.passed for verdict in verdicts),
        checksFailed=sum(not verdict.passed for verdict in verdicts),
        wallSeconds=receipt.cost.wall_seconds,
        cpuSeconds=receipt.cost.cpu_seconds,
        bytesRead=receipt.cost.bytes_read,
        bytesWritten=receipt.cost.bytes_written,
    )
