"""The versions of a workspace's model by azure-ai-ml's own builders and models: in pages of one, made in time, tags that change."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from orchestrai_tests.clouds.aws_model import OutsideModel
from orchestrai_tests.clouds.azure_model import azure_machine_learning

Answer = tuple[int, Any]


@dataclass
class ModelVersions:
    """One model; `states` is what the next version goes through, one each time that it is asked for."""

    states: list[str] = field(default_factory=lambda: ["Creating", "Succeeded"])
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)
    going: dict[str, list[str]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def answer(self, method: str, url: str, body: Any) -> Answer:
        """One request."""
        model = azure_machine_learning()
        try:
            name, version = model.request(method, url, body)
            self.calls[name] += 1
            status, told = self._play(name, version, url, body)
            for one in told.get("value", ()) if "value" in told else [told] if status < 300 else []:
                model.check(one, "ModelVersion")
            return status, told
        except OutsideModel as exc:
            self.faults.append(str(exc))
            return 400, {"error": {"code": "ValidationError", "message": str(exc)}}

    def _play(self, name: str, version: str, url: str, body: Any) -> Answer:
        if name == "model_versions_create_or_update":
            before = self.versions.get(version)
            told = body["properties"]
            if before is not None and any(before.get(key) != told.get(key) for key in ("modelUri", "properties")):
                return 409, {"error": {"code": "Conflict", "message": "what a version is cannot be changed"}}
            self.versions[version] = dict(told)
            if before is None:
                self.going[version] = list(self.states)
            return (201 if before is None else 200), self._shown(version)
        if name == "model_versions_list":
            query = dict(parse_qsl(urlsplit(url).query))
            found = [one for one, told in self.versions.items() if query.get("tags", "") in (told.get("tags") or {})]
            at = int(query.get("$skip", "0"))
            more = {"nextLink": f"https://elsewhere.example/x?$skip={at + 1}"} if at + 1 < len(found) else {}
            return 200, {"value": [self._shown(one) for one in found[at : at + 1]], **more}
        if version not in self.versions:
            return 404, {"error": {"code": "UserError", "message": f"no version {version}"}}
        return 200, self._shown(version)

    def _shown(self, version: str) -> dict[str, Any]:
        states = self.going.get(version) or ["Succeeded"]
        state = states.pop(0) if len(states) > 1 else states[0]
        return {"name": version, "properties": {**self.versions[version], "provisioningState": state}}
