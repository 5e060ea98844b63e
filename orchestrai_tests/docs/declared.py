"""Examples of declarations in the pages, held against what declarations may say."""

import ast
import importlib
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from orchestrai_tests.docs.pages import ROOT


def check_yaml(text: str, folder: Path) -> str:
    """Raise for an example that would be refused; returns what it was taken for."""
    from orchestrai.contracts.odcs import load_contract
    from orchestrai.core.yaml.declaration import load_yaml
    from orchestrai.core.yaml.variables import expand
    from orchestrai.pipeline.declarations import PipelineSpec
    from orchestrai.project.project_file import ProjectFile, read_project

    path = folder / "example.yaml"
    path.write_text(text)
    document, _ = load_yaml(path)
    if isinstance(document, dict) and document.get("kind") == "DataContract":
        load_contract(path)
        return "contract"
    if isinstance(document, dict) and {*document} & ({*ProjectFile.model_fields} - {"lake"}):
        read_project(path, {})
        return "project"
    environment = {name: f"memory:{name.lower()}" for name in _variables(text)}
    filled = expand(document, environment)
    if isinstance(filled, dict) and "pipeline" in filled:
        PipelineSpec.model_validate(filled)
        return "pipeline"
    if isinstance(filled, list):
        _adapter(_field(PipelineSpec, "features")).validate_python(filled)
        return "features"
    assert isinstance(filled, dict), f"neither a mapping nor a list: {text[:60]}"
    for name, value in filled.items():
        field = next((found for model in _declared() if (found := _find(model, name))), None)
        assert field is not None, f"no declaration has a field {name!r}"
        for one in _one_by_one(name, value):
            _adapter(field).validate_python(one)
    return ", ".join(filled)


def _variables(text: str) -> set[str]:
    return set(re.findall(r"\$\{([A-Za-z_]\w*)\}", text))


def _declared() -> tuple[type[BaseModel], ...]:
    from orchestrai.pipeline.declarations import DatasetSpec, PipelineModelSpec, PipelineSpec, PipelineViewSpec

    return PipelineSpec, DatasetSpec, PipelineModelSpec, PipelineViewSpec


def _one_by_one(name: str, value: Any) -> list[Any]:
    # `train_on` names exactly one place; the page shows them all under one key
    return [{place: told} for place, told in value.items()] if name == "train_on" else [value]


def _find(model: type[BaseModel], name: str) -> FieldInfo | None:
    return next((field for key, field in model.model_fields.items() if name in (key, field.alias)), None)


def _field(model: type[BaseModel], name: str) -> FieldInfo:
    found = _find(model, name)
    assert found is not None, f"{model.__name__} has no field {name}"
    return found


def _adapter(field: FieldInfo) -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[field.annotation, field])


def check_sql(text: str, folder: Path) -> None:
    """Raise for SQL that would be refused as a row-level view of the shipped readings."""
    from orchestrai.features.spec import FeatureViewSpec
    from orchestrai.features.views.view import load_view
    from orchestrai.pipeline.load import load_project, pipeline_folders

    (folder / "example.sql").write_text(text)
    readings = load_project(pipeline_folders(), {}).dataset("telemetry/readings")
    told = {"name": "example", "from": ["readings"], "entity": "device_id", "event_time": "ts", "sql": "example.sql"}
    load_view(FeatureViewSpec.model_validate(told), folder, {"readings": readings.contract.arrow_schema()})


@cache
def cluster_files() -> tuple[type[BaseModel], ...]:
    """What the JSON file of each Spark service may hold: every class made of `ClusterFile`, wherever it lies."""
    return tuple(
        getattr(importlib.import_module(module), name)
        for module, tree in modules("ClusterFile")
        for name in (node.name for node in tree.body if isinstance(node, ast.ClassDef) and _made_of(node, "ClusterFile"))
    )


def _made_of(node: ast.ClassDef, base: str) -> bool:
    return any(isinstance(found, ast.Name) and found.id == base for found in node.bases)


@cache
def modules(pattern: str) -> tuple[tuple[str, ast.Module], ...]:
    """The modules whose text matches somewhere, as syntax trees, by dotted name: to parse all of them takes seconds."""
    return tuple(_modules(re.compile(pattern)))


def _modules(pattern: re.Pattern[str]) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "orchestrai").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if pattern.search(text):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), ast.parse(text)


def check_json(text: str) -> None:
    """Raise for a JSON example that no service's file of parameters may be."""
    documents = _documents(text)
    for document in documents:
        refused = []
        for model in cluster_files():
            try:
                require_known(model.model_validate(document))
                break
            except ValueError as exc:
                refused.append(f"{model.__name__}: {exc}")
        else:
            raise AssertionError(f"{text[:60]}: no service takes it\n" + "\n".join(refused))


def require_known(parameters: BaseModel) -> None:
    """Raise ValueError for a parameter that is passed on as it is and that AWS does not know."""
    strange = set(parameters.model_extra or {}) - _of_aws() if parameters.model_extra else set()
    if strange:
        raise ValueError(f"AWS knows no {', '.join(sorted(strange))}")


@cache
def _of_aws() -> frozenset[str]:
    import botocore.session

    session = botocore.session.get_session()
    calls = (("emr", "RunJobFlow"), ("emr-serverless", "StartJobRun"))
    shapes = [session.get_service_model(service).operation_model(call).input_shape for service, call in calls]
    return frozenset(name for shape in shapes if shape is not None for name in shape.members)


def _documents(text: str) -> list[Any]:
    try:
        return [json.loads(text)]
    except ValueError:
        return [json.loads(line) for line in text.split("\n") if line.strip()]
