"""Spark jobs on Azure Synapse: batches of a Spark pool over its Livy interface (2019-11-01-preview)."""

from typing import Any

from pydantic import Field

from orchestrai.errors import StorageError
from orchestrai.features.jobs.cluster_job import ClusterFile, SparkJob
from orchestrai.features.jobs.cluster_size import seconds_between
from orchestrai.ledger.costs.usage import JobUsage
from orchestrai.storage.cloud.job_wait import Phase
from orchestrai.storage.cloud.rest import Api, Token, azure_token

VERSION = "2019-11-01-preview"
PAGE = 20
BROKEN = ("dead", "killed", "error")
_token: Token = azure_token("https://dev.azuresynapse.net")


class SynapseFile(ClusterFile):
    """What a Spark pool is told besides the job: the size of driver and executors, and in `batch` what else a batch takes."""

    workspace: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,49}$")
    pool: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9]{0,14}$")
    executors: int = Field(default=2, ge=1)
    cores: int = Field(default=4, ge=1)
    memory: str = Field(default="28g", pattern=r"^[0-9]+[mg]$")
    batch: dict[str, Any] = Field(default_factory=dict)
    endpoint: str | None = Field(default=None, pattern=r"^https?://[^/\s]+$")


class SynapseBatches:
    """Batches of one pool, found by their name: the interface knows no token, so a name is looked for before it is submitted."""

    what = "Azure Synapse"

    def __init__(self, file: SynapseFile, token: Token | None = None) -> None:
        self._file = file
        endpoint = file.endpoint or f"https://{file.workspace}.dev.azuresynapse.net"
        base = f"{endpoint}/livyApi/versions/{VERSION}/sparkPools/{file.pool}"
        self._api = Api(base, token or _token, what="Azure Synapse")
        self._seen: dict[str, Any] = {}

    def start(self, job: SparkJob) -> str:
        """Submit the batch, unless the pool has one of this name."""
        batch = self.named(job.token)
        if batch is None:
            batch = self._api.call("POST", "batches", query={"detailed": "true"}, body=self.request(job), none_for=())
        assert batch is not None
        return str(batch["id"])

    def named(self, name: str) -> dict[str, Any] | None:
        """The batch of this name, on whatever page of the pool's list; None where there is none."""
        first = 0
        while True:
            query = {"from": str(first), "size": str(PAGE), "detailed": "true"}
            page = self._api.call("GET", "batches", query=query, none_for=()) or {}
            sessions: list[dict[str, Any]] = page.get("sessions") or []
            for one in sessions:
                if one.get("name") == name:
                    return one
            first += len(sessions)
            if not sessions or first >= int(page["total"]):
                return None

    def request(self, job: SparkJob) -> dict[str, Any]:
        """The body of the batch."""
        file = self._file
        return {
            "driverMemory": file.memory,
            "driverCores": file.cores,
            "executorMemory": file.memory,
            "executorCores": file.cores,
            "numExecutors": file.executors,
            **file.batch,
            **({"numExecutors": job.workers} if job.workers else {}),
            "name": job.token,
            "file": job.script,
            "args": job.arguments,
            "tags": {"made_by": "orchestrai", **file.batch.get("tags", {})},
        }

    def phase(self, run: str) -> tuple[Phase, str]:
        """How the batch stands."""
        batch = self._api.call("GET", f"batches/{run}", query={"detailed": "true"})
        if batch is None:
            raise StorageError(f"expected the batch {run} on Azure Synapse, found none: run the step again")
        self._seen = batch
        state, result = str(batch.get("state")), str(batch.get("result"))
        if state in BROKEN or result in ("Failed", "Cancelled"):
            errors = "; ".join(str(one.get("message")) for one in batch.get("errorInfo") or ())
            return "ended", f"{state}, {result}: {errors or 'no reason given'}"
        return ("completed" if state == "success" else "running"), state

    def cancel(self, run: str) -> None:
        """Ask for its end."""
        self._api.call("DELETE", f"batches/{run}")

    def usage(self, run: str) -> JobUsage:
        """How long the batch ran."""
        told = self._seen.get("livyInfo") or {}
        ended = next((told[name] for name in ("successAt", "deadAt", "killedAt") if told.get(name)), None)
        seconds = seconds_between(told.get("runningAt"), ended)
        return JobUsage(run, "synapse", seconds, instances=self._file.executors)
