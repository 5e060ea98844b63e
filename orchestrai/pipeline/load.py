"""Read pipeline folders: YAML, contracts and SQL become a checked `Project`; a mistake is one line.

A pipeline that cannot be read is left out with its mistakes, and so is one that borrows a dataset of it; the others load.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrai.core.yaml.declaration import Location
from orchestrai.errors import ConfigError, DeclarationError
from orchestrai.pipeline.check.draft import Draft, assemble, declared_datasets
from orchestrai.pipeline.check.mistake import Mistake
from orchestrai.pipeline.check.pipeline_file import PipelineFile, read_pipeline
from orchestrai.pipeline.declarations import DatasetRef
from orchestrai.pipeline.graph import asset_graph
from orchestrai.pipeline.nodes.dataset_node import DatasetNode
from orchestrai.pipeline.nodes.model_node import ModelNode
from orchestrai.pipeline.nodes.pipeline_node import Pipeline
from orchestrai.stage.stage import AssetNode

SHIPPED = Path(__file__).resolve().parent.parent / "pipelines"


@dataclass(frozen=True)
class LeftOut:
    """A pipeline that cannot be read, or that needs one that cannot; `name` is the declared one, else the folder's."""

    name: str
    folder: Path
    mistakes: tuple[Mistake, ...]

    @property
    def message(self) -> str:
        """Every mistake, one line each."""
        return "\n".join(mistake.message for mistake in self.mistakes)

    @property
    def may_encrypt(self) -> bool:
        """True unless its text is known to say nothing of encryption."""
        try:
            return b"encrypt" in (self.folder / "pipeline.yaml").read_bytes()
        except OSError:
            return True


@dataclass(frozen=True)
class Project:
    """Every deployed pipeline, loaded and linted, and those that are left out."""

    pipelines: tuple[Pipeline, ...]
    left_out: tuple[LeftOut, ...] = ()

    @cached_property
    def nodes(self) -> dict[str, AssetNode[Any]]:
        """The asset graph by asset key, upstream first."""
        return {node.asset: node for node in asset_graph(self.pipelines)}

    def pipeline(self, name: str) -> Pipeline:
        """A pipeline by name; raises ConfigError naming those there are."""
        for pipeline in self.pipelines:
            if pipeline.name == name:
                return pipeline
        self._refuse_left_out(name)
        known = ", ".join(pipeline.name for pipeline in self.pipelines)
        raise ConfigError(f"expected one of the pipelines {known}, found {name!r}")

    def dataset(self, ref: str) -> DatasetNode:
        """A dataset by `<pipeline>/<name>`, also by a name that it had before."""
        datasets = {node.prefix: node for pipeline in self.pipelines for node in pipeline.datasets}
        key = self.key_of(ref)
        if key not in datasets:
            self._refuse_left_out(ref.split("/")[0])
            known = ", ".join(sorted(node.shown for node in datasets.values()))
            raise ConfigError(f"expected one of the datasets {known}, found {ref!r}")
        return datasets[key]

    def model(self, ref: str) -> ModelNode:
        """A model by `<pipeline>/<name>`, or by a name that only one pipeline has; also by a name that it had before."""
        models = [model for pipeline in self.pipelines for model in pipeline.models]
        key = self.key_of(ref)
        named = [m for m in models if m.prefix == key] or [m for m in models if ref in (m.name, *m.former_names)]
        if len(named) != 1:
            self._refuse_left_out(ref.split("/")[0])
            known = ", ".join(m.shown for m in models)
            raise ConfigError(f"expected one of the models {known}, found {ref!r}")
        return named[0]

    def key_of(self, text: str) -> str:
        """What a person typed, a subject or an asset of it by any of its names, as ledger, vault and Dagster have it."""
        for pipeline in self.pipelines:
            for subject in pipeline.subjects:
                for name in (subject.shown, *subject.former_refs):
                    if text == name or text.startswith((f"{name}/", f"{name}@")):
                        return subject.prefix + text[len(name) :]
        return text

    def _refuse_left_out(self, name: str) -> None:
        for pipeline in self.left_out:
            if pipeline.name == name:
                raise ConfigError(f"expected a pipeline that loads, found {name} left out: {pipeline.mistakes[0].message}")


