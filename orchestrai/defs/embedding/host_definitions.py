"""A project within a code location of somebody else's: `Definitions.merge(own, pipeline_definitions("orchestrai.yaml"))`."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import dagster as dg

from orchestrai.defs.build import build_definitions
from orchestrai.errors import ConfigError
from orchestrai.pipeline.runtime import Runtime
from orchestrai.project.project_place import VARIABLE
from orchestrai.settings import load_settings


def pipeline_definitions(
    project: str | os.PathLike[str] | None = None, resources: Mapping[str, object] | None = None
) -> dg.Definitions:
    """The assets, checks, jobs, sensors and schedules of a project, to be merged with others.

    `project` is its orchestrai.yaml, or the folder that this lies in; without it the one in force is taken, as on the command line.
    A process has one project: ORCHESTRAI_PROJECT is set to it, so that what the process starts finds the same. The definitions name no
    executor, so the host's holds, and their resources have names of their own; one of dagster-aws, dagster-azure or dagster-gcp among
    `resources` that has the name of a connection takes its place. Raises ConfigError where the file is not there, or
    another is in force.
    """
    if project is not None:
        _put_in_force(Path(project))
    settings = load_settings()
    # which executor runs the steps is the host's: no step may take its process for that of the whole run
    return build_definitions(Runtime(replace(settings, executor="multiprocess")), resources, executor=False)


def _put_in_force(given: Path) -> None:
    path = Path(os.path.abspath(given / "orchestrai.yaml" if given.is_dir() else given))
    if not path.is_file():
        raise ConfigError(f"expected a project file at {path}, found none: `orchestrai init` writes one")
    before = os.environ.setdefault(VARIABLE, str(path))
    if Path(os.path.abspath(before)) != path:
        raise ConfigError(
            f"expected one project in a process, found {before} in force beside {path}: list its pipelines in one file, or load it in "
            "a code location of its own"
        )
