"""MLflow's tracking server with its model registry and artifact proxy, over SQLite."""

import contextlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from orchestrai_tests.servers.process import ServerAbsent, free_port, running


@contextlib.contextmanager
def mlflow_server() -> Iterator[str]:
    """Run MLflow's Flask application in a process of its own; gives its URL.

    `mlflow server` itself starts more than the installed packages carry (job workers, an assistant), the application not.
    """
    for package in ("mlflow", "flask", "alembic"):
        if importlib.util.find_spec(package) is None:
            raise ServerAbsent(f"{package} is not installed: install mlflow")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/mlflow.db"
        environment = {
            **os.environ,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "_MLFLOW_SERVER_FILE_STORE": store,
            "_MLFLOW_SERVER_REGISTRY_STORE": store,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": f"{folder}/artifacts",
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        }
        command = [sys.executable, "-m", "flask", "--app", "mlflow.server:app", "run", "--port", str(port)]
        with running(command, port, log=Path(folder) / "log", seconds=120, environment=environment):
            yield f"http://127.0.0.1:{port}"
