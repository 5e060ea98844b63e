"""One wrong word in one pipeline.yaml: that pipeline is shown in red, all the others load and run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from orchestrai.defs.build import build_definitions
from orchestrai.pipeline.load import SHIPPED, load_pipelines, pipeline_folders
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai_tests.defs.shop import declared

GRAPH = Path(__file__).with_name("graph.txt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped pipelines, and a fourth one in which a word is wrong."""
    root = tmp_path_factory.mktemp("pipelines")
    for name in ("churn", "recommendations", "telemetry"):
        shutil.copytree(SHIPPED / name, root / name)
    path = declared(root / "corner-shop") / "pipeline.yaml"
    path.write_text(path.read_text().replace("grain: day", "grain: dya"))
    return root


@pytest.fixture(scope="module")
def definitions(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    project = load_pipelines(pipeline_folders(str(folder)), {})
    return build_definitions(Runtime(Settings(home=tmp_path_factory.mktemp("home")), project))


def agreed(kind: str) -> set[str]:
    """The names of one kind in the frozen graph of the shipped pipelines."""
    lines = GRAPH.read_text().splitlines()
    return {line.split()[1] for line in lines if line.startswith(f"{kind} ")}


def test_jobs_sensors_schedules_and_assets_of_the_others_are_all_there(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    assert agreed("job") <= {job.name for job in repository.get_all_jobs()}
    assert agreed("schedule") == {schedule.name for schedule in repository.schedule_defs}
    assert {sensor.name for sensor in repository.sensor_defs} == agreed("sensor") | {"pipelines_left_out"}
    assets = {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()}
    assert assets == agreed("asset") | {"corner_shop/pipeline_yaml"}


def test_the_broken_one_is_a_group_with_the_message_and_a_red_check(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    node = repository.asset_graph.get(dg.AssetKey(["corner_shop", "pipeline_yaml"]))
    assert node.group_name == "corner_shop"
    assert "corner-shop/pipeline.yaml:7: datasets[0].partitions.grain: expected 'hour'" in (node.description or "")
    with dg.DagsterInstance.ephemeral() as instance, dg.build_sensor_context(instance) as context:
        sensor = repository.get_sensor_def("pipelines_left_out")
        assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
        first = sensor.evaluate_tick(context)
        (event,) = first.asset_events
        assert isinstance(event, dg.AssetCheckEvaluation)
        assert not event.passed and event.severity == dg.AssetCheckSeverity.ERROR
        assert "found 'dya'" in (event.description or "")
        context.update_cursor(first.cursor)
        assert not sensor.evaluate_tick(context).asset_events


def test_the_check_can_be_run_by_hand_and_fails(definitions: dg.Definitions) -> None:
    (check,) = [one for one in definitions.asset_checks or () if one.check_key.name == "loads"]
    assert isinstance(check, dg.AssetChecksDefinition)
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([check], instance=instance, selection=dg.AssetSelection.checks(check))
        (evaluation,) = done.get_asset_check_evaluations()
    assert not evaluation.passed


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[dict[str, str]]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRAI_", "DAGSTER_"))}
    yield {**inherited, "ORCHESTRAI_HOME": str(tmp_path / "home")}


def test_the_code_location_loads_as_dagster_loads_it(folder: Path, shell: dict[str, str], tmp_path: Path) -> None:
    program = "from orchestrai.definitions import defs; print(len(defs.get_repository_def().schedule_defs))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**shell, "ORCHESTRAI_PIPELINES": str(folder)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) == len(agreed("schedule"))


def test_two_broken_folders_of_one_name_are_two_groups(tmp_path: Path) -> None:
    for root in ("a", "b"):
        (tmp_path / root / "shop").mkdir(parents=True)
        (tmp_path / root / "shop" / "pipeline.yaml").write_text("- nothing\n")
    project = load_pipelines(pipeline_folders(f"{tmp_path / 'a'}:{tmp_path / 'b'}"), {})
    found = build_definitions(Runtime(Settings(home=tmp_path / "home"), project)).get_repository_def()
    keys = {key.to_user_string() for key in found.asset_graph.get_all_asset_keys()}
    assert keys == {"shop/pipeline_yaml", "shop_2/pipeline_yaml"}
