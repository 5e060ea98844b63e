"""A cluster's job is given as many workers as were chosen, in each service's own words, and tells what it used."""

import importlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import ConfigError, StorageError
from orchestrai.features.jobs.cluster_job import ClusterLauncher, SparkJob, read_file
from orchestrai.features.jobs.cluster_size import WorkerBounds, executor_settings, fleets_of, seconds_between
from orchestrai.features.jobs.databricks import DatabricksFile, DatabricksJobs
from orchestrai.features.jobs.dataproc import DataprocBatches, DataprocFile
from orchestrai.features.jobs.emr import EmrClusters, EmrFile, EmrServerless, cluster_parameters, serverless_parameters
from orchestrai.features.jobs.synapse import SynapseBatches, SynapseFile
from orchestrai.ledger.costs.run_meter import metering
from orchestrai.storage.cloud.job_wait import Clock, Phase
from orchestrai_tests.clouds.google_document import google_document
from orchestrai_tests.features.test_clusters import APPLICATION, CLUSTER, JOB, stubbed

SIZED = SparkJob(JOB.token, JOB.script, JOB.url, 7)
AT = datetime(2026, 11, 30, 6, tzinfo=UTC)
DATAPROC = DataprocFile.model_validate(
    {
        "project": "my-project",
        "region": "europe-west4",
        "batch": {"runtimeConfig": {"properties": {"spark.executor.cores": "4"}}},
    }
)
DATABRICKS: dict[str, Any] = {
    "task": {
        "new_cluster": {
            "spark_version": "16.4",
            "node_type_id": "r6g.xlarge",
            "autoscale": {"min_workers": 1, "max_workers": 9},
        }
    }
}
SYNAPSE = SynapseFile.model_validate({"workspace": "wks", "pool": "features", "executors": 3})


def test_emr_is_asked_for_so_many_core_machines_and_the_request_is_one_of_its_model() -> None:
    client, stub = stubbed("emr")
    request = cluster_parameters(CLUSTER.given, SIZED)
    (core,) = [fleet for fleet in request["Instances"]["InstanceFleets"] if fleet["InstanceFleetType"] == "CORE"]
    assert core["TargetSpotCapacity"] == 7
    stub.add_response("run_job_flow", {"JobFlowId": "j-1"}, request)
    with stub:
        client.run_job_flow(**request)
    steady = {"InstanceFleets": [{"InstanceFleetType": "CORE", "TargetOnDemandCapacity": 2}]}
    assert fleets_of(steady, 5)["InstanceFleets"] == [{"InstanceFleetType": "CORE", "TargetOnDemandCapacity": 5}]
    groups = {
        "InstanceGroups": [{"InstanceRole": "MASTER", "InstanceCount": 1}, {"InstanceRole": "CORE", "InstanceCount": 2}]
    }
    assert [one["InstanceCount"] for one in fleets_of(groups, 5)["InstanceGroups"]] == [1, 5]
    assert cluster_parameters(CLUSTER.given, JOB)["Instances"]["InstanceFleets"][1]["TargetSpotCapacity"] == 2


def test_the_other_services_are_told_in_their_own_words() -> None:
    conf = serverless_parameters({"jobDriver": {"sparkSubmit": {"sparkSubmitParameters": "--conf a=b"}}}, SIZED, 90)
    told = conf["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"]
    assert told.startswith("--conf a=b --conf spark.executor.instances=7") and "maxExecutors=7" in told
    assert "sparkSubmitParameters" not in serverless_parameters({}, JOB, 90)["jobDriver"]["sparkSubmit"]
    batch = DataprocBatches(DATAPROC).request(SIZED)
    google_document("dataproc.v1").check(batch, "Batch", "the batch", writing=True)
    assert batch["runtimeConfig"]["properties"] == {"spark.executor.cores": "4", **executor_settings(7)}
    task = DatabricksJobs(DatabricksFile.model_validate(DATABRICKS), api=object()).request(SIZED)["tasks"][0]
    assert task["new_cluster"] == {"spark_version": "16.4", "node_type_id": "r6g.xlarge", "num_workers": 7}
    jobs = importlib.import_module("databricks.sdk.service.jobs")
    assert jobs.SubmitTask.from_dict(task).as_dict() == task
    assert SynapseBatches(SYNAPSE, lambda: "t").request(SIZED)["numExecutors"] == 7
    assert SynapseBatches(SYNAPSE, lambda: "t").request(JOB)["numExecutors"] == 3


def test_emr_tells_how_long_its_cluster_was_there_and_serverless_what_it_bills() -> None:
    client, stub = stubbed("emr")
    timeline = {"CreationDateTime": AT, "EndDateTime": AT + timedelta(minutes=9)}
    status = {"State": "TERMINATED", "StateChangeReason": {"Code": "ALL_STEPS_COMPLETED"}, "Timeline": timeline}
    stub.add_response("describe_cluster", {"Cluster": {"Id": "j-1", "Status": status, "NormalizedInstanceHours": 24}})
    emr = EmrClusters(CLUSTER, client)
    assert emr.usage("j-1").seconds == 0.0, "nothing was looked at yet, and nothing is asked for it"
    with stub:
        emr.phase("j-1")
    assert (emr.usage("j-1").seconds, emr.usage("j-1").units) == (540.0, {"normalized_instance_hour": 24.0})
    client, stub = stubbed("emr-serverless")
    run = {
        "applicationId": "00abc", "jobRunId": "1", "arn": "arn:aws:emr-serverless:eu-west-1:123456789012:/applications/00abc",
        "createdBy": "arn:aws:iam::123456789012:user/x", "createdAt": 0, "updatedAt": 0, "state": "SUCCESS", "stateDetails": "done",
        "executionRole": "arn:aws:iam::123456789012:role/features", "releaseLabel": "emr-7.0",
        "jobDriver": {"sparkSubmit": {"entryPoint": JOB.script}}, "totalExecutionDurationSeconds": 300,
        "totalResourceUtilization": {"vCPUHour": 0.3, "memoryGBHour": 1.2},
        "billedResourceUtilization": {"vCPUHour": 0.5, "memoryGBHour": 2.0, "storageGBHour": 0.0},
    }  # fmt: skip
    stub.add_response("get_job_run", {"jobRun": run})
    serverless = EmrServerless(APPLICATION, client)
    with stub:
        serverless.phase("1")
    used = serverless.usage("1")
    assert (used.seconds, used.units) == (300.0, {"vcpu_hour": 0.5, "gb_hour": 2.0})


