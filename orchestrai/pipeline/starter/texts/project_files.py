"""Write a first project: the project file where there is none, and the folder of the pipeline."""

import re
from dataclasses import dataclass
from pathlib import Path

from orchestrai.errors import ConfigError
from orchestrai.pipeline.starter.starter import Findings
from orchestrai.pipeline.starter.texts.contract_text import contract_text
from orchestrai.pipeline.starter.texts.pipeline_text import PROJECT, pipeline_text
from orchestrai.pipeline.starter.texts.view_text import label_text, view_text

_FOLDER = "pipelines"


@dataclass(frozen=True)
class Written:
    """The files that were written, the pipeline's folder, and the first and last partition where it is cut by time."""

    files: tuple[Path, ...]
    folder: Path
    first: str
    last: str


def plain_name(text: str) -> str:
    """A pipeline's name from what a person or a path says."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:40].rstrip("_")
    return name if name[:1].isalpha() else f"data_{name}".rstrip("_")


def name_of_place(place: str) -> str:
    """A name from the last part of a place that says something."""
    parts = [part for part in re.split(r"[/#?]", place.partition("://")[2] or place) if part not in ("", ".", "..")]
    last = parts[-1] if parts else "data"
    return plain_name(last.split(".")[0] or last)


def write_first(findings: Findings, project: Path, folder: Path) -> Written:
    """Write the files; raises ConfigError for a folder that is there, so that nothing of anybody's is written over."""
    if folder.exists():
        raise ConfigError(f"expected {folder} not to exist, found it: choose another name")
    texts = {
        folder / "pipeline.yaml": pipeline_text(findings),
        folder / f"{findings.name}.contract.yaml": contract_text(findings),
        folder / "features.sql": view_text(findings),
        folder / "label.sql": label_text(findings),
    }
    folder.mkdir(parents=True)
    if not project.exists():
        texts = {project: PROJECT.format(pipelines=_FOLDER), **texts}
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return Written(tuple(texts), folder, findings.cut.first, findings.cut.last)
