"""The Dagster instance of the embedded default: SQLite under the home folder, the same that `make dev` opens."""

import os
from contextlib import suppress
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef

from orchestrai.errors import ConfigError

CONFIGURATION = "telemetry: {enabled: false}\nnux: {enabled: false}\n"


def open_instance(home: Path) -> dg.DagsterInstance:
    """The instance that DAGSTER_HOME names, else the one under `home`; made on first use. Raises ConfigError for a folder that is not."""
    named = os.environ.get("DAGSTER_HOME")
    if named:
        if not (os.path.isabs(named) and os.path.isdir(named)):
            raise ConfigError(
                f"expected DAGSTER_HOME to name a folder by its whole path, found {named!r}: make it, or unset it"
            )
        return dg.DagsterInstance.get()
    base = home / "dagster"
    base.mkdir(parents=True, exist_ok=True)
    # for whoever opens it as DAGSTER_HOME, as `make dev` does where ORCHESTRAI_HOME is set
    with suppress(FileExistsError), (base / "dagster.yaml").open("x") as settings:
        settings.write(CONFIGURATION)
    overrides = {
        "telemetry": {"enabled": False},
        "run_storage": {
            "module": "dagster._core.storage.runs",
            "class": "SqliteRunStorage",
            "config": {"base_dir": str(base / "history")},
        },
        "event_log_storage": {
            "module": "orchestrai.defs.event_log",
            "class": "EventLog",
            "config": {"base_dir": str(base / "history" / "runs")},
        },
        "schedule_storage": {
            "module": "dagster._core.storage.schedules",
            "class": "SqliteScheduleStorage",
            "config": {"base_dir": str(base / "schedules")},
        },
        "local_artifact_storage": {
            "module": "dagster._core.storage.root",
            "class": "LocalArtifactStorage",
            "config": {"base_dir": str(base)},
        },
        "compute_logs": {
            "module": "dagster._core.storage.local_compute_log_manager",
            "class": "LocalComputeLogManager",
            "config": {"base_dir": str(base / "compute_logs")},
        },
    }
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(base), overrides=overrides))
