"""`init`: a first project from a look at data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from orchestrai.cli.output import AsJson, emit, out
from orchestrai.errors import ConfigError
from orchestrai.project.project_place import project_path
from orchestrai.settings import load_settings


def init(
    name: Annotated[str | None, typer.Argument(help="the pipeline's name; by default that of the place")] = None,
    place: Annotated[str | None, typer.Option("--from", help="a folder, file, URL or table with data")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="tell why each thing was written")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at a sample of data and write a project of it: project file, pipeline, contract, a first feature view and label.

    Asks nothing and runs nothing. Comments in the files say what was seen; what is unsure is marked so. Exit code 2 where no
    project comes of the data, with what was expected and found.

    Example: orchestrai init shop --from ./exports --explain
    """
    from orchestrai.pipeline.starter.texts.project_files import name_of_place, plain_name

    if place is None:
        raise ConfigError(
            "expected --from with a folder, file, URL or table, found none: name the data, or use `orchestrai new`"
        )
    chosen = plain_name(name) if name else name_of_place(place)
    project = project_path() or Path("orchestrai.yaml")
    folder = _folder(project) / chosen
    if folder.exists():
        raise ConfigError(f"expected {folder} not to exist, found it: choose another name")
    start(chosen, place, project, folder, Telling(explain, as_json))


@dataclass(frozen=True)
class Telling:
    """How what was done is told."""

    explain: bool
    as_json: bool


def start(name: str, place: str, project: Path | None, folder: Path, telling: Telling) -> None:
    """Look at a place, write a pipeline of it into `folder`, and tell; raises ConfigError."""
    from orchestrai.pipeline.starter.starter import find_out
    from orchestrai.pipeline.starter.texts.project_files import write_first

    findings = find_out(name, place)
    written = write_first(findings, project, folder)
    span = f" --from {written.first} --to {written.last}" if written.first else ""
    run = f"orchestrai backfill {name}{span}"
    if telling.as_json:
        files = [str(path) for path in written.files]
        unsure = [line for line in findings.reasons if "(unsure" in line]
        emit(
            {"pipeline": name, "files": files, "why": findings.reasons, "unsure": unsure, "next": ["orchestrai check", run]}
        )
        return
    for path in written.files:
        out.print(f"wrote {path}", soft_wrap=True)
    for line in findings.reasons:
        if telling.explain or "(unsure" in line:
            out.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    out.print(f"Next: [bold]orchestrai check[/bold], then [bold]{run}[/bold]", soft_wrap=True)


def _folder(project: Path) -> Path:
    """Where a project keeps its pipelines: the first folder that it names."""
    if not project.is_file():
        return project.parent / "pipelines"
    return Path((load_settings().pipelines or str(project.parent / "pipelines")).split(":")[0])