def test_the_others_tell_what_their_last_answer_said(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = DataprocBatches(DATAPROC)
    batch: dict[str, Any] = {
        "state": "SUCCEEDED",
        "createTime": "2026-11-30T06:00:00.123456789Z",
        "stateTime": "2026-11-30T06:05:00.123456789Z",
        "runtimeInfo": {"approximateUsage": {"milliDcuSeconds": "7200000", "shuffleStorageGbSeconds": "1"}},
    }
    schemas = google_document("dataproc.v1").schemas
    assert {*batch} <= {*schemas["Batch"]["properties"]} and "approximateUsage" in schemas["RuntimeInfo"]["properties"]
    assert schemas["UsageMetrics"]["properties"]["milliDcuSeconds"]["type"] == "string"
    monkeypatch.setattr(batches, "_find", lambda run: batch)
    batches.phase("b")
    assert (batches.usage("b").seconds, batches.usage("b").units) == (300.0, {"dcu_hour": 2.0})

    class Workspace:
        def do(self, *_: object, **__: object) -> dict[str, Any]:
            state = {"life_cycle_state": "TERMINATED", "result_state": "SUCCESS"}
            return {"state": state, "setup_duration": 60_000, "execution_duration": 30_500, "cleanup_duration": 0}

    databricks = DatabricksJobs(DatabricksFile.model_validate(DATABRICKS), api=Workspace())
    databricks.phase("11")
    assert (databricks.usage("11").seconds, databricks.usage("11").instance_type) == (90.5, "r6g.xlarge")
    synapse = SynapseBatches(SYNAPSE, lambda: "t")
    info = {"runningAt": "2026-11-30T06:00:00+00:00", "successAt": "2026-11-30T06:02:00+00:00", "deadAt": None}
    monkeypatch.setattr(synapse._api, "call", lambda *_, **__: {"state": "success", "result": "Succeeded", "livyInfo": info})
    synapse.phase("3")
    assert (synapse.usage("3").seconds, synapse.usage("3").instances) == (120.0, 3)


class Service:
    """A cluster whose jobs end as told."""

    what = "Service"

    def __init__(self, phase: Phase) -> None:
        self._phase = phase
        self.started: list[SparkJob] = []

    def start(self, job: SparkJob) -> str:
        self.started.append(job)
        return "run-1"

    def phase(self, run: str) -> tuple[Phase, str]:
        return self._phase, "as told"

    def cancel(self, run: str) -> None: ...

    usage = EmrServerless(APPLICATION, object()).usage


def test_a_launcher_notes_the_job_also_one_that_failed_and_starts_it_with_what_was_chosen() -> None:
    limits = EmrFile.model_validate({"workers": {"least": 2, "most": 9}})
    asked: list[WorkerBounds] = []

    def size(bounds: WorkerBounds) -> int:
        asked.append(bounds)
        return 5

    told: list[str] = []
    service = Service("completed")
    with metering("a") as meter:
        ClusterLauncher(service, limits, "s", tell=told.append, clock=Clock(lambda _: None), size=size)(JOB.url)
    assert asked == [WorkerBounds(least=2, most=9)] and service.started[0].workers == 5 and "with 5 workers" in told[0]
    assert meter is not None and [(job.name, job.instances) for job in meter.jobs.values()] == [("run-1", 5)]
    broken = Service("ended")
    with metering("a") as meter, pytest.raises(StorageError):
        ClusterLauncher(broken, limits, "s", clock=Clock(lambda _: None))(JOB.url)
    assert broken.started[0].workers == 2, "the fewest, where nobody chooses"
    assert meter is not None and set(meter.jobs) == {"run-1"}
    plain = Service("completed")
    ClusterLauncher(plain, CLUSTER, "s", clock=Clock(lambda _: None), size=size)(JOB.url)
    assert plain.started[0].workers == 0 and len(asked) == 1, "without bounds the file says how many"


@pytest.mark.parametrize(
    ("service", "changes", "told"),
    [
        ("emr", {"workers": {"least": 5, "most": 2}}, "workers: .*at least 5"),
        ("emr", {"workers": {"least": 0, "most": 2}}, "workers.least"),
        (
            "databricks",
            {"task": {"existing_cluster_id": "x"}, "workers": {"least": 1, "most": 2}},
            "an existing cluster has its size",
        ),
    ],
)
def test_wrong_bounds_are_told(tmp_path: Path, service: str, changes: dict[str, Any], told: str) -> None:
    file = tmp_path / f"{service}.json"
    file.write_text(json.dumps({**(DATABRICKS if service == "databricks" else {}), **changes}))
    with pytest.raises(ConfigError, match=told):
        read_file(DatabricksFile if service == "databricks" else EmrFile, service, str(file))


def test_moments_that_a_service_does_not_tell_are_no_seconds() -> None:
    assert (
        seconds_between(None, AT) == seconds_between("soon", "later") == seconds_between(AT, AT.replace(tzinfo=None)) == 0.0
    )
    assert seconds_between(AT, AT - timedelta(1)) == 0.0
