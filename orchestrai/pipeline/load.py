"""Read pipeline folders: YAML, contracts and SQL become a checked `Project`; a mistake is one line."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from orchestrai.contracts.contract import Contract
from orchestrai.contracts.odcs import load_contract
from orchestrai.core.declaration import explain, load_yaml
from orchestrai.errors import ConfigError, DeclarationError
from orchestrai.features.views.lint.look_back import require_counted_rows
from orchestrai.features.views.view import load_view
from orchestrai.ingest.incremental import check_source
from orchestrai.pipeline.declarations import DatasetRef, DatasetSpec, PipelineModelSpec, PipelineSpec, PipelineViewSpec
from orchestrai.pipeline.graph import asset_graph
from orchestrai.pipeline.nodes import DatasetNode, LoadNode, ModelNode, Pipeline, ViewNode
from orchestrai.pipeline.variables import expand
from orchestrai.stage.stage import AssetNode

if TYPE_CHECKING:
    import pyarrow as pa

SHIPPED = Path(__file__).resolve().parent.parent / "pipelines"


@dataclass(frozen=True)
class Project:
    """Every deployed pipeline, loaded and linted."""

    pipelines: tuple[Pipeline, ...]

    @cached_property
    def nodes(self) -> dict[str, AssetNode[Any]]:
        """The asset graph by asset key, upstream first."""
        return {node.asset: node for node in asset_graph(self.pipelines)}

    def pipeline(self, name: str) -> Pipeline:
        """A pipeline by name; raises ConfigError naming those there are."""
        for pipeline in self.pipelines:
            if pipeline.name == name:
                return pipeline
        known = ", ".join(pipeline.name for pipeline in self.pipelines)
        raise ConfigError(f"expected one of the pipelines {known}, found {name!r}")

    def dataset(self, ref: str) -> DatasetNode:
        """A dataset by `<pipeline>/<name>`."""
        found = {node.prefix: node for pipeline in self.pipelines for node in pipeline.datasets}
        try:
            return found[ref]
        except KeyError:
            raise ConfigError(f"expected one of the datasets {', '.join(sorted(found))}, found {ref!r}") from None

    def model(self, ref: str) -> ModelNode:
        """A model by `<pipeline>/<name>`, or by a name that only one pipeline has."""
        models = [model for pipeline in self.pipelines for model in pipeline.models]
        found = [m for m in models if f"{m.pipeline}/{m.spec.name}" == ref] or [m for m in models if m.spec.name == ref]
        if len(found) != 1:
            known = ", ".join(f"{m.pipeline}/{m.spec.name}" for m in models)
            raise ConfigError(f"expected one of the models {known}, found {ref!r}")
        return found[0]


def pipeline_folders(setting: str = "") -> list[Path]:
    """The folders to load: those in `setting` (':'-separated, each a pipeline or a folder of pipelines), or what ships."""
    roots = [Path(part).expanduser() for part in setting.split(":") if part] or [SHIPPED]
    folders: list[Path] = []
    for root in roots:
        if (root / "pipeline.yaml").is_file():
            folders.append(root)
            continue
        inside = sorted(path.parent for path in root.glob("*/pipeline.yaml") if not path.parent.name.startswith("_"))
        if not inside:
            raise ConfigError(f"expected a pipeline.yaml in {root} or in a folder under it, found none")
        folders += inside
    return folders


def load_project(folders: Sequence[Path], environment: Mapping[str, str] | None = None) -> Project:
    """Load pipelines that may refer to each other's datasets; raises DeclarationError (one line: file, line, field)."""
    environment = os.environ if environment is None else environment
    specs = [(folder, read_spec(folder / "pipeline.yaml", environment)) for folder in folders]
    names = [spec.pipeline for _, spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"expected distinct pipeline names, found {twice[0]!r} in two folders")
    known: dict[str, DatasetNode] = {}
    for folder, spec in specs:
        for dataset in spec.datasets:
            if isinstance(dataset, DatasetSpec):
                contract = load_contract(folder / dataset.contract)
                _check_source(folder / "pipeline.yaml", dataset, contract)
                known[f"{spec.pipeline}/{dataset.name}"] = DatasetNode(spec.pipeline, dataset, contract, folder)
    return Project(tuple(_assemble(folder, spec, known) for folder, spec in specs))


