"""The champion in the Model Registry of Vertex AI: a version of one model, and the alias that follows the champion.

The registry's document does not say what becomes of an alias that another version has. So it is set, looked at, and taken from the other
version only where it did not move by itself.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from orchestrai.errors import ModelError, StorageError
from orchestrai.models.registry.clouds.stored_files import store_files
from orchestrai.models.registry.registry_urls import Address
from orchestrai.models.registry.target_port import Champion, Registered
from orchestrai.storage.cloud.job_wait import Clock, Phase, Waiting
from orchestrai.storage.cloud.rest import Api, Token, google_token

# a label holds 64 characters and no colon: the digest alone, whose algorithm is said in the description
VERSION_LABEL = "orchestrai_version"
LIMIT, POLL = timedelta(minutes=10), timedelta(seconds=5)
_token: Token = google_token


class VertexRegistry:
    """See Target; `vertex://PROJECT/LOCATION/MODEL?output=gs://BUCKET/FOLDER&image=CONTAINER&alias=champion`."""

    def __init__(self, address: Address, *, endpoint: str = "", clock: Clock | None = None) -> None:
        project, location, self.model = address.base.split("/")
        self.url = f"vertex://{address.base}"
        self.output, self.image = address.options["output"], address.options["image"]
        self.alias = address.options.get("alias", "champion")
        self.parent = f"projects/{project}/locations/{location}"
        self.name = f"{self.parent}/models/{self.model}"
        base = endpoint or f"https://{location}-aiplatform.googleapis.com"
        self._api = Api(f"{base}/v1", _token, what="Vertex AI")
        self._waiting = Waiting(LIMIT, POLL, "deploy again once it is over", clock or Clock(), ModelError)

    def register(self, champion: Champion) -> Registered:
        """Store the files, upload the version and move the alias; idempotent per model version. Raises ModelError, StorageError."""
        version = champion.scorer.version
        folder = f"models/{version.removeprefix('sha256:')}"
        artifact = f"{self.output.rstrip('/')}/{folder}"
        known = self._api.call("GET", self.name)
        earlier = next((one for one in self.versions() if _is(one, version)), None) if known is not None else None
        if earlier is None:
            store_files(champion, self.output, folder)
            number = self._upload(champion, artifact, new=known is None)
        else:
            number, artifact = str(earlier["versionId"]), str(earlier.get("artifactUri", artifact))
        moved = self._point(number)
        return Registered(self.url, self.name, number, f"@{self.alias}", artifact, earlier is None or moved)

    def _upload(self, champion: Champion, artifact: str, *, new: bool) -> str:
        """The number of the version that was made."""
        version = champion.scorer.version
        model = {
            "displayName": self.model,
            "versionDescription": f"{champion.scorer.asset} {version}",
            "artifactUri": artifact,
            "containerSpec": {"imageUri": self.image},
            "labels": {
                VERSION_LABEL: version.removeprefix("sha256:"),
                "orchestrai_training_set": champion.scorer.info.training_set["version"].removeprefix("sha256:"),
                "orchestrai_receipt": champion.receipt_digest.removeprefix("sha256:"),
            },
        }
        named = {"modelId": self.model} if new else {"parentModel": self.name}
        made = self._api.call("POST", f"{self.parent}/models:upload", body={"model": model, **named}, none_for=())
        done: Mapping[str, Any] = made or {}

        def look() -> tuple[Phase, str]:
            nonlocal done
            if not done.get("done"):
                done = self._api.call("GET", str(done["name"]), none_for=()) or done
            problem = done.get("error")
            if problem:
                return "ended", f"{problem.get('code')}: {problem.get('message')}"
            return ("completed" if done.get("done") else "running"), "under way"

        self._waiting.until_done(f"{self.model} in Vertex AI", look, None, what="upload of")
        return str(done["response"]["modelVersionId"])

    def versions(self) -> Iterator[Mapping[str, Any]]:
        """The versions of the model as the service describes them, to the last page; none where there is no model."""
        query: dict[str, str] = {}
        while True:
            # a page may be empty and not the last
            page = self._api.call("GET", f"{self.name}:listVersions", query=query) or {}
            yield from page.get("models", ())
            if not page.get("nextPageToken"):
                return
            query["pageToken"] = str(page["nextPageToken"])

    def _holder(self) -> str | None:
        """The version that the alias names."""
        found = self._api.call("GET", f"{self.name}@{self.alias}")
        return str(found["versionId"]) if found is not None else None

    def _point(self, number: str) -> bool:
        """Move the alias; False where it is there."""
        before = self._holder()
        if before == number:
            return False
        try:
            self._merge(number, self.alias)
        except StorageError:
            # one that another version has may be refused
            if before is None:
                raise
        if self._holder() != number:
            if before is not None:
                self._merge(before, f"-{self.alias}")
            self._merge(number, self.alias)
        reached = self._holder()
        if reached != number:
            raise ModelError(
                f"expected the alias {self.alias} of {self.name} on version {number}, found it on {reached}: look at who else sets it"
            )
        return True

    def _merge(self, number: str, alias: str) -> None:
        body = {"versionAliases": [alias]}
        self._api.call("POST", f"{self.name}@{number}:mergeVersionAliases", body=body, none_for=())


def _is(described: Mapping[str, Any], version: str) -> bool:
    return str(described.get("labels", {}).get(VERSION_LABEL)) == version.removeprefix("sha256:")
