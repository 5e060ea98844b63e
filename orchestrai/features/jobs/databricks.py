"""Spark jobs on Databricks: one-time runs of the Jobs API (2.2), through Databricks' SDK, its credentials and its retries."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from orchestrai.core.yaml.declaration import field_reader
from orchestrai.errors import ConfigError, MissingExtra
from orchestrai.features.jobs.cluster_job import ClusterFile, SparkJob
from orchestrai.ledger.costs.usage import JobUsage
from orchestrai.secrets.reference import check_reference, resolve_secret
from orchestrai.storage.cloud.cloud_errors import Fault, Meaning, error_of
from orchestrai.storage.cloud.job_wait import Phase

ENDED = ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")
_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}


class DatabricksFile(ClusterFile):
    """What a workspace is told besides the job.

    `task` says where it runs (`new_cluster`, or `existing_cluster_id`, and `libraries`), as the Jobs API has it; `run` is what else
    `runs/submit` takes. Without `token` or `client_id` the SDK finds credentials as it always does.
    """

    host: str | None = Field(default=None, pattern=r"^https?://[^/\s]+/?$")
    token: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    task: dict[str, Any]
    run: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sizes_its_own(self) -> Self:
        if self.workers is not None and "new_cluster" not in self.task:
            raise ValueError("workers: expected task.new_cluster beside it, found none: an existing cluster has its size")
        return self

    @field_validator("token", "client_secret")
    @classmethod
    def _reference(cls, value: str | None) -> str | None:
        return value and field_reader(check_reference)(value)


class DatabricksJobs:
    """One-time runs in one workspace, one per token."""

    what = "Databricks"

    def __init__(self, file: DatabricksFile, api: Any = None) -> None:
        self._file = file
        self._api = api or _connect(file)
        self._seen: dict[str, Any] = {}

    def start(self, job: SparkJob) -> str:
        """Submit the run; Databricks answers with the same run for the same token."""
        with _translated("submit a run"):
            answer = self._api.do("POST", "/api/2.2/jobs/runs/submit", body=self.request(job), headers=_HEADERS)
        return str(answer["run_id"])

    def request(self, job: SparkJob) -> dict[str, Any]:
        """The body of `runs/submit`."""
        task = {
            "task_key": "features",
            "max_retries": 0,
            **self._file.task,
            "spark_python_task": {"python_file": job.script, "parameters": job.arguments},
            "timeout_seconds": int((self._file.time_limit + self._file.start_wait).total_seconds()),
        }
        if job.workers:
            machines = {key: value for key, value in task["new_cluster"].items() if key != "autoscale"}
            task["new_cluster"] = {**machines, "num_workers": job.workers}
        return {
            "run_name": "orchestrai features",
            **self._file.run,
            "tasks": [task],
            "timeout_seconds": task["timeout_seconds"],
            "idempotency_token": job.token,
        }

    def phase(self, run: str) -> tuple[Phase, str]:
        """How the run stands."""
        with _translated(f"tell of run {run}"):
            self._seen = self._api.do("GET", "/api/2.2/jobs/runs/get", query={"run_id": int(run)}, headers=_HEADERS)
        state = self._seen["state"]
        cycle = str(state["life_cycle_state"])
        if cycle not in ENDED:
            return "running", cycle
        result = str(state.get("result_state") or cycle)
        if result == "SUCCESS":
            return "completed", result
        return "ended", f"{result}: {state.get('state_message') or 'no reason given'}"

    def cancel(self, run: str) -> None:
        """Ask for its end."""
        with _translated(f"cancel run {run}"):
            self._api.do("POST", "/api/2.2/jobs/runs/cancel", body={"run_id": int(run)}, headers=_HEADERS)

    def usage(self, run: str) -> JobUsage:
        """How long the run took, the start of its cluster included."""
        parts = [self._seen.get(name) or 0 for name in ("setup_duration", "execution_duration", "cleanup_duration")]
        cluster = self._file.task.get("new_cluster", {})
        machine = str(cluster.get("node_type_id", ""))
        return JobUsage(run, "databricks", (self._seen.get("run_duration") or sum(parts)) / 1000, machine)


def _connect(file: DatabricksFile) -> Any:
    try:
        from databricks.sdk.core import ApiClient, Config
    except ImportError as exc:
        raise MissingExtra(
            "expected databricks-sdk for Databricks, found none: pip install 'orchestrai[databricks]'"
        ) from exc
    token, secret = (reference and resolve_secret(reference) for reference in (file.token, file.client_secret))
    try:
        return ApiClient(Config(host=file.host, client_id=file.client_id, token=token, client_secret=secret))
    except ValueError as exc:
        raise ConfigError(f"expected credentials for Databricks, found none that work: {str(exc).splitlines()[0]}") from exc


@contextmanager
def _translated(what: str) -> Iterator[None]:
    from databricks.sdk import errors
    from databricks.sdk.errors.base import DatabricksError

    meanings = {
        Meaning.TRANSIENT: (
            errors.TooManyRequests,
            errors.InternalError,
            errors.TemporarilyUnavailable,
            errors.DeadlineExceeded,
        ),
        Meaning.REFUSED: (errors.PermissionDenied, errors.Unauthenticated),
        Meaning.MISSING: (errors.NotFound,),
    }
    try:
        yield
    except DatabricksError as exc:
        meaning = next((one for one, kinds in meanings.items() if isinstance(exc, kinds)), Meaning.OTHER)
        raise error_of(Fault(meaning, type(exc).__name__, 0, str(exc)), f"Databricks to {what}") from exc
    except OSError as exc:  # what requests and the SDK's retries raise when nothing answers
        raise error_of(Fault(Meaning.TRANSIENT, type(exc).__name__, 0, str(exc)), f"Databricks to {what}") from exc
