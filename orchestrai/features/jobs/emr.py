"""Spark jobs on Amazon EMR: a cluster of its own per job, or a job run of EMR Serverless."""

from typing import Any

from pydantic import ConfigDict, Field

from orchestrai.features.jobs.cluster_job import ClusterFile, SparkJob
from orchestrai.features.jobs.cluster_size import executor_settings, fleets_of, seconds_between
from orchestrai.ledger.costs.usage import JobUsage
from orchestrai.storage.cloud.aws import aws_client
from orchestrai.storage.cloud.cloud_errors import aws_errors
from orchestrai.storage.cloud.job_wait import Phase, phase_of


class EmrFile(ClusterFile):
    """What `run_job_flow` or `start_job_run` takes, as AWS writes it, beside our limits.

    `messages` is the S3 folder over which a job on EMR Serverless tells Dagster of itself, where the exchange is none.
    """

    model_config = ConfigDict(extra="allow")

    region: str | None = None
    messages: str | None = Field(default=None, pattern=r"^s3://[^/\s]+(/[^\s]*)?$")

    @property
    def given(self) -> dict[str, Any]:
        """The parameters for AWS."""
        return dict(self.model_extra or {})


class EmrClusters:
    """Clusters that end after their one job, found by their name: `run_job_flow` knows no token."""

    what = "EMR"

    def __init__(self, file: EmrFile, client: Any = None) -> None:
        self._file = file
        self._emr = client or aws_client("emr", region=file.region)
        self._seen: dict[str, Any] = {}

    def start(self, job: SparkJob) -> str:
        """Start the cluster with the job, unless one of this name was started."""
        with aws_errors("AWS to list clusters"):
            for page in self._emr.get_paginator("list_clusters").paginate():
                for one in page["Clusters"]:
                    if one["Name"] == job.token:
                        return str(one["Id"])
        with aws_errors("AWS to start a cluster"):
            return str(self._emr.run_job_flow(**cluster_parameters(self._file.given, job))["JobFlowId"])

    def phase(self, run: str) -> tuple[Phase, str]:
        """How the cluster stands; it ends well when its job did."""
        with aws_errors(f"AWS to describe the cluster {run}"):
            self._seen = self._emr.describe_cluster(ClusterId=run)["Cluster"]
        status = self._seen["Status"]
        state, reason = str(status["State"]), status.get("StateChangeReason", {})
        if state not in ("TERMINATED", "TERMINATED_WITH_ERRORS"):
            return "running", state
        if reason.get("Code") in (None, "ALL_STEPS_COMPLETED"):
            return "completed", state
        return "ended", f"{reason['Code']}: {reason.get('Message') or 'no reason given'}"

    def cancel(self, run: str) -> None:
        """End the cluster."""
        with aws_errors(f"AWS to terminate the cluster {run}"):
            self._emr.terminate_job_flows(JobFlowIds=[run])

    def usage(self, run: str) -> JobUsage:
        """How long the cluster was there, and its normalized instance hours."""
        timeline = self._seen.get("Status", {}).get("Timeline", {})
        seconds = seconds_between(timeline.get("CreationDateTime"), timeline.get("EndDateTime"))
        hours = self._seen.get("NormalizedInstanceHours")
        units = {"normalized_instance_hour": float(hours)} if isinstance(hours, int | float) else {}
        return JobUsage(run, "emr", seconds, units=units)


