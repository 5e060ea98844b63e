"""SLSA Provenance v1 of a model: which files, from which landed objects and snapshots, by which code, as any SLSA verifier reads it.

Source: https://slsa.dev/spec/v1.0/provenance, in an in-toto Statement v1. The subjects are the files, so that a tool that has only the
file can match it. A dataset has no bytes of its own: its digest is named `merkleSha256`, the RFC 6962 root that is its version.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from orchestrai.errors import ConfigError
from orchestrai.ledger.receipt import STATEMENT, Receipt
from orchestrai.provenance.lineage import Step
from orchestrai.provenance.verified_records import Records

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:orchestrai:model:v1"
BUILDER = "urn:orchestrai:builder:"
# stages whose declared parameters decide the result
COMPUTED = ("features", "training_set", "candidate", "evaluation", "champion", "predictions")


def slsa_statement(records: Records, steps: Sequence[Step], builder: str) -> dict[str, Any]:
    """The statement, not signed yet; `builder` is the id of the key that answers for it. Raises ConfigError for what has no files."""
    root = steps[0]
    files = [file for entry in root.use.entries.values() for file in records.files(root.use.asset, entry).files]
    if not files or not root.receipts:
        raise ConfigError(f"expected files to make a statement on, found none in {root.use.asset}: name a model")
    newest = max(root.receipts.values(), key=lambda receipt: receipt.finished)
    everything = [receipt for step in steps for receipt in step.receipts.values()]
    return {
        "_type": STATEMENT,
        "subject": [
            {"name": file.path, "digest": {"sha256": file.sha256}} for file in sorted(files, key=lambda file: file.path)
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"asset": root.use.asset, "version": root.use.version, "declared": _declared(steps)},
                "internalParameters": {"code": sorted({r.code_version for r in everything if r.code_version})},
                "resolvedDependencies": [*_landed(steps), *_snapshots(steps), *_datasets(steps)],
            },
            "runDetails": {
                "builder": {"id": BUILDER + builder},
                "metadata": {
                    "invocationId": newest.session,
                    "startedOn": _utc(min(receipt.started for receipt in everything)),
                    "finishedOn": _utc(newest.finished),
                },
                "byproducts": list(_receipts(steps)),
            },
        },
    }


def _declared(steps: Sequence[Step]) -> dict[str, Any]:
    """The parameters of each computed stage, as its newest receipt has them."""
    parameters = {}
    for step in steps:
        if step.use.stage in COMPUTED and step.receipts:
            newest: Receipt = max(step.receipts.values(), key=lambda receipt: receipt.finished)
            if newest.parameters:
                parameters[step.use.asset] = dict(newest.parameters)
    return parameters


def _landed(steps: Sequence[Step]) -> Iterator[dict[str, Any]]:
    objects = {(m.uri, m.sha256, m.partition): m for step in steps for m in step.materials}
    for _, material in sorted(objects.items()):
        about = {"partition": material.partition, "size": str(material.size), "modified": material.modified}
        yield {
            "uri": material.uri,
            "digest": {"sha256": material.sha256},
            "annotations": {"stage": "landing", **{name: value for name, value in about.items() if value}},
        }


def _snapshots(steps: Sequence[Step]) -> Iterator[dict[str, Any]]:
    """The signed commit of each snapshot: its digest is that of the commit's bytes in the vault."""
    commits = {}
    for step in steps:
        if step.use.stage == "snapshot":
            for receipt in step.receipts.values():
                commit, identity = receipt.facts.get("commit"), receipt.facts.get("snapshot_id")
                if isinstance(commit, str):
                    commits[f"{step.use.asset}@{identity}"] = commit
    for name, commit in sorted(commits.items()):
        yield {"name": name, "digest": {"sha256": commit}, "annotations": {"stage": "snapshot"}}


def _datasets(steps: Sequence[Step]) -> Iterator[dict[str, Any]]:
    for step in sorted(steps[1:], key=lambda step: (step.use.asset, step.use.version)):
        yield {
            "name": step.use.asset,
            "digest": {"merkleSha256": step.use.version.removeprefix("sha256:")},
            "annotations": {"stage": step.use.stage, "partitions": str(len(step.use.entries))},
        }


def _receipts(steps: Sequence[Step]) -> Iterator[dict[str, Any]]:
    """The signed statements behind it, by the digest of their envelopes: `--format in-toto` writes them."""
    for digest, receipt in sorted({d: r for step in steps for d, r in step.receipts.items()}.items()):
        yield {"name": f"receipt of {receipt.asset}", "digest": {"sha256": digest}, "mediaType": "application/vnd.dsse+json"}


def _utc(text: str) -> str:
    """RFC 3339 with Z, as SLSA asks."""
    return datetime.fromisoformat(text).astimezone(UTC).isoformat().replace("+00:00", "Z")
