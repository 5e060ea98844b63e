"""Database dumps: SQLite while a writer writes, a real PostgreSQL dumped and restored by its own tools."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrai.backup.databases.dump import (
    Dump,
    DumpFile,
    dump_postgres,
    dump_sqlite,
    restore_postgres,
    restore_sqlite,
)
from orchestrai.backup.databases.dump_snapshot import keep_dump, prove_postgres, prove_sqlite
from orchestrai.backup.databases.dump_tools import find_tool, snapshot_of
from orchestrai.errors import ConfigError, IntegrityError, RestoreError, StorageError
from orchestrai.ledger.ledger import Ledger
from orchestrai.restore.folder import restore_folder
from orchestrai.stage.context import RunContext
from orchestrai.vault.vault import Vault
from orchestrai_tests.servers.postgres import PostgresServer

ASSET = "platform/shop/dump"
CANARY = "hunter2canary"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.sqlite"
    with closing(sqlite3.connect(path)) as opened:
        opened.executescript(
            'CREATE TABLE "odd ""name" (x); CREATE TABLE b (y INTEGER PRIMARY KEY AUTOINCREMENT);'
            'INSERT INTO "odd ""name" VALUES (1), (2); INSERT INTO b VALUES (1)'
        )
        opened.commit()
    return path


def vault_of(ledger: Ledger) -> Vault:
    assert ledger.vault is not None
    return Vault(ledger.vault, ledger.signer)


def restored(ledger: Ledger, tmp_path: Path) -> Path:
    vault = vault_of(ledger)
    restore_folder(vault, vault.latest(ASSET), tmp_path / "back")
    return tmp_path / "back"


def test_a_sqlite_dump_is_published_and_restored_with_equal_rows(ledger: Ledger, small: Path, tmp_path: Path) -> None:
    dump = dump_sqlite(small, tmp_path / "dump")
    assert dump.tables == {'odd "name': 2, "b": 1} and dump.rows == 3
    report = keep_dump(RunContext(ledger), vault_of(ledger), asset=ASSET, dump=dump)
    assert report.rows == 3 and not report.refused
    folder = restored(ledger, tmp_path)
    (tmp_path / "scratch").mkdir()
    assert sum(prove_sqlite(folder, tmp_path / "scratch").values()) == 3
    restore_sqlite(folder / "database.sqlite", tmp_path / "back.sqlite", tables=dump.tables)
    with closing(sqlite3.connect(tmp_path / "back.sqlite")) as opened:
        assert opened.execute('SELECT x FROM "odd ""name"').fetchall() == [(1,), (2,)]


_WRITER = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=60)
db.execute("PRAGMA journal_mode = " + sys.argv[2])
db.execute("CREATE TABLE IF NOT EXISTS debit (n INTEGER)")
db.execute("CREATE TABLE IF NOT EXISTS credit (n INTEGER, filler TEXT)")
db.commit()
n = 0
while True:
    with db:
        db.execute("INSERT INTO debit VALUES (?)", (n,))
        db.execute("INSERT INTO credit VALUES (?, ?)", (n, "x" * 500))
    n += 1
    time.sleep(0.002)
    if n == 20:
        print("going", flush=True)
"""


