"""Where the project file in force lies."""

import os
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "ORCHESTRAI_PROJECT"
# connections as JSON, in place of those of the file: what a job on another machine is given
SENT = "ORCHESTRAI_CONNECTIONS"
PROJECT_FILE = Path("orchestrai.yaml")


def project_path(environment: Mapping[str, str] = os.environ) -> Path | None:
    """What ORCHESTRAI_PROJECT names, else orchestrai.yaml of the working directory where there is one, else none."""
    named = next((value for name, value in environment.items() if name.upper() == VARIABLE), "")
    path = Path(named).expanduser() if named else PROJECT_FILE
    return Path(os.path.abspath(path)) if named or path.is_file() else None
