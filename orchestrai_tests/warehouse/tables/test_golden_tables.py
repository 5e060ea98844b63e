"""Delta tables of others, read by our log and by delta-rs: the same version and files, or refused; never something else."""

import os
from pathlib import Path
from urllib.parse import unquote

import pytest

from orchestrai.errors import ConfigError, IntegrityError
from orchestrai.storage.local import LocalStore
from orchestrai.warehouse.tables.delta_log import DeltaLog

# a folder of tables, such as crates/test/tests/data of delta-rs; they are no part of any package, and none is kept here
FOLDER = "ORCHESTRAI_TEST_GOLDEN_TABLES"


def ours(table: Path) -> tuple[int, list[str]] | None:
    """The newest version and the names of its files; None where the table is refused."""
    try:
        state = DeltaLog(LocalStore(table.parent), f"{table.name}/").state()
    except (ConfigError, IntegrityError):
        return None
    assert state is not None
    return state.number, sorted(unquote(path).rpartition("/")[2] for path in state.files)


def test_tables_of_others_are_read_as_delta_rs_reads_them_or_refused() -> None:
    deltalake = pytest.importorskip("deltalake")
    if not os.environ.get(FOLDER):
        pytest.skip(f"{FOLDER} names no folder of Delta tables, such as crates/test/tests/data of delta-rs")
    compared, differ = 0, []
    for log in sorted(Path(os.environ[FOLDER]).resolve().rglob("_delta_log")):
        found = ours(log.parent)
        if found is None:
            continue
        table = deltalake.DeltaTable(str(log.parent))
        theirs = (table.version(), sorted(unquote(uri).rpartition("/")[2] for uri in table.file_uris()))
        compared += 1
        differ += [log.parent.name] if found != theirs else []
    assert compared and differ == []
