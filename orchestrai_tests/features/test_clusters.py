"""Databricks, Dataproc, Synapse and EMR behind one port.

Recorded, and held against what is published: the fields, paths and states of the Jobs API 2.2 (databricks-sdk's own models), of
Dataproc v1 (Google's discovery document), of Synapse's batches (the definitions of Microsoft's sparkJob.json, 2019-11-01-preview)
and of both EMR services (botocore's models). Databricks' SDK, httpx and botocore send the requests; the answers come from loopback.
Not proven: anything that only those services do, such as machines, permissions and how fast a batch appears in Synapse's list.
"""

import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from orchestrai.conformance.generated_views import differing_bits, nasty_files, query_of, table_of
from orchestrai.defs.spark.spark_transport import launcher
from orchestrai.errors import (
    ConfigError,
    DigestMismatch,
    FeatureViewError,
    MissingExtra,
    StorageError,
    TransientStorageError,
)
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.jobs.cluster_job import ClusterLauncher, SparkJob, read_file
from orchestrai.features.jobs.databricks import DatabricksFile, DatabricksJobs
from orchestrai.features.jobs.dataproc import DataprocBatches, DataprocFile
from orchestrai.features.jobs.emr import EmrClusters, EmrFile, EmrServerless, cluster_parameters, serverless_parameters
from orchestrai.features.jobs.exchange import RemoteSparkEngine, sent_script
from orchestrai.features.jobs.launchers import cluster_launcher
from orchestrai.features.jobs.synapse import SynapseBatches, SynapseFile
from orchestrai.ledger.ledger import Ledger
from orchestrai.pipeline.engines import cluster_url
from orchestrai.settings import Settings
from orchestrai.storage.cloud.job_wait import Clock
from orchestrai.storage.url import open_store
from orchestrai_tests.clouds.google_document import google_document
from orchestrai_tests.features.battery import INTERPRETED
from orchestrai_tests.features.clouds import Cloud, Run, script, serving
from orchestrai_tests.features.conftest import READINGS, Publish, by_hour, readings
from orchestrai_tests.features.test_compute import rolling
from orchestrai_tests.features.test_parity import shipped
from orchestrai_tests.running import compute

SERVICES = ["databricks", "dataproc", "synapse"]
EACH = pytest.mark.parametrize("service", SERVICES)
JOB = SparkJob("orchestrai-0f0f0f0f0f0f0f0f0f0f0f0f-1", "gs://b/x/scripts/1/spark_job.py", "gs://b/x/jobs/1/job.json")
URL = "file:///x/jobs/orchestrai-1-1/job.json"


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    # the SDK waits between its tries and gives up after five minutes: by a clock of its own, a minute a look
    ticks = iter(range(10**9))
    monkeypatch.setattr("databricks.sdk.clock.RealClock.time", lambda self: 60.0 * next(ticks))
    monkeypatch.setattr("databricks.sdk.clock.RealClock.sleep", lambda self, seconds: None)
    monkeypatch.setenv("WORKSPACE_TOKEN", "secret-token")
    monkeypatch.setattr("orchestrai.features.jobs.synapse._token", lambda: "secret-token")
    monkeypatch.setattr(DataprocBatches.__init__, "__defaults__", (lambda: "secret-token",))
    with serving(Cloud(execute=lambda run: 0)) as cloud:
        yield cloud


def parameters(service: str, cloud: Cloud, **changes: Any) -> dict[str, Any]:
    """What a user writes into the file."""
    files: dict[str, dict[str, Any]] = {
        "databricks": {
            "host": cloud.url,
            "token": "env://WORKSPACE_TOKEN",
            "task": {"new_cluster": {"spark_version": "16.4.x-scala2.12", "node_type_id": "r6g.xlarge", "num_workers": 2}},
            "run": {"run_as": {"service_principal_name": "features"}},
        },
        "dataproc": {
            "project": "my-project",
            "region": "europe-west4",
            "endpoint": cloud.url,
            "batch": {
                "runtimeConfig": {"version": "3.0", "properties": {"spark.executor.cores": "4"}},
                "environmentConfig": {"executionConfig": {"serviceAccount": "features@my-project.iam.gserviceaccount.com"}},
            },
        },
        "synapse": {
            "workspace": "wks", "pool": "features", "endpoint": cloud.url, "batch": {"conf": {"spark.executor.x": "1"}},
        },
    }  # fmt: skip
    return {**files[service], **changes}


