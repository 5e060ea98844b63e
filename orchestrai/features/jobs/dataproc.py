"""Spark jobs on Google Cloud: Serverless batches of Dataproc (v1) over its REST interface."""

from datetime import timedelta
from typing import Any

from pydantic import Field

from orchestrai.core.time.duration_cron import Duration
from orchestrai.errors import StorageError
from orchestrai.features.jobs.cluster_job import ClusterFile, SparkJob
from orchestrai.features.jobs.cluster_size import executor_settings, seconds_between
from orchestrai.ledger.costs.usage import JobUsage
from orchestrai.storage.cloud.job_wait import Phase, phase_of
from orchestrai.storage.cloud.rest import Api, Token, google_token


class DataprocFile(ClusterFile):
    """What a project is told besides the job; `batch` is what else a Batch takes: runtimeConfig, environmentConfig, labels."""

    project: str = Field(pattern=r"^[a-z][a-z0-9:.-]{4,61}[a-z0-9]$")
    region: str = Field(pattern=r"^[a-z]+-[a-z]+[0-9]+$")
    # the service takes from ten minutes to fourteen days
    time_limit: Duration = Field(default=timedelta(hours=2), ge=timedelta(minutes=10), le=timedelta(days=14))
    batch: dict[str, Any] = Field(default_factory=dict)
    endpoint: str | None = Field(default=None, pattern=r"^https?://[^/\s]+$")


class DataprocBatches:
    """Batches of one project and region, named by their token: a second one of a name is refused by the service."""

    what = "Dataproc"

    def __init__(self, file: DataprocFile, token: Token = google_token) -> None:
        self._file = file
        endpoint = file.endpoint or f"https://{file.region}-dataproc.googleapis.com"
        self._api = Api(f"{endpoint}/v1", token, what="Dataproc")
        self._parent = f"projects/{file.project}/locations/{file.region}"
        self._seen: dict[str, Any] = {}

    def start(self, job: SparkJob) -> str:
        """Create the batch, unless there is one of this name."""
        query = {"batchId": job.token, "requestId": job.token}
        self._api.call("POST", f"{self._parent}/batches", query=query, body=self.request(job), none_for=(409,))
        return job.token

    def request(self, job: SparkJob) -> dict[str, Any]:
        """The body of the batch: the script, and the time after which the service ends it."""
        given = self._file.batch
        environment = given.get("environmentConfig", {})
        limit = f"{int(self._file.time_limit.total_seconds())}s"
        sized = {}
        if job.workers:
            config = given.get("runtimeConfig", {})
            properties = {**config.get("properties", {}), **executor_settings(job.workers)}
            sized = {"runtimeConfig": {**config, "properties": properties}}
        return {
            **given,
            **sized,
            "pysparkBatch": {**given.get("pysparkBatch", {}), "mainPythonFileUri": job.script, "args": job.arguments},
            "environmentConfig": {
                **environment,
                "executionConfig": {**environment.get("executionConfig", {}), "ttl": limit},
            },
            "labels": {"made_by": "orchestrai", **given.get("labels", {})},
        }

    def _find(self, run: str) -> dict[str, Any]:
        response = self._api.call("GET", f"{self._parent}/batches/{run}")
        if response is None:
            raise StorageError(f"expected the batch {run} on Dataproc, found none: somebody deleted it, run the step again")
        batch: dict[str, Any] = response
        return batch

    def phase(self, run: str) -> tuple[Phase, str]:
        """How the batch stands."""
        batch = self._seen = self._find(run)
        return phase_of(str(batch["state"]), "SUCCEEDED", ("FAILED", "CANCELLED"), batch.get("stateMessage"))

    def cancel(self, run: str) -> None:
        """Cancel the operation behind the batch."""
        operation = self._find(run).get("operation")
        if operation:
            self._api.call("POST", f"{operation}:cancel", body={})

    def usage(self, run: str) -> JobUsage:
        """The DCU hours that Google counted so far, and how long the batch was there."""
        told = self._seen.get("runtimeInfo", {}).get("approximateUsage", {}).get("milliDcuSeconds")
        # a number of 64 bits is told as text
        units = {"dcu_hour": int(told) / 1000 / 3600} if str(told or "").isdigit() else {}
        seconds = seconds_between(self._seen.get("createTime"), self._seen.get("stateTime"))
        return JobUsage(run, "dataproc", seconds, units=units)
