"""What every table must do that is read on behind a watermark, run against each database of ours."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrai.conformance.table_suite import Fill, Opening, Row, TableConformance
from orchestrai.storage.databases.open_table import Place, table_snapshot
from orchestrai.storage.databases.table_port import Relation
from orchestrai_tests.servers.mariadb import PASSWORD, USER

Put = Callable[[str, Sequence[tuple[Any, ...]]], None]
TYPES = {
    "sqlite": "seen_at text, words text",
    "duckdb": "seen_at timestamp, words varchar",
    "postgres": "seen_at timestamptz, words text",
    "mariadb": "seen_at datetime(6), words text",
}


class TestDatabases(TableConformance):
    """Files, and the servers that the tests start."""

    @pytest.fixture(
        params=[
            "sqlite",
            "duckdb",
            pytest.param("postgres", marks=pytest.mark.emulator),
            pytest.param("mariadb", marks=pytest.mark.emulator),
        ]
    )
    def fill(self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fill:
        kind = str(request.param)
        url, put = _database(kind, request, tmp_path)
        if "//" in url and not url.startswith(("sqlite", "duckdb")):
            monkeypatch.setenv("CONFORMANCE_URL", url)
            url = "env://CONFORMANCE_URL"

        def fill(rows: Sequence[Row]) -> Opening:
            put(f"CREATE TABLE readings (id bigint, {TYPES[kind]})", [])
            if rows:
                put("INSERT", [(number, _at(kind, at), words) for number, at, words in rows])
            return lambda: table_snapshot(Place(url), Relation("readings"))

        return fill


def _at(kind: str, at: datetime | None) -> object:
    if at is None or kind == "postgres":
        return at
    return f"{at:%Y-%m-%d %H:%M:%S.%f}"


def _database(kind: str, request: pytest.FixtureRequest, folder: Path) -> tuple[str, Put]:
    """The URL of an empty database, and what runs a statement there or inserts rows."""
    insert = "INSERT INTO readings VALUES ({0}, {0}, {0})"
    if kind == "sqlite":

        def sqlite(statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
            opened = sqlite3.connect(folder / "t.sqlite")
            with opened:
                opened.executemany(insert.format("?"), rows) if rows else opened.execute(statement)
            opened.close()

        return f"sqlite:///{folder / 't.sqlite'}", sqlite
    if kind == "duckdb":
        import duckdb

        def duck(statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
            with duckdb.connect(str(folder / "t.duckdb")) as opened:
                opened.executemany(insert.format("?"), rows) if rows else opened.execute(statement)

        return f"duckdb:///{folder / 't.duckdb'}", duck
    server = request.getfixturevalue(kind)
    url = server.database()

    def served(statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if kind == "postgres":
            import psycopg

            with psycopg.connect(url, autocommit=True) as opened, opened.cursor() as cursor:
                cursor.executemany(insert.format("%s"), rows) if rows else cursor.execute(statement)  # type: ignore[arg-type]
            return
        import pymysql

        with (
            pymysql.connect(
                host="127.0.0.1", port=server.port, user=USER, password=PASSWORD, database=url.rpartition("/")[2]
            ) as opened,
            opened.cursor() as cursor,
        ):
            cursor.executemany(insert.format("%s"), rows) if rows else cursor.execute(statement)
            opened.commit()

    return url, served
