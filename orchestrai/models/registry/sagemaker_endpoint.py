"""A SageMaker endpoint that serves the champion: moved, waited for, and put back where the new one does not come into service.

An endpoint that is not in service serves nobody, whatever its configuration says: only `InService` with the wanted configuration counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrai.errors import ModelError, OrchestraiError
from orchestrai.models.remote.sagemaker_requests import listed, model_name, network_of, tags_of
from orchestrai.models.remote.spec import SageMakerServing
from orchestrai.storage.cloud.cloud_errors import aws_errors
from orchestrai.storage.cloud.job_wait import Phase, Waiting

# an endpoint in one of these cannot be changed; all others but Failed end by themselves
SETTLED = ("InService", "Failed", "OutOfService", "UpdateRollbackFailed")


@dataclass(frozen=True)
class Endpoint:
    """An endpoint by its name; `waiting` says how long a change may take, and how often to look."""

    api: Any
    where: SageMakerServing
    name: str
    waiting: Waiting

    def point(self, version: str, artifact: str) -> bool:
        """Serve this version; False when it is served already.

        Raises ModelError when it did not come into service: the endpoint then serves what it served before, or is gone where it served
        nothing. A change that is under way, of whoever, is waited for first.
        """
        found = self._settled() if self._exists() else None
        wanted = self._config_name(version)
        if found is not None and _serves(found, wanted):
            return False
        self._make(wanted, version, artifact)
        before = str(found["EndpointConfigName"]) if found is not None and found["EndpointStatus"] != "Failed" else ""
        reached = self._changed(found, wanted)
        if _serves(reached, wanted):
            return True
        what = f"{reached['EndpointStatus']} ({reached.get('FailureReason') or 'no reason given'})"
        if reached["EndpointStatus"] == "InService":
            what = f"AWS went back to {reached.get('EndpointConfigName')} by itself"
        left = self._put_back(reached, before)
        raise ModelError(
            f"expected endpoint {self.name} in service with {wanted}, found {what}: {left}; look at the log group "
            f"/aws/sagemaker/Endpoints/{self.name} and deploy again"
        )

    def _changed(self, found: Mapping[str, Any] | None, config: str) -> Mapping[str, Any]:
        """Move it to a configuration and wait until that is over, well or not."""
        if found is not None and found["EndpointStatus"] == "Failed":
            # nothing else can be done with one that failed
            self._delete()
            found = None
        with aws_errors(f"AWS to update endpoint {self.name}"):
            if found is None:
                self.api.create_endpoint(EndpointName=self.name, EndpointConfigName=config, **tags_of(self.where))
            else:
                self.api.update_endpoint(EndpointName=self.name, EndpointConfigName=config)
        return self._settled()

    def _put_back(self, reached: Mapping[str, Any], before: str) -> str:
        """What the endpoint is after a change that failed."""
        if reached["EndpointStatus"] == "InService":
            return "what served before still serves"
        try:
            if not before:
                self._delete()
                return "it was deleted, nothing served before"
            again = self._changed(reached, before)
        except OrchestraiError as exc:
            return f"{before} could not be put back ({exc.message})"
        return (
            f"{before} serves again"
            if _serves(again, before)
            else f"{before} could not be put back: {again['EndpointStatus']}"
        )

    def _exists(self) -> bool:
        with aws_errors("AWS to list endpoints"):
            known = listed(self.api, "list_endpoints", "Endpoints", NameContains=self.name)
        return any(one["EndpointName"] == self.name for one in known)

    def _settled(self) -> Mapping[str, Any]:
        """The endpoint when nothing is under way; raises TransientStorageError past the limit."""
        described: Mapping[str, Any] = {}

        def look() -> tuple[Phase, str]:
            nonlocal described
            with aws_errors(f"AWS to describe endpoint {self.name}"):
                described = self.api.describe_endpoint(EndpointName=self.name)
            state = str(described["EndpointStatus"])
            return ("completed" if state in SETTLED else "running"), state

        self.waiting.until_done(self.name, look, None, what="endpoint")
        return described

    def _delete(self) -> None:
        with aws_errors(f"AWS to delete endpoint {self.name}"):
            self.api.delete_endpoint(EndpointName=self.name)

        def look() -> tuple[Phase, str]:
            return ("running", "Deleting") if self._exists() else ("completed", "gone")

        self.waiting.until_done(self.name, look, None, what="endpoint")

    def _config_name(self, version: str) -> str:
        where = self.where
        how = {
            **_run_by(where),
            "instance": where.instance_type,
            "count": where.instance_count,
            "volume": where.volume_kms_key,
        }
        return model_name(self.name, version, how)

    def _make(self, config: str, version: str, artifact: str) -> None:
        where = self.where
        with aws_errors(f"AWS to make the configuration {config}"):
            model = ensure_model(self.api, where, self.name, version, artifact)
            known = listed(self.api, "list_endpoint_configs", "EndpointConfigs", NameContains=config)
            if any(one["EndpointConfigName"] == config for one in known):
                return
            variant = {
                "VariantName": "champion",
                "ModelName": model,
                "InitialInstanceCount": where.instance_count,
                "InstanceType": where.instance_type,
                "InitialVariantWeight": 1.0,
            }
            key = {"KmsKeyId": where.volume_kms_key} if where.volume_kms_key else {}
            self.api.create_endpoint_config(EndpointConfigName=config, ProductionVariants=[variant], **key, **tags_of(where))


def _serves(described: Mapping[str, Any], config: str) -> bool:
    return described["EndpointStatus"] == "InService" and described.get("EndpointConfigName") == config


def _run_by(where: SageMakerServing) -> dict[str, Any]:
    network = where.network
    return {
        "role": where.role,
        "image": where.image,
        "network": network and [sorted(network.subnets), sorted(network.security_groups)],
    }


def ensure_model(api: Any, where: SageMakerServing, stem: str, version: str, artifact: str) -> str:
    """The name of the SageMaker model of an artifact, which endpoints and transform jobs run; made where there is none."""
    name = model_name(stem, version, {**_run_by(where), "artifact": artifact})
    if not any(one["ModelName"] == name for one in listed(api, "list_models", "Models", NameContains=name)):
        container = {"Image": where.image, "ModelDataUrl": artifact}
        api.create_model(
            ModelName=name,
            ExecutionRoleArn=where.role,
            PrimaryContainer=container,
            EnableNetworkIsolation=True,
            **network_of(where),
            **tags_of(where),
        )
    return name
