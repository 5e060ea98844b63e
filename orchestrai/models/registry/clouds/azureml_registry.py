"""The champion in the model registry of an Azure Machine Learning workspace: a version named by its digest, and a tag that follows it.

A version's name is ours to choose, so that putting it again changes nothing, whoever did it first. The registry has no aliases: the tag is
set on the new version first, and then taken from every other.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from orchestrai.errors import ModelError
from orchestrai.models.registry.clouds.stored_files import store_files
from orchestrai.models.registry.registry_urls import Address
from orchestrai.models.registry.target_port import Champion, Registered
from orchestrai.models.remote.azureml import API_VERSION
from orchestrai.storage.cloud.job_wait import Clock, Phase, Waiting, phase_of
from orchestrai.storage.cloud.rest import Api, Token, azure_token

MANAGEMENT = "https://management.azure.com"
# of a digest, so much that no two models share it
NAME = 32
LIMIT, POLL = timedelta(minutes=10), timedelta(seconds=5)
_token: Token = azure_token(MANAGEMENT)
WRITTEN = (
    "description",
    "properties",
    "tags",
    "isArchived",
    "flavors",
    "jobName",
    "modelType",
    "modelUri",
    "stage",
    "datasets",
)


class AzureMLRegistry:
    """See Target; `azureml://SUBSCRIPTION/RESOURCE_GROUP/WORKSPACE/MODEL?output=abfss://...&datastore=NAME/FOLDER&tag=champion`."""

    def __init__(self, address: Address, *, endpoint: str = MANAGEMENT, clock: Clock | None = None) -> None:
        subscription, group, workspace, self.model = address.base.split("/")
        self.url = f"azureml://{address.base}"
        self.output = address.options["output"]
        self.tag = address.options.get("tag", "champion")
        store, _, folder = address.options["datastore"].strip("/").partition("/")
        place = f"subscriptions/{subscription}/resourcegroups/{group}/workspaces/{workspace}"
        self.seen = f"azureml://{place}/datastores/{store}/paths/{folder}".rstrip("/")
        within = f"subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices"
        self.versions = f"{within}/workspaces/{workspace}/models/{self.model}/versions"
        self._api = Api(endpoint, _token, what="Azure ML")
        self._waiting = Waiting(LIMIT, POLL, "deploy again once it is over", clock or Clock(), ModelError)

    def register(self, champion: Champion) -> Registered:
        """Store the files, put the version and move the tag; idempotent per model version. Raises ModelError, StorageError."""
        digest = champion.scorer.version.removeprefix("sha256:")
        number, folder = digest[:NAME], f"models/{digest}"
        known = self._get(number)
        if known is None:
            store_files(champion, self.output, folder)
            self._put(number, self._described(champion, f"{self.seen}/{folder}"))
            known = self._made(number)
        elif known.get("properties", {}).get("orchestrai_version") != champion.scorer.version:
            raise ModelError(
                f"expected version {number} of {self.model} to be {champion.scorer.version}, found another's: remove it there"
            )
        changed = self._point(number, known)
        artifact = str(known["modelUri"])
        return Registered(self.url, self.model, number, f"tag {self.tag}", artifact, changed)

    def _described(self, champion: Champion, uri: str) -> dict[str, Any]:
        labels = champion.labels()
        return {
            "description": f"{champion.scorer.asset} {champion.scorer.version}",
            "modelType": "custom_model",
            "modelUri": uri,
            "properties": labels,
            "tags": {"made_by": "orchestrai"},
        }

    def _call(self, method: str, path: str = "", body: Any = None, **query: str) -> Any | None:
        return self._api.call(method, f"{self.versions}{path}", query={"api-version": API_VERSION, **query}, body=body)

    def _get(self, number: str) -> Mapping[str, Any] | None:
        found = self._call("GET", f"/{number}")
        return None if found is None else dict(found["properties"])

    def _put(self, number: str, properties: Mapping[str, Any]) -> None:
        written = {name: properties[name] for name in WRITTEN if properties.get(name) is not None}
        self._call("PUT", f"/{number}", {"properties": written})

    def _made(self, number: str) -> Mapping[str, Any]:
        """The version when the workspace has it."""
        found: Mapping[str, Any] = {}

        def look() -> tuple[Phase, str]:
            nonlocal found
            found = self._get(number) or {}
            state = str(found.get("provisioningState", "Succeeded" if found else "Creating"))
            return phase_of(state, "Succeeded", ("Failed", "Canceled"))

        self._waiting.until_done(f"{number} of {self.model} in Azure ML", look, None, what="version")
        return found

    def tagged(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The versions that have the tag, by name, to the last page; none where there is no model."""
        query: dict[str, str] = {"tags": self.tag}
        while True:
            page = self._call("GET", **query) or {}
            for one in page.get("value", ()):
                if self.tag in (one["properties"].get("tags") or {}):
                    yield str(one["name"]), one["properties"]
            # the place of the next page alone: a token goes to no other address
            skip = parse_qs(urlsplit(str(page.get("nextLink") or "")).query).get("$skip")
            if not skip:
                return
            query["$skip"] = skip[0]

    def _point(self, number: str, known: Mapping[str, Any]) -> bool:
        """Move the tag; False where it is there alone."""
        changed = False
        if self.tag not in (known.get("tags") or {}):
            self._put(number, {**known, "tags": {**(known.get("tags") or {}), self.tag: "true"}})
            changed = True
        for other, properties in list(self.tagged()):
            if other != number:
                tags = {name: value for name, value in (properties.get("tags") or {}).items() if name != self.tag}
                self._put(other, {**properties, "tags": tags})
                changed = True
        return changed
