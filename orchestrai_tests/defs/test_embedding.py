"""A project within a code location that has assets, resources and an executor of its own."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from orchestrai import pipeline_definitions
from orchestrai.defs.embedding.component import Project
from orchestrai.defs.embedding.host_definitions import _put_in_force
from orchestrai.errors import ConfigError
from orchestrai.pipeline.template import write_template

HOST = """
from pathlib import Path
import dagster as dg
from orchestrai import pipeline_definitions

@dg.asset(deps=[dg.AssetKey(["sales", "sales_active_next_week_predictions"])], group_name="host")
def campaign(runtime: dg.ResourceParam[str]) -> str:
    return runtime

own = dg.Definitions(assets=[campaign], resources={"runtime": "the host's", "pyspark": 1}, executor=dg.in_process_executor)
defs = dg.Definitions.merge(own, pipeline_definitions(Path(__file__).parent / "models"))
"""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project file and one pipeline."""
    monkeypatch.setenv("ORCHESTRAI_PROJECT", "")
    os.environ.pop("ORCHESTRAI_PROJECT")
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "orchestrai.yaml").write_text("pipelines: [pipelines]\nhome: state\n")
    write_template("sales", folder / "pipelines" / "sales")
    return folder


def test_a_host_with_an_executor_and_resources_takes_a_project_in_and_runs_it(models: Path, tmp_path: Path) -> None:
    (tmp_path / "host.py").write_text(HOST)
    looked = """
import host, os
repository = host.defs.get_repository_def()
graph = repository.asset_graph
keys = {key.to_user_string() for key in graph.get_all_asset_keys()}
assert {"campaign", "sales/sales_events_raw_events", "sales/sales_active_next_week_champion"} <= keys, keys
assert [parent.to_user_string() for parent in graph.get(host.campaign.key).parent_keys] == ["sales/sales_active_next_week_predictions"]
job = host.defs.resolve_job_def("sales_sales_events_ingest")
assert job.executor_def.name == "in_process"
import dagster as dg
with dg.DagsterInstance.ephemeral() as instance:
    result = job.execute_in_process(instance=instance, partition_key="2026-01-02", raise_on_error=False)
assert not result.success and "expected" in str([e.event_specific_data for e in result.all_events if e.is_step_failure])
print(os.environ["ORCHESTRAI_PROJECT"])
"""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ORCHESTRAI_")}
    done = subprocess.run(
        [sys.executable, "-c", looked],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().splitlines()[-1] == str(models / "orchestrai.yaml")
    assert not (tmp_path / ".orchestrai").exists()


def test_a_second_project_in_a_process_and_a_missing_file_are_refused_with_what_to_do(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a project file at .*, found none: `orchestrai init`"):
        pipeline_definitions(tmp_path / "elsewhere.yaml")
    assert "ORCHESTRAI_PROJECT" not in os.environ
    _put_in_force(models)
    _put_in_force(models / "orchestrai.yaml")
    (tmp_path / "orchestrai.yaml").write_text("{}\n")
    with pytest.raises(ConfigError, match="expected one project in a process"):
        pipeline_definitions(tmp_path)


def test_a_component_scaffolds_a_project_and_loads_it(tmp_path: Path, models: Path) -> None:
    from dagster.components.scaffold.scaffold import NoParams

    from orchestrai.defs.embedding.component import ProjectScaffolder

    folder = tmp_path / "defs" / "shop"
    folder.mkdir(parents=True)
    for _ in range(2):
        ProjectScaffolder().scaffold(
            dg.ScaffoldRequest(
                type_name="orchestrai.defs.embedding.component.Project",
                target_path=folder,
                scaffold_format="yaml",
                project_root=tmp_path,
                params=NoParams(),
            )
        )
        (folder / "orchestrai.yaml").write_text("# mine\npipelines: [pipelines]\nhome: state\n")
    assert (folder / "orchestrai.yaml").read_text().startswith("# mine")
    assert "orchestrai.defs.embedding.component.Project" in (folder / "defs.yaml").read_text()
    definitions = dg.build_defs_for_component(Project(project=str(folder / "orchestrai.yaml")))
    assert definitions.executor is None
    # a host's runs are not ours to delete
    assert "orchestrai_run_retention" not in {sensor.name for sensor in definitions.get_repository_def().sensor_defs}
    keys = {key.to_user_string() for key in definitions.get_repository_def().asset_graph.get_all_asset_keys()}
    assert "shop/shop_events_snapshot" in keys
