"""Triggers outside this process: Dagster's command line, `dg`, our own command line, the daemon, the UI's mutation, the UI itself."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrai.defs.asset_keys import asset_key
from orchestrai.demo.demo_landing import write_landing
from orchestrai.errors import NotReceipted
from orchestrai.pipeline.runtime import Runtime
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
    ... on InvalidSubsetError { message }
  }
}
"""
CHAIN = [f"churn/orders/{stage}" for stage in ("raw_events", "snapshot", "restored")]
KEYS = [asset_key(asset).to_user_string() for asset in CHAIN]
DRY_RUN = """
mutation DryRun($selector: SensorSelector!) {
  sensorDryRun(selectorData: $selector, cursor: null) {
    ... on DryRunInstigationTick {
      evaluationResult { skipReason error { message errorChain { error { message } } } runRequests { runKey } }
    }
    ... on PythonError { message }
  }
}
"""
BROWSER_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=2400,1400",
)
STATUS = "query Status($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


class Deployment:
    """A home with landed orders, and the commands a person would type there."""

    def __init__(self, home: Path, bad_day: str) -> None:
        self.home, self.bad_day = home, bad_day
        self.days = [path.stem for path in sorted((home / "landing" / "orders").iterdir()) if path.stem != bad_day]
        self.good_day = self.days[0]
        # no setting of the person who runs the tests may leak in
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRAI_", "DAGSTER_"))}
        self.environment = {**inherited, "ORCHESTRAI_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}

    def cli(self, *words: str, timeout: float = 240) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(BIN / words[0]), *words[1:]],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def materialize(self, select: str, partition: str) -> "subprocess.CompletedProcess[str]":
        how = "--partition-range" if "..." in partition else "--partition"
        return self.cli(
            "dagster", "asset", "materialize", "-m", "orchestrai.definitions", "--select", select, how, partition
        )

    def published(self, asset: str) -> set[str]:
        try:
            return set(Runtime(Settings(home=self.home)).ledger.open(asset).partitions)
        except NotReceipted:
            return set()


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    home = tmp_path_factory.mktemp("home")
    landed = write_landing(home / "landing", days=28, click_days=14, hours=6, streams=home / "streams")
    (home / "dagster").mkdir()
    (home / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return Deployment(home, landed.bad_day)


def test_dagsters_own_command_line_refuses_the_bad_day_and_its_downstream_later(deployment: Deployment) -> None:
    assert deployment.materialize("churn/orders_raw_events", deployment.bad_day).returncode != 0
    later = deployment.materialize("churn/orders_snapshot,churn/orders_restored", deployment.bad_day)
    assert later.returncode != 0
    good = deployment.materialize("churn/orders_raw_events,churn/orders_snapshot,churn/orders_restored", deployment.good_day)
    assert good.returncode == 0, good.stderr[-2000:]
    assert deployment.published("churn/orders/restored") == {deployment.good_day}


def test_a_range_on_dagsters_command_line_restores_the_good_days_and_fails(deployment: Deployment) -> None:
    bad = date.fromisoformat(deployment.bad_day)
    first, last = bad - timedelta(days=1), bad + timedelta(days=1)
    ran = deployment.materialize(",".join(KEYS), f"{first}...{last}")
    assert ran.returncode != 0
    assert f"{bad}: " in ran.stderr + ran.stdout
    for asset in CHAIN:
        found = deployment.published(asset)
        assert {str(first), str(last)} <= found
        assert str(bad) not in found


def test_our_own_backfill_tells_a_refused_day_with_exit_code_1(deployment: Deployment) -> None:
    bad = deployment.bad_day
    ran = deployment.cli("orchestrai", "backfill", "churn", "--from", bad, "--to", bad, "--no-models", "--json")
    assert ran.returncode == 1, ran.stderr[-2000:]
    (run,) = json.loads(ran.stdout)["runs"]
    assert run["success"] is False
    assert list(run["refused"]) == [bad]
    assert bad not in deployment.published(CHAIN[0])


def test_a_broken_declaration_is_one_line_and_exit_code_2(deployment: Deployment, tmp_path: Path) -> None:
    folder = tmp_path / "churn"
    shutil.copytree(ROOT / "orchestrai" / "pipelines" / "churn", folder)
    text = (folder / "pipeline.yaml").read_text()
    (folder / "pipeline.yaml").write_text(text.replace("grain: day", "grain: fortnight"))
    ran = deployment.cli("orchestrai", "check", str(folder))
    assert ran.returncode == 2
    # what is wrong is the answer of a check, beside the table of what loads
    (line,) = [line for line in ran.stdout.splitlines() if "pipeline.yaml:" in line]
    assert "grain" in line and "'fortnight'" in line
    assert "left out" in ran.stdout and ran.stderr == ""
    assert deployment.cli("orchestrai", "check").returncode == 0


def test_dg_knows_the_project(deployment: Deployment) -> None:
    checked = deployment.cli("dg", "check", "defs")
    assert checked.returncode == 0, checked.stdout[-2000:] + checked.stderr[-2000:]
    listed = deployment.cli("dg", "list", "defs", "--json")
    assert listed.returncode == 0, listed.stdout[-2000:] + listed.stderr[-2000:]
    for name in (*KEYS, "churn_orders_landing_sensor", "churn_weekly_refresh", "churn_refresh"):
        assert f'"{name}"' in listed.stdout, name


@pytest.fixture(scope="module")
def ui(deployment: Deployment) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(BIN / "dagster"), "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(
        command,
        cwd=ROOT,
        env=deployment.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
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
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(20)
        # an open page keeps the web server from ending, and its children outlive it
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait(20)


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
            "assetSelection": [{"path": asset_key(asset).path} for asset in assets],
        },
    }
    launched = ask(url, LAUNCH, {"params": params})["launchRun"]
    if launched["__typename"] != "LaunchRunSuccess":
        pytest.fail(str(launched)[-3000:])
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