def written(folder: Path, service: str, cloud: Cloud, **changes: Any) -> str:
    path = folder / f"{service}.json"
    path.write_text(json.dumps(parameters(service, cloud, **changes)))
    return str(path)


@pytest.fixture
def interpreted(spark_session: Any) -> Iterator[None]:
    """Spark without generated code, which takes longer to compile than these rows to compute."""
    for name, value in INTERPRETED.items():
        spark_session.conf.set(name, value)
    yield
    for name in INTERPRETED:
        spark_session.conf.unset(name)


@pytest.fixture
def launch(tmp_path: Path, cloud: Cloud) -> Callable[..., ClusterLauncher]:
    """A launcher of a service, whose clock runs a minute per look."""

    def make(service: str, *, sleep: Callable[[float], None] | None = None, **changes: Any) -> ClusterLauncher:
        now = [0.0]

        def minute(_: float) -> None:
            now[0] += 60

        file = written(tmp_path, service, cloud, **changes)
        clocks: dict[str, Any] = {"clock": Clock(sleep or minute, lambda: now[0])}
        return cluster_launcher(service, file, "file:///x/spark_job.py", **clocks)

    return make


# -- a job from its start to its receipt --------------------------------------------------------------------------


@pytest.mark.thorough("launchers are tried without the views")
@pytest.mark.spark
def test_features_computed_on_databricks_are_equal_to_the_byte_and_the_run_tells_of_the_job(
    ledger: Ledger, publish: Publish, tmp_path: Path, cloud: Cloud, interpreted: None
) -> None:
    cloud.execute, cloud.looks = None, 2
    exchange = str(tmp_path / "exchange")
    publish("p/readings/restored", READINGS, by_hour(readings(3, 120)))
    settings = Settings(
        home=tmp_path, spark_exchange=exchange, spark_url=f"databricks:{written(tmp_path, 'databricks', cloud, poll='1s')}"
    )

    def features(asset: str, engine: Any) -> Any:
        return compute(
            ledger, rolling(), asset=asset, inputs={"readings": "p/readings/restored"}, grain="hour", partitions=None, engine=engine
        )  # fmt: skip

    @dg.asset
    def there(context: dg.AssetExecutionContext) -> None:
        start = launcher("databricks", settings, context)
        features("p/there/features", RemoteSparkEngine(open_store(exchange), cluster_url(exchange), start, "databricks"))

    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([there], instance=instance)
        told = [record.user_message for record in instance.all_logs(done.run_id)]
    assert done.success
    features("p/here/features", DuckDbEngine())
    assert ledger.open("p/there/features").version == ledger.open("p/here/features").version
    receipt: Any = ledger.open("p/there/features").receipt(next(iter(ledger.open("p/there/features").partitions)))
    assert str(receipt.parameters["engine"]).startswith("spark 4") and receipt.parameters["engine"].endswith("on databricks")
    assert any("Databricks: 1000 computes orchestrai-" in message for message in told)
    assert not list(open_store(exchange).list("jobs/")) and cloud.tokens == {"Bearer secret-token"}


@pytest.mark.spark
@pytest.mark.parametrize("service", ["dataproc", "synapse"])
def test_the_others_give_the_same_bits(tmp_path: Path, cloud: Cloud, interpreted: None, service: str) -> None:
    cloud.execute = None
    query, engine = view_and_engine(tmp_path, cloud, service)
    assert differing_bits(table_of(DuckDbEngine(), query), table_of(engine, query)) == []
    assert engine.name.startswith("spark 4") and not list((tmp_path / "exchange").glob("jobs/*"))


