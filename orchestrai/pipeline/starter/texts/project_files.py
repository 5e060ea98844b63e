"""Write a first project: the project file where there is none, and the folder of the pipeline."""

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from orchestrai.errors import ConfigError
from orchestrai.pipeline.reference.declared_schema import declared_schema
from orchestrai.pipeline.starter.starter import Findings
from orchestrai.pipeline.starter.texts.contract_text import contract_text
from orchestrai.pipeline.starter.texts.pipeline_text import PROJECT, SCHEMA, pipeline_text
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


def write_first(findings: Findings, project: Path | None, folder: Path) -> Written:
    """Write the files, and `project` where it is named and not there yet.

    Raises ConfigError for a folder that is there, so that nothing of anybody's is written over, and for a place that cannot be written.
    """
    if folder.exists():
        raise ConfigError(f"expected {folder} not to exist, found it: choose another name")
    texts = {
        "pipeline.yaml": pipeline_text(findings),
        f"{findings.name}.contract.yaml": contract_text(findings),
        "features.sql": view_text(findings),
        "label.sql": label_text(findings),
    }
    begun: list[Path] = []
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # whole or not at all: a folder that is there is somebody's
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            half = Path(scratch) / folder.name
            half.mkdir()
            for name, text in texts.items():
                (half / name).write_text(text, encoding="utf-8")
            half.rename(folder)
        schema = folder.parent / SCHEMA
        if not schema.exists():
            schema.write_text(json.dumps(declared_schema("pipeline"), indent=1) + "\n", encoding="utf-8")
            begun.append(schema)
        if project is not None and not project.exists():
            project.write_text(PROJECT.format(pipelines=_FOLDER), encoding="utf-8")
            begun.append(project)
    except OSError as exc:
        raise ConfigError(
            f"expected a place that can be written, found {exc.strerror or exc} at {exc.filename}: run it in another folder"
        ) from exc
    files = (*begun, *(folder / name for name in texts))
    return Written(files, folder, findings.cut.first, findings.cut.last)
