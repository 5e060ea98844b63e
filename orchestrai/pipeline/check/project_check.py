"""All that is wrong with the declarations of a project, told at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrai.pipeline.check.draft import Draft
from orchestrai.pipeline.check.mistake import Mistake, Mistakes
from orchestrai.pipeline.check.model_rules import check_model
from orchestrai.pipeline.load import read_drafts
from orchestrai.pipeline.nodes.pipeline_node import Pipeline


@dataclass(frozen=True)
class PipelineCheck:
    """One pipeline; `pipeline` is None for one that is left out until its mistakes are mended."""

    name: str
    folder: Path
    pipeline: Pipeline | None
    mistakes: tuple[Mistake, ...]


def check_project(folders: Sequence[Path], environment: Mapping[str, str] | None = None) -> list[PipelineCheck]:
    """Read and lint the pipelines in `folders`; needs no data, no network and no Dagster."""
    return [_check(draft) for draft in read_drafts(folders, environment)]


def _check(draft: Draft) -> PipelineCheck:
    pipeline = draft.pipeline
    models = Mistakes(draft.file.mistakes.path)
    models.line_of = draft.file.mistakes.line_of
    for at, model in draft.models:
        check_model(model, at, models)
    return PipelineCheck(draft.file.name, draft.file.folder, pipeline, (*draft.file.mistakes.all, *models.all))