@pytest.mark.spark
def test_a_byte_that_changed_on_the_way_is_found_by_the_job_before_the_view_sees_it(
    tmp_path: Path, cloud: Cloud, interpreted: None
) -> None:
    query, engine = view_and_engine(tmp_path, cloud, "dataproc")

    def damaged(run: Run) -> int:
        (sent,) = (tmp_path / "exchange" / "in").glob("*.parquet")
        sent.write_bytes(sent.read_bytes()[:-9] + b"x" + sent.read_bytes()[-8:])
        return script(run)

    cloud.execute = damaged
    with pytest.raises(DigestMismatch, match="to be the bytes that were verified"):
        table_of(engine, query)
    assert [run.state for run in cloud.runs] == ["failed"]


def view_and_engine(tmp_path: Path, cloud: Cloud, service: str) -> tuple[Any, RemoteSparkEngine]:
    exchange = str(tmp_path / "exchange")
    sent = sent_script(open_store(exchange), cluster_url(exchange))
    start = cluster_launcher(service, written(tmp_path, service, cloud), sent, clock=Clock(lambda _: None))
    view = shipped("device_rolling", "telemetry", **{"from": "readings"}, entity="device_id", event_time="ts")
    engine = RemoteSparkEngine(open_store(exchange), cluster_url(exchange), start, service)
    return query_of(view, nasty_files(tmp_path)), engine


def receipt(run: Run, tmp_path: Path, **changes: Any) -> int:
    """What a job leaves, without a Spark: the receipt of an empty result."""
    folder = tmp_path / "exchange" / "jobs" / run.token
    job = json.loads((folder / "job.json").read_text())
    (folder / "result").mkdir(exist_ok=True)
    found = {"spark": "4.0.0", "job": job["id"], "inputs": job["sha256"], "outputs": {}, **changes}
    (folder / "result" / "part-0.txt").write_text(json.dumps(found))
    return 1 if "error" in found else 0


@EACH
def test_the_reason_that_a_failed_job_left_is_what_is_told(tmp_path: Path, cloud: Cloud, service: str) -> None:
    cloud.execute = lambda run: receipt(run, tmp_path, error="[ARITHMETIC_OVERFLOW] long overflow")
    query, engine = view_and_engine(tmp_path, cloud, service)
    with pytest.raises(FeatureViewError, match="fixed-point scale"):
        table_of(engine, query)


@EACH
def test_a_job_that_failed_without_a_word_is_told_in_the_words_of_the_service_and_the_next_try_starts_another(
    tmp_path: Path, cloud: Cloud, service: str
) -> None:
    cloud.execute = lambda run: 1
    query, engine = view_and_engine(tmp_path, cloud, service)
    with pytest.raises(StorageError, match=r"to complete, found .*(FAILED|Failed): see its log"):
        table_of(engine, query)
    cloud.execute, cloud.looks = lambda run: receipt(run, tmp_path), 1
    assert table_of(engine, query).num_rows == 0
    assert [run.token[-2:] for run in cloud.runs] == ["-1", "-2"]
    assert cloud.runs[0].token[:-1] == cloud.runs[1].token[:-1] and not list(
        open_store(str(tmp_path / "exchange")).list("jobs/")
    )


@EACH
def test_after_a_cancelled_job_the_next_try_starts_another(tmp_path: Path, cloud: Cloud, service: str) -> None:
    cloud.execute, cloud.looks = lambda run: receipt(run, tmp_path), 2
    query, engine = view_and_engine(tmp_path, cloud, service)

    def ended(_: float) -> None:
        raise KeyboardInterrupt

    started: Any = engine._launch
    object.__setattr__(started._waiting, "clock", Clock(ended))
    with pytest.raises(KeyboardInterrupt):
        table_of(engine, query)
    cloud.looks = 1
    assert table_of(engine, query).num_rows == 0
    assert [(run.token[-2:], run.state) for run in cloud.runs] == [("-1", "cancelled"), ("-2", "done")]


