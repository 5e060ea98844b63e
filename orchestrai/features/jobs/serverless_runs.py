"""boto3's client of EMR Serverless as Dagster's Pipes client is given it: one run per token, within a limit, with our errors.

Pipes starts a run, waits and ends it with its own run. What it lacks is here: it waits for ever, starts a second run for a step that is
tried again, raises RuntimeError whatever went wrong, and writes links into the log that let whoever reads them into the Spark console.
"""

from collections.abc import Mapping
from typing import Any

from orchestrai.errors import StorageError
from orchestrai.features.jobs.cluster_job import ClusterFile, Tell
from orchestrai.storage.cloud.cloud_errors import aws_errors
from orchestrai.storage.cloud.job_wait import Clock

RUNNING = ("SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "SUCCESS", "QUEUED")


class WatchedRuns:
    """The calls that Pipes makes; the run of this name that is under way or ended well is taken up instead of a second one."""

    def __init__(self, client: Any, limits: ClusterFile, tell: Tell, clock: Clock | None = None) -> None:
        self._emr, self._limits, self._tell, self._clock = client, limits, tell, clock or Clock()
        self._deadline = 0.0

    def start_job_run(self, **asked: Any) -> Mapping[str, Any]:
        """Start a run, unless one of this name is there: with other words for its messages a token would be refused."""
        allowed = self._limits.time_limit + self._limits.start_wait + self._limits.poll
        self._deadline = self._clock.monotonic() + allowed.total_seconds()
        with aws_errors("AWS to list job runs"):
            pages = self._emr.get_paginator("list_job_runs").paginate(applicationId=asked["applicationId"])
            found = [one for page in pages for one in page["jobRuns"] if one.get("name") == asked["name"]]
        for one in found:
            if one["state"] in RUNNING:
                self._tell(f"EMR Serverless: {one['id']} of an earlier try computes {asked['name']}")
                return {"applicationId": asked["applicationId"], "jobRunId": one["id"]}
        with aws_errors("AWS to start a job run"):
            started: Mapping[str, Any] = self._emr.start_job_run(**asked)
        self._tell(f"EMR Serverless: {started['jobRunId']} computes {asked['name']}")
        return started

    def get_job_run(self, **asked: Any) -> Mapping[str, Any]:
        """How the run stands; raises StorageError when it ended otherwise than well, or past its limit, when it is cancelled."""
        with aws_errors(f"AWS to describe the job run {asked['jobRunId']}"):
            answer: Mapping[str, Any] = self._emr.get_job_run(**asked)
        state = str(answer["jobRun"]["state"])
        run = f"expected job run {asked['jobRunId']} of EMR Serverless to"
        if state not in RUNNING:
            raise StorageError(f"{run} complete, found {state}: {answer['jobRun'].get('stateDetails') or 'no reason given'}")
        if state != "SUCCESS" and self._clock.monotonic() > self._deadline:
            self.cancel_job_run(**asked)
            limit = self._limits.time_limit + self._limits.start_wait
            raise StorageError(
                f"{run} end within {limit}, found it {state}: it was cancelled; raise time_limit or take larger machines"
            )
        return answer

    def cancel_job_run(self, **asked: Any) -> None:
        """Ask for its end."""
        with aws_errors(f"AWS to cancel the job run {asked['jobRunId']}"):
            self._emr.cancel_job_run(**asked)

    def get_application(self, **asked: Any) -> Mapping[str, Any]:
        """The application."""
        with aws_errors(f"AWS to describe the application {asked['applicationId']}"):
            found: Mapping[str, Any] = self._emr.get_application(**asked)
        return found

    def get_dashboard_for_job_run(self, **asked: Any) -> str:
        """No link: it would carry a token into the run's log."""
        return "in the console of EMR Studio"
