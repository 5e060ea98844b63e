"""The ways to a Spark: Connect by URL, jobs through Dagster Pipes, and the parameters that clouds are given."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from orchestrai.defs.spark import cluster_parameters, launcher, script_url, serverless_parameters, spark_resources
from orchestrai.errors import ConfigError, DigestMismatch, FeatureViewError
from orchestrai.features import DuckDbEngine, RemoteSparkEngine
from orchestrai.features.remote import SCRIPT
from orchestrai.pipeline import Runtime
from orchestrai.pipeline.engines import cluster_url, session_settings
from orchestrai.settings import Settings
from orchestrai.storage import open_store
from orchestrai_tests.features.battery import SMALL, differing_bits, nasty_files, query_of, table_of
from orchestrai_tests.features.test_parity import shipped

VIEWS = os.environ.get("ORCHESTRAI_TEST_CONNECT_VIEWS", "2")
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="no Java runtime")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert process.poll() is None, "the server ended"
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the server did not open its port")


@pytest.fixture
def connect_server(tmp_path: Path) -> Iterator[str]:
    """PySpark's own Connect server, in a process of its own."""
    import pyspark

    home, port = Path(pyspark.__file__).parent, free_port()
    command = [str(home / "bin" / "spark-submit"), "--class", "org.apache.spark.sql.connect.service.SparkConnectServer"]
    for name, value in {**SMALL, "spark.connect.grpc.binding.port": str(port), "spark.master": "local[1]"}.items():
        command += ["--conf", f"{name}={value}"]
    environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_HOME": str(home)}
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen([*command, "spark-internal"], stdout=log, stderr=log, env=environment, cwd=tmp_path)
    try:
        wait_for(port, process)
        yield f"sc://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def battery(url: str, *more: str) -> dict[str, Any]:
    """The battery's report: in a process of its own, as one that has a session can have no second of another kind."""
    command = [sys.executable, "-m", "orchestrai_tests.features.battery", "--url", url, "--views", VIEWS, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@needs_java
@pytest.mark.spark
def test_a_connect_server_gives_the_same_bits(connect_server: str) -> None:
    found = battery(connect_server)
    assert str(found["engine"]).startswith("spark 4") and (found["different"], found["failed"]) == ([], [])


@needs_java
@pytest.mark.spark
def test_a_job_started_by_dagster_gives_the_same_bits_and_tells_what_it_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = " ".join(f"--conf {name}={value}" for name, value in SMALL.items())
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", f"--master local[1] {conf} pyspark-shell")
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    exchange, damaged = tmp_path / "exchange", os.environ.get("ORCHESTRAI_TEST_SPARK_DAMAGE")
    view = shipped("device_rolling", "telemetry", **{"from": "readings"}, entity="device_id", event_time="ts")
    query = query_of(view, nasty_files(tmp_path))
    expected = table_of(DuckDbEngine(), query)
    found: list[str] = []

    @dg.asset
    def features(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        launch = launcher("subprocess", "", Settings(home=tmp_path), context)
        engine = RemoteSparkEngine(open_store(str(exchange)), cluster_url(str(exchange)), launch, "subprocess")
        found.extend(differing_bits(expected, table_of(engine, query)))
        found.append(engine.name)
        inputs = list((exchange / "in").glob("*.parquet"))
        assert len(inputs) == 1 and not list(open_store(str(exchange)).list("jobs/"))
        if damaged:
            # a byte that changed on the way is found before the view sees it
            inputs[0].write_bytes(inputs[0].read_bytes()[:-9] + b"x" + inputs[0].read_bytes()[-8:])
            with pytest.raises(DigestMismatch, match="expected"):
                table_of(engine, query)
        return dg.MaterializeResult()

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([features], instance=instance).success
    assert len(found) == 1 and found[0].startswith("spark 4") and found[0].endswith("on subprocess")


def test_a_job_that_leaves_nothing_is_an_error_by_name(tmp_path: Path) -> None:
    engine = RemoteSparkEngine(open_store(str(tmp_path / "x")), cluster_url(str(tmp_path / "x")), lambda url: None, "emr")
    view = shipped("device_rolling", "telemetry", **{"from": "readings"}, entity="device_id", event_time="ts")
    with pytest.raises(FeatureViewError, match="result of the job on emr"):
        table_of(engine, query_of(view, nasty_files(tmp_path)))


def test_a_cluster_of_its_own_ends_after_its_job_and_works_on_spot_instances() -> None:
    import boto3
    from botocore.stub import Stubber

    given = {"ReleaseLabel": "emr-spark-8.0.0", "ServiceRole": "r", "JobFlowRole": "p", "LogUri": "s3://b/logs/"}
    parameters = cluster_parameters(given, "s3://b/x/spark_job.py", "s3://b/x/jobs/1/job.json")
    assert parameters["Instances"]["KeepJobFlowAliveWhenNoSteps"] is False
    assert [fleet.get("TargetSpotCapacity", 0) for fleet in parameters["Instances"]["InstanceFleets"]] == [0, 2]
    assert parameters["Steps"][0]["ActionOnFailure"] == "TERMINATE_CLUSTER"
    kept = cluster_parameters({**given, "Instances": {"KeepJobFlowAliveWhenNoSteps": True}}, "s", "u")
    assert kept["Instances"]["KeepJobFlowAliveWhenNoSteps"] is False
    client = boto3.client("emr", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stub:
        stub.add_response("run_job_flow", {"JobFlowId": "j-1"}, parameters)
        assert client.run_job_flow(**parameters)["JobFlowId"] == "j-1"


def test_emr_serverless_takes_the_parameters() -> None:
    import boto3
    from botocore.stub import Stubber

    given = {"applicationId": "00abc", "executionRoleArn": "arn:aws:iam::123456789012:role/features"}
    parameters = serverless_parameters(given, "s3://b/x/spark_job.py", "s3://b/x/jobs/1/job.json")
    client = boto3.client("emr-serverless", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    answer = {
        "applicationId": "00abc",
        "jobRunId": "1",
        "arn": "arn:aws:emr-serverless:eu-west-1:123456789012:/applications/00abc",
    }
    with Stubber(client) as stub:
        # boto3 fills in the token itself
        stub.add_response("start_job_run", answer)
        assert client.start_job_run(**parameters)["jobRunId"] == "1"


def test_the_script_lies_in_the_exchange_for_the_cluster(tmp_path: Path) -> None:
    url = script_url(str(tmp_path))
    assert url.startswith("file:///") and (tmp_path / "spark_job.py").read_bytes() == SCRIPT.read_bytes()
    assert cluster_url("s3://bucket/x?endpoint=http://127.0.0.1:1") == "s3://bucket/x"


def test_settings_say_where_spark_is(tmp_path: Path) -> None:
    assert session_settings("sc://h:15002") == {"spark.remote": "sc://h:15002"}
    assert session_settings("local[2]") == {"spark.master": "local[2]"}
    runtime = Runtime(Settings(home=tmp_path, engine="spark", spark_url="emr:cluster.json"))
    with pytest.raises(ConfigError, match="materialize it in Dagster"):
        runtime.engine()
    runtime.launch = lambda url: None
    with pytest.raises(ConfigError, match="ORCHESTRAI_SPARK_EXCHANGE"):
        runtime.engine()


def test_dagster_pyspark_gives_the_session_where_spark_is_asked_for(tmp_path: Path) -> None:
    view = SimpleNamespace(view=SimpleNamespace(spec=SimpleNamespace(engine="auto")))
    project: Any = SimpleNamespace(pipelines=[SimpleNamespace(views=[view])])
    assert spark_resources(Runtime(Settings(home=tmp_path), project)) == {}
    runtime = Runtime(Settings(home=tmp_path, engine="spark", spark_url="local[1]"), project)
    resource = spark_resources(runtime)["pyspark"]
    resource._spark_session = "session"
    assert runtime.spark_session() == "session" and resource.spark_config == {"spark.master": "local[1]"}
