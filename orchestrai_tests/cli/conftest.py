"""A few days of the shipped churn pipeline, run through the runtime without Dagster."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrai.core.time.calendar import keys_between
from orchestrai.demo.demo_landing import write_landing
from orchestrai.ledger.report import StageReport
from orchestrai.pipeline.load import SHIPPED, load_project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai.stage.names import StageName

DATASET = "churn/orders"
RAW, KEPT, RESTORED = (f"{DATASET}/{stage}" for stage in ("raw_events", "snapshot", "restored"))
MakeRuntime = Callable[..., Runtime]


def run(runtime: Runtime, days: Sequence[str], *stages: StageName) -> dict[str, StageReport]:
    """Run stages of the orders (all up to restored) over some days."""
    wanted = stages or ("raw_events", "snapshot", "restored")
    return {stage: runtime.run(runtime.project.nodes[f"{DATASET}/{stage}"], list(days)) for stage in wanted}


def command(*arguments: str) -> tuple[int, str]:
    """Run the command line in this process; errors of orchestrai are raised, as `main` would see them."""
    from orchestrai.cli.app import app

    done = CliRunner().invoke(app, list(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


@pytest.fixture(autouse=True)
def nobody_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user has no name, so that --by is believed; test_actors.py says what becomes of it elsewhere."""
    monkeypatch.setattr("orchestrai.storage.cloud.known_person.os_user", lambda: "")


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder of orders, and four trading days in it."""
    folder = tmp_path_factory.mktemp("landing")
    landed = write_landing(folder, days=28, click_days=1, hours=6)
    there = [day for day in keys_between(*landed.orders, "day") if (folder / "orders" / f"{day}.csv").exists()]
    return folder / "orders", [day for day in there if day != landed.bad_day][:4]


@pytest.fixture
def days(generated: tuple[Path, list[str]]) -> list[str]:
    return generated[1]


@pytest.fixture
def landing(tmp_path: Path, generated: tuple[Path, list[str]]) -> Path:
    """Those days as a landing of one's own."""
    folder = tmp_path / "orders"
    folder.mkdir()
    for day in generated[1]:
        shutil.copy(generated[0] / f"{day}.csv", folder)
    return folder


@pytest.fixture
def make(tmp_path: Path, landing: Path) -> MakeRuntime:
    """Makes a runtime whose orders are backed up as the given lines of YAML say."""

    def runtime(backup: str = "lock: 30d", home: str = "home", **settings: str) -> Runtime:
        folder = tmp_path / "pipelines" / "churn"
        shutil.copytree(SHIPPED / "churn", folder, dirs_exist_ok=True)
        text = (SHIPPED / "churn" / "pipeline.yaml").read_text()
        assert "lock: 30d" in text
        (folder / "pipeline.yaml").write_text(text.replace("lock: 30d", backup.replace("\n", "\n      ")))
        project = load_project([folder], {"ORDERS_URL": str(landing)})
        return Runtime(Settings(home=tmp_path / home, **settings), project)  # type: ignore[arg-type]

    return runtime


@pytest.fixture
def shop(
    make: MakeRuntime, days: list[str], tmp_path: Path, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Runtime]:
    """Two snapshots (two days, then a third), restored, and the environment of a shell that works on them."""
    runtime = make()
    run(runtime, days[:2])
    run(runtime, days[2:3])
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(tmp_path / "pipelines"))
    monkeypatch.setenv("ORDERS_URL", str(landing))
    yield runtime
