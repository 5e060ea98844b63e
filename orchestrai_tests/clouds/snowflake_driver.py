"""Snowflake's connector by hand: a session with a stage, by the SQL of Snowflake's dialect; what it does DuckDB does."""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import sqlglot

from orchestrai_tests.clouds.warehouse_sql import PlayedWarehouse

NAME = r"[A-Z][A-Z0-9_]*"
FOLDER = rf"@({NAME})/([\w./-]+/)"
FORMAT = r"FILE_FORMAT = \(TYPE = PARQUET\)"
STAGE = re.compile(rf"CREATE TEMPORARY STAGE ({NAME})")
PUT = re.compile(rf"PUT 'file://(/[^']+)' {FOLDER} AUTO_COMPRESS = FALSE OVERWRITE = TRUE")
GET = re.compile(rf"GET {FOLDER} 'file://(/[^']+/)'")
LOAD = re.compile(
    rf'COPY INTO ("\w+") FROM {FOLDER} {FORMAT} MATCH_BY_COLUMN_NAME = CASE_SENSITIVE ON_ERROR = ABORT_STATEMENT'
)
UNLOAD = re.compile(rf"COPY INTO {FOLDER} FROM \((SELECT .+)\) {FORMAT} HEADER = TRUE")

LISTED = re.compile(
    r"SELECT column_name FROM information_schema.columns WHERE table_schema = '([^']+)' AND table_name = '([^']+)'"
)


class Error(Exception):
    """What the connector raises."""

    def __init__(self, msg: str, errno: int, sqlstate: str) -> None:
        super().__init__(f"{errno:06d} ({sqlstate}): {msg}")
        self.msg, self.errno, self.sqlstate = msg, errno, sqlstate


@dataclass
class SnowflakeDriver:
    """One account with one database; `password` is what it takes, `refused` fails the next statement."""

    played: PlayedWarehouse
    password: str = ""
    refused: Error | None = None
    sessions: int = 0
    given: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    Error: type[Exception] = Error

    def connect(self, **given: Any) -> "Session":
        self.given.append(given)
        if given.get("password", "") != self.password:
            # the connector says what it was given
            raise Error(f"Failed to connect to DB: Incorrect username or password was specified. {given}", 250001, "08001")
        self.sessions += 1
        return Session(self)


@dataclass
class Session:
    """A session: its stage and temporary tables end with it."""

    driver: SnowflakeDriver
    stages: set[str] = field(default_factory=set)

    def cursor(self) -> "Cursor":
        return Cursor(self)

    def close(self) -> None:
        self.driver.sessions -= 1
        self.driver.played.end_session()
        if self.stages:
            shutil.rmtree(self.driver.played.bucket, ignore_errors=True)

    def run(self, text: str) -> list[tuple[Any, ...]]:
        self.driver.asked.append(text)
        refused, self.driver.refused = self.driver.refused, None
        if refused is not None:
            raise refused
        try:
            return self._run(text)
        except duckdb.OutOfRangeException as exc:
            raise Error("Division by zero", 100051, "22012") from exc
        except duckdb.CatalogException as exc:
            raise Error(f"Object does not exist or not authorized. {exc}", 2003, "42S02") from exc
        except (duckdb.Error, sqlglot.errors.SqlglotError) as exc:
            raise Error(f"SQL compilation error: {exc}", 1003, "42000") from exc

    def _folder(self, stage: str, folder: str) -> Path:
        if stage not in self.stages:
            raise Error(f"Stage '{stage}' does not exist or not authorized.", 2003, "02000")
        return self.driver.played.bucket / folder.rstrip("/")

    def _run(self, text: str) -> list[tuple[Any, ...]]:
        if made := STAGE.fullmatch(text):
            self.stages.add(made[1])
            return [(f"Stage area {made[1]} successfully created.",)]
        if put := PUT.fullmatch(text):
            folder = self._folder(put[2], put[3])
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(put[1], folder)
            return [(Path(put[1]).name, "UPLOADED")]
        if got := GET.fullmatch(text):
            paths = sorted(self._folder(got[1], got[2]).glob("*"))
            for path in paths:
                shutil.copy(path, got[3])
            return [(path.name, path.stat().st_size, "DOWNLOADED", "") for path in paths]
        played = self.driver.played
        if loaded := LOAD.fullmatch(text):
            return self._load(loaded[1], self._folder(loaded[2], loaded[3]))
        if unloaded := UNLOAD.fullmatch(text):
            self._check_names(unloaded[3])
            (query,) = played.said(unloaded[3])
            self._folder(unloaded[1], unloaded[2])
            played.written(query, f"@{unloaded[1]}/{unloaded[2]}data_*_0_0.snappy.parquet", f"@{unloaded[1]}")
            self._as_numbers(played.bucket / unloaded[2])
            return []
        return self._statement(text)

    def _statement(self, text: str) -> list[tuple[Any, ...]]:
        self._check_names(text)
        if listed := LISTED.fullmatch(text):
            # as the catalog has them
            asked = f"upper(table_schema) = '{listed[1]}' AND upper(table_name) = '{listed[2]}'"
            return self.driver.played.run([f"SELECT upper(column_name) FROM information_schema.columns WHERE {asked}"])
        played = self.driver.played
        rows: list[tuple[Any, ...]] = []
        for statement in [text] if text in ("BEGIN", "COMMIT", "ROLLBACK") else played.said(text):
            rows = played.run([statement])
        if text.startswith("SELECT 1 / CASE") and rows[0][0] != 1:
            # a DOUBLE in DuckDB
            raise duckdb.OutOfRangeException("Division by zero")
        return rows

    def _load(self, table: str, folder: Path) -> list[tuple[Any, ...]]:
        """By name; a type that a reader of Parquet may take in two ways is refused."""
        paths = [str(path) for path in sorted(folder.rglob("*.parquet"))]
        for path in paths:
            for column in pq.read_schema(path):
                if re.fullmatch(r"[a-z_][a-z0-9_]*", column.name):
                    raise Error(f"no column {column.name}", 904, "42000")
                if column.type not in (
                    pa.int64(),
                    pa.int32(),
                    pa.float64(),
                    pa.float32(),
                    pa.bool_(),
                    pa.string(),
                    pa.binary(),
                ):
                    raise Error(f"unclear type {column.type} of {column.name}", 100090, "22000")
        return self.driver.played.run([f"INSERT INTO {table} BY NAME SELECT * FROM read_parquet({paths})"])

    def _check_names(self, text: str) -> None:
        """DuckDB takes a name in any case; here a name in quotes is that name, and none of ours has small letters alone."""
        for tree in sqlglot.parse(text, read="snowflake"):
            for name in tree.find_all(sqlglot.exp.Identifier) if tree is not None else ():
                if name.args.get("quoted") and re.fullmatch(r"[a-z_][a-z0-9_]*", name.name):
                    raise Error(f"invalid identifier '\"{name.name}\"'", 904, "42000")

    def _as_numbers(self, folder: Path) -> None:
        """An integer leaves as NUMBER(38,0)."""
        for path in folder.glob("*.parquet"):
            table = pq.read_table(path)
            columns = [c.cast(pa.decimal128(38, 0)) if pa.types.is_integer(c.type) else c for c in table.columns]
            pq.write_table(pa.table(columns, names=table.column_names), path)


@dataclass
class Cursor:
    """One statement at a time."""

    session: Session
    rows: list[tuple[Any, ...]] = field(default_factory=list)

    def execute(self, text: str, timeout: int) -> None:
        self.rows = self.session.run(text)

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.rows

    def close(self) -> None:
        pass
