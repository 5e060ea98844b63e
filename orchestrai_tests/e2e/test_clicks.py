"""A person at the UI, in a real browser: materialize, backfill, watch the gate hold a day, release it, follow a model to its objects.

One tiny pipeline. The web server, the code location and the runs are in this process: what is tried are the pages and the buttons, and
what stands behind them is the same code that the daemon and the launcher start elsewhere.
"""

import logging
import random
import re
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.instance.ref import InstanceRef
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.storage.tags import BACKFILL_ID_TAG
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration

from orchestrai.core.time.calendar import keys_between
from orchestrai.defs.asset_keys import asset_key
from orchestrai.pipeline.reports.gate_list import gate_list
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import load_settings
from orchestrai_tests.cli.conftest import command
from orchestrai_tests.e2e.test_triggers import BROWSER_FLAGS
from orchestrai_tests.provenance.small import CONTRACT, DATA, MODEL, PIPELINE, RAW

pytestmark = pytest.mark.browser

FIRST, ODD, AFTER = "2011-01-10", "2011-03-07", "2011-03-08"
DAYS = keys_between(FIRST, "2011-03-06", "day")
# so many days are carried on to a model; the others are what the gate knows of ordinary ones
LEARNED = DAYS[:9]
# what a loaded machine may take for one page or one run; a quiet one takes some seconds
PATIENCE = 240
INSTANCE = """
telemetry: {enabled: false}
nux: {enabled: false}
run_coordinator: {module: dagster.core.run_coordinator, class: DefaultRunCoordinator}
run_launcher: {module: dagster._core.launcher.sync_in_memory_run_launcher, class: SyncInMemoryRunLauncher}
"""
DEFINITIONS = """
from orchestrai.defs.build import build_definitions
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import load_settings

defs = build_definitions(Runtime(load_settings()))
"""


def csv_of(day: str, part: float = 1.0) -> str:
    """A day of a week's season; `part` of its rows."""
    place, chance = date.fromisoformat(day), random.Random(day)
    start, lines = datetime.fromisoformat(day).replace(tzinfo=UTC), ["device_id,ts,level,failed"]
    for number in range(int((60 + 6 * place.weekday() + place.toordinal() * 7 % 5) * part)):
        level = chance.randrange(100)
        failed = (level > 60) ^ (chance.random() < 0.1)
        lines.append(f"d{number % 3},{(start + timedelta(minutes=11 * number)).isoformat()},{level},{str(failed).lower()}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """Eight ordinary weeks, and one more day that landed with a third of its rows."""
    folder, landing = tmp_path / "declared" / "small", tmp_path / "home" / "landing" / "readings"
    for place in (folder, landing):
        place.mkdir(parents=True)
    span = f"start: {FIRST}, end: {AFTER}"
    (folder / "pipeline.yaml").write_text(
        PIPELINE.replace("ENCRYPT", "").replace("start: 2026-10-01, end: 2026-11-01", span)
    )
    (folder / "readings.contract.yaml").write_text(CONTRACT)
    for day in DAYS:
        (landing / f"{day}.csv").write_text(csv_of(day))
    (landing / f"{ODD}.csv").write_text(csv_of(ODD, 1 / 3))
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(tmp_path / "declared"))
    made = Runtime(load_settings())
    assert not made.run(made.project.nodes[RAW], DAYS).refused
    return made


@pytest.fixture
def champion(runtime: Runtime) -> None:
    """A model of the first days."""
    for asset in (*DATA[1:], *MODEL):
        assert not runtime.run(runtime.project.nodes[asset], LEARNED if asset in DATA else ["all"]).refused, asset


@dataclass
class Ui:
    """Dagster's web server over those definitions."""

    url: str
    instance: dg.DagsterInstance
    workspace: WorkspaceProcessContext

    def carry_on(self) -> PartitionBackfill:
        """What the daemon does of a backfill, until it is over: its runs are made here, one after another."""
        (asked,) = self.instance.get_backfills()
        for _ in range(20):
            list(execute_backfill_iteration(self.workspace, logging.getLogger("backfill")))
            now = self.instance.get_backfill(asked.backfill_id)
            assert now is not None
            if now.status not in (BulkActionStatus.REQUESTED, BulkActionStatus.FAILING):
                return now
        pytest.fail(f"expected the backfill to end within 20 iterations, found {now.status}: {now.error}")


@pytest.fixture
def ui(runtime: Runtime, tmp_path: Path) -> Iterator[Ui]:
    import uvicorn
    from dagster_webserver.app import create_app_from_workspace_process_context

    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text(INSTANCE)
    (tmp_path / "clicked.py").write_text(DEFINITIONS)
    target = LoadableTargetOrigin(
        executable_path=sys.executable, python_file=str(tmp_path / "clicked.py"), working_directory=str(tmp_path)
    )
    origin = InProcessCodeLocationOrigin(target, location_name="clicks")
    with (
        dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path / "dagster"))) as instance,
        WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin)) as workspace,
        socket.socket() as listener,
    ):
        listener.bind(("127.0.0.1", 0))
        app = create_app_from_workspace_process_context(workspace)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=5))
        thread = threading.Thread(target=lambda: server.run(sockets=[listener]), daemon=True)
        thread.start()
        yield Ui(f"http://127.0.0.1:{listener.getsockname()[1]}", instance, workspace)
        server.should_exit = True
        thread.join(60)