def _wait_for_more(path: Path, count: int) -> None:
    """Return once the writer has written on: in memory four dumps take less time than it waits for a lock."""
    deadline = time.monotonic() + 60
    with closing(sqlite3.connect(path, timeout=60)) as live:
        while live.execute("SELECT count(*) FROM debit").fetchone()[0] <= count:
            assert time.monotonic() < deadline, "the writer stands still"
            time.sleep(0.02)


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_a_sqlite_dump_is_consistent_while_a_writer_writes(tmp_path: Path, journal: str) -> None:
    path = tmp_path / "live.sqlite"
    child = subprocess.Popen([sys.executable, "-c", _WRITER, str(path), journal], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None and child.stdout.readline() == "going\n"
        counts = []
        for number in range(4):
            dump = dump_sqlite(path, tmp_path / str(number))
            assert dump.tables["debit"] == dump.tables["credit"] >= 20
            with closing(sqlite3.connect(dump.files[0].source)) as opened:
                assert (
                    opened.execute("SELECT count(*) FROM debit JOIN credit USING (n)").fetchone()[0] == dump.tables["debit"]
                )
            counts.append(dump.tables["debit"])
            _wait_for_more(path, counts[-1])
        assert counts == sorted(set(counts))
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        if child.stdout:
            child.stdout.close()


def test_a_damaged_sqlite_database_is_no_dump(tmp_path: Path) -> None:
    path = tmp_path / "d.sqlite"
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("CREATE TABLE t (x TEXT)")
        opened.executemany("INSERT INTO t VALUES (?)", [("y" * 300,)] * 200)
        opened.commit()
    data = bytearray(path.read_bytes())
    data[8192:8300] = b"\xff" * 108
    path.write_bytes(data)
    with pytest.raises(IntegrityError):
        dump_sqlite(path, tmp_path / "dump")
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(IntegrityError):
        dump_sqlite(path, tmp_path / "dump2")
    with pytest.raises(ConfigError):
        dump_sqlite(tmp_path / "none", tmp_path / "dump3")


def test_a_sqlite_database_whose_index_disagrees_with_its_table_is_no_dump(tmp_path: Path) -> None:
    path = tmp_path / "d.sqlite"
    with closing(sqlite3.connect(path)) as opened:
        opened.executescript("CREATE TABLE t (x TEXT); CREATE INDEX i ON t (x); INSERT INTO t VALUES ('needle')")
    path.write_bytes(path.read_bytes().replace(b"needle", b"noodle", 1))
    with pytest.raises(IntegrityError, match="sound SQLite database"):
        dump_sqlite(path, tmp_path / "dump")


def test_a_sqlite_restore_never_touches_a_file_and_finds_other_rows(small: Path, tmp_path: Path) -> None:
    dump = dump_sqlite(small, tmp_path / "dump")
    live = tmp_path / "live.sqlite"
    live.write_bytes(b"live")
    with pytest.raises(RestoreError, match="found a file"):
        restore_sqlite(dump.files[0].source, live)
    assert live.read_bytes() == b"live"
    with pytest.raises(RestoreError, match="expected 4 rows in b, found 1"):
        restore_sqlite(dump.files[0].source, tmp_path / "new.sqlite", tables={**dump.tables, "b": 4})
    assert not (tmp_path / "new.sqlite").exists() and not list(tmp_path.glob(".new*"))


def test_a_flipped_byte_in_a_kept_dump_is_found(ledger: Ledger, small: Path, tmp_path: Path) -> None:
    vault = vault_of(ledger)
    keep_dump(RunContext(ledger), vault, asset=ASSET, dump=dump_sqlite(small, tmp_path / "dump"))
    file = next(f for f in vault.files(vault.latest(ASSET), "all") if f.path == "database.sqlite")
    path = vault.store.local_path(file.key)
    assert path is not None
    data = bytearray(path.read_bytes())
    data[file.offset + file.length // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    with pytest.raises(IntegrityError):
        restored(ledger, tmp_path)
    assert not (tmp_path / "back").exists()


def test_an_empty_dump_closes_the_gate(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "empty.sqlite"
    sqlite3.connect(path).close()
    dump = dump_sqlite(path, tmp_path / "dump")
    vault = vault_of(ledger)
    assert keep_dump(RunContext(ledger), vault, asset=ASSET, dump=dump).refused
    (file,) = dump.files
    few = Dump(dump.engine, dump.server_version, (DumpFile(file.path, file.source, file.size, {"t": 3}),), dump.facts)
    assert keep_dump(RunContext(ledger), vault, asset=ASSET, dump=few, minimum_rows=4).refused
    assert vault.snapshots(ASSET) == []
    assert not keep_dump(RunContext(ledger), vault, asset=ASSET, dump=few).refused


# -- PostgreSQL --------------------------------------------------------------------------------------------------

SCHEMA = """
CREATE SCHEMA "Sales & Co";
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TABLE orders (id bigint PRIMARY KEY, amount numeric(12, 2), at timestamptz, tags jsonb, how mood);
CREATE TABLE "Sales & Co"."Order Lines" (id serial PRIMARY KEY, order_id bigint REFERENCES orders, data bytea);
CREATE TABLE parted (n int, d date) PARTITION BY RANGE (d);
CREATE TABLE parted_2026 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO orders SELECT n, n * 1.01, timestamptz '2026-01-01Z' + n * interval '1 hour', '{"a": [1, "é"]}', 'sad'
  FROM generate_series(1, 500) n;
INSERT INTO "Sales & Co"."Order Lines" (order_id, data) SELECT n, decode('00ff', 'hex') FROM generate_series(1, 500) n;
INSERT INTO parted SELECT n, '2026-05-05' FROM generate_series(1, 7) n;
"""
TABLES = {"public.orders": 500, "Sales & Co.Order Lines": 500, "public.parted_2026": 7}


def run(url: str, statement: str) -> list[Any]:
    import psycopg

    with psycopg.connect(url, autocommit=True) as opened:
        answer = opened.execute(statement)
        return answer.fetchall() if answer.description else []


@pytest.fixture
def databases(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    source, target = postgres.database(), postgres.database()
    monkeypatch.setenv("SOURCE_URL", source)
    monkeypatch.setenv("TARGET_URL", target)
    run(source, SCHEMA)
    return source, target


@pytest.mark.emulator
def test_a_postgres_dump_is_published_and_restored_with_equal_rows(
    ledger: Ledger, databases: tuple[str, str], tmp_path: Path
) -> None:
    source, target = databases
    dump = dump_postgres("env://SOURCE_URL", tmp_path / "dump")
    assert dump.tables == TABLES and dump.server_version.startswith(str(dump.facts["tool_version"]).split(".")[0])
    assert keep_dump(RunContext(ledger), vault_of(ledger), asset=ASSET, dump=dump).rows == 1007
    assert prove_postgres(restored(ledger, tmp_path), "env://TARGET_URL") == TABLES
    for table in ("orders", '"Sales & Co"."Order Lines"', "parted"):
        query = f"SELECT * FROM {table} ORDER BY 1"
        assert run(source, query) == run(target, query)
    assert run(target, 'SELECT nextval(\'"Sales & Co"."Order Lines_id_seq"\')') == [(501,)]


@pytest.mark.emulator
def test_counts_and_dump_see_one_moment_though_rows_come_in_between(
    databases: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import orchestrai.backup.databases.dump as dumps

    source, _ = databases
    real = dumps.pg_dump

    def disturbed(*arguments: Any, **options: Any) -> str:
        run(source, "INSERT INTO orders (id) VALUES (9001)")
        version = real(*arguments, **options)
        run(source, "INSERT INTO orders (id) VALUES (9002)")
        return version

    monkeypatch.setattr(dumps, "pg_dump", disturbed)
    dump = dump_postgres("env://SOURCE_URL", tmp_path / "dump")
    assert dump.tables["public.orders"] == 500
    found = restore_postgres(dump.files[0].source, "env://TARGET_URL", tables=dump.tables)
    assert found["public.orders"] == 500


@pytest.mark.emulator
def test_a_restore_into_a_used_database_is_refused(databases: tuple[str, str], tmp_path: Path) -> None:
    dump = dump_postgres("env://SOURCE_URL", tmp_path / "dump")
    run(databases[1], "CREATE TABLE mine (x int)")
    with pytest.raises(RestoreError, match=r"public\.mine"):
        restore_postgres(dump.files[0].source, "env://TARGET_URL")


@pytest.mark.emulator
def test_a_cut_dump_restores_nothing(databases: tuple[str, str], tmp_path: Path) -> None:
    dump = dump_postgres("env://SOURCE_URL", tmp_path / "dump")
    path = dump.files[0].source
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises((StorageError, RestoreError)):
        restore_postgres(path, "env://TARGET_URL", tables=dump.tables)


@pytest.mark.emulator
def test_rows_that_differ_after_a_restore_are_an_error(databases: tuple[str, str], tmp_path: Path) -> None:
    dump = dump_postgres("env://SOURCE_URL", tmp_path / "dump")
    with pytest.raises(RestoreError, match="expected 501 rows"):
        restore_postgres(dump.files[0].source, "env://TARGET_URL", tables={**dump.tables, "public.orders": 501})


@pytest.mark.emulator
def test_a_password_is_in_no_command_line_and_no_error(
    databases: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg.conninfo

    given = psycopg.conninfo.conninfo_to_dict(databases[0])
    monkeypatch.setenv("SOURCE_URL", psycopg.conninfo.make_conninfo("", **{**given, "password": CANARY}))
    log = tmp_path / "log"
    tools = tmp_path / "tools"
    tools.mkdir()
    fake = tools / "pg_dump"
    fake.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "pg_dump (PostgreSQL) 99.1" && exit 0\n'
        f'echo "$@" > {log}; echo "failed with $(cat $PGPASSFILE)" >&2; env | grep -q {CANARY} && exit 3; exit 1\n'
    )
    fake.chmod(0o755)
    with pytest.raises(StorageError) as caught:
        dump_postgres("env://SOURCE_URL", tmp_path / "dump", tools=tools)
    assert "with code 1" in str(caught.value) and "***" in str(caught.value) and CANARY not in str(caught.value)
    assert CANARY not in log.read_text() and "--snapshot=" in log.read_text()


def test_tools_older_than_the_server_are_refused(tmp_path: Path) -> None:
    program = tmp_path / "pg_dump"
    program.write_text('#!/bin/sh\necho "pg_dump (PostgreSQL) 11.9"\n')
    program.chmod(0o755)
    assert find_tool("pg_dump", 11, tmp_path) == (str(program), "11.9")
    with pytest.raises(ConfigError, match=r"found pg_dump 11\.9"):
        find_tool("pg_dump", 18, tmp_path)
    with pytest.raises(ConfigError, match="found none"):
        find_tool("pg_dump", 18, tmp_path / "nowhere")


@pytest.mark.emulator
def test_a_wrong_reference_is_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_URL", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH_URL"), snapshot_of("env://NO_SUCH_URL"):
        pass