class EmrServerless:
    """Job runs of one application, one per token."""

    what = "EMR Serverless"

    def __init__(self, file: EmrFile, client: Any = None) -> None:
        self._file = file
        self._application = str(file.given.get("applicationId", ""))
        self._emr = client or aws_client("emr-serverless", region=file.region)
        self._seen: dict[str, Any] = {}

    def start(self, job: SparkJob) -> str:
        """Start the run; AWS answers with the same run for the same token."""
        minutes = max(1, round(self._file.time_limit.total_seconds() / 60))
        with aws_errors("AWS to start a job run"):
            answer = self._emr.start_job_run(**serverless_parameters(self._file.given, job, minutes))
        return str(answer["jobRunId"])

    def phase(self, run: str) -> tuple[Phase, str]:
        """How the run stands."""
        with aws_errors(f"AWS to describe the job run {run}"):
            job_run = self._seen = self._emr.get_job_run(applicationId=self._application, jobRunId=run)["jobRun"]
        return phase_of(str(job_run["state"]), "SUCCESS", ("FAILED", "CANCELLED"), job_run.get("stateDetails"))

    def cancel(self, run: str) -> None:
        """Ask for its end."""
        with aws_errors(f"AWS to cancel the job run {run}"):
            self._emr.cancel_job_run(applicationId=self._application, jobRunId=run)

    def usage(self, run: str) -> JobUsage:
        """What AWS bills of the run, else what it used."""
        told = self._seen.get("billedResourceUtilization") or self._seen.get("totalResourceUtilization") or {}
        names = {"vcpu_hour": "vCPUHour", "gb_hour": "memoryGBHour"}
        units = {unit: float(told[name]) for unit, name in names.items() if isinstance(told.get(name), int | float)}
        return JobUsage(run, "emr-serverless", float(self._seen.get("totalExecutionDurationSeconds") or 0), units=units)


def cluster_parameters(given: dict[str, Any], job: SparkJob) -> dict[str, Any]:
    """`run_job_flow` for a cluster of its own that ends after the job; workers are spot instances unless the file says more.

    The file gives `ReleaseLabel`, `ServiceRole`, `JobFlowRole`, and whatever else EMR takes.
    """
    instances = {
        "InstanceFleets": [
            {
                "InstanceFleetType": "MASTER",
                "TargetOnDemandCapacity": 1,
                "InstanceTypeConfigs": [{"InstanceType": "m6g.xlarge"}],
            },
            {
                "InstanceFleetType": "CORE",
                "TargetSpotCapacity": 2,
                "InstanceTypeConfigs": [{"InstanceType": kind} for kind in ("r6g.2xlarge", "r7g.2xlarge", "r6gd.2xlarge")],
                "LaunchSpecifications": {
                    "SpotSpecification": {
                        "TimeoutDurationMinutes": 20,
                        "TimeoutAction": "SWITCH_TO_ON_DEMAND",
                        "AllocationStrategy": "price-capacity-optimized",
                    }
                },
            },
        ],
        **given.get("Instances", {}),
        "KeepJobFlowAliveWhenNoSteps": False,
        "TerminationProtected": False,
    }
    if job.workers:
        instances = fleets_of(instances, job.workers)
    submit = ["spark-submit", "--deploy-mode", "cluster", job.script, *job.arguments]
    step = {
        "Name": "features",
        "ActionOnFailure": "TERMINATE_CLUSTER",
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": submit},
    }
    return {
        "Applications": [{"Name": "Spark"}],
        "AutoTerminationPolicy": {"IdleTimeout": 900},
        **given,
        "Name": job.token,
        "Instances": instances,
        "Steps": [step],
    }


def serverless_parameters(given: dict[str, Any], job: SparkJob, minutes: int) -> dict[str, Any]:
    """`start_job_run`; the file gives `applicationId` and `executionRoleArn`."""
    submit = given.get("jobDriver", {}).get("sparkSubmit", {})
    if job.workers:
        sized = " ".join(f"--conf {name}={value}" for name, value in executor_settings(job.workers).items())
        submit = {**submit, "sparkSubmitParameters": f"{submit.get('sparkSubmitParameters', '')} {sized}".strip()}
    return {
        **given,
        "name": job.token,
        "clientToken": job.token,
        "executionTimeoutMinutes": minutes,
        "jobDriver": {"sparkSubmit": {**submit, "entryPoint": job.script, "entryPointArguments": job.arguments}},
    }
