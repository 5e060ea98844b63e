"""OpenLineage events: the official classes and schemas accept them, and they say what the records say."""

import json
import os
import uuid
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from orchestrai.ledger.ledger import Ledger
from orchestrai.provenance.export.export import export
from orchestrai.provenance.verified_records import Records
from orchestrai_tests.producers import producer
from orchestrai_tests.provenance.builder import MODEL, ORDERS, World
from orchestrai_tests.provenance.small import CANDIDATE, CHAMPION, DAYS, FEATURES, RAW, TRAINING, Small

# a checkout of the specification, whose schemas are not ours to keep
SPEC = os.environ.get("ORCHESTRAI_TEST_OPENLINEAGE", "")
Event = dict[str, Any]


def events(ledger: Ledger, asset: str, records: Records | None = None) -> list[Event]:
    text = export(records or Records(ledger.lake, ledger.keyring), asset, form="openlineage")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """The events of a model through every real stage, with a day that a gate refused."""
    small = Small.at(tmp_path_factory.mktemp("small"))
    small.land(*DAYS[:8])
    small.publish(*DAYS[:8])
    (path,) = small.land(DAYS[8])
    path.write_text("device_id,ts,level,failed\nd1,no time,1,true\n")
    small.runtime.run(small.runtime.project.nodes[RAW], [DAYS[8]])
    small.train()
    return events(small.runtime.ledger, CHAMPION)


def completed(found: list[Event], asset: str) -> Event:
    """The newest completed run of an asset."""
    return [event for event in found if event["job"]["name"] == asset and event["eventType"] == "COMPLETE"][-1]


def sources(event: Event, column: str) -> set[tuple[str, str]]:
    fields = event["outputs"][0]["facets"]["columnLineage"]["fields"]
    return {(one["name"], one["field"]) for one in fields[column]["inputFields"]}


def test_a_column_of_the_model_leads_back_to_columns_of_landed_objects(whole: list[Event]) -> None:
    model = completed(whole, CANDIDATE)["outputs"][0]["facets"]["columnLineage"]
    assert (TRAINING, "twice") in {(one["name"], one["field"]) for one in model["dataset"]}
    assert sources(completed(whole, TRAINING), "twice") == {(FEATURES, "twice")}
    assert sources(completed(whole, TRAINING), "label") == {("small/readings/restored", "failed")}
    assert sources(completed(whole, FEATURES), "twice") == {("small/readings/restored", "level")}
    assert sources(completed(whole, "small/readings/restored"), "level") == {("small/readings/snapshot", "level")}
    assert sources(completed(whole, "small/readings/snapshot"), "level") == {(RAW, "level")}
    (landed,) = {field for _, field in sources(completed(whole, RAW), "level")}
    assert landed == "level"
    assert all(name.endswith(".csv") for name, _ in sources(completed(whole, RAW), "level"))


def test_each_run_starts_and_ends_once_and_what_it_reads_was_made_by_another(whole: list[Event]) -> None:
    runs: dict[str, list[str]] = {}
    for event in whole:
        uuid.UUID(event["run"]["runId"])
        runs.setdefault(event["run"]["runId"], []).append(event["eventType"])
    assert set(map(tuple, runs.values())) == {("START", "COMPLETE"), ("START", "FAIL")}
    produced = {output["name"] for event in whole for output in event["outputs"]}
    consumed = {item["name"] for event in whole for item in event["inputs"] if item["namespace"] == "orchestrai"}
    assert consumed <= produced


