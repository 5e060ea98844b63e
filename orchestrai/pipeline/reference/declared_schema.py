"""The JSON Schema of pipeline.yaml and orchestrai.yaml, generated from the models, for editors that complete and mark as one types.

An editor's schema is wider than the models where those read a shorter spelling: one text for a list of one, and a variable for any value.
"""

import json
from typing import Any, Literal

from pydantic import BaseModel

Declared = Literal["pipeline", "project"]
_VARIABLE = {"type": "string", "pattern": r"\$\{[A-Za-z_]"}


def model_of(of: Declared) -> type[BaseModel]:
    """What `check` reads a kind of file by."""
    from orchestrai.pipeline.declarations import PipelineSpec
    from orchestrai.project.project_file import ProjectFile

    return PipelineSpec if of == "pipeline" else ProjectFile


def declared_schema(of: Declared) -> dict[str, Any]:
    """The schema of a kind of file; each key says what it is, and gives an example where there is one."""
    from orchestrai.pipeline.reference.declared_keys import declared_keys

    schema: dict[str, Any] = model_of(of).model_json_schema(by_alias=True)
    for key in declared_keys(of):
        block = schema.get("$defs", {}).get(key.block, schema)
        told = {"description": key.says} | ({} if key.example is None else {"examples": [_plain(key.example)]})
        block["properties"][key.name] |= told
    schema = _wider(schema)
    if of == "pipeline":
        # a pipeline that only pulls has none
        schema["required"] = [name for name in schema["required"] if name != "datasets"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"orchestrai {of}", **schema}


def _plain(example: Any) -> Any:
    """An example as JSON has it: a date is text."""
    return json.loads(json.dumps(example, default=str))


def _wider(node: Any) -> Any:
    if isinstance(node, list):
        return [_wider(item) for item in node]
    if not isinstance(node, dict):
        return node
    wide = {name: _wider(value) for name, value in node.items()}
    if wide.get("type") == "object" and isinstance(wide.get("properties"), dict):
        wide["properties"] = {name: _or_variable(value) for name, value in wide["properties"].items()}
    # a length of time is `26h` here, and no ISO 8601
    return {name: value for name, value in wide.items() if (name, value) != ("format", "duration")}


def _or_variable(value: Any) -> Any:
    """A field that may also be a variable, or one text in place of a list of texts."""
    if not isinstance(value, dict):
        return value
    described = {name: value[name] for name in ("description", "title", "default", "examples") if name in value}
    if value.get("type") == "array":
        return {**described, "anyOf": [value, {"type": "string"}]}
    if value.get("type") == "string" and "enum" not in value and "pattern" not in value:
        return value
    return {**described, "anyOf": [value, _VARIABLE]}
