"""After Dagster's database was lost nobody remembers which sensors were on: `orchestrai sync` names those that are off."""

import json
import shutil
from pathlib import Path

import pytest
from dagster._cli.sensor import sensor_start_command
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from typer.testing import CliRunner

from orchestrai.cli.app import app
from orchestrai.defs.instance import open_instance
from orchestrai_tests.features.shop import Shop

SENSOR, DEAD_RUNS = "late_sales_landing_sensor", "orchestrai_dead_runs"


def off(home: Path) -> dict[str, str]:
    """What `sync` says is off, with what starts it."""
    done = CliRunner().invoke(app, ["sync", "--json"])
    assert done.exit_code == 0, done.output
    assert home.is_dir()
    return {one["name"]: one["command"] for one in json.loads(done.stdout)["off"]}


def test_a_lost_database_leaves_sensors_off_and_sync_names_them_with_what_starts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    shop = Shop(tmp_path)
    home = shop.runtime.settings.home
    monkeypatch.setenv("ORCHESTRAI_HOME", str(home))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(tmp_path / "declared"))
    origin = RemoteInstigatorOrigin(
        RemoteRepositoryOrigin(InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="m")), "r"), SENSOR
    )
    with open_instance(home) as instance:
        state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, SensorInstigatorData())
        instance.add_instigator_state(state)
    told = off(home)
    assert SENSOR not in told and DEAD_RUNS not in told
    shutil.rmtree(home / "dagster" / "schedules")
    told = off(home)
    assert told[SENSOR] == f"dagster sensor start {SENSOR} -m orchestrai.definitions" and DEAD_RUNS not in told
    # the command is one that there is, with just these words
    context = sensor_start_command.make_context("start", told[SENSOR].split()[3:])
    assert SENSOR in str(context.params.values())
