"""Training on Vertex AI: a custom job over its REST interface (aiplatform v1)."""

from datetime import datetime
from typing import Any

from orchestrai.models.remote.script_job import SCRIPT, ScriptTrainer
from orchestrai.models.remote.spec import VertexTraining
from orchestrai.models.remote.training_job import training_wait
from orchestrai.storage.cloud.job_wait import Clock, Phase, phase_of
from orchestrai.storage.cloud.rest import Api, Token, google_token

ENDED = ("JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED", "JOB_STATE_PARTIALLY_SUCCEEDED")
PAGE = 100
_token: Token = google_token


class VertexJobs:
    """Custom jobs of one project and location, found by their display name."""

    def __init__(self, where: VertexTraining, token: Token | None = None) -> None:
        self.where = where
        endpoint = where.endpoint or f"https://{where.location}-aiplatform.googleapis.com"
        self.api = Api(f"{endpoint}/v1", token or _token, what="Vertex AI")
        self.parent = f"projects/{where.project}/locations/{where.location}"
        self._made: dict[str, str] = {}

    def _find(self, job: str) -> Any | None:
        if job in self._made:
            # a list may not show yet what was made a moment ago, and the job would count as gone while it runs
            return self.api.call("GET", self._made[job])
        # the filter has names of its own, in another spelling than the fields
        query = {"filter": f'display_name="{job}"', "pageSize": str(PAGE)}
        named: list[Any] = []
        while True:
            # a page may be empty and not the last
            page = self.api.call("GET", f"{self.parent}/customJobs", query=query) or {}
            named += [one for one in page.get("customJobs", ()) if one.get("displayName") == job]
            if not page.get("nextPageToken"):
                return max(named, key=lambda one: str(one["createTime"]), default=None)
            query["pageToken"] = str(page["nextPageToken"])

    def phase(self, job: str) -> tuple[Phase, str] | None:
        """How a job stands; None when there is none."""
        custom_job = self._find(job)
        if custom_job is None:
            return None
        return phase_of(
            str(custom_job.get("state")), "JOB_STATE_SUCCEEDED", ENDED, custom_job.get("error", {}).get("message")
        )

    def start(self, job: str, folder: str) -> None:
        """Create the job."""
        made = self.api.call("POST", f"{self.parent}/customJobs", body=self.request(job, folder))
        if made is not None:
            self._made[job] = str(made["name"])

    def request(self, job: str, folder: str) -> dict[str, Any]:
        """The body of the job; the bucket is seen as a folder below /gcs."""
        where = self.where
        mounted = f"/gcs/{where.bucket.removeprefix('gs://').rstrip('/')}/{folder}"
        scheduling: dict[str, Any] = {
            "timeout": f"{int(where.time_limit.total_seconds())}s",
            "disableRetries": not where.spot,
        }
        scheduling["strategy"] = "SPOT" if where.spot else "STANDARD"
        spec: dict[str, Any] = {
            "workerPoolSpecs": [
                {
                    "machineSpec": {"machineType": where.machine_type},
                    "replicaCount": "1",
                    "diskSpec": {"bootDiskSizeGb": where.disk_gb},
                    "containerSpec": {
                        "imageUri": where.image,
                        "command": ["python", f"{mounted}/{SCRIPT}", mounted, f"{mounted}/output"],
                    },
                }
            ],
            "scheduling": scheduling,
        }
        if where.service_account:
            spec["serviceAccount"] = where.service_account
        body: dict[str, Any] = {"displayName": job, "jobSpec": spec, "labels": {"made_by": "orchestrai"}}
        if where.kms_key:
            body["encryptionSpec"] = {"kmsKeyName": where.kms_key}
        return body

    def cancel(self, job: str) -> None:
        """Ask for its end; nothing to do where there is none."""
        custom_job = self._find(job)
        if custom_job is not None:
            self.api.call("POST", f"{custom_job['name']}:cancel", body={})

    def seconds(self, job: str) -> float | None:
        """From the start to the end of the job, as the service tells."""
        custom_job = self._find(job) or {}
        if not custom_job.get("startTime") or not custom_job.get("endTime"):
            return None
        return (
            datetime.fromisoformat(custom_job["endTime"]) - datetime.fromisoformat(custom_job["startTime"])
        ).total_seconds()


def vertex_trainer(
    where: VertexTraining,
    *,
    token: Token | None = None,
    clock: Clock | None = None,
) -> ScriptTrainer:
    """A trainer on Vertex AI; nothing is connected before it trains."""
    return ScriptTrainer(
        VertexJobs(where, token),
        where,
        place="vertex",
        staging=where.staging or where.bucket,
        machine=where.machine_type,
        image=where.image,
        waiting=training_wait(where, "vertex", "machine", clock),
    )
