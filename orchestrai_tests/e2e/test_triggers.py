"""The gate for triggers outside this process: Dagster's own command line, and the mutation that the UI sends."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrai.demo import write_landing
from orchestrai.errors import NotReceipted
from orchestrai.pipeline import Runtime
from orchestrai.settings import Settings

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
STATUS = "query Status($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


class Deployment:
    """A home with landed orders, and the commands a person would type there."""

    def __init__(self, home: Path, bad_day: str, good_day: str) -> None:
        self.home, self.bad_day, self.good_day = home, bad_day, good_day
        self.environment = {**os.environ, "ORCHESTRAI_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}

    def cli(self, *words: str, timeout: float = 240) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(BIN / words[0]), *words[1:]], cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=timeout
        )

    def materialize(self, select: str, partition: str) -> "subprocess.CompletedProcess[str]":
        return self.cli(
            "dagster", "asset", "materialize", "-m", "orchestrai.definitions", "--select", select, "--partition", partition
        )

    def published(self, asset: str) -> set[str]:
        try:
            return set(Runtime(Settings(home=self.home)).ledger.open(asset).partitions)
        except NotReceipted:
            return set()


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    home = tmp_path_factory.mktemp("home")
    landed = write_landing(home / "landing", days=28, click_days=14, hours=6)
    (home / "dagster").mkdir()
    (home / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return Deployment(home, landed.bad_day, landed.orders[0])


def test_dagsters_own_command_line_refuses_the_bad_day_and_its_downstream_later(deployment: Deployment) -> None:
    assert deployment.materialize("churn/orders/raw_events", deployment.bad_day).returncode != 0
    later = deployment.materialize("churn/orders/snapshot,churn/orders/restored", deployment.bad_day)
    assert later.returncode != 0
    good = deployment.materialize(
        "churn/orders/raw_events,churn/orders/snapshot,churn/orders/restored", deployment.good_day
    )
    assert good.returncode == 0, good.stderr[-2000:]
    assert deployment.published("churn/orders/restored") == {deployment.good_day}


@pytest.fixture(scope="module")
def ui(deployment: Deployment) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(BIN / "dagster"), "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(
        command, cwd=ROOT, env=deployment.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{url}/server_info", timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.5)
        else:
            pytest.fail("the web server did not answer within 240 s")
        yield f"{url}/graphql"
    finally:
        server.terminate()
        server.wait(60)


def ask(url: str, query: str, variables: dict[str, Any]) -> Any:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        document = json.load(answer)
    assert "errors" not in document, document["errors"]
    return document["data"]


def launch(url: str, assets: list[str], partition: str) -> str:
    """Send what the button "Materialize" sends, wait for the end, return the status."""
    params = {
        "mode": "default",
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": partition}]},
        "runConfigData": "{}",
        "selector": {
            "repositoryLocationName": "orchestrai",
            "repositoryName": "__repository__",
            "pipelineName": "churn_orders_ingest",
            "assetSelection": [{"path": asset.split("/")} for asset in assets],
            "assetCheckSelection": [],
        },
    }
    launched = ask(url, LAUNCH, {"params": params})["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run_id = launched["run"]["runId"]
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        status = str(ask(url, STATUS, {"id": run_id})["runOrError"]["status"])
        if status in ("SUCCESS", "FAILURE", "CANCELED"):
            return status
        time.sleep(0.5)
    raise AssertionError(f"run {run_id} did not end within 240 s")


def test_the_mutation_of_the_ui_is_refused_the_bad_day_and_its_downstream(deployment: Deployment, ui: str) -> None:
    assert launch(ui, ["churn/orders/raw_events"], deployment.bad_day) == "FAILURE"
    assert launch(ui, ["churn/orders/snapshot"], deployment.bad_day) == "FAILURE"
    assert launch(ui, ["churn/orders/restored"], deployment.bad_day) == "FAILURE"
    assert deployment.bad_day not in deployment.published("churn/orders/raw_events")
