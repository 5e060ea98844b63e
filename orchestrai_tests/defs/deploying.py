"""Deploy the shipped pipelines over landings of a test's own, and do what the daemon does at a tick."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import dagster as dg

from orchestrai.core.identity import utc_now
from orchestrai.defs.build import build_definitions
from orchestrai.defs.launch.backfill import SILENT_CONSOLE
from orchestrai.demo.demo_landing import LandingSummary
from orchestrai.pipeline.load import load_project, pipeline_folders
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai_tests.defs.conftest import Project


@contextmanager
def deployed(
    home: Path,
    landed: LandingSummary,
    environment: Mapping[str, str],
    *,
    folders: Sequence[Path] = (),
    clock: Callable[[], datetime] = utc_now,
) -> Iterator[Project]:
    """A project on a fresh home; `environment` says where producers write."""
    loaded = load_project(list(folders) or pipeline_folders(), environment)
    runtime = Runtime(Settings(home=home), loaded, clock=clock)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Project(runtime, build_definitions(runtime), instance, landed)


class Daemon:
    """One sensor of a project, evaluated as the daemon does: the cursor is kept, requests are validated, run keys run once."""

    def __init__(self, project: Project, sensor: str) -> None:
        self.project = project
        self.sensor = project.definitions.get_sensor_def(sensor)
        self.cursor: str | None = None
        self.done: set[str] = set()

    def tick(self) -> list[dg.RunRequest]:
        """The runs requested; an error leaves the cursor where it was."""
        with dg.build_sensor_context(
            instance=self.project.instance,
            cursor=self.cursor,
            repository_def=self.project.definitions.get_repository_def(),
            resources={"runtime": self.project.runtime},
        ) as context:
            told = self.sensor.evaluate_tick(context)
        self.cursor = told.cursor
        fresh = [request for request in told.run_requests or () if request.run_key not in self.done]
        self.done |= {str(request.run_key) for request in fresh}
        return fresh


def launch(project: Project, job: str, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    """Run a job as a tick requested it."""
    tags = dict(request.tags)
    partition = tags.pop("dagster/partition", None) or request.partition_key
    return project.definitions.resolve_job_def(job).execute_in_process(
        run_config=SILENT_CONSOLE, instance=project.instance, tags=tags, partition_key=partition, raise_on_error=False
    )


def keys_of(request: dg.RunRequest) -> tuple[str, str]:
    """First and last partition of a request."""
    single = request.partition_key or request.tags.get("dagster/partition")
    start, end = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
    return (single, single) if single else (request.tags[start], request.tags[end])
