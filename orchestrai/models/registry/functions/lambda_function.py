"""The champion in a function of AWS Lambda: a version of its own, tried with the golden rows before the alias moves to it.

Who calls the alias is served by what was there until a version is active and has scored as the champion does.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from orchestrai.errors import ConfigError, ModelError, OrchestraiError, PreconditionFailed
from orchestrai.models.estimators.boosting import BoostedTrees
from orchestrai.models.estimators.lightgbm_trees import LightTrees
from orchestrai.models.registry.functions.lambda_package import HANDLER, difference, golden, package
from orchestrai.models.registry.target_port import Champion, Registered
from orchestrai.models.remote.spec import LambdaServing
from orchestrai.storage.cloud.aws import aws_client
from orchestrai.storage.cloud.cloud_errors import Fault, Meaning, aws_errors
from orchestrai.storage.cloud.job_wait import Clock, Phase, Waiting, phase_of

LATEST = "$LATEST"


class LambdaFunction:
    """See Target. The function, its role, its layers and the alias are somebody else's: only code, versions and the alias change."""

    def __init__(self, where: LambdaServing, *, client: Any = None, clock: Clock | None = None) -> None:
        self.where = where
        self.url = f"lambda://{where.function}"
        self._given = client
        remedy = "deploy again, it is taken up, or raise serve_on.lambda.time_limit"
        kept = f"the alias {where.alias} serves what it served"
        self._waiting = Waiting(where.time_limit, where.poll, remedy, clock or Clock(), ModelError, after_failure=kept)

    @property
    def _api(self) -> Any:
        if self._given is None:
            self._given = aws_client("lambda", region=self.where.region)
        return self._given

    def register(self, champion: Champion) -> Registered:
        """Point the alias at a version with this champion; idempotent. Raises ModelError, StorageError, ConfigError.

        A version that does not become active, or scores otherwise than the champion, is never pointed at. Where the alias answers
        otherwise after it moved, it is put back, and ModelError says so.
        """
        if not isinstance(champion.scorer.model, BoostedTrees | LightTrees):
            raise ModelError(
                f"expected a champion of xgboost or lightgbm for {self.url}, found {champion.scorer.info.kind}: serve it over HTTP instead"
            )
        code = package(champion, champion.scorer.model)
        digest = base64.b64encode(hashlib.sha256(code).digest()).decode()
        alias = self._alias()
        served = str(alias["FunctionVersion"])
        weights = alias.get("RoutingConfig", {}).get("AdditionalVersionWeights")
        if served != LATEST and not weights and self._configuration(served).get("CodeSha256") == digest:
            return self._registered(champion, served, False)
        made = self._published(champion, code, digest)
        self._scores(champion, made)
        self._move(champion, alias, made)
        return self._registered(champion, made, True)

    def seen(self) -> tuple[str, str]:
        """The handler of the newest code, and the version that the alias names; nothing is changed."""
        return str(self._configuration().get("Handler")), str(self._alias()["FunctionVersion"])

    def _registered(self, champion: Champion, version: str, changed: bool) -> Registered:
        where = self.where
        artifact = f"{where.function}:{version}"
        return Registered(self.url, where.function, version, "Active", artifact, changed, where.alias)

    def _alias(self) -> Mapping[str, Any]:
        with self._asked(f"find its alias {self.where.alias}"):
            found: Mapping[str, Any] = self._api.get_alias(FunctionName=self.where.function, Name=self.where.alias)
        return found

    def _configuration(self, version: str = "") -> Mapping[str, Any]:
        qualifier = {"Qualifier": version} if version else {}
        with self._asked("describe it"):
            found: Mapping[str, Any] = self._api.get_function_configuration(FunctionName=self.where.function, **qualifier)
        return found

    def _asked(self, what: str) -> Any:
        expected = f"AWS Lambda to {what}: {self.where.function}"

        def changed(fault: Fault) -> PreconditionFailed | None:
            message = f"expected {expected}, found {fault.words}: somebody else changed it, deploy again"
            return PreconditionFailed(message) if fault.meaning is Meaning.CHANGED else None

        return aws_errors(expected, "look at the function", changed)

    def _published(self, champion: Champion, code: bytes, digest: str) -> str:
        """A version with this code, active; one of a run that died is the same version."""
        latest = self._updated()
        if latest.get("PackageType", "Zip") != "Zip" or latest.get("Handler") != HANDLER:
            raise ConfigError(
                f"expected {self.where.function} to be a Zip package with the handler {HANDLER}, found "
                f"{latest.get('PackageType')} with {latest.get('Handler')}: make it so, with layers of numpy and of xgboost or lightgbm"
            )
        if latest.get("CodeSha256") != digest:
            with self._asked("take new code"):
                self._api.update_function_code(
                    FunctionName=self.where.function, ZipFile=code, RevisionId=latest["RevisionId"]
                )
            latest = self._updated()
        with self._asked("publish a version"):
            # the digest and the revision refuse what somebody else changed in between
            made = self._api.publish_version(
                FunctionName=self.where.function,
                CodeSha256=digest,
                RevisionId=latest["RevisionId"],
                Description=champion.scorer.version,
            )
        version = str(made["Version"])
        self._active(version)
        return version

    def _updated(self) -> Mapping[str, Any]:
        """The newest code's configuration, when nobody's update is under way."""
        described: Mapping[str, Any] = {}

        def look() -> tuple[Phase, str]:
            nonlocal described
            described = self._configuration()
            reason = described.get("LastUpdateStatusReason")
            return phase_of(str(described.get("LastUpdateStatus", "Successful")), "Successful", ("Failed",), reason)

        self._waiting.until_done(self.where.function, look, None, what="update of")
        return described

    def _active(self, version: str) -> None:
        def look() -> tuple[Phase, str]:
            described = self._configuration(version)
            ended = ("Failed", "Inactive", "Deactivated", "Deleting")
            return phase_of(str(described.get("State", "Active")), "Active", ended, described.get("StateReason"))

        self._waiting.until_done(f"{version} of {self.where.function}", look, None, what="version")

    def _scores(self, champion: Champion, qualifier: str) -> None:
        """Raises ModelError unless what a qualifier names scores the golden rows as the champion did when it was trained."""
        rows, expected = golden(champion)
        with self._asked(f"run {qualifier}"):
            answer = self._api.invoke(
                FunctionName=self.where.function, Qualifier=qualifier, Payload=json.dumps({"rows": rows}).encode()
            )
            body = answer["Payload"].read()
        problem = difference(champion, answer.get("FunctionError"), body, expected)
        if problem:
            raise ModelError(
                f"expected {qualifier} of {self.where.function} to score as {champion.scorer.version[7:19]} does, found {problem}: the "
                f"alias {self.where.alias} serves what it served; look at the log group /aws/lambda/{self.where.function} and at its layers"
            )

    def _move(self, champion: Champion, alias: Mapping[str, Any], version: str) -> None:
        moved = self._point(version, alias["RevisionId"], {})
        try:
            self._scores(champion, self.where.alias)
        except OrchestraiError as exc:
            before = str(alias["FunctionVersion"])
            weights = alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
            try:
                self._point(before, moved["RevisionId"], weights)
                left = f"it was put back to {before}"
            except OrchestraiError as again:
                left = f"it could not be put back to {before} ({again.message})"
            raise ModelError(
                f"expected the alias {self.where.alias} of {self.where.function} to score as version {version} did, found otherwise "
                f"({exc.message}); {left}"
            ) from exc

    def _point(self, version: str, revision: str, weights: Mapping[str, float]) -> Mapping[str, Any]:
        with self._asked(f"move its alias {self.where.alias}"):
            moved: Mapping[str, Any] = self._api.update_alias(
                FunctionName=self.where.function,
                Name=self.where.alias,
                FunctionVersion=version,
                RoutingConfig={"AdditionalVersionWeights": dict(weights)},
                RevisionId=revision,
            )
        return moved
