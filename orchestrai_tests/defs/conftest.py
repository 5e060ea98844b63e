"""A small project on a fresh home, and the Dagster objects over it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from orchestrai.defs.asset_keys import asset_key
from orchestrai.defs.build import build_definitions
from orchestrai.defs.launch.backfill import SILENT_CONSOLE
from orchestrai.demo.demo_landing import LandingSummary, write_landing
from orchestrai.pipeline.load import Project as Declared
from orchestrai.pipeline.load import load_project, pipeline_folders
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@dataclass
class Project:
    """A deployed project in a test: runtime, definitions, an instance, and what was landed."""

    runtime: Runtime
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    landed: LandingSummary

    def run(
        self, job: str, first: str | None = None, last: str | None = None, only: tuple[str, ...] = ()
    ) -> dg.ExecuteInProcessResult:
        """Run a job over a span; failures are results, not exceptions."""
        tags = {RANGE_START: first, RANGE_END: last or first} if first else {}
        selection = [asset_key(asset) for asset in only] or None
        return self.definitions.resolve_job_def(job).execute_in_process(
            run_config=SILENT_CONSOLE, instance=self.instance, tags=tags, raise_on_error=False, asset_selection=selection
        )

    def materialized(self, asset: str) -> set[str]:
        """The partitions Dagster believes to be materialized."""
        return set(self.instance.get_materialized_partitions(asset_key(asset)))


@pytest.fixture(scope="session")
def landing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LandingSummary]:
    """Demo landing objects, small: 28 days of orders with one planted bad day, 6 hours of readings."""
    folder = tmp_path_factory.mktemp("landing")
    return folder, write_landing(folder, days=28, click_days=14, hours=6)


@pytest.fixture(scope="session")
def environment(landing: tuple[Path, LandingSummary]) -> dict[str, str]:
    """Where that landing is, as the shipped pipelines ask for it."""
    return {f"{name.upper()}_URL": str(landing[0] / name) for name in ("orders", "clicks", "readings")}


@pytest.fixture(scope="session")
def shipped(environment: dict[str, str]) -> Declared:
    """All shipped pipelines over the landing; what is declared never changes, so it is loaded once."""
    return load_project(pipeline_folders(), environment)


@pytest.fixture
def project(
    tmp_path: Path,
    landing: tuple[Path, LandingSummary],
    environment: dict[str, str],
    shipped: Declared,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Project]:
    """All shipped pipelines over the landing, on a fresh home and an ephemeral instance."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    runtime = Runtime(Settings(home=tmp_path / "home"), shipped)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Project(runtime, build_definitions(runtime), instance, landing[1])