def pipeline_folders(setting: str = "") -> list[Path]:
    """The folders to load: those in `setting` (':'-separated, each a pipeline or a folder of pipelines), or what ships.

    Raises ConfigError where there is no pipeline at all; one place of several without any is a folder that cannot be read.
    """
    roots = [Path(part).expanduser() for part in setting.split(":") if part] or [SHIPPED]
    folders: list[Path] = []
    for root in roots:
        inside = sorted(path.parent for path in root.glob("*/pipeline.yaml") if not path.parent.name.startswith("_"))
        if (root / "pipeline.yaml").is_file() or not inside:
            inside = [root]
        folders += inside
    if not any((folder / "pipeline.yaml").is_file() for folder in folders):
        raise ConfigError(f"expected a pipeline.yaml in {roots[0]} or in a folder under it, found none")
    return list(dict.fromkeys(folders))


def load_project(folders: Sequence[Path], environment: Mapping[str, str] | None = None) -> Project:
    """Load pipelines that may refer to each other's datasets; raises the first mistake (one line: file, line, field)."""
    project = load_pipelines(folders, environment)
    for pipeline in project.left_out:
        first = pipeline.mistakes[0]
        fields: dict[str, object] = {"path": first.path, "line": first.line, "field": first.field}
        raise DeclarationError(first.message, **fields) from first.error
    return project


def load_pipelines(folders: Sequence[Path], environment: Mapping[str, str] | None = None) -> Project:
    """Load the pipelines that can be read; the others are left out with their mistakes."""
    drafts = read_drafts(folders, environment)
    pipelines = [(draft, draft.pipeline) for draft in drafts]
    left_out = [_left_out(draft) for draft, pipeline in pipelines if pipeline is None]
    return Project(tuple(pipeline for _, pipeline in pipelines if pipeline is not None), tuple(left_out))


def read_drafts(folders: Sequence[Path], environment: Mapping[str, str] | None = None) -> list[Draft]:
    """Every folder's pipeline as far as its sound parts go, with every mistake that keeps it from loading."""
    environment = os.environ if environment is None else environment
    files = [read_pipeline(folder, environment) for folder in folders]
    _refuse_twins(files)
    _refuse_one_job_name(files)
    own = [declared_datasets(file) for file in files]
    known = {key: node for nodes in own for key, node in nodes.items()}
    wrong = {file.name for file in files if file.mistakes.all}
    drafts = [assemble(file, {**known, **nodes}, wrong) for file, nodes in zip(files, own, strict=True)]
    _refuse_borrowers(drafts)
    return drafts


def _refuse_twins(files: Sequence[PipelineFile]) -> None:
    """Which of two pipelines of one name is meant, nobody knows: both are left out."""
    for file in files:
        twins = [other for other in files if other is not file and other.name == file.name]
        if twins:
            where = ", ".join(str(other.folder / "pipeline.yaml") for other in twins)
            file.mistakes.wrong(("pipeline",), "distinct pipeline names", f"{file.name!r} in {where} too")


def _refuse_one_job_name(files: Sequence[PipelineFile]) -> None:
    """Dagster's jobs are named `<pipeline>_<name>_...`: a/b_c and a_b/c would be one, and nothing at all would load."""
    owners: dict[str, list[tuple[PipelineFile, Location, str]]] = {}
    for file in files:
        for at, name in file.names:
            owners.setdefault(f"{file.name}_{name}", []).append((file, at, f"{file.name}/{name}"))
    pipelines = {file.name for file in files}
    for flat, places in owners.items():
        for file, at, name in places:
            others = {other for _, _, other in places} - {name}
            # a model's own refresh is named like that of a pipeline
            others |= {flat} & pipelines if at[0] == "models" else set()
            if others:
                file.mistakes.wrong(at, "a name whose jobs nothing else has", f"{name}, like {', '.join(sorted(others))}")


def _refuse_borrowers(drafts: Sequence[Draft]) -> None:
    """What borrows a dataset of a pipeline that is left out is left out too, and so on."""
    known = {draft.file.name for draft in drafts}
    while True:
        loaded = {draft.file.name for draft in drafts if draft.pipeline is not None}
        lost = [
            (draft, (*at, "ref"), dataset.ref)
            for draft in drafts
            if draft.pipeline is not None
            for at, dataset in draft.file.datasets
            if isinstance(dataset, DatasetRef) and dataset.ref.split("/")[0] in known - loaded
        ]
        if not lost:
            return
        for draft, at, ref in lost:
            draft.file.mistakes.wrong(at, "a dataset of a pipeline that loads", f"{ref!r}: {ref.split('/')[0]} is left out")


def _left_out(draft: Draft) -> LeftOut:
    return LeftOut(draft.file.name, draft.file.folder, tuple(draft.file.mistakes.all))
