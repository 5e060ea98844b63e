"""Fixtures of the provenance tests."""

import pytest

from orchestrai.core.time.calendar import keys_between
from orchestrai.pipeline.load import load_project, pipeline_folders
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import load_settings
from orchestrai_tests.provenance.builder import World


@pytest.fixture
def world() -> World:
    """An empty world in memory."""
    return World()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    """The shipped telemetry pipeline, run once over generated readings; not to be changed."""
    from orchestrai.demo.demo_landing import write_landing

    settings = load_settings(home=tmp_path_factory.mktemp("origin"))
    landing = tmp_path_factory.mktemp("landing")
    landed = write_landing(landing, seed=7, days=28, click_days=1, hours=14)
    project = load_project(pipeline_folders(), {"READINGS_URL": str(landing / "readings")})
    runtime = Runtime(settings, project)
    run_telemetry(runtime, *landed.readings)
    return runtime


def run_telemetry(runtime: Runtime, first: str, last: str) -> None:
    """Run every stage up to the champion."""
    for node in runtime.project.nodes.values():
        if node.pipeline == "telemetry" and node.executable and node.stage.name not in ("catalog", "predictions"):
            keys = keys_between(first, last, node.grain) if node.grain != "all" else ["all"]
            report = runtime.run(node, keys)
            assert not report.refused, report.refused
