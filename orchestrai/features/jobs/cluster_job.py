"""Spark jobs of clouds behind one port: started once per attempt, waited for within a limit, cancelled with the run that waits.

What is particular to a deployment lies in a JSON file; secrets in it are references (env://NAME, file:///path).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import ConfigDict, ValidationError

from orchestrai.core.time.duration_cron import Duration
from orchestrai.core.yaml.declaration import Declaration, field_name
from orchestrai.errors import ConfigError
from orchestrai.features.jobs.cluster_size import WorkerBounds
from orchestrai.ledger.costs.run_meter import note_job
from orchestrai.ledger.costs.usage import JobUsage
from orchestrai.secrets.url_credentials import REMEDY, credentials_in
from orchestrai.storage.cloud.job_wait import Clock, Phase, Waiting

Tell = Callable[[str], None]
Size = Callable[[WorkerBounds], int]


@dataclass(frozen=True)
class SparkJob:
    """One attempt at a job: `token` names it, and the same one is never run twice. 0 `workers` are as many as the file says."""

    token: str
    script: str
    url: str
    workers: int = 0

    @property
    def arguments(self) -> list[str]:
        """What the script is given."""
        return [self.url]


class Cluster(Protocol):
    """A cloud's Spark jobs; each call raises StorageError, transient for an outage."""

    @property
    def what(self) -> str:
        """The service, as people call it."""
        ...

    def start(self, job: SparkJob) -> str:
        """Start a job, or find the one that was started with its token; returns how the service names it."""
        ...

    def phase(self, run: str) -> tuple[Phase, str]:
        """How it stands, and in the service's words."""
        ...

    def cancel(self, run: str) -> None:
        """Ask for its end; no error when it has ended."""
        ...

    def usage(self, run: str) -> JobUsage:
        """What a run used, as the last look at it told; nothing is asked for it."""
        ...


class ClusterFile(Declaration):
    """What every file of parameters may hold.

    `time_limit` ends a job; waiting for machines may take `start_wait` on top. With `workers` their number follows from what earlier
    runs took.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    time_limit: Duration = timedelta(hours=2)
    start_wait: Duration = timedelta(minutes=30)
    poll: Duration = timedelta(seconds=15)
    workers: WorkerBounds | None = None


File = TypeVar("File", bound=ClusterFile)


class ClusterLauncher:
    """Starts jobs of `spark_job.py` on a cluster and returns when one has completed.

    Raises StorageError for one that ended otherwise; TransientStorageError says nothing of the job, which the next call takes up.
    """

    def __init__(
        self,
        cluster: Cluster,
        limits: ClusterFile,
        script: str,
        *,
        tell: Tell | None = None,
        clock: Clock | None = None,
        size: Size | None = None,
    ) -> None:
        self.cluster = cluster
        self._script = script
        self._tell = tell or _quiet
        self._workers = 0 if limits.workers is None else size(limits.workers) if size is not None else limits.workers.least
        allowed = limits.time_limit + limits.start_wait + limits.poll
        self._waiting = Waiting(allowed, limits.poll, "raise time_limit or take larger machines", clock or Clock())

    def __call__(self, url: str) -> None:
        job = SparkJob(url.rsplit("/", 2)[-2], self._script, url, self._workers)
        run = self.cluster.start(job)
        sized = f" with {job.workers} workers" if job.workers else ""
        self._tell(f"{self.cluster.what}: {run} computes {job.token}{sized}")
        try:
            self._waiting.until_done(
                f"{run} of {self.cluster.what}", lambda: self.cluster.phase(run), lambda: self._stop(run)
            )
        finally:
            used = self.cluster.usage(run)
            note_job(replace(used, instances=job.workers) if job.workers else used)

    def _stop(self, run: str) -> None:
        self._tell(f"{self.cluster.what}: {run} is cancelled")
        self.cluster.cancel(run)


def _quiet(_: str) -> None:
    """Nobody listens."""


def read_file(kind: type[File], where: str, file: str) -> File:
    """The parameters of `ORCHESTRAI_SPARK_URL=where:file`; raises ConfigError with one line."""
    given = read_object(where, file)
    try:
        return kind.model_validate(given)
    except ValidationError as exc:
        first = exc.errors(include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise ConfigError(f"{file}: {field}: {first['msg']}") from None


def read_object(where: str, file: str) -> dict[str, Any]:
    """The JSON object in a file of parameters; raises ConfigError."""
    path = Path(file).expanduser()
    try:
        parameters = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ConfigError(
            f"expected ORCHESTRAI_SPARK_URL={where}:FILE with a JSON file of parameters, found {file!r}: {exc}"
        ) from exc
    if not isinstance(parameters, dict):
        raise ConfigError(f"expected an object of parameters in {file}, found {type(parameters).__name__}")
    for at, credential in credentials_in(parameters):
        raise ConfigError(
            f"{file}: {field_name(at)}: expected a URL without credentials, found {credential} in it: {REMEDY}"
        )
    return parameters