def test_a_receipt_of_other_inputs_is_refused(tmp_path: Path, cloud: Cloud) -> None:
    cloud.execute = lambda run: receipt(run, tmp_path, inputs={})
    query, engine = view_and_engine(tmp_path, cloud, "dataproc")
    with pytest.raises(Exception, match="over what it was sent"):
        table_of(engine, query)


# -- never twice, never for ever ----------------------------------------------------------------------------------


@EACH
def test_a_submission_whose_answer_was_lost_does_not_run_twice(cloud: Cloud, launch: Any, service: str) -> None:
    cloud.lost = 1
    try:
        launch(service)(URL)
    except TransientStorageError:  # what Dagster retries; Databricks' SDK has done so itself
        assert service != "databricks"
        launch(service)(URL)
    assert len(cloud.runs) == 1 and cloud.executed == ["orchestrai-1-1"]


@EACH
def test_after_an_outage_the_next_try_takes_up_the_job_that_still_runs(tmp_path: Path, cloud: Cloud, service: str) -> None:
    cloud.execute, cloud.looks = lambda run: receipt(run, tmp_path), 3
    query, engine = view_and_engine(tmp_path, cloud, service)

    def outage(_: float) -> None:
        cloud.broken = 20

    started: Any = engine._launch
    waiting = started._waiting
    object.__setattr__(waiting, "clock", Clock(outage))
    with pytest.raises(TransientStorageError):
        table_of(engine, query)
    assert [run.state for run in cloud.runs] == ["running"]
    cloud.broken = 0
    object.__setattr__(waiting, "clock", Clock(lambda _: None))
    assert table_of(engine, query).num_rows == 0 and len(cloud.runs) == 1


@EACH
@pytest.mark.parametrize("ending", [DagsterExecutionInterruptedError, KeyboardInterrupt])
def test_a_run_that_is_ended_while_it_waits_cancels_its_job(
    cloud: Cloud, launch: Any, service: str, ending: type[BaseException]
) -> None:
    cloud.looks = 100

    def interrupted(_: float) -> None:
        raise ending

    with pytest.raises(ending):
        launch(service, sleep=interrupted)(URL)
    assert [run.state for run in cloud.runs] == ["cancelled"]


RUN = """
import dagster as dg
from orchestrai.defs.spark.spark_transport import launcher
from orchestrai.settings import Settings
from orchestrai.storage.cloud.job_wait import Clock

@dg.asset
def features(context: dg.AssetExecutionContext) -> None:
    settings = Settings(home={home!r}, spark_exchange={home!r}, spark_url="databricks:" + {file!r})
    launcher("databricks", settings, context)({url!r})

dg.materialize([features])
"""


@pytest.mark.thorough("the cancelling is tried without Dagster")
def test_terminating_a_run_of_dagster_cancels_its_job(tmp_path: Path, cloud: Cloud) -> None:
    cloud.looks = 10**6
    program = tmp_path / "run.py"
    program.write_text(RUN.format(home=str(tmp_path), file=written(tmp_path, "databricks", cloud, poll="1s"), url=URL))
    (tmp_path / "dagster.yaml").touch()
    command = [sys.executable, str(program)]
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path), "PYTHONPATH": os.getcwd()}
    with (tmp_path / "run.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            while not cloud.runs:
                assert process.poll() is None, (tmp_path / "run.log").read_text()
                time.sleep(0.1)
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)  # what Dagster sends to the process of a run that is terminated
            process.wait(60)
        finally:
            process.kill()
            process.wait()
    assert [run.state for run in cloud.runs] == ["cancelled"], (tmp_path / "run.log").read_text()
    assert "Databricks: 1000 is cancelled" in (tmp_path / "run.log").read_text()


