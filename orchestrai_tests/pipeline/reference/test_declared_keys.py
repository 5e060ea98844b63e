"""The reference of keys: every key has words, every word a key, and every example is a value that the models take."""

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from orchestrai.pipeline.reference.declared_keys import declared_keys, models_in
from orchestrai.pipeline.reference.declared_schema import Declared, declared_schema, model_of
from orchestrai.pipeline.reference.key_words import all_words, named_words
from orchestrai.pipeline.reference.reference_page import PAGE, reference_page
from orchestrai_tests.docs.pages import ROOT

KINDS: tuple[Declared, ...] = ("pipeline", "project")
# a block is one key in the reference however often it stands in a file
KEYS = {(key.block, key.name): (of, key) for of in KINDS for key in declared_keys(of)}


def blocks(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    found = {model.__name__: model}
    for field in model.model_fields.values():
        for inner in models_in(field.annotation):
            if inner.__name__ not in found:
                found |= {inner.__name__: inner} | blocks(inner)
    return found


BLOCKS = {name: model for of in KINDS for name, model in blocks(model_of(of)).items()}


def test_every_key_has_words_and_every_word_is_of_a_key() -> None:
    told = {named_words(model, name) for model in BLOCKS.values() for name in model.model_fields}
    assert None not in told
    assert set(all_words()) - told == set()


def refused(model: type[BaseModel], name: str, value: Any) -> list[Any]:
    """What a model says of one value; that others are missing is not asked here."""
    try:
        model.model_validate({name: value})
    except ValidationError as exc:
        return [error["msg"] for error in exc.errors() if error["loc"][:1] == (name,)]
    return []


@pytest.mark.parametrize("at", sorted(KEYS), ids=".".join)
def test_an_example_is_a_value_that_is_taken(at: tuple[str, str]) -> None:
    _, key = KEYS[at]
    if key.inner and key.example is None:
        return
    assert key.example is not None, "its type tells no example: give one in key_words.yaml"
    assert refused(BLOCKS[key.block], key.name, key.example) == []


@pytest.mark.parametrize("at", [at for at, (_, key) in KEYS.items() if key.form != "text" and not key.inner], ids=".".join)
def test_what_is_not_of_the_form_is_refused(at: tuple[str, str]) -> None:
    _, key = KEYS[at]
    assert refused(BLOCKS[key.block], key.name, ["no", {"such": "value"}]) != []


def test_a_key_is_written_as_people_write_it() -> None:
    paths = {key.path for key in declared_keys("pipeline")}
    assert {"pipeline", "datasets[].source.url", "datasets[].ref", "load[].from", "models[].search.space{}.low"} <= paths


def test_the_page_is_what_the_models_say() -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == reference_page(), "run python docs/write_declarations.py"


def test_the_schema_for_editors_says_what_each_key_is() -> None:
    schema = json.loads(json.dumps(declared_schema("pipeline")))
    source = schema["$defs"]["SourceSpec"]["properties"]
    assert source["partition_format"]["description"].startswith("strptime format") and source["timezone"]["examples"] == [
        "Europe/Berlin"
    ]
    described = [value for block in schema["$defs"].values() for value in block.get("properties", {}).values()]
    assert all(value.get("description") for value in described)


def test_a_key_says_in_json_what_it_says_on_the_page() -> None:
    key = next(key for key in declared_keys("pipeline") if key.path == "datasets[].source.late")
    facts = key.as_json()
    assert facts["takes"] == "a length of time, such as 26h" and facts["default"] == "3d" and not facts["required"]
