"""Dagster's SQLite storages of runs and ticks, whose tables are made by one process at a time.

Dagster looks whether its tables are there, makes them and notes their revision in three steps and without a lock. Of two processes that
start together on an empty home, as daemon and code server do after its database was lost, one finds half of them there and ends. Files
and tables are Dagster's own, so its stock storages can open them at any time.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage
from dagster._serdes import ConfigurableClassData

LOCK = ".tables.lock"


@contextmanager
def tables_alone(folder: str) -> Iterator[None]:
    """Hold the lock of the tables in a folder, which is made where there is none.

    The kernel gives the lock back when its process dies. Threads of one process wait for one another, too; it must not be taken twice.
    """
    while True:
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, LOCK)
        try:
            lock = open(path, "a")
        except FileNotFoundError:
            continue  # the folder was taken away meanwhile
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_file(path, lock.fileno()):
                yield
                return


def _is_file(path: str, opened: int) -> bool:
    """Whether a name is of the file that is open: who lost the database took the lock's file away with it."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(opened))
    except FileNotFoundError:
        return False


class RunStorage(SqliteRunStorage):
    """SQLite run storage that one process at a time makes the tables of."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> "RunStorage":
        """What dagster.yaml asks for."""
        with tables_alone(config_value["base_dir"]):
            return cls.from_local(inst_data=inst_data, **config_value)


class ScheduleStorage(SqliteScheduleStorage):
    """SQLite storage of ticks and of what is on that one process at a time makes the tables of."""

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "ScheduleStorage":
        """What dagster.yaml asks for."""
        with tables_alone(config_value["base_dir"]):
            made = cls.from_local(inst_data=inst_data, **config_value)
        assert isinstance(made, cls)
        return made
