"""Training on Azure Machine Learning: a command job over its REST interface (Microsoft.MachineLearningServices, 2025-12-01)."""

from typing import Any

from orchestrai.models.remote.script_job import SCRIPT, ScriptTrainer
from orchestrai.models.remote.spec import AzureMLTraining
from orchestrai.models.remote.training_job import training_wait
from orchestrai.storage.cloud.job_wait import Clock, Phase, phase_of
from orchestrai.storage.cloud.rest import Api, Token, azure_token

API_VERSION = "2025-12-01"
ENDED = ("Failed", "Canceled")


_token: Token = azure_token("https://management.azure.com")


class AzureMLJobs:
    """Command jobs of one workspace."""

    def __init__(self, where: AzureMLTraining, token: Token | None = None) -> None:
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
        response = self._call("GET", job)
        if response is None:
            return None
        return phase_of(str(response["properties"]["status"]), "Completed", ENDED, "see its log")

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
    token: Token | None = None,
    clock: Clock | None = None,
) -> ScriptTrainer:
    """A trainer on Azure ML; nothing is connected before it trains."""
    return ScriptTrainer(
        AzureMLJobs(where, token),
        where,
        place="azure_ml",
        staging=where.staging,
        machine=where.compute or where.instance_type,
        image=where.environment,
        waiting=training_wait(where, "azure_ml", "instance", clock),
    )