class Page:
    """A browser, and what a person does with it; whatever is waited for is a condition."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    @property
    def text(self) -> str:
        return str(self.driver.execute_script("return document.body.innerText"))

    def until(self, what: str, condition: Callable[[], Any]) -> Any:
        """What a condition gives once it gives something."""
        from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        try:
            waited = WebDriverWait(self.driver, PATIENCE, 0.25, ignored_exceptions=[StaleElementReferenceException])
            return waited.until(lambda _: condition())
        except TimeoutException:
            pytest.fail(f"expected {what} within {PATIENCE} s, found:\n{self.text[:2000]}")

    def press(self, label: str) -> None:
        """Press the button that begins with a label, once it is there and may be pressed; the press is tried until it counts."""
        script = """
            const [label] = arguments;
            const found = [...document.querySelectorAll('button')].find(b => b.innerText.trim().startsWith(label) && !b.disabled);
            if (found) found.click();
            return Boolean(found);
        """
        self.until(f"a button {label}", lambda: self.driver.execute_script(script, label))

    def says(self, check: str, outcome: str) -> None:
        """Wait until the list of checks says an outcome of one; the page may show the name twice."""
        self.until(f"{check} {outcome}", lambda: re.search(rf"(?:{check}\s+)+{outcome}", self.text))

    def types(self, into: str, text: str) -> None:
        """Put a text in place of what stands in the field that a selector names, key by key, as a keyboard does."""
        from selenium.webdriver.common.by import By
        from selenium.webdriver.common.keys import Keys

        field = self.until(f"a field {into}", lambda: self.driver.find_elements(By.CSS_SELECTOR, into))[0]
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text, Keys.TAB)

    def materialize_the_latest(self) -> None:
        """The button, its dialog, the newest partition."""
        self.press("Materialize")
        self.press("Latest")
        self.press("Launch 1 run")


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: install the packages chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    flags = [flag for flag in BROWSER_FLAGS if not flag.startswith("--window-size")]
    # a small page without motion costs a third of a large one
    more = ("--window-size=1200,900", "--force-prefers-reduced-motion", f"--user-data-dir={tmp_path / 'profile'}")
    for flag in (*flags, *more):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.set_page_load_timeout(PATIENCE)
        driver.set_script_timeout(PATIENCE)
        yield Page(driver)
    finally:
        driver.quit()


def test_a_person_sees_a_day_held_releases_it_and_follows_a_model_to_its_objects(
    runtime: Runtime, champion: None, ui: Ui, page: Page, tmp_path: Path
) -> None:
    key = asset_key(RAW)
    page.driver.get(f"{ui.url}/assets/{'/'.join(key.path)}?view=checks")
    page.materialize_the_latest()
    page.says("complete", "Failed")
    page.says("ordinary", "Failed")
    (gate,) = gate_list(runtime)
    assert (gate.asset, gate.partition, gate.state) == (RAW, ODD, "held")
    assert ui.instance.get_latest_materialization_event(key) is None

    # the command that the report names, with its reason filled in
    words = gate.remedies[0].removeprefix("orchestrai ").replace('"WHY"', "strike").split()
    assert command(*words)[0] == 0
    page.materialize_the_latest()
    page.says("complete", "Succeeded")
    assert list(gate_list(Runtime(load_settings()))) == []
    materialized = ui.instance.get_latest_materialization_event(key)
    assert materialized is not None and materialized.asset_materialization is not None
    assert materialized.asset_materialization.partition == ODD

    to = tmp_path / "alarm.html"
    assert command("model", "page", "alarm", "--out", str(to))[0] == 0
    page.driver.get(to.as_uri())
    page.driver.execute_script(f"[...document.querySelectorAll('a')].find(a => a.textContent.trim() === '{RAW}').click()")
    step = page.until("the step", lambda: page.driver.execute_script("return location.hash.slice(1)"))
    page.driver.execute_script(f"document.querySelector('#{step} summary').click()")
    page.until("the landed objects", lambda: all(f"readings/{day}.csv" in page.text for day in LEARNED))
    assert f"readings/{ODD}.csv" not in page.text


def test_a_person_backfills_three_days_and_sees_which_one_failed_and_why(runtime: Runtime, ui: Ui, page: Page) -> None:
    key = asset_key(RAW)
    address = f"{ui.url}/assets/{'/'.join(key.path)}"
    page.driver.get(f"{address}?view=checks")
    page.press("Materialize")
    page.press("All")
    page.until("all days chosen", lambda: re.search(rf"Partition selection\s+{len(DAYS) + 1} partitions", page.text))
    page.types("input[placeholder*='2011']", f"[{DAYS[-2]}...{ODD}]")
    page.until("three days chosen", lambda: re.search(r"Partition selection\s+3 partitions", page.text))
    page.press("Launch backfill")
    page.until("the backfill to be asked for", lambda: ui.instance.get_backfills())
    over = ui.carry_on()
    assert over.status == BulkActionStatus.COMPLETED_FAILED
    # one run took all three
    (run,) = ui.instance.get_runs(dg.RunsFilter(tags={BACKFILL_ID_TAG: over.backfill_id}))
    assert run.status == dg.DagsterRunStatus.FAILURE

    page.driver.get(f"{address}?view=partitions")
    page.until("a failed day and two good ones", lambda: {"Failed (1)", "Materialized (2)"} <= set(page.text.split("\n")))
    page.driver.get(f"{address}?view=checks&checkDetail=ordinary")
    page.says("ordinary", "Failed")
    (gate,) = gate_list(runtime)
    assert (gate.asset, gate.partition) == (RAW, ODD)
    told = f"{ODD}: fewer rows: expected about 63, found 20 (-68%)"
    page.until("the day and the reason", lambda: told in page.text)
    assert told.removeprefix(f"{ODD}: ") in gate.refusal.reasons["ordinary"]
