"""Training on Azure Machine Learning: a command job over its REST interface (Microsoft.MachineLearningServices, 2024-10-01)."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from orchestrai.errors import ModelError
from orchestrai.models.remote.script_job import SCRIPT, ScriptTrainer
from orchestrai.models.remote.spec import AzureMLTraining
from orchestrai.storage.cloud.job_wait import Monotonic, Phase, Sleep, Waiting
from orchestrai.storage.cloud.rest import Api, azure_token

API_VERSION = "2024-10-01"
ENDED = ("Failed", "Canceled")


def _token() -> str:
    return azure_token("https://management.azure.com", "training on Azure ML")


class AzureMLJobs:
    """Command jobs of one workspace."""

    def __init__(self, where: AzureMLTraining, token: Callable[[], str] | None = None) -> None:
        self.where = where
        self.api = Api(where.endpoint, token or _token, what="Azure ML")
        self.workspace = (
            f"subscriptions/{where.subscription}/resourceGroups/{where.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{where.workspace}"
        )

    def _call(self, method: str, path: str, body: Any = None) -> Any | None:
        return self.api.call(method, f"{self.workspace}/jobs/{path}", query={"api-version": API_VERSION}, body=body)

    def phase(self, job: str) -> tuple[Phase, str] | None:
        """How a job stands; None when there is none."""
        found = self._call("GET", job)
        if found is None:
            return None
        status = str(found["properties"]["status"])
        if status == "Completed":
            return "completed", status
        return ("ended" if status in ENDED else "running"), status

    def start(self, job: str, folder: str) -> None:
        """Create the job; putting the same one again changes nothing."""
        self._call("PUT", job, self.request(job, folder))

    def request(self, job: str, folder: str) -> dict[str, Any]:
        """The body of the job: time limit, machine and, for serverless compute, the spot tier."""
        where, uri = self.where, f"{self.where.datastore.rstrip('/')}/{folder}"
        properties: dict[str, Any] = {
            "jobType": "Command",
            "displayName": job,
            "experimentName": where.experiment,
            "command": f"python ${{{{inputs.job}}}}/{SCRIPT} ${{{{inputs.job}}}} ${{{{outputs.model}}}}",
            "environmentId": where.environment,
            "inputs": {"job": {"jobInputType": "uri_folder", "uri": f"{uri}/", "mode": "ReadOnlyMount"}},
            "outputs": {"model": {"jobOutputType": "uri_folder", "uri": f"{uri}/output/", "mode": "ReadWriteMount"}},
            "limits": {"jobLimitsType": "Command", "timeout": f"PT{int(where.time_limit.total_seconds())}S"},
            "resources": {"instanceCount": 1, "instanceType": where.instance_type},
            "tags": {"made_by": "orchestrai"},
        }
        if where.compute is not None:
            properties["computeId"] = f"/{self.workspace}/computes/{where.compute}"
            del properties["resources"]["instanceType"]
        else:
            properties["queueSettings"] = {"jobTier": "Spot" if where.spot else "Standard"}
        return {"properties": properties}

    def cancel(self, job: str) -> None:
        """Ask for its end."""
        self._call("POST", f"{job}/cancel")

    def seconds(self, job: str) -> float | None:
        """Unknown: the interface gives no machine time, so the script's own is taken."""
        return None


def azureml_trainer(
    where: AzureMLTraining,
    *,
    token: Callable[[], str] | None = None,
    sleep: Sleep = time.sleep,
    monotonic: Monotonic = time.monotonic,
) -> ScriptTrainer:
    """A trainer on Azure ML; nothing is connected before it trains."""
    # the service ends the job at its own limit; waiting for a machine comes on top
    allowed = where.time_limit + where.poll + (where.spot_wait if where.spot else timedelta())
    remedy = "raise train_on.azure_ml.time_limit or take a larger instance"
    waiting = Waiting(allowed, where.poll, remedy, sleep, monotonic, ModelError)
    return ScriptTrainer(
        AzureMLJobs(where, token),
        place="azure_ml",
        limit=where.time_limit,
        staging=where.staging,
        waiting=waiting,
        machine=where.compute or where.instance_type,
        image=where.environment,
        spot=where.spot,
        per_hour=where.price_per_hour,
    )
