"""The schema for editors: it takes what ships and what init writes, and marks a word that no model knows."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from orchestrai.pipeline.load import SHIPPED
from orchestrai.pipeline.reference.declared_schema import declared_schema
from orchestrai_tests.docs.pages import ROOT

FILES = sorted([*SHIPPED.glob("[a-z]*/pipeline.yaml"), *(ROOT / "examples").glob("*/pipeline.yaml")])


@pytest.fixture(scope="module")
def editor() -> Any:
    return jsonschema.Draft202012Validator(declared_schema("pipeline"))


def document(path: Path) -> Any:
    return json.loads(json.dumps(yaml.safe_load(path.read_text()), default=str))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parent.name)
def test_what_ships_is_taken(editor: Any, path: Path) -> None:
    assert [error.message for error in editor.iter_errors(document(path))] == []


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file["datasets"][0].update(sorce="x"),
        lambda file: file["datasets"][0]["partitions"].update(grain="dya"),
        lambda file: file["models"][0].update(task="guess"),
        lambda file: file["models"][0]["split"].update(test_share=[1]),
        lambda file: file.pop("pipeline"),
    ],
)
def test_a_wrong_word_is_marked(editor: Any, change: Any) -> None:
    file = copy.deepcopy(document(SHIPPED / "churn" / "pipeline.yaml"))
    change(file)
    assert list(editor.iter_errors(file))


def test_a_project_file_has_a_schema_too() -> None:
    editor = jsonschema.Draft202012Validator(declared_schema("project"))
    sound = {
        "pipelines": ["pipelines"],
        "home": "${HOME_OF_IT:-.orchestrai}",
        "connections": {"here": {"cloud": "aws", "default": True}},
    }
    assert not list(editor.iter_errors(sound)) and list(editor.iter_errors({"pipeline": ["x"]}))
