"""Requests held against what a cloud publishes of its interface."""

import json
from pathlib import Path
from typing import Any

import pytest


def discovery(name: str) -> dict[str, Any]:
    """A discovery document of Google's (`dataproc.v1`) as the package google-api-python-client carries it."""
    folder = Path(str(pytest.importorskip("googleapiclient.discovery_cache").__file__)).parent / "documents"
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return found


def check_discovery(schemas: dict[str, Any], name: str, value: dict[str, Any]) -> None:
    """Every field of a request is one of the discovery document, writable, and of its type."""
    known = schemas[name]["properties"]
    for key, given in value.items():
        assert key in known, f"{name} has no {key}"
        field = known[key]
        assert not field.get("readOnly"), f"{name}.{key} cannot be set"
        assert "enum" not in field or given in field["enum"], f"{name}.{key}: {given}"
        kinds = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
        assert isinstance(given, kinds[field["type"]] if "type" in field else dict), f"{name}.{key}: {given!r}"
        for part in given if isinstance(given, list) else [given]:
            reference = field.get("$ref") or field.get("items", {}).get("$ref")
            if reference:
                check_discovery(schemas, reference, part)
