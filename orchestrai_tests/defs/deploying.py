"""Deploy the shipped pipelines over landings of a test's own, and do what the daemon does at a tick."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import dagster as dg
from dagster._core.storage.dagster_run import RunsFilter
from dagster._core.storage.tags import RUN_KEY_TAG

from orchestrai.core.identity import utc_now
from orchestrai.defs.build import build_definitions
from orchestrai.defs.checks.landing_checks import ACCOUNTED
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
    """One sensor of a project, evaluated as the daemon does: the cursor is kept before any run begins, and a run key that has a run
    already gets no second one. With `makes_runs` each request counts as one that has its run.
    """

    def __init__(self, project: Project, sensor: str, *, makes_runs: bool = False) -> None:
        self.project, self.makes_runs = project, makes_runs
        self.done: set[str] = set()
        self.sensor = project.definitions.get_sensor_def(sensor)
        self.cursor: str | None = None
        self.checks: list[dg.AssetCheckEvaluation] = []

    def tick(self, *, keep: bool = True) -> list[dg.RunRequest]:
        """The runs requested; an error leaves the cursor where it was, and so does a daemon that is killed (`keep`)."""
        with dg.build_sensor_context(
            instance=self.project.instance,
            cursor=self.cursor,
            repository_def=self.project.definitions.get_repository_def(),
            resources={"orchestrai_runtime": self.project.runtime},
            sensor_name=self.sensor.name,
        ) as context:
            told = self.sensor.evaluate_tick(context)
        self.cursor = told.cursor if keep else self.cursor
        self.checks += [
            event
            for event in told.asset_events
            if isinstance(event, dg.AssetCheckEvaluation) and event.check_name == ACCOUNTED
        ]
        fresh = [request for request in told.run_requests or () if not self._has_run(request)]
        self.done |= {str(request.run_key) for request in fresh} if self.makes_runs else set()
        return fresh

    def _has_run(self, request: dg.RunRequest) -> bool:
        key = str(request.run_key)
        return key in self.done or bool(self.project.instance.get_runs(RunsFilter(tags={RUN_KEY_TAG: key})))


def launch(project: Project, job: str, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    """Run a job as a tick requested it."""
    tags = {**request.tags, RUN_KEY_TAG: str(request.run_key)}
    partition = tags.pop("dagster/partition", None) or request.partition_key
    return project.definitions.resolve_job_def(job).execute_in_process(
        run_config=SILENT_CONSOLE, instance=project.instance, tags=tags, partition_key=partition, raise_on_error=False
    )


def record(project: Project, job: str, request: dg.RunRequest, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    """The record of a run that a tick requested, as the daemon makes it; nothing of it is executed."""
    tags = {**request.tags, RUN_KEY_TAG: str(request.run_key)}
    if request.partition_key:
        tags["dagster/partition"] = request.partition_key
    return project.instance.create_run_for_job(
        project.definitions.resolve_job_def(job), tags=tags, status=status, run_config=SILENT_CONSOLE
    )


def keys_of(request: dg.RunRequest) -> tuple[str, str]:
    """First and last partition of a request."""
    single = request.partition_key or request.tags.get("dagster/partition")
    start, end = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
    return (single, single) if single else (request.tags[start], request.tags[end])