@EACH
def test_a_job_past_its_time_limit_is_cancelled(cloud: Cloud, launch: Any, service: str) -> None:
    cloud.looks = 10_000
    with pytest.raises(StorageError, match=r"to end within 0:30:15.* it was stopped; raise time_limit"):
        launch(service, time_limit="20m", start_wait="10m")(URL)
    assert [run.state for run in cloud.runs] == ["cancelled"]


@EACH
def test_a_refusal_is_told_in_the_words_of_the_service(
    cloud: Cloud, launch: Any, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal: Any = {"error": {"code": "Forbidden", "message": "no right to start jobs"}}
    if service == "databricks":
        refusal = {"error_code": "PERMISSION_DENIED", "message": "no right to start jobs"}
    monkeypatch.setattr(cloud, "answer", lambda *_: (403, refusal))
    with pytest.raises(StorageError, match="no right to start jobs") as found:
        launch(service)(URL)
    assert not found.value.retryable and "secret-token" not in found.value.message


# -- what is declared ---------------------------------------------------------------------------------------------


def test_a_secret_in_the_file_is_refused_and_not_shown(tmp_path: Path, cloud: Cloud) -> None:
    for field in ("token", "client_secret"):
        with pytest.raises(ConfigError, match=f"{field}: .*secret reference") as found:
            cluster_launcher("databricks", written(tmp_path, "databricks", cloud, **{field: "dapi-plain"}), "s")
        assert "dapi-plain" not in found.value.message
    with pytest.raises(ConfigError, match="expected a secret at env://NOT_SET"):
        cluster_launcher("databricks", written(tmp_path, "databricks", cloud, token="env://NOT_SET"), "s")


@EACH
def test_a_mistake_in_the_file_is_told_in_one_line(tmp_path: Path, cloud: Cloud, service: str) -> None:
    with pytest.raises(ConfigError, match=rf"{service}.json: time_limit: "):
        cluster_launcher(service, written(tmp_path, service, cloud, time_limit="soon"), "s")
    with pytest.raises(ConfigError, match=rf"{service}.json: machines: Extra inputs"):
        cluster_launcher(service, written(tmp_path, service, cloud, machines=2), "s")


def test_dataproc_ends_no_batch_before_ten_minutes(tmp_path: Path, cloud: Cloud) -> None:
    with pytest.raises(ConfigError, match="time_limit"):
        cluster_launcher("dataproc", written(tmp_path, "dataproc", cloud, time_limit="5m"), "s")


def test_without_its_sdk_databricks_names_the_extra(tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "databricks.sdk.core", None)
    with pytest.raises(MissingExtra, match=r"orchestrai\[databricks\]"):
        cluster_launcher("databricks", written(tmp_path, "databricks", cloud), "s")


def test_an_exchange_that_spark_knows_by_another_name_is_refused() -> None:
    assert cluster_url("abfss://c@account.dfs.core.windows.net/x") == "abfss://c@account.dfs.core.windows.net/x"
    with pytest.raises(ConfigError, match="write abfss://"):
        cluster_url("az://c/x")


# -- the published interfaces -------------------------------------------------------------------------------------


def test_the_databricks_request_is_one_of_the_published_interface(tmp_path: Path, cloud: Cloud) -> None:
    jobs = importlib.import_module("databricks.sdk.service.jobs")
    file = read_file(DatabricksFile, "databricks", written(tmp_path, "databricks", cloud, time_limit="1h"))
    request = DatabricksJobs(file, api=object()).request(JOB)
    assert set(request) <= set(inspect.signature(jobs.JobsAPI.submit).parameters)
    for task in request["tasks"]:
        assert jobs.SubmitTask.from_dict(task).as_dict() == task  # a field it does not know would be gone
    assert jobs.JobRunAs.from_dict(request["run_as"]).as_dict() == request["run_as"]
    assert request["timeout_seconds"] == 5400 and len(request["idempotency_token"]) <= 64
    states = {state.value for state in jobs.RunLifeCycleState}
    assert {"TERMINATED", "SKIPPED", "INTERNAL_ERROR"} <= states
    assert {"SUCCESS", "FAILED", "CANCELED", "TIMEDOUT"} <= {state.value for state in jobs.RunResultState}


def test_the_dataproc_request_is_one_of_the_published_interface(tmp_path: Path, cloud: Cloud) -> None:
    file = read_file(DataprocFile, "dataproc", written(tmp_path, "dataproc", cloud, time_limit="1h"))
    DataprocBatches(file).start(JOB)
    (held,) = cloud.batches.resources.values()
    execution = held.body["environmentConfig"]["executionConfig"]
    assert execution["ttl"] == "3600s" and execution["serviceAccount"].startswith("features@")
    words = google_document("dataproc.v1").schemas["Batch"]["properties"]["state"]["enum"]
    assert {"SUCCEEDED", "FAILED", "CANCELLED"} <= set(words)


SYNAPSE = {
    "tags": dict, "artifactId": str, "name": str, "file": str, "className": str, "args": list, "jars": list, "pyFiles": list,
    "files": list, "archives": list, "conf": dict, "driverMemory": str, "driverCores": int, "executorMemory": str,
    "executorCores": int, "numExecutors": int,
}  # fmt: skip


def test_the_synapse_request_is_one_of_the_published_interface(tmp_path: Path, cloud: Cloud) -> None:
    file = read_file(SynapseFile, "synapse", written(tmp_path, "synapse", cloud))
    request = SynapseBatches(file, lambda: "t").request(JOB)
    assert {name for name, value in request.items() if not isinstance(value, SYNAPSE[name])} == set()
    assert (request["name"], request["args"], request["conf"]) == (JOB.token, [JOB.url], {"spark.executor.x": "1"})


def test_a_synapse_batch_is_found_on_a_later_page(tmp_path: Path, cloud: Cloud) -> None:
    for number in range(45):
        cloud.add(f"other-{number}", "s", [], {})
    cloud.add(JOB.token, "s", [], {})
    file = read_file(SynapseFile, "synapse", written(tmp_path, "synapse", cloud))
    assert SynapseBatches(file, lambda: "t").start(JOB) == "45" and len(cloud.runs) == 46


# -- EMR ----------------------------------------------------------------------------------------------------------


def stubbed(service: str) -> tuple[Any, Any]:
    boto3 = importlib.import_module("boto3")
    client = boto3.client(service, region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    return client, importlib.import_module("botocore.stub").Stubber(client)


CLUSTER = EmrFile.model_validate({"ReleaseLabel": "emr-spark-8.0.0", "ServiceRole": "r", "JobFlowRole": "p", "poll": "1s"})
APPLICATION = EmrFile.model_validate(
    {"applicationId": "00abc", "executionRoleArn": "arn:aws:iam::123456789012:role/features", "time_limit": "90m"}
)


def test_a_cluster_of_its_own_ends_after_its_job_and_works_on_spot_instances() -> None:
    given = {**CLUSTER.given, "LogUri": "s3://b/logs/"}
    request = cluster_parameters(given, JOB)
    assert request["Instances"]["KeepJobFlowAliveWhenNoSteps"] is False and request["Name"] == JOB.token
    assert [fleet.get("TargetSpotCapacity", 0) for fleet in request["Instances"]["InstanceFleets"]] == [0, 2]
    assert request["Steps"][0]["ActionOnFailure"] == "TERMINATE_CLUSTER"
    kept = cluster_parameters({**given, "Instances": {"KeepJobFlowAliveWhenNoSteps": True}}, JOB)
    assert kept["Instances"]["KeepJobFlowAliveWhenNoSteps"] is False


def test_emr_starts_one_cluster_a_job_and_terminates_it_when_its_run_is_ended() -> None:
    client, stub = stubbed("emr")

    def ended(_: float) -> None:
        raise KeyboardInterrupt

    def told(state: str, code: str | None = None) -> dict[str, Any]:
        reason = {"Code": code, "Message": "see its log"} if code else {}
        return {"Cluster": {"Id": "j-1", "Status": {"State": state, "StateChangeReason": reason}}}

    url = f"s3://b/x/jobs/{JOB.token}/job.json"
    sent = SparkJob(JOB.token, JOB.script, url)
    stub.add_response("list_clusters", {"Clusters": []}, {})
    stub.add_response("run_job_flow", {"JobFlowId": "j-1"}, cluster_parameters(CLUSTER.given, sent))
    stub.add_response("describe_cluster", told("RUNNING"), {"ClusterId": "j-1"})
    stub.add_response("terminate_job_flows", {}, {"JobFlowIds": ["j-1"]})
    stub.add_response("list_clusters", {"Clusters": [{"Id": "j-1", "Name": JOB.token}]}, {})
    stub.add_response("describe_cluster", told("TERMINATED", "ALL_STEPS_COMPLETED"), {"ClusterId": "j-1"})
    stub.add_response("describe_cluster", told("TERMINATED_WITH_ERRORS", "STEP_FAILURE"), {"ClusterId": "j-1"})
    with stub:
        emr = EmrClusters(CLUSTER, client)
        with pytest.raises(KeyboardInterrupt):
            ClusterLauncher(emr, CLUSTER, JOB.script, clock=Clock(ended))(url)
        assert emr.start(JOB) == "j-1"
        assert emr.phase("j-1") == ("completed", "TERMINATED")
        assert emr.phase("j-1") == ("ended", "STEP_FAILURE: see its log")
        stub.assert_no_pending_responses()


def test_emr_serverless_takes_the_token_and_the_time_limit() -> None:
    client, stub = stubbed("emr-serverless")
    arn = "arn:aws:emr-serverless:eu-west-1:123456789012:/applications/00abc"
    run: dict[str, Any] = {
        "applicationId": "00abc", "jobRunId": "1", "arn": arn, "createdBy": "arn:aws:iam::123456789012:user/x", "createdAt": 0,
        "updatedAt": 0,
        "executionRole": "arn:aws:iam::123456789012:role/features", "stateDetails": "out of memory", "releaseLabel": "emr-7.0",
        "jobDriver": {"sparkSubmit": {"entryPoint": JOB.script}},
    }  # fmt: skip
    request = serverless_parameters(APPLICATION.given, JOB, 90)
    assert request["clientToken"] == JOB.token and len(JOB.token) <= 64
    stub.add_response("start_job_run", {"applicationId": "00abc", "jobRunId": "1", "arn": arn}, request)
    for state in ("RUNNING", "SUCCESS", "FAILED"):
        stub.add_response("get_job_run", {"jobRun": {**run, "state": state}}, {"applicationId": "00abc", "jobRunId": "1"})
    stub.add_response("cancel_job_run", {"applicationId": "00abc", "jobRunId": "1"})
    stub.add_client_error("start_job_run", "ThrottlingException", "slow down", http_status_code=429)
    stub.add_client_error("start_job_run", "AccessDeniedException", "no right", http_status_code=403)
    with stub:
        emr = EmrServerless(APPLICATION, client)
        assert emr.start(JOB) == "1"
        assert [emr.phase("1")[0] for _ in range(2)] == ["running", "completed"]
        assert emr.phase("1") == ("ended", "FAILED: out of memory")
        emr.cancel("1")
        with pytest.raises(TransientStorageError, match="slow down"):
            emr.start(JOB)
        with pytest.raises(StorageError, match="no right"):
            emr.start(JOB)
