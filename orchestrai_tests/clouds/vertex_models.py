"""Vertex AI's model registry by its discovery document: uploads that take a while, versions in pages of one, aliases."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from orchestrai_tests.clouds.aws_model import OutsideModel
from orchestrai_tests.clouds.google_document import Call, google_document

Answer = tuple[int, Any]


@dataclass
class VertexModels:
    """One project's models in one location, by name. `aliases` says what becomes of one that another version has: move, refuse or keep.

    An upload is over when it was looked at twice; `problem` is what it ends with.
    """

    place: str = "projects/shop-1/locations/europe-west4"
    aliases: str = "move"
    problem: str = ""
    models: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    uploads: dict[str, list[Any]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def answer(self, method: str, url: str, body: Any) -> Answer:
        """One request."""
        document = google_document("aiplatform.v1")
        try:
            call = document.request(method, url, body)
            self.calls[call.verb] += 1
            status, told = self._play(call)
            return status, (told if status >= 300 else document.answer(call, told))
        except OutsideModel as exc:
            self.faults.append(str(exc))
            return _refusal(400, "INVALID_ARGUMENT", str(exc))

    def _play(self, call: Call) -> Answer:
        if not call.url.startswith(f"v1/{self.place}/"):
            return _refusal(404, "NOT_FOUND", f"Not found: {call.url}")
        if call.verb == "upload":
            return self._upload(call.body)
        if "operationsId" in call.path:
            return self._operation(call.url.removeprefix("v1/"))
        model, _, version = call.path["modelsId"].partition("@")
        found = self.models.get(model, [])
        one = next((v for v in found if version in ("", v["versionId"], *v["versionAliases"])), None)
        if one is None:
            return _refusal(404, "NOT_FOUND", f"Not found: {call.url}")
        if call.verb == "get":
            return 200, one
        if call.verb == "listVersions":
            at = int(call.query.get("pageToken", "0"))
            more = {"nextPageToken": str(at + 1)} if at + 1 < len(found) else {}
            return 200, {"models": found[at : at + 1], **more}
        return self._merge(found, one, call.body["versionAliases"])

    def _upload(self, body: dict[str, Any]) -> Answer:
        parent, new = body.get("parentModel", ""), body.get("modelId", "")
        if (parent.rpartition("/")[2] not in self.models) if parent else (new in self.models):
            return _refusal(400, "FAILED_PRECONDITION", f"no such parent, or the id is taken: {parent or new}")
        model = parent.rpartition("/")[2] or new
        name = f"{self.place}/models/{model}/operations/{len(self.uploads) + 1}"
        self.uploads[name] = [2, model, body["model"]]
        return 200, {"name": name}

    def _operation(self, name: str) -> Answer:
        upload = self.uploads[name]
        upload[0] -= 1
        if upload[0] > 0:
            return 200, {"name": name, "done": False}
        if self.problem:
            return 200, {"name": name, "done": True, "error": {"code": 3, "message": self.problem}}
        versions = self.models.setdefault(upload[1], [])
        number, model = str(len(versions) + 1), f"{self.place}/models/{upload[1]}"
        first = {"versionAliases": [] if versions else ["default"]}
        # the specification of the container is taken in, and not given out
        told = {key: value for key, value in upload[2].items() if key != "containerSpec"}
        versions.append({**told, **first, "name": model, "versionId": number})
        kind = "type.googleapis.com/google.cloud.aiplatform.v1.UploadModelResponse"
        return 200, {"name": name, "done": True, "response": {"@type": kind, "model": model, "modelVersionId": number}}

    def _merge(self, versions: list[dict[str, Any]], one: dict[str, Any], aliases: list[str]) -> Answer:
        for alias in aliases:
            others = [other for other in versions if other is not one and alias in other["versionAliases"]]
            if others and self.aliases == "refuse":
                return _refusal(400, "INVALID_ARGUMENT", f"another version has the alias {alias}")
            if others and self.aliases == "keep":
                continue
            for other in others:
                other["versionAliases"].remove(alias)
            if alias.startswith("-"):
                one["versionAliases"].remove(alias[1:])
            elif alias not in one["versionAliases"]:
                one["versionAliases"].append(alias)
        return 200, one


def _refusal(code: int, status: str, message: str) -> Answer:
    return code, {"error": {"code": code, "status": status, "message": message}}
