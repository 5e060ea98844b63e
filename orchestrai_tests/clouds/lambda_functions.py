"""AWS Lambda by its model: code that is taken in time, versions that become active, aliases by revision; a version runs in this process."""

import base64
import hashlib
import importlib.util
import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrai_tests.clouds.aws_model import Given
from orchestrai_tests.clouds.aws_resources import Refused

ARN = "arn:aws:lambda:us-east-1:123456789012:function:"
LATEST = "$LATEST"


def zipped(**files: str) -> bytes:
    """A package of files."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as packed:
        for name, text in files.items():
            packed.writestr(f"{name}.py", text)
    return sink.getvalue()


@dataclass
class Version:
    """Code under a number, and the states that it is still to pass, one each time that it is described."""

    number: str
    code: bytes
    states: list[str] = field(default_factory=list)
    updates: list[str] = field(default_factory=list)
    state: str = "Active"
    update: str = "Successful"
    reason: str = ""

    @property
    def digest(self) -> str:
        return base64.b64encode(hashlib.sha256(self.code).digest()).decode()

    def described(self) -> None:
        """One state on."""
        self.state = self.states.pop(0) if self.states else self.state
        self.update = self.updates.pop(0) if self.updates else self.update


@dataclass
class LambdaFunctions:
    """One function with an alias `live`; `updates` and `states` are what the next code and the next version go through."""

    folder: Path
    name: str = "churn-batch"
    handler: str = "orchestrai_batch.handler"
    kind: str = "Zip"
    updates: list[str] = field(default_factory=lambda: ["InProgress", "Successful"])
    states: list[str] = field(default_factory=lambda: ["Pending", "Active"])
    versions: dict[str, Version] = field(default_factory=lambda: {LATEST: Version(LATEST, zipped(orchestrai_batch=""))})
    alias: Given = field(default_factory=lambda: {"FunctionVersion": LATEST})
    # of the function and of its alias: each change is a new one, also that of a state
    revisions: dict[str, int] = field(default_factory=lambda: {"function": 1, "alias": 1})
    aliases: list[str] = field(default_factory=list)
    # what the function's code is told to answer in place of its own, by what it is called
    spoiled: dict[str, bytes] = field(default_factory=dict)

    def answer(self, name: str, region: str, given: Given) -> Given:
        """One operation."""
        if given["FunctionName"] != self.name or given.get("Name", "live") != "live":
            raise Refused("ResourceNotFoundException", f"Function not found: {ARN}{given['FunctionName']}", 404)
        found: Given = getattr(self, f"_{name}")(given)
        return found

    def _GetAlias(self, given: Given) -> Given:
        return {"AliasArn": f"{ARN}{self.name}:live", "Name": "live", "RevisionId": self._revision("alias"), **self.alias}

    def _UpdateAlias(self, given: Given) -> Given:
        self._same_revision("alias", given)
        if given["FunctionVersion"] not in self.versions:
            raise Refused("ResourceNotFoundException", f"no version {given['FunctionVersion']}", 404)
        self.revisions["alias"] += 1
        self.alias = {name: given[name] for name in ("FunctionVersion", "RoutingConfig") if name in given}
        self.aliases.append(given["FunctionVersion"])
        return self._GetAlias(given)

    def _GetFunctionConfiguration(self, given: Given) -> Given:
        version = self._version(given.get("Qualifier", LATEST))
        self.revisions["function"] += bool(version.updates)
        version.described()
        return self._shown(version)

    def _UpdateFunctionCode(self, given: Given) -> Given:
        latest = self.versions[LATEST]
        self._same_revision("function", given)
        if latest.update == "InProgress":
            raise Refused("ResourceConflictException", "an update is in progress", 409)
        self.revisions["function"] += 1
        latest.code, latest.updates = given["ZipFile"], list(self.updates)
        latest.described()
        return self._shown(latest)

    def _PublishVersion(self, given: Given) -> Given:
        latest = self.versions[LATEST]
        self._same_revision("function", given)
        if given["CodeSha256"] != latest.digest:
            raise Refused("InvalidParameterValueException", "the code is another")
        numbers = [number for number in self.versions if number != LATEST]
        newest = self.versions[numbers[-1]] if numbers else None
        if newest is None or newest.digest != latest.digest:
            newest = Version(str(len(numbers) + 1), latest.code, list(self.states))
            newest.described()
            self.versions[newest.number] = newest
        return self._shown(newest)

    def _Invoke(self, given: Given) -> Given:
        called = given["Qualifier"]
        version = self._version(called)
        if version.state != "Active":
            raise Refused("ResourceConflictException", f"the function is {version.state}", 409)
        told = {"StatusCode": 200, "ExecutedVersion": version.number}
        if called in self.spoiled:
            return {**told, "Payload": self.spoiled[called]}
        try:
            answer = self._loaded(version).handler(json.loads(given["Payload"]), None)
        except (ValueError, KeyError, AttributeError) as exc:
            said = {"errorType": type(exc).__name__, "errorMessage": str(exc)}
            return {**told, "FunctionError": "Unhandled", "Payload": json.dumps(said).encode()}
        return {**told, "Payload": json.dumps(answer).encode()}

    def _loaded(self, version: Version) -> Any:
        """The code of a version, as a container of the function loads it."""
        folder = self.folder / f"version-{version.number.strip('$')}"
        if not folder.exists():
            zipfile.ZipFile(io.BytesIO(version.code)).extractall(folder)
        spec = importlib.util.spec_from_file_location(f"loaded_{version.number}", folder / "orchestrai_batch.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def _version(self, qualifier: str) -> Version:
        number = self.alias["FunctionVersion"] if qualifier == "live" else qualifier
        if number not in self.versions:
            raise Refused("ResourceNotFoundException", f"no version {number}", 404)
        return self.versions[number]

    def _revision(self, kind: str) -> str:
        return f"00000000-0000-0000-{len(kind):04d}-{self.revisions[kind]:012d}"

    def _same_revision(self, kind: str, given: Given) -> None:
        if given.get("RevisionId", self._revision(kind)) != self._revision(kind):
            raise Refused("PreconditionFailedException", "the revision is another", 412)

    def _shown(self, version: Version) -> Given:
        return {
            "FunctionName": self.name,
            "FunctionArn": f"{ARN}{self.name}" + ("" if version.number == LATEST else f":{version.number}"),
            "Runtime": "python3.13",
            "Handler": self.handler,
            "PackageType": self.kind,
            "CodeSize": len(version.code),
            "CodeSha256": version.digest,
            "Version": version.number,
            "RevisionId": self._revision("function"),
            "State": version.state,
            "LastUpdateStatus": version.update,
            **({"StateReason": version.reason, "LastUpdateStatusReason": version.reason} if version.reason else {}),
        }
