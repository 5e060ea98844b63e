"""Where the tests' files lie: in memory, where there is plenty of it.

Nothing of a test outlives it, and waiting for a busy disk (a commit syncs its whole file system) takes longer than most tests.
"""

import os
import tempfile
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")
ENOUGH = 6 * 1024**3


def fast_folder() -> str | None:
    """A folder in memory; None where there is too little of it, and the default of `tempfile` is to be taken."""
    try:
        place, lines = os.statvfs(MEMORY), Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    available = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)
    return str(MEMORY) if min(place.f_bavail * place.f_frsize, available) > ENOUGH else None


def register(config: pytest.Config) -> None:
    """Give this process, the servers it starts and the folders of its tests that place, unless a person named another."""
    folder = fast_folder()
    if folder is None or config.option.basetemp or {"TMPDIR", "PYTEST_DEBUG_TEMPROOT"} & set(os.environ):
        return
    os.environ["TMPDIR"] = folder
    tempfile.tempdir = None
