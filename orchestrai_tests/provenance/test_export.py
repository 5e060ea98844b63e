"""Exports carry the whole lineage in forms that other tools read."""

import base64
import hashlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from orchestrai.core.canonical import canonical_json
from orchestrai.errors import NotReceipted
from orchestrai.ledger.receipt import open_receipt
from orchestrai.ledger.signing import STATEMENT_TYPE
from orchestrai.pipeline.runtime import Runtime
from orchestrai.provenance.export.export import FORMATS, export
from orchestrai.provenance.verified_records import Records
from orchestrai_tests.provenance.builder import MODEL, ORDERS, World, uri

DAYS = ("2026-01-01", "2026-01-02")


def exported(world: World, form: str) -> str:
    return export(Records(world.store, world.keyring), f"{MODEL}/champion", form=form, signer=world.signer)


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_records_give_the_same_bytes(world: World, form: str) -> None:
    world.whole(DAYS)
    assert exported(world, form) == exported(world, form)


def test_the_bundle_holds_every_receipt_once_as_it_was_signed(world: World) -> None:
    world.whole(DAYS)
    lines = exported(world, "in-toto").splitlines()
    receipts = [open_receipt(line.encode(), world.keyring) for line in lines]
    assert len(set(lines)) == len(lines)
    assert [receipt.stage for receipt in receipts][:2] == ["raw_events", "raw_events"]
    assert receipts[-1].asset == f"{MODEL}/champion"
    assert len(receipts) == 3 * len(DAYS) + 5


def test_the_bill_of_materials_is_whole(world: World) -> None:
    world.whole(DAYS)
    document = json.loads(exported(world, "cyclonedx"))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.7")
    uuid.UUID(document["serialNumber"].removeprefix("urn:uuid:"))
    model = document["metadata"]["component"]
    assert model["type"] == "machine-learning-model"
    assert [len(part["hashes"][0]["content"]) for part in model["components"]] == [64]
    components = {part["bom-ref"]: part for part in document["components"]}
    known = {model["bom-ref"], *components}
    assert {entry["ref"] for entry in document["dependencies"]} == known
    assert all(ref in known for entry in document["dependencies"] for ref in entry["dependsOn"])
    raw = next(part for part in components.values() if part["name"] == f"{ORDERS}/raw_events")
    assert [ref["url"] for ref in raw["externalReferences"]] == [uri(day) for day in DAYS]


def test_a_digest_called_sha_256_is_of_a_file_and_a_merkle_root_has_its_own_name(world: World) -> None:
    world.whole(DAYS)
    records = Records(world.store, world.keyring)
    files = {
        file.sha256
        for asset in records.assets()
        for entry in records.entries(records.at(asset)).values()
        for file in records.files(asset, entry).files
    }
    landed = {hashlib.sha256(f"orders of {day}".encode()).hexdigest() for day in DAYS}
    bill = json.loads(exported(world, "cyclonedx"))
    hashes = [one["content"] for part in nested(bill) for one in part.get("hashes", ())]
    assert hashes
    assert set(hashes) <= files | landed
    roots = {
        one["value"]
        for part in (bill["metadata"]["component"], *bill["components"])
        for one in part["properties"]
        if one["name"] == "orchestrai:merkleSha256"
    }
    assert roots == {records.at(asset).version.removeprefix("sha256:") for asset in records.assets()}
    for line in exported(world, "in-toto").splitlines():
        statement = json.loads(base64.b64decode(json.loads(line)["payload"]))
        assert {name for subject in statement["subject"] for name in subject["digest"]} == {"merkleSha256"}


def nested(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nested(item)


def test_the_libraries_that_trained_are_in_the_bill(trained: Runtime) -> None:
    import xgboost

    records = Records(trained.ledger.lake, trained.ledger.keyring)
    bill = json.loads(export(records, "telemetry/failure/champion", form="cyclonedx"))
    libraries = {part["name"]: part for part in bill["components"] if part["type"] == "library"}
    assert libraries["xgboost"]["purl"] == f"pkg:pypi/xgboost@{xgboost.__version__}"
    edges = {one["ref"]: one["dependsOn"] for one in bill["dependencies"]}
    (candidate,) = [reference for reference in edges if "/candidate@" in reference]
    assert {part["bom-ref"] for part in libraries.values()} <= set(edges[candidate])
    assert JsonStrictValidator(SchemaVersion.V1_7).validate_str(json.dumps(bill)) is None


def test_receipts_that_called_a_root_sha_256_are_still_read_and_no_mixture_is(world: World) -> None:
    world.whole(DAYS)
    receipt = open_receipt(exported(world, "in-toto").splitlines()[-1].encode(), world.keyring)
    old = {**receipt.statement(), "subject": receipt.subjects("sha256"), "predicateType": "urn:orchestrai:receipt:v1"}
    signed = world.signer.sign(STATEMENT_TYPE, canonical_json(old))
    assert open_receipt(signed, world.keyring) == receipt
    mixed = {**old, "predicateType": "urn:orchestrai:receipt:v2"}
    with pytest.raises(NotReceipted, match="subjects"):
        open_receipt(world.signer.sign(STATEMENT_TYPE, canonical_json(mixed)), world.keyring)
