"""Databases that are kept by their log, as Dagster sees them."""

from pathlib import Path

import dagster as dg
import pytest

from orchestrai.defs.build import build_definitions
from orchestrai.defs.sensors import log_sensors
from orchestrai.pipeline.runtime import Runtime
from orchestrai.pipeline.template import write_template
from orchestrai.settings import load_settings
from orchestrai_tests.dagster_names import ledger_name

DATABASES = """
databases:
  - {name: crm, dsn_env: CRM_URL, method: wal, every: "0 2 * * *", keep: {last: 3}, rpo: 90s}
  - {name: notes, dsn_env: NOTES_URL}
"""


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runtime:
    declared = tmp_path / "pipelines" / "shop"
    declared.parent.mkdir()
    write_template("shop", declared)
    with (declared / "pipeline.yaml").open("a") as stream:
        stream.write(DATABASES)
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(declared))
    return Runtime(load_settings())


def test_a_log_is_an_asset_with_a_sensor_and_a_dump_stays_a_dump(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = {asset for asset in runtime.project.nodes if asset.startswith(("shop/crm/", "shop/notes/"))}
    assert nodes == {
        *(f"shop/crm/{stage}" for stage in ("base", "wal", "drill", "retention")),
        *(f"shop/notes/{stage}" for stage in ("dump", "drill", "retention")),
    }
    definitions = build_definitions(runtime)
    sensor = definitions.resolve_sensor_def("shop_crm_wal_sensor")
    assert sensor.minimum_interval_seconds == 45 and sensor.default_status == dg.DefaultSensorStatus.STOPPED
    assert definitions.resolve_schedule_def("shop_crm_backup").cron_schedule == "0 2 * * *"
    asked = {}
    with dg.DagsterInstance.ephemeral() as instance:
        for needed in ("no base backup yet", ""):
            monkeypatch.setattr(log_sensors, "base_needed", lambda *_, needed=needed: needed)
            context = dg.build_sensor_context(
                instance=instance, resources={"orchestrai_runtime": runtime}, definitions=definitions
            )
            request = sensor(context)
            assert isinstance(request, dg.RunRequest)
            asked[needed] = [ledger_name(key) for key in request.asset_selection or ()]
    assert asked == {"no base backup yet": ["shop/crm/base", "shop/crm/wal"], "": ["shop/crm/wal"]}
