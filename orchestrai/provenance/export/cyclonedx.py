"""A CycloneDX 1.7 ML-BOM: the model with its files and metrics, the libraries that trained it, the datasets behind it, what depends on
what (bom-1.7.schema.json).

Hashes are of files. A dataset has no bytes of its own: its Merkle root is the property `orchestrai:merkleSha256`, and its files are
listed with a hash each.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrai.core.canonical import JsonValue
from orchestrai.provenance.lineage import Step
from orchestrai.provenance.verified_records import Records

_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:orchestrai")


def bill_of_materials(records: Records, steps: Sequence[Step]) -> dict[str, Any]:
    """The bill of the first step; the same records give the same document."""
    root, finished = steps[0], max((r.finished for step in steps for r in step.receipts.values()), default="")
    references = {step.use.identity: reference for step, reference in zip(steps, _references(steps), strict=True)}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.7.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.7",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_SPACE, references[root.use.identity])}",
        "version": 1,
        "metadata": {
            "timestamp": finished,
            "tools": {"components": [{"type": "application", "name": "orchestrai"}]},
            "component": _model(records, root, references),
        },
        "components": [
            *(_data(records, step, references[step.use.identity]) for step in steps[1:]),
            *_libraries(steps),
        ],
        "dependencies": [
            {
                "ref": references[step.use.identity],
                "dependsOn": sorted(
                    {references[above.identity] for above in step.upstream}
                    | {library["bom-ref"] for library in _libraries([step])}
                ),
            }
            for step in steps
        ],
    }


def _references(steps: Sequence[Step]) -> Iterator[str]:
    """One unique name each; two uses of one version that differ in their receipts get a number."""
    seen: dict[str, int] = {}
    for step in steps:
        name = f"{step.use.asset}@{step.use.version}"
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name}#{seen[name]}"


def _hashes(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]


def _properties(step: Step) -> list[dict[str, str]]:
    receipts = list(step.receipts.values())
    checks = sum(len(r.verdicts.get(key, ())) for r in receipts for key in r.partitions)
    properties = {
        "stage": step.use.stage,
        "merkleSha256": step.use.version.removeprefix("sha256:"),
        "partitions": str(len(step.use.entries)),
        "rows": str(sum(entry.rows for entry in step.use.entries.values())),
        "checks": str(checks),
        "code_version": ", ".join(sorted({r.code_version for r in receipts if r.code_version})),
    }
    return [{"name": f"orchestrai:{name}", "value": value} for name, value in sorted(properties.items()) if value]


def _model(records: Records, step: Step, references: Mapping[Any, str]) -> dict[str, Any]:
    reference = references[step.use.identity]
    facts = next(iter(step.receipts.values())).facts if step.receipts else {}
    parameters: dict[str, Any] = {"datasets": [{"ref": references[above.identity]} for above in step.upstream]}
    if isinstance(facts.get("task"), str):
        parameters["task"] = facts["task"]
    card: dict[str, Any] = {"modelParameters": parameters}
    metrics = facts.get("metrics")
    if isinstance(metrics, dict):
        card["quantitativeAnalysis"] = {"performanceMetrics": list(_metrics(metrics))}
    return {
        "type": "machine-learning-model",
        "bom-ref": reference,
        "name": step.use.asset,
        "version": step.use.version,
        "modelCard": card,
        "properties": _properties(step),
        "components": _files(records, step, reference),
    }


def _files(records: Records, step: Step, reference: str) -> list[dict[str, Any]]:
    """Each file by partition and name, with the hash of its bytes."""
    files = []
    for key, entry in sorted(step.use.entries.items()):
        for file in records.files(step.use.asset, entry).files:
            name = f"{key}/{file.path}" if len(step.use.entries) > 1 else file.path
            files.append({"type": "file", "bom-ref": f"{reference}#{name}", "name": name, "hashes": _hashes(file.sha256)})
    return files


def _libraries(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The libraries that trained, as their receipts name them."""
    named = {
        (str(name), str(version))
        for step in steps
        for receipt in step.receipts.values()
        if isinstance(libraries := receipt.facts.get("libraries"), dict)
        for name, version in libraries.items()
    }
    return [
        {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
        for name, version in sorted(named)
        for purl in [f"pkg:{'generic' if name == 'python' else 'pypi'}/{name}@{version}"]
    ]


def _metrics(metrics: Mapping[str, JsonValue]) -> Iterator[dict[str, Any]]:
    """Each metric with its confidence interval, where it has one."""
    for name, metric in sorted(metrics.items()):
        value = metric.get("value") if isinstance(metric, dict) else metric
        if isinstance(value, int | float) and not isinstance(value, bool):
            line: dict[str, Any] = {"type": name, "value": str(value)}
            if isinstance(metric, dict) and "low" in metric and "high" in metric:
                line["confidenceInterval"] = {"lowerBound": str(metric["low"]), "upperBound": str(metric["high"])}
            yield line


def _data(records: Records, step: Step, reference: str) -> dict[str, Any]:
    kind = "machine-learning-model" if step.use.stage == "candidate" else "data"
    component: dict[str, Any] = {
        "type": kind,
        "bom-ref": reference,
        "name": step.use.asset,
        "version": step.use.version,
        "properties": _properties(step),
        "components": _files(records, step, reference),
    }
    if kind == "data":
        component["data"] = [{"type": "dataset", "name": step.use.asset}]
    if step.materials:
        component["externalReferences"] = [
            {"type": "distribution", "url": material.uri, "hashes": _hashes(material.sha256)}
            for material in sorted(step.materials, key=lambda m: (m.uri, m.sha256))
        ]
    return component
