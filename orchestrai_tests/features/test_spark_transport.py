"""The ways to a Spark: Connect by URL, jobs through Dagster Pipes, and the parameters that clouds are given."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from orchestrai.conformance.generated_views import differing_bits, nasty_files, query_of, table_of
from orchestrai.defs.spark.spark_transport import launcher, spark_resources
from orchestrai.errors import ConfigError, StorageError
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.jobs.exchange import SCRIPT, RemoteSparkEngine, sent_script
from orchestrai.pipeline.engines import cluster_url, session_settings
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai.storage.url import open_store
from orchestrai_tests.features.battery import INTERPRETED
from orchestrai_tests.features.test_parity import shipped
from orchestrai_tests.servers.process import free_port, wait_for_port
from orchestrai_tests.servers.spark import SMALL

VIEWS = os.environ.get("ORCHESTRAI_TEST_CONNECT_VIEWS", "2")
SAIL_VIEWS = os.environ.get("ORCHESTRAI_TEST_SAIL_VIEWS", "12")
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="no Java runtime")


@pytest.fixture
def connect_server(tmp_path: Path) -> Iterator[str]:
    """PySpark's own Connect server, in a process of its own."""
    import pyspark

    home, port = Path(pyspark.__file__).parent, free_port()
    command = [str(home / "bin" / "spark-submit"), "--class", "org.apache.spark.sql.connect.service.SparkConnectServer"]
    for name, value in {
        **SMALL,
        **INTERPRETED,
        "spark.connect.grpc.binding.port": str(port),
        "spark.master": "local[1]",
    }.items():
        command += ["--conf", f"{name}={value}"]
    environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_HOME": str(home)}
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen([*command, "spark-internal"], stdout=log, stderr=log, env=environment, cwd=tmp_path)
    try:
        wait_for_port(port, 120, process)
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
    assert found["refusal"] == ""


@pytest.mark.emulator
def test_sail_gives_the_same_bits_without_a_jvm_and_is_refused_for_making_features(sail_url: str) -> None:
    """Rows are compared whatever their order, which Sail does not keep over its files; its planner refuses an aggregate used twice."""
    found = battery(sail_url, "--unordered", "--views", SAIL_VIEWS)
    failed = [view for view in found["failed"] if "duplicate unqualified field name" not in view["error"]]
    assert (found["views"], found["different"], failed) == (int(SAIL_VIEWS), [], [])
    assert len(found["failed"]) < int(SAIL_VIEWS) / 10
    assert "an overflow is an error" in found["refusal"] and "check results" in found["refusal"]


@needs_java
@pytest.mark.spark
def test_a_job_started_by_dagster_gives_the_same_bits_and_tells_what_it_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = " ".join(f"--conf {shlex.quote(f'{name}={value}')}" for name, value in {**SMALL, **INTERPRETED}.items())
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", f"--master local[1] {conf} pyspark-shell")
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    exchange = tmp_path / "exchange"
    view = shipped("device_rolling", "telemetry", **{"from": "readings"}, entity="device_id", event_time="ts")
    query = query_of(view, nasty_files(tmp_path))
    expected = table_of(DuckDbEngine(), query)
    found: list[str] = []

    @dg.asset
    def features(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        launch = launcher("subprocess", Settings(home=tmp_path), context)
        engine = RemoteSparkEngine(open_store(str(exchange)), cluster_url(str(exchange)), launch, "subprocess")
        found.extend(differing_bits(expected, table_of(engine, query)))
        found.append(engine.name)
        inputs = list((exchange / "in").glob("*.parquet"))
        assert len(inputs) == 1 and not list(open_store(str(exchange)).list("jobs/"))
        return dg.MaterializeResult()

    with dg.DagsterInstance.ephemeral() as instance:
        assert dg.materialize([features], instance=instance).success
    assert len(found) == 1 and found[0].startswith("spark 4") and found[0].endswith("on subprocess")


def test_a_job_that_leaves_nothing_is_an_error_by_name(tmp_path: Path) -> None:
    engine = RemoteSparkEngine(open_store(str(tmp_path / "x")), cluster_url(str(tmp_path / "x")), lambda url: None, "emr")
    view = shipped("device_rolling", "telemetry", **{"from": "readings"}, entity="device_id", event_time="ts")
    with pytest.raises(StorageError, match=r"result of the job .* on emr"):
        table_of(engine, query_of(view, nasty_files(tmp_path)))


def test_the_script_lies_in_the_exchange_for_the_cluster(tmp_path: Path) -> None:
    store, url = open_store(str(tmp_path)), cluster_url(str(tmp_path))
    sent = sent_script(store, url)
    assert sent.startswith("file:///") and Path(sent.removeprefix("file://")).read_bytes() == SCRIPT.read_bytes()
    assert sent_script(store, url) == sent
    assert cluster_url("s3://bucket/x?endpoint=http://127.0.0.1:1") == "s3://bucket/x"


def test_settings_say_where_spark_is(tmp_path: Path) -> None:
    assert session_settings("sc://h:15002") == {"spark.remote": "sc://h:15002"}
    assert session_settings("local[2]") == {"spark.master": "local[2]"}
    with pytest.raises(ConfigError, match=r"databricks:FILE, .* found 'databrick:x.json'"):
        session_settings("databrick:x.json")
    runtime = Runtime(Settings(home=tmp_path, engine="spark", spark_url="subprocess:"))
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
    resource = spark_resources(runtime)["orchestrai_pyspark"]
    resource._spark_session = "session"
    assert runtime.spark_session() == "session" and resource.spark_config == {"spark.master": "local[1]"}
