"""Features by a job that Dagster's Pipes client starts on EMR Serverless: its model plays the service, messages go over a real S3 protocol.

A driver is a process of this machine: the job's script itself on Spark (thorough), or what it leaves and tells without one.
"""

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import dagster as dg
import pytest

from orchestrai.conformance.generated_views import differing_bits, nasty_files, query_of, table_of
from orchestrai.defs.spark.spark_transport import launcher
from orchestrai.errors import ConfigError, OrchestraiError
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.jobs.cluster_job import ClusterFile
from orchestrai.features.jobs.exchange import RemoteSparkEngine
from orchestrai.features.jobs.serverless_runs import WatchedRuns
from orchestrai.pipeline.engines import cluster_url
from orchestrai.settings import Settings
from orchestrai.storage.cloud.job_wait import Clock
from orchestrai.storage.url import open_store
from orchestrai_tests.clouds.aws_server import AwsServer, aws_server
from orchestrai_tests.clouds.emr_serverless import APPLICATION, EmrServerlessRuns, play, python_files
from orchestrai_tests.features.battery import INTERPRETED
from orchestrai_tests.features.test_parity import shipped
from orchestrai_tests.servers.s3 import S3Server
from orchestrai_tests.servers.spark import SMALL

BUCKET = "telling"
# what the job leaves and tells, without a Spark
STAND_IN = """
import json, pathlib, runpy, sys
sys.path.insert(0, {pipes!r})
import dagster_pipes
assert dagster_pipes.__file__ == {pipes!r} + "/dagster_pipes.py", dagster_pipes.__file__
folder = pathlib.Path({job!r}).parent
job = json.loads((folder / "job.json").read_text())
result = {{"spark": "4.0.0", "job": job["id"], "inputs": job["sha256"], "outputs": {{}}, **{changes!r}}}
(folder / "result").mkdir()
(folder / "result" / "part-0.txt").write_text(json.dumps(result))
runpy.run_path({script!r})["_tell"](result)
sys.exit(1 if "error" in result else 0)
"""


def _path(url: str) -> str:
    return unquote(urlsplit(url).path)


@pytest.fixture
def emr(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsServer]:
    s3 = moto.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with aws_server("emr-serverless") as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EMR_SERVERLESS", server.url)
        yield server
    assert server.faults == []
    left = s3.list_objects_v2(Bucket=BUCKET).get("Contents", ())
    s3.delete_bucket(Bucket=BUCKET)
    assert not left, "messages that were read are gone"


@pytest.fixture
def runs(emr: AwsServer) -> Iterator[EmrServerlessRuns]:
    """Drivers that leave the receipt of an empty result; `changes` go into it."""
    found = play(emr, lambda given: [sys.executable, "-c", _stand_in(given, {})])
    yield found
    found.close()


def _stand_in(given: dict[str, Any], changes: dict[str, Any]) -> str:
    submit = given["jobDriver"]["sparkSubmit"]
    (pipes,) = python_files(given)
    return STAND_IN.format(
        pipes=str(Path(_path(pipes)).parent),
        job=_path(submit["entryPointArguments"][0]),
        script=_path(submit["entryPoint"]),
        changes=changes,
    )


def settings(tmp_path: Path, **changes: Any) -> Settings:
    file = tmp_path / "emr.json"
    given = {
        "applicationId": APPLICATION, "executionRoleArn": "arn:aws:iam::123456789012:role/features", "region": "us-east-1",
        "messages": f"s3://{BUCKET}/orchestrai", "poll": "1s", **changes,
    }  # fmt: skip
    file.write_text(json.dumps({name: value for name, value in given.items() if value is not None}))
    return Settings(home=tmp_path, spark_exchange=str(tmp_path / "exchange"), spark_url=f"emr-serverless:{file}")


