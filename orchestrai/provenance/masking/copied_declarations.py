"""Declarations of a masked copy: the same datasets, views and models, landing in the copy's own folder, connected to nothing else.

Left out is what reaches beyond the copy: sources with their credentials, replicas, archives and keys, registries, topics, remote
training and serving, loads, databases, managed backups; of contracts the rules on values that are masked, and the people in them.
"""

import shutil
from pathlib import Path
from typing import Any

import yaml

from orchestrai.core.time.partition_key import Key
from orchestrai.core.yaml.declaration import load_yaml
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.privacy.masking.mask_plan import MaskPlan

LANDING, PIPELINES = "landing", "pipelines"
_PIPELINE = ("pipeline", "description", "owner", "datasets", "features", "models")
_DATASET = (
    "name",
    "description",
    "contract",
    "partitions",
    "backup",
    "halt_training_after",
    "halt_training_behind",
    "sensor",
    "retries",
)
_BACKUP = ("every", "keep", "retention", "heal", "rpo", "rto")
_BEYOND = ("registry", "notify", "train_on", "serve_on")
_CONTRACT = (
    "kind", "apiVersion", "id", "name", "version", "status", "domain", "description", "schema", "slaProperties", "slaDefaultElement",
    "customProperties",
)  # fmt: skip
_COLUMN = (
    "name",
    "logicalType",
    "physicalType",
    "required",
    "unique",
    "primaryKey",
    "primaryKeyPosition",
    "classification",
    "description",
)
_RULES = ("logicalTypeOptions", "enum", "quality")
MASKED = "masked"


def landed_name(node: DatasetNode, partition: str) -> str:
    """Where the rows of a partition land in the copy; the name tells time and value."""
    key = Key.of(partition)
    dimension = node.spec.partitions.dimension
    value = f"{dimension.name}={key.value}/" if dimension is not None else ""
    return f"{LANDING}/{node.prefix}/{value}{key.time.replace(':', '')}.parquet"


def write_declarations(pipeline: Pipeline, plans: dict[str, MaskPlan], to: Path) -> None:
    """Write a pipeline's folder under `to`."""
    folder = to / PIPELINES / pipeline.folder.name
    folder.mkdir(parents=True)
    for path in sorted(pipeline.folder.iterdir()):
        if path.suffix in (".sql", ".py") and path.is_file():
            shutil.copyfile(path, folder / path.name)
    data, _ = load_yaml(pipeline.folder / "pipeline.yaml")
    nodes = {node.spec.name: node for node in pipeline.own_datasets}
    body = {name: data[name] for name in _PIPELINE if name in data}
    if "@" in str(body.get("owner", "")):
        # a person's address
        del body["owner"]
    body["datasets"] = [entry if "ref" in entry else _dataset(entry, nodes[entry["name"]]) for entry in data["datasets"]]
    views = [{name: value for name, value in view.items() if name != "backup"} for view in data.get("features") or ()]
    models = [{name: value for name, value in model.items() if name not in _BEYOND} for model in data.get("models") or ()]
    body |= ({"features": views} if views else {}) | ({"models": models} if models else {})
    _write(folder / "pipeline.yaml", body)
    for node in nodes.values():
        contract, _ = load_yaml(pipeline.folder / node.spec.contract)
        _write(folder / _contract_name(node), copied_contract(contract, plans[node.prefix]))


def _contract_name(node: DatasetNode) -> str:
    """A file of its own in the folder: the original may lie anywhere, and be of several datasets that are masked differently."""
    return f"{node.spec.name}.contract.yaml"


def _dataset(entry: dict[str, Any], node: DatasetNode) -> dict[str, Any]:
    body = {name: entry[name] for name in _DATASET if name in entry}
    body["contract"] = _contract_name(node)
    body["source"] = {"url": f"{LANDING}/{node.prefix}/", "format": "parquet", "partition_from": "filename"}
    partitions = dict(entry["partitions"])
    if partitions.get("by") == "arrival":
        # rows arrived long ago: their files say when
        partitions["by"] = "name"
    if partitions.get("dimension"):
        partitions["dimension"] = {name: value for name, value in partitions["dimension"].items() if name != "path"}
    body["partitions"] = partitions
    body["backup"] = {name: value for name, value in (entry.get("backup") or {}).items() if name in _BACKUP}
    return body


def copied_contract(contract: dict[str, Any], plan: MaskPlan) -> dict[str, Any]:
    """A contract for the masked rows: names, types, keys and nulls as they were, no rule on values that were masked."""
    body = {name: contract[name] for name in _CONTRACT if name in contract}
    methods = plan.as_json()
    table = contract["schema"][0]
    body["schema"] = [
        {
            **{name: table[name] for name in ("name", "physicalType", "quality") if name in table},
            "properties": [_column(column, methods[column["name"]]) for column in table["properties"]],
        }
    ]
    customs = [*(contract.get("customProperties") or ()), *(table.get("customProperties") or ())]
    body["customProperties"] = [item for item in customs if item["property"] != "person"]
    return body


def _column(column: dict[str, Any], method: str) -> dict[str, Any]:
    body = {name: column[name] for name in _COLUMN if name in column}
    if method == "copy":
        return body | {name: column[name] for name in _RULES if name in column}
    if any((rule.get("metric") or rule.get("rule")) == "nullValues" for rule in column.get("quality") or ()):
        body["required"] = True
    return body | {"classification": MASKED}


def _write(path: Path, body: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")
