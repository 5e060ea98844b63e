"""EMR Serverless by its model, with a process of this machine for a driver: its variables are those that `sparkSubmitParameters` set."""

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from orchestrai_tests.clouds.aws_model import Given
from orchestrai_tests.clouds.aws_resources import Refused
from orchestrai_tests.clouds.aws_server import AwsServer

APPLICATION = "00abc"
ENVIRONMENT = re.compile(r"spark\.emr-serverless\.driverEnv\.([A-Z_]+)=(\S+)")
NOW = datetime(2026, 11, 23, tzinfo=UTC)


@dataclass
class Driver:
    """A run, and its process once it was looked at."""

    id: str
    given: Given
    state: str = "SUBMITTED"
    process: subprocess.Popen[bytes] | None = None


@dataclass
class EmrServerlessRuns:
    """What plays the service: `command` says what a driver runs, given the parameters of its run."""

    command: Callable[[Given], list[str]]
    runs: list[Driver] = field(default_factory=list)
    endless: bool = False

    def answer(self, name: str, region: str, given: Given) -> Given:
        """One operation."""
        if given["applicationId"] != APPLICATION:
            raise Refused("ResourceNotFoundException", "no such application", 404)
        found: Given = getattr(self, f"_{name}")(given)
        return found

    def _StartJobRun(self, given: Given) -> Given:
        known = next((one for one in self.runs if one.given["clientToken"] == given["clientToken"]), None)
        if known is not None and known.given != given:
            raise Refused("ConflictException", "the token was used with other parameters", 409)
        driver = known or Driver(f"run{len(self.runs) + 1}", given)
        if known is None:
            self.runs.append(driver)
        return {"applicationId": APPLICATION, "jobRunId": driver.id, "arn": self._arn(driver)}

    def _arn(self, driver: Driver) -> str:
        return f"arn:aws:emr-serverless:us-east-1:123456789012:/applications/{APPLICATION}/jobruns/{driver.id}"

    def _ListJobRuns(self, given: Given) -> Given:
        return {"jobRuns": [self._shown(one, "id") for one in self.runs]}

    def _GetJobRun(self, given: Given) -> Given:
        driver = self._find(given)
        self._move(driver)
        return {"jobRun": {**self._shown(driver, "jobRunId"), "jobDriver": driver.given["jobDriver"]}}

    def _GetApplication(self, given: Given) -> Given:
        made = {"type": "Spark", "releaseLabel": "emr-spark-8.0.0", "state": "STARTED", "createdAt": NOW, "updatedAt": NOW}
        return {
            "application": {"applicationId": APPLICATION, "arn": self._arn(Driver("x", {})).partition("/jobruns")[0], **made}
        }

    def _CancelJobRun(self, given: Given) -> Given:
        driver = self._find(given)
        driver.state = "CANCELLED"
        if driver.process is not None:
            driver.process.kill()
            driver.process.wait()
        return {"applicationId": APPLICATION, "jobRunId": driver.id}

    def _find(self, given: Given) -> Driver:
        found = next((one for one in self.runs if one.id == given["jobRunId"]), None)
        if found is None:
            raise Refused("ResourceNotFoundException", f"no run {given['jobRunId']}", 404)
        return found

    def _move(self, driver: Driver) -> None:
        """One state on: it waits once, then its process decides."""
        if driver.state == "SUBMITTED":
            driver.state = "RUNNING"
            if not self.endless:
                parameters = driver.given["jobDriver"]["sparkSubmit"].get("sparkSubmitParameters", "")
                variables = dict(ENVIRONMENT.findall(parameters))
                driver.process = subprocess.Popen(self.command(driver.given), env={**os.environ, **variables})
        elif driver.state == "RUNNING" and driver.process is not None and driver.process.poll() is not None:
            driver.state = "FAILED" if driver.process.returncode else "SUCCESS"

    def _shown(self, driver: Driver, key: str) -> Given:
        return {
            "applicationId": APPLICATION, key: driver.id, "name": driver.given["name"], "arn": self._arn(driver),
            "createdBy": "arn:aws:iam::123456789012:user/x", "createdAt": NOW, "updatedAt": NOW,
            "executionRole": driver.given["executionRoleArn"], "state": driver.state, "stateDetails": "see its log",
            "releaseLabel": "emr-spark-8.0.0",
        }  # fmt: skip

    def close(self) -> None:
        """End what still runs."""
        for driver in self.runs:
            if driver.process is not None and driver.process.poll() is None:
                driver.process.kill()
                driver.process.wait()


def python_files(given: Given) -> list[str]:
    """What the run asks spark-submit to put on the path."""
    words = shlex.split(given["jobDriver"]["sparkSubmit"].get("sparkSubmitParameters", ""))
    return [words[place + 1] for place, word in enumerate(words) if word == "--py-files"]


def play(server: AwsServer, command: Callable[[Given], list[str]]) -> EmrServerlessRuns:
    """Let a server's EMR Serverless run processes."""
    runs = EmrServerlessRuns(command)
    server.answers["emr-serverless"] = runs.answer
    return runs
