"""A DuckDB in this process that reads the files it was handed and nothing else, whatever SQL it is given.

External access is off, no extension loads, no Python object is found by its name, and the configuration is locked. DuckDB opens
sealed files (storage/disk/sealed.py) by their numbers, and files in one folder: what was made here of verified rows stands there
under a hard link for as long as a query reads it. A folder on the file system of the files saves copying them; what a killed process
left in it is removed by the next one.
"""

import itertools
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.core.sql.quoting import literal
from orchestrai.errors import FeatureViewError
from orchestrai.storage.disk.sealed import FOLDER, number_of

if TYPE_CHECKING:
    import duckdb

_OURS = f"orchestrai-duckdb-{socket.gethostname()}-"
Setting = str | bool | int | float | list[str]


class Workspace:
    """A connection with temporary tables and views of its own, and the files that were let in for it."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection", folder: Path, numbers: range) -> None:
        self.connection = connection
        self._folder = folder
        self._numbers = numbers
        self._places: dict[Path, Path] = {}

    def place(self, path: Path) -> Path:
        """Where DuckDB finds a file: a sealed one where it is, another linked into the folder that it may read, or copied."""
        number = number_of(path)
        if number is not None:
            if number not in self._numbers:
                raise FeatureViewError(
                    f"expected at most {len(self._numbers)} verified files open beside a query, found more: run fewer partitions "
                    "at once"
                )
            return path
        place = self._places.get(path)
        if place is None:
            place = self._places[path] = self._folder / f"{len(self._places):06d}.parquet"
            try:
                os.link(os.path.realpath(path), place)
            except OSError:
                shutil.copyfile(path, place)
        return place

    def paths(self, files: Iterable[Path]) -> str:
        """Files as the list that `read_parquet` takes."""
        return "[" + ", ".join(literal(str(self.place(path))) for path in files) + "]"


class ClosedDatabase:
    """One DuckDB database in memory, closed to everything but what its workspaces let in."""

    def __init__(
        self, settings: Mapping[str, Setting] | None = None, beside: Path | None = None, numbers: range = range(0)
    ) -> None:
        import duckdb

        self.numbers = numbers

        if beside is not None:
            beside.mkdir(parents=True, exist_ok=True)
            _sweep(beside)
        self._room = tempfile.TemporaryDirectory(prefix=f"{_OURS}{os.getpid()}-", dir=beside)
        self._folder = Path(self._room.name).resolve()
        self._numbers = itertools.count()
        self.connection = duckdb.connect(
            config={
                **(settings or {}),
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "python_enable_replacements": "false",
                # numbers come round: what was read under one is nothing that its next file has
                "enable_external_file_cache": "false",
            }
        )
        sealed = ", ".join(literal(f"{FOLDER}/{number}") for number in numbers)
        for statement in (
            "SET GLOBAL TimeZone = 'UTC'",
            f"SET allowed_directories = [{literal(str(self._folder))}]",
            *([f"SET allowed_paths = [{sealed}]"] if numbers else []),
            "SET enable_external_access = false",
            "SET lock_configuration = true",
        ):
            self.connection.execute(statement)

    @contextmanager
    def workspace(self) -> Iterator[Workspace]:
        """A connection of its own; the files that were let in are gone with it."""
        folder = self._folder / f"{next(self._numbers):06d}"
        folder.mkdir()
        try:
            with self.connection.cursor() as connection:
                yield Workspace(connection, folder, self.numbers)
        finally:
            shutil.rmtree(folder)

    def close(self) -> None:
        """Release the memory and the folder."""
        self.connection.close()
        self._room.cleanup()


def _sweep(folder: Path) -> None:
    """Remove the rooms of processes of this machine that are no more."""
    for room in folder.glob(f"{_OURS}*"):
        try:
            os.kill(int(room.name.removeprefix(_OURS).partition("-")[0]), 0)
        except ProcessLookupError:
            shutil.rmtree(room, ignore_errors=True)
        except (ValueError, PermissionError):
            continue  # not of this form, or alive under another user
