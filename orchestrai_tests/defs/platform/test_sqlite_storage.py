"""Processes that start together on an empty home, as Dagster starts its own: one of them makes the tables, all of them go on."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestrai.defs.platform.sqlite_storage import LOCK, tables_alone
from orchestrai.pipeline.instance.settings_file import NAME, settings_text

# as `dagster-daemon` and a code server open an instance: by dagster.yaml, with no lock of ours around it
STARTED = """
import os, sys, time
from pathlib import Path
from sqlalchemy.sql.ddl import SchemaGenerator
from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef
asked = SchemaGenerator._can_create_table
def unhurried(generator, table):
    # between looking for a table and making it lies enough time for another process
    absent = asked(generator, table)
    time.sleep(0.02)
    return absent
folder = Path(sys.argv[1])
reference = InstanceRef.from_dir(str(folder))
reference.run_storage, reference.event_storage, reference.schedule_storage
(folder / f"ready-{os.getpid()}").touch()
SchemaGenerator._can_create_table = unhurried
while len(list(folder.glob("ready-*"))) < 2:
    time.sleep(0.0005)
with DagsterInstance.from_ref(InstanceRef.from_dir(str(folder))) as instance:
    assert instance.get_runs_count() == 0 and list(instance.all_instigator_state()) == []
    assert list(instance.get_asset_keys()) == []
"""


def both_said(folder: Path, text: str) -> list[str]:
    """What two processes say that open an instance at once; the text of one that did well is empty."""
    folder.mkdir()
    (folder / NAME).write_text(text)
    started = [
        subprocess.Popen([sys.executable, "-c", STARTED, str(folder)], stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    return [process.communicate(timeout=120)[1] if process.wait(120) else "" for process in started]


def test_two_processes_of_dagster_that_start_at_once_on_an_empty_home_both_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "dagster"
    assert both_said(folder, settings_text(str(folder))) == ["", ""]
    assert (folder / "history" / LOCK).exists() and (folder / "schedules" / LOCK).exists()


def test_a_lock_whose_file_was_taken_away_with_its_folder_keeps_nobody_out_and_lets_nobody_in(tmp_path: Path) -> None:
    folder, order = tmp_path / "history", list[str]()
    inside = threading.Event()

    def second() -> None:
        inside.wait(10)
        with tables_alone(str(folder)):
            order.append("second")

    waiting = threading.Thread(target=second)
    waiting.start()
    with tables_alone(str(folder)):
        shutil.rmtree(folder)
        with tables_alone(str(folder)):
            # a folder made anew has a lock of its own, and that is the one to wait for
            inside.set()
            waiting.join(0.2)
            order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]


def test_the_lock_is_free_when_making_the_tables_failed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), tables_alone(str(tmp_path)):
        raise OSError("full")
    with tables_alone(str(tmp_path)):
        assert os.path.exists(tmp_path / LOCK)