def test_the_daemon_runs_a_job_backfill(deployment: Deployment, ui: str) -> None:
    days = [day for day in deployment.days if day not in deployment.published(CHAIN[2])][:2]
    command = ("dagster", "job", "backfill", "-w", "workspace.yaml", "-j", "churn_orders_ingest", "--noprompt")
    ran = deployment.cli(*command, "--partitions", ",".join(days))
    assert ran.returncode == 0, ran.stderr[-2000:]
    deadline = time.monotonic() + 240
    while not set(days) <= deployment.published(CHAIN[2]):
        assert time.monotonic() < deadline, f"{days} were not restored within 240 s"
        time.sleep(1)


def dry_run(url: str, sensor: str) -> Any:
    selector = {"repositoryLocationName": "orchestrai", "repositoryName": "__repository__", "sensorName": sensor}
    return ask(url, DRY_RUN, {"selector": selector})["sensorDryRun"]["evaluationResult"]


def test_a_tick_of_the_landing_sensor_fails_visibly_in_an_outage(deployment: Deployment, ui: str) -> None:
    told = dry_run(ui, "churn_orders_landing_sensor")
    assert told["error"] is None
    assert told["runRequests"]
    landing = deployment.home / "landing" / "orders"
    landing.rename(landing.with_name("unmounted"))
    try:
        told = dry_run(ui, "churn_orders_landing_sensor")
    finally:
        landing.with_name("unmounted").rename(landing)
    assert told["skipReason"] is None
    assert not told["runRequests"]
    causes = [told["error"]["message"], *(error["error"]["message"] for error in told["error"]["errorChain"])]
    assert any("expected the landing folder" in cause for cause in causes), causes


@pytest.mark.browser
def test_the_ui_draws_the_churn_graph(ui: str, tmp_path: Path) -> None:
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: install the packages chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*BROWSER_FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.set_page_load_timeout(120)
        driver.get(f"{ui.removesuffix('/graphql')}/locations/__repository__@orchestrai/asset-groups/churn/lineage")
        stages = ("training_set", "candidate", "evaluation", "champion")
        wanted = {"orders_raw_events", "orders_snapshot", "orders_restored", *(f"churn_{stage}" for stage in stages)}
        deadline = time.monotonic() + 120
        shown = ""
        while time.monotonic() < deadline and not all(name in shown for name in wanted):
            time.sleep(1)
            shown = driver.execute_script("return document.body.innerText")
        assert all(name in shown for name in wanted), shown[:3000]
    finally:
        driver.quit()