def _check_source(path: Path, dataset: DatasetSpec, contract: Contract) -> None:
    try:
        check_source(dataset.source, contract, dataset.partitions.grain)
    except ConfigError as exc:
        raise DeclarationError(f"{path}: datasets.{dataset.name}.source: {exc.message}") from exc


def read_spec(path: Path, environment: Mapping[str, str]) -> PipelineSpec:
    """Read one pipeline.yaml; raises DeclarationError."""
    if not path.is_file():
        raise ConfigError(f"expected a declaration in {path}, found no such file")
    document, line_of = load_yaml(path)
    try:
        return PipelineSpec.model_validate(expand(document, environment))
    except ValidationError as exc:
        raise explain(path, exc, line_of) from exc


def _assemble(folder: Path, spec: PipelineSpec, known: Mapping[str, DatasetNode]) -> Pipeline:
    path = folder / "pipeline.yaml"
    datasets: dict[str, DatasetNode] = {}
    for dataset in spec.datasets:
        key = dataset.ref if isinstance(dataset, DatasetRef) else f"{spec.pipeline}/{dataset.name}"
        if key not in known:
            raise DeclarationError(f"{path}: datasets.ref: expected one of {', '.join(sorted(known))}, found {key!r}")
        datasets[key.split("/")[1]] = known[key]
    views = {view.name: _view(path, spec, view, datasets) for view in spec.features}
    models = tuple(_model(path, spec, model, views) for model in spec.models)
    loads = _loads(path, spec, {**datasets, **views, **{model.spec.name: model for model in models}})
    return Pipeline(spec, folder, tuple(datasets.values()), tuple(views.values()), models, loads)


def _loads(path: Path, spec: PipelineSpec, known: Mapping[str, DatasetNode | ViewNode | ModelNode]) -> tuple[LoadNode, ...]:
    for load in spec.load:
        if load.source not in known:
            told = f"load.{load.name}.from: expected one of {', '.join(known)}, found {load.source!r}"
            raise DeclarationError(f"{path}: {told}")
    return tuple(LoadNode(spec.pipeline, load, known[load.source], path.parent) for load in spec.load)


def _inputs(path: Path, field: str, names: Sequence[str], datasets: Mapping[str, DatasetNode]) -> dict[str, DatasetNode]:
    tables = [name.split("/")[-1] for name in names]
    for name, table in zip(names, tables, strict=True):
        if table not in datasets:
            raise DeclarationError(f"{path}: {field}: expected one of the datasets {', '.join(datasets)}, found {name!r}")
    return {table: datasets[table] for table in tables}


def _view(path: Path, spec: PipelineSpec, view: PipelineViewSpec, datasets: Mapping[str, DatasetNode]) -> ViewNode:
    inputs = _inputs(path, f"features.{view.name}.from", view.inputs, datasets)
    schemas = {table: _bounded(node) for table, node in inputs.items()}
    return ViewNode(
        spec.pipeline, require_counted_rows(load_view(view, path.parent, schemas)), inputs, path.parent, view.backup
    )


def _bounded(node: DatasetNode) -> "pa.Schema":
    """A dataset's schema with the bounds of its numbers, by which a view is judged when it is loaded."""
    schema = node.contract.arrow_schema()
    for place, column in enumerate(node.contract.columns):
        if isinstance(column.minimum, int | float) and isinstance(column.maximum, int | float):
            bounds = {"minimum": str(column.minimum), "maximum": str(column.maximum)}
            schema = schema.set(place, schema.field(place).with_metadata(bounds))
    return schema


def _model(path: Path, spec: PipelineSpec, model: PipelineModelSpec, views: Mapping[str, ViewNode]) -> ModelNode:
    used = tuple(views[name] for name in model.features)
    inputs = {table: node for view in used for table, node in view.inputs.items()}
    return ModelNode(spec.pipeline, model, used, inputs, path.parent)
