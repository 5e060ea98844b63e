"""What a declaration of a database says, and dumps restored by the command that restores to a moment."""

import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from orchestrai.backup.databases.dump import dump_sqlite
from orchestrai.backup.databases.dump_snapshot import keep_dump
from orchestrai.backup.spec import DatabaseSpec
from orchestrai.cli.app import app
from orchestrai.errors import ConfigError, RestoreError
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import load_settings


def test_a_log_has_an_rpo_of_its_own_and_a_dump_the_one_of_a_day() -> None:
    assert DatabaseSpec(name="crm", dsn_env="X").rpo == timedelta(hours=26)
    followed = DatabaseSpec.model_validate({"name": "crm", "dsn_env": "X", "method": "wal"})
    assert (followed.rpo, followed.window) == (timedelta(minutes=5), timedelta(days=7))
    assert DatabaseSpec.model_validate({"name": "c", "dsn_env": "X", "method": "wal", "rpo": "30s"}).rpo.seconds == 30


@pytest.mark.parametrize(
    ("field", "method", "value"),
    [("window", "dump", "7d"), ("tools", "dump", "/x"), ("minimum_rows", "wal", 5), ("scratch_env", "wal", "Y")],
)
def test_what_only_the_other_method_reads_is_refused(field: str, method: str, value: object) -> None:
    with pytest.raises(ValidationError, match=f"expected no {field} beside method {method}"):
        DatabaseSpec.model_validate({"name": "crm", "dsn_env": "X", "method": method, field: value})


def test_the_newest_dump_of_sqlite_before_a_moment_is_restored_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRAI_HOME", str(tmp_path / "home"))
    runtime = Runtime(load_settings())
    path = tmp_path / "notes.sqlite"
    times = []
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("CREATE TABLE note (n INTEGER)")
        for number in range(3):
            opened.execute("INSERT INTO note VALUES (?)", (number,))
            opened.commit()
            dump = dump_sqlite(path, tmp_path / str(number))
            keep_dump(runtime.context(), runtime.vault, asset="shop/notes/dump", dump=dump)
            times.append(runtime.vault.latest("shop/notes/dump").committed)
    words = ["backup", "restore", "shop/notes", "--to", str(tmp_path / "back"), "--json"]
    result = CliRunner().invoke(app, [*words, "--at", times[1].isoformat()])
    assert result.exit_code == 0 and json.loads(result.stdout)["bytes"] > 0
    with closing(sqlite3.connect(tmp_path / "back" / "database.sqlite")) as opened:
        assert opened.execute("SELECT max(n) FROM note").fetchone() == (1,)
    for more, error in ((["--xid", "3"], ConfigError), (["--at", "2001-01-01"], RestoreError)):
        assert isinstance(CliRunner().invoke(app, [*words, *more]).exception, error)
