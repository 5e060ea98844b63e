"""Tables by declaration: SQLite in place and a real PostgreSQL, to restored data, with late rows and dead letters."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import ConfigError, StorageError, TransientStorageError
from orchestrai.ingest.dead_letter_list import list_letters
from orchestrai.ingest.incremental import behind
from orchestrai.pipeline.runtime import Runtime
from orchestrai_tests.ingest.declaring import NOW, PREFIX, RAW, RESTORED, declare, hour, ids, opened, rows, run
from orchestrai_tests.running import replay
from orchestrai_tests.servers.postgres import PostgresServer

DDL = "CREATE TABLE readings (id bigint PRIMARY KEY, at {time} NOT NULL, value double precision, changed {time})"
Write = Callable[[str, Sequence[Any]], None]


class Place:
    """A database with a table of readings, and the source that names it."""

    def __init__(self, write: Write, url: str, more: str = "") -> None:
        self.write, self.url, self.more = write, url, more

    def add(self, number: int, at: str, changed: str, value: float | None = 1.0) -> None:
        self.write(
            "INSERT INTO readings VALUES ({0}, {0}, {0}, {0})", (number, f"2026-11-22 {at}", value, f"2026-11-22 {changed}")
        )

    def source(self, sql: str = "table: readings, overlap: 5m, key: [id]") -> str:
        return f"{{url: '{self.url}', format: sql, sql: {{{sql}{self.more}}}}}"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.emulator)])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "sqlite":
        path = tmp_path / "home" / "plant.sqlite"
        path.parent.mkdir()

        def lite(statement: str, values: Sequence[Any] = ()) -> None:
            with sqlite3.connect(path) as database:
                database.execute(statement.replace("{0}", "?"), values)
            database.close()

        lite(DDL.format(time="TEXT"))
        return Place(lite, "sqlite:///plant.sqlite")
    import psycopg

    url = request.getfixturevalue("postgres").database()

    def post(statement: str, values: Sequence[Any] = ()) -> None:
        with psycopg.connect(url, autocommit=True) as database:
            database.execute(statement.replace("{0}", "%s"), values or None)  # type: ignore[arg-type]

    post(DDL.format(time="timestamp"))
    monkeypatch.setenv("PLANT_DSN", url)
    return Place(post, "env://PLANT_DSN")


def again(folder: Path, tmp_path: Path) -> Runtime:
    return opened(folder, tmp_path / "home")


def test_rows_are_restored_once_and_later_ones_are_read_on(tmp_path: Path, place: Place) -> None:
    for number in range(12):
        place.add(number, f"10:{number:02d}:00", f"10:{number:02d}:00")
    folder = declare(
        tmp_path / "plant",
        place.source(
            "table: readings, limit_rows: 5, overlap: 5m",
        ),
        key=True,
    )
    runtime = again(folder, tmp_path)
    assert not run(runtime, [hour(10)]).refused and ids(runtime) == list(range(12))
    place.add(20, "10:59:00", "11:20:00")
    place.add(21, "11:01:00", "11:21:00")
    assert not run(again(folder, tmp_path), [hour(10), hour(11)]).refused
    runtime = again(folder, tmp_path)
    assert ids(runtime) == [*range(12), 20, 21]
    seq = runtime.ledger.open(RAW).head.seq
    assert not run(runtime, [hour(10), hour(11)]).refused and runtime.ledger.open(RAW).head.seq == seq
    assert runtime.ledger.open(RESTORED).version == runtime.ledger.open(RAW).version


def test_a_late_commit_inside_the_overlap_and_a_change_are_events_of_their_own(tmp_path: Path, place: Place) -> None:
    folder = declare(tmp_path / "plant", place.source("table: readings, watermark: at, key: [id, value]"))
    place.add(1, "10:00:00", "10:00:00")
    place.add(2, "10:08:00", "10:08:00")
    run(again(folder, tmp_path), [hour(10)])
    place.add(3, "10:03:00", "10:09:00")
    place.write("UPDATE readings SET value = 5 WHERE id = 2", ())
    runtime = again(folder, tmp_path)
    run(runtime, [hour(10)])
    assert [(row["id"], row["value"]) for row in rows(runtime)] == [(1, 1.0), (2, 1.0), (2, 5.0), (3, 1.0)]


def test_late_rows_of_another_partition_are_told_as_behind(tmp_path: Path, place: Place) -> None:
    folder = declare(tmp_path / "plant", place.source())
    place.add(1, "08:00:00", "08:00:00")
    place.add(2, "10:00:00", "10:00:00")
    runtime = again(folder, tmp_path)
    run(runtime, [hour(10)])
    assert list(behind(runtime.ledger, RAW, RESTORED)) == [hour(8)]
    run(runtime, [hour(8)])
    assert behind(runtime.ledger, RAW, RESTORED) == {}


def test_a_query_is_read_like_a_table(tmp_path: Path, place: Place) -> None:
    query = "query: 'SELECT id, at, value * 2 AS value FROM readings WHERE id % 2 = 0;', key: [id]"
    folder = declare(tmp_path / "plant", place.source(query))
    for number in range(4):
        place.add(number, "10:00:00", "10:00:00", value=number)
    runtime = again(folder, tmp_path)
    assert not run(runtime, [hour(10)]).refused
    assert [(row["id"], row["value"]) for row in rows(runtime)] == [(0, 0.0), (2, 4.0)]
    run(runtime, [hour(10)])
    assert ids(runtime) == [0, 2]


def test_dead_letters_of_a_table_land_once_after_the_contract_is_mended(tmp_path: Path, place: Place) -> None:
    folder = declare(tmp_path / "plant", place.source())
    place.add(1, "10:00:00", "10:00:00")
    place.add(2, "10:01:00", "10:01:00", value=500.25)
    run(again(folder, tmp_path), [hour(10)], "raw_events")
    runtime = again(declare(folder, place.source(), maximum=600, version="1.1.0"), tmp_path)
    assert ids(runtime, RAW) == [1] and len(list_letters(runtime.ledger, RAW)) == 1
    node = runtime.project.dataset(PREFIX)
    for _ in range(2):
        replay(
            runtime.ledger, asset=RAW, landing=None, source=node.spec.source, contract=node.contract, grain="hour", now=NOW
        )
        assert [(row["id"], row["value"]) for row in rows(runtime, RAW)] == [(1, 1.0), (2, 500.25)]
        assert list_letters(runtime.ledger, RAW) == []
    place.add(3, "10:30:00", "10:30:00")
    run(runtime, [hour(10)])
    assert ids(runtime) == [1, 2, 3] and list_letters(runtime.ledger, RAW) == []


def test_what_is_gone_or_misnamed_is_an_error_and_not_nothing_new(tmp_path: Path, place: Place) -> None:
    folder = declare(tmp_path / "plant", place.source("table: nowhere, key: [id]"))
    with pytest.raises(ConfigError, match="correct the name"):
        run(again(folder, tmp_path), [hour(10)], "raw_events")
    declare(folder, "{url: 'sqlite:///gone.sqlite', format: sql, sql: {table: readings, key: [id]}}")
    with pytest.raises(StorageError, match="no such file"):
        run(again(folder, tmp_path), [hour(10)], "raw_events")


def test_an_unreachable_database_is_transient_and_its_password_is_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANT_DSN", "postgresql://plant:canary@127.0.0.1:1/plant")
    source = "{url: 'env://PLANT_DSN', format: sql, sql: {table: readings, key: [id], retries: 0}}"
    folder = declare(tmp_path / "plant", source)
    with pytest.raises(TransientStorageError) as caught:
        run(again(folder, tmp_path), [hour(10)], "raw_events")
    assert "canary" not in str(caught.value)


@pytest.mark.emulator
def test_a_query_cannot_write(tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

    url = postgres.database()
    monkeypatch.setenv("PLANT_DSN", url)
    with psycopg.connect(url, autocommit=True) as database:
        database.execute("CREATE TABLE readings (id bigint, at timestamp, value double precision)")
        database.execute("INSERT INTO readings VALUES (1, '2026-11-22 10:00', 1)")
        database.execute("CREATE FUNCTION lose() RETURNS bigint LANGUAGE sql AS 'DELETE FROM readings; SELECT 1::bigint'")
    source = "{url: 'env://PLANT_DSN', format: sql, sql: {query: 'SELECT lose() AS id, at, value FROM readings', key: [id]}}"
    with pytest.raises(StorageError):
        run(again(declare(tmp_path / "plant", source), tmp_path), [hour(10)], "raw_events")
    with psycopg.connect(url) as database:
        assert database.execute("SELECT count(*) FROM readings").fetchone() == (1,)