def compute(tmp_path: Path, **changes: Any) -> tuple[list[str], list[BaseException], Any]:
    """Compute a view by a job in a run of Dagster; gives the run's log, what the step raised, and the table."""
    made = settings(tmp_path, **changes)
    view = shipped("device_rolling", "telemetry", **{"from": "readings"}, entity="device_id", event_time="ts")
    query = query_of(view, nasty_files(tmp_path))
    raised: list[BaseException] = []
    tables: list[Any] = []

    @dg.asset
    def features(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        launch = launcher("emr-serverless", made, context)
        exchange = made.spark_exchange
        engine = RemoteSparkEngine(open_store(exchange), cluster_url(exchange), launch, "emr-serverless")
        try:
            tables.append(table_of(engine, query))
        except OrchestraiError as exc:
            raised.append(exc)
        return dg.MaterializeResult()

    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([features], instance=instance)
        assert done.success
        told = [record.user_message for record in instance.all_logs(done.run_id)]
    return told, raised, (query, tables)


@pytest.mark.emulator
def test_a_job_is_started_by_dagsters_pipes_client_and_tells_the_run_over_s3(
    tmp_path: Path, runs: EmrServerlessRuns
) -> None:
    told, raised, (_, tables) = compute(tmp_path)
    assert raised == [] and tables[0].num_rows == 0
    (run,) = runs.runs
    assert run.given["name"] == run.given["clientToken"] and run.given["executionTimeoutMinutes"] == 120
    assert run.given["tags"]["dagster/run-id"]
    text = "\n".join(told)
    assert f"run1 computes {run.given['name']}" in text
    assert "spark 4.0.0: 0 file(s) written" in text, "the job's own message"
    assert f"{run.given['name']} told of 0 file(s) on Spark 4.0.0" in text, "what it reported"
    assert "token" not in text.lower() and "authToken" not in text


@pytest.mark.emulator
def test_a_job_that_failed_is_told_in_its_own_words(tmp_path: Path, runs: EmrServerlessRuns) -> None:
    runs.command = lambda given: [sys.executable, "-c", _stand_in(given, {"error": "[ARITHMETIC_OVERFLOW] long overflow"})]
    told, (raised,), _ = compute(tmp_path)
    assert "fixed-point scale" in str(raised)
    assert any("ARITHMETIC_OVERFLOW" in message for message in told)


@pytest.mark.emulator
def test_without_a_folder_on_s3_the_own_launcher_starts_the_job(tmp_path: Path, runs: EmrServerlessRuns) -> None:
    runs.command = lambda given: [sys.executable, "-c", "import sys; sys.exit(3)"]
    _, (raised,), _ = compute(tmp_path, messages=None)
    assert "found FAILED: see its log" in str(raised)
    assert python_files(runs.runs[0].given) == []
    with pytest.raises(ConfigError, match="messages"):
        launcher("emr-serverless", settings(tmp_path, messages="gs://bucket"), None)  # type: ignore[arg-type]


# -- what Pipes lacks ------------------------------------------------------------------------------------------------


REQUEST: dict[str, Any] = {
    "applicationId": APPLICATION,
    "executionRoleArn": "arn:aws:iam::123456789012:role/features",
    "clientToken": "orchestrai-1-1",
    "name": "orchestrai-1-1",
    "jobDriver": {"sparkSubmit": {"entryPoint": "s3://b/job.py", "sparkSubmitParameters": "--conf a=b"}},
}


def watched(server: AwsServer, clock: Clock | None = None) -> WatchedRuns:
    limits = ClusterFile.model_validate({"time_limit": "10m", "start_wait": "5m"})
    return WatchedRuns(server.client("emr-serverless"), limits, lambda text: None, clock)


@pytest.fixture
def endless() -> Iterator[tuple[AwsServer, EmrServerlessRuns]]:
    """Runs that never end, on a server of their own."""
    with aws_server("emr-serverless") as server:
        found = play(server, lambda given: [])
        found.endless = True
        yield server, found
    assert server.faults == []


def test_a_step_that_is_tried_again_takes_up_the_run_whose_messages_went_elsewhere(
    endless: tuple[AwsServer, EmrServerlessRuns],
) -> None:
    server, runs = endless
    for number in range(3):
        watched(server).start_job_run(**{**REQUEST, "name": f"other-{number}", "clientToken": f"other-{number}"})
    first = watched(server).start_job_run(**REQUEST)
    other = {"sparkSubmit": {"entryPoint": "s3://b/job.py", "sparkSubmitParameters": "--conf a=c"}}
    assert watched(server).start_job_run(**{**REQUEST, "jobDriver": other})["jobRunId"] == first["jobRunId"]
    assert len(runs.runs) == 4


def test_a_run_past_its_limit_is_cancelled(endless: tuple[AwsServer, EmrServerlessRuns]) -> None:
    server, runs = endless
    now = [0.0]
    client = watched(server, Clock(lambda seconds: None, lambda: now[0]))
    started = client.start_job_run(**REQUEST)
    asked = {"applicationId": APPLICATION, "jobRunId": started["jobRunId"]}
    assert client.get_job_run(**asked)["jobRun"]["state"] == "RUNNING"
    now[0] = 16 * 60
    with pytest.raises(OrchestraiError, match=r"within 0:15:00, found it RUNNING: it was cancelled"):
        client.get_job_run(**asked)
    assert runs.runs[0].state == "CANCELLED"
    with pytest.raises(OrchestraiError, match="found CANCELLED"):
        client.get_job_run(**asked)
    assert "token" not in client.get_dashboard_for_job_run(**asked)


@pytest.mark.thorough("the job's messages without a Spark")
@pytest.mark.spark
@pytest.mark.emulator
def test_features_by_a_pipes_job_on_spark_are_equal_to_the_bit(
    tmp_path: Path, runs: EmrServerlessRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = " ".join(f"--conf {shlex.quote(f'{name}={value}')}" for name, value in {**SMALL, **INTERPRETED}.items())
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", f"--master local[1] {conf} pyspark-shell")
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")

    def command(given: dict[str, Any]) -> list[str]:
        submit = given["jobDriver"]["sparkSubmit"]
        return [sys.executable, _path(submit["entryPoint"]), *submit["entryPointArguments"]]

    runs.command = command
    told, raised, (query, tables) = compute(tmp_path)
    assert raised == [] and differing_bits(table_of(DuckDbEngine(), query), tables[0]) == []
    assert any("file(s) on Spark 4" in message for message in told)
