"""Exports carry the whole lineage in forms that other tools read."""

import json
import uuid

import pytest

from orchestrai.ledger.receipt import open_receipt
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
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
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


def test_openlineage_events_start_and_complete_each_run(world: World) -> None:
    world.whole(DAYS)
    events = [json.loads(line) for line in exported(world, "openlineage").splitlines()]
    runs: dict[str, list[str]] = {}
    for event in events:
        uuid.UUID(event["run"]["runId"])
        runs.setdefault(event["run"]["runId"], []).append(event["eventType"])
        assert {"eventTime", "producer", "schemaURL", "job", "inputs", "outputs"} <= event.keys()
    assert set(map(tuple, runs.values())) == {("START", "COMPLETE")}
    produced = {output["name"] for event in events for output in event["outputs"]}
    consumed = {item["name"] for event in events for item in event["inputs"] if item["namespace"] == "orchestrai"}
    assert consumed <= produced