def test_schema_quality_storage_lifecycle_code_and_engine_are_told(whole: list[Event]) -> None:
    features = completed(whole, FEATURES)
    facets = features["outputs"][0]["facets"]
    assert {field["name"]: field["type"] for field in facets["schema"]["fields"]}["twice"] == "int64"
    assert facets["storage"]["fileFormat"] == "parquet"
    assert facets["dataQualityMetrics"]["rowCount"] > 0
    assert "level * 2" in features["job"]["facets"]["sql"]["query"]
    assert features["run"]["facets"]["processing_engine"]["name"] == "duckdb"
    code = features["job"]["facets"]["sourceCodeLocation"]["version"]
    assert code == features["run"]["facets"]["orchestrai_receipt"]["codeVersion"] != ""
    assert {field["name"] for field in completed(whole, RAW)["outputs"][0]["facets"]["schema"]["fields"]} >= {"ts", "level"}
    checks = completed(whole, f"{RAW}/checks")
    told = checks["inputs"][0]["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert ("schema", True) in {(one["assertion"], one["success"]) for one in told}
    parents = {event["run"]["runId"] for event in whole if event["job"]["name"] == RAW}
    assert checks["run"]["facets"]["parent"]["run"]["runId"] in parents


def test_a_refusal_is_a_failed_run_that_says_it_is_not_signed(whole: list[Event]) -> None:
    (failed,) = [event for event in whole if event["eventType"] == "FAIL"]
    assert failed["job"]["name"] == RAW
    assert DAYS[8] in failed["run"]["facets"]["errorMessage"]["message"]
    assert failed["run"]["facets"]["orchestrai_refusal"]["signed"] is False


def test_what_is_taken_out_of_a_dataset_is_a_drop(world: World) -> None:
    world.whole(("2026-01-01", "2026-01-02"))
    session = world.ledger.session(f"{ORDERS}/raw_events", producer("raw_events"))
    session.commit({}, drop=["2026-01-02"])
    world.train(b"again")
    found = events(world.ledger, f"{MODEL}/champion")
    (drop,) = [e for e in found if e["job"]["name"] == f"{ORDERS}/raw_events/drop" and e["eventType"] == "COMPLETE"]
    assert drop["outputs"][0]["facets"]["lifecycleStateChange"]["lifecycleStateChange"] == "DROP"
    assert drop["run"]["facets"]["orchestrai_decision"]["partitions"] == ["2026-01-02"]
    assert completed(found, f"{MODEL}/champion")["outputs"][0]["facets"]["lifecycleStateChange"] == {
        **drop["outputs"][0]["facets"]["lifecycleStateChange"],
        "lifecycleStateChange": "OVERWRITE",
    }


def facets_in(value: Any) -> list[tuple[str, dict[str, Any]]]:
    """Every facet in an event, by its name."""
    found = []
    if isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, dict) and "_schemaURL" in item:
                found.append((name, item))
            found += facets_in(item)
    return found + [one for item in value for one in facets_in(item)] if isinstance(value, list) else found


def test_the_official_classes_write_the_same_facets(whole: list[Event]) -> None:
    import importlib
    import pkgutil

    from openlineage.client import generated
    from openlineage.client.serde import Serde

    classes: dict[str, Any] = {}
    for module in pkgutil.iter_modules(generated.__path__):
        members = vars(importlib.import_module(f"openlineage.client.generated.{module.name}"))
        classes |= {name: value for name, value in members.items() if name.endswith("Facet")}
    seen = set()
    for event in whole:
        for name, item in facets_in(event):
            kind = item["_schemaURL"].rpartition("/")[2]
            if name.startswith("orchestrai_"):
                continue
            seen.add(name)
            values = {key: value for key, value in item.items() if not key.startswith("_")}
            again = json.loads(Serde.to_json(classes[kind](producer=item["_producer"], **values)))
            # the same facet of the same major version: the package and the specification differ in the last number
            ours, theirs = (url.split("/facets/")[1] for url in (item["_schemaURL"], again.pop("_schemaURL")))
            assert (ours[:2], ours.partition("/")[2]) == (theirs[:2], theirs.partition("/")[2]), name
            # their writer spells an absent list out, ours leaves it away
            assert {key: value for key, value in again.items() if value != [] or key in item} == {
                key: value for key, value in item.items() if key != "_schemaURL"
            }, name
    assert seen >= {"version", "schema", "columnLineage", "dataQualityMetrics", "dataQualityAssertions", "storage"}
    assert seen >= {"lifecycleStateChange", "jobType", "sourceCodeLocation", "sql", "processing_engine", "parent"}
    assert seen >= {"errorMessage", "outputStatistics"}


@cache
def schemas() -> Any:
    from referencing import Registry, Resource

    documents = [json.loads(path.read_bytes()) for path in sorted(Path(SPEC).rglob("spec/**/*.json"))]
    named = [(document["$id"], Resource.from_contents(document)) for document in documents if "$id" in document]
    return Registry().with_resources(named)


@pytest.mark.skipif(not SPEC, reason="set ORCHESTRAI_TEST_OPENLINEAGE to a checkout of github.com/OpenLineage/OpenLineage")
def test_each_event_and_each_facet_satisfies_the_published_schema(whole: list[Event]) -> None:
    from jsonschema import Draft202012Validator, FormatChecker

    def problems(url: str, value: Any) -> list[str]:
        validator = Draft202012Validator({"$ref": url}, registry=schemas(), format_checker=FormatChecker())
        return [error.message for error in validator.iter_errors(value)]

    checked = 0
    for event in whole:
        assert problems(event["schemaURL"], event) == []
        for name, item in facets_in(event):
            assert problems(item["_schemaURL"], item) == [], name
            checked += 1
    assert checked > 100
    broken = {**whole[0], "eventType": "DONE"}
    assert problems(whole[0]["schemaURL"], broken)
