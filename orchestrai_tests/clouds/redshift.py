"""Redshift's Data API by its model: statements wait and run; what they do DuckDB does, by the SQL of Redshift's dialect."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import duckdb
import sqlglot

from orchestrai_tests.clouds.aws_model import Given
from orchestrai_tests.clouds.aws_resources import Refused
from orchestrai_tests.clouds.warehouse_sql import PlayedWarehouse

COPY = re.compile(
    r"""COPY ("\w+") FROM '(s3://[^']+/)' IAM_ROLE 'arn:aws:iam::\d{12}:role/[\w/-]+' FORMAT AS PARQUET""",
)
UNLOAD = re.compile(
    r"UNLOAD \('((?:[^']|'')+)'\) TO '(s3://[^']+/)' IAM_ROLE 'arn:aws:iam::\d{12}:role/[\w/-]+' FORMAT AS PARQUET",
)
NOW = datetime(2026, 11, 23, tzinfo=UTC)
STATES = ("SUBMITTED", "PICKED", "STARTED")


@dataclass
class Asked:
    """What was asked to run, and how far it is."""

    id: str
    sqls: list[str]
    given: Given
    looks: int = 0
    states: list[str] = field(default_factory=list)
    error: str = ""
    rows: list[list[tuple[Any, ...]]] = field(default_factory=list)
    ended: str = ""


@dataclass
class RedshiftService:
    """One workgroup with one database; with `refused`, a code and a message, it takes no statement."""

    workgroup: str
    root: str
    warehouse: PlayedWarehouse
    asked: list[Asked] = field(default_factory=list)
    refused: tuple[str, str] | None = None

    def answer(self, name: str, region: str, given: Given) -> Given:
        """One operation."""
        found: Given = getattr(self, f"_{name}")(given)
        return found

    def _start(self, sqls: list[str], given: Given) -> Given:
        if given.get("WorkgroupName") != self.workgroup:
            raise Refused("ValidationException", "Redshift endpoint doesn't exist in this region.")
        if self.refused:
            raise Refused(*self.refused)
        known = next((one for one in self.asked if one.given["ClientToken"] == given["ClientToken"]), None)
        asked = known or Asked(f"00000000-0000-4000-8000-{len(self.asked):012d}", sqls, given)
        if known is None:
            self.asked.append(asked)
        return {"Id": asked.id, "CreatedAt": NOW, "Database": given["Database"], "WorkgroupName": self.workgroup}

    def _ExecuteStatement(self, given: Given) -> Given:
        return self._start([given["Sql"]], given)

    def _BatchExecuteStatement(self, given: Given) -> Given:
        return self._start(given["Sqls"], given)

    def _find(self, given: Given) -> Asked:
        found = next((one for one in self.asked if one.id == given["Id"]), None)
        if found is None:
            raise Refused("ResourceNotFoundException", f"Query does not exist: {given['Id']}")
        return found

    def _DescribeStatement(self, given: Given) -> Given:
        asked = self._find(given)
        asked.looks += 1
        if asked.looks == len(STATES) + 1 and not asked.ended:
            self._run(asked)
        status = asked.ended or STATES[min(asked.looks, len(STATES)) - 1]
        parts = [{"Id": f"{asked.id}:{n + 1}", "Status": state} for n, state in enumerate(asked.states)]
        batch = {"SubStatements": parts} if "Sqls" in asked.given and parts else {}
        return {"Id": asked.id, "Status": status, "Error": asked.error, "CreatedAt": NOW, "UpdatedAt": NOW, **batch}

    def _CancelStatement(self, given: Given) -> Given:
        self._find(given).ended = "ABORTED"
        return {"Status": True}

    def _GetStatementResult(self, given: Given) -> Given:
        name, _, part = given["Id"].partition(":")
        asked = self._find({"Id": name})
        if asked.ended != "FINISHED":
            raise Refused("ResourceNotFoundException", "Query does not have result.")
        rows = asked.rows[int(part or 1) - 1]
        # the server cuts it into pages by the model's paginator
        return {"Records": [[_field(one) for one in row] for row in rows], "TotalNumRows": len(rows)}

    def _run(self, asked: Asked) -> None:
        """All of it in one transaction; a session's tables end with it."""
        database = self.warehouse.database
        database.begin()
        asked.states = ["ABORTED"] * len(asked.sqls)
        try:
            for place, sql in enumerate(asked.sqls):
                asked.states[place] = "FAILED"
                asked.rows.append(self._one(sql))
                asked.states[place] = "FINISHED"
            database.commit()
            asked.ended = "FINISHED"
        except (duckdb.Error, sqlglot.errors.SqlglotError, FileNotFoundError) as exc:
            database.rollback()
            asked.ended, asked.error = "FAILED", f"ERROR: {exc}"
        self.warehouse.end_session()

    def _one(self, sql: str) -> list[tuple[Any, ...]]:
        copied = COPY.fullmatch(sql)
        if copied is not None:
            paths = [str(path) for path in self.warehouse.files_of(copied[2], self.root)]
            return self.warehouse.run([f"INSERT INTO {copied[1]} SELECT * FROM read_parquet({paths})"])
        unloaded = UNLOAD.fullmatch(sql)
        if unloaded is not None:
            (query,) = self.warehouse.said(unloaded[1].replace("''", "'"))
            self.warehouse.written(query, f"{unloaded[2]}*_part_00.parquet", self.root)
            return []
        (text,) = self.warehouse.said(sql)
        rows = self.warehouse.run([text])
        if sql.startswith("SELECT 1 / CASE") and rows[0][0] != 1:
            # a DOUBLE in DuckDB; Redshift says so of integers
            raise duckdb.OutOfRangeException("Divide by zero")
        return rows


def _field(value: Any) -> Given:
    if value is None:
        return {"isNull": True}
    return {"longValue": value} if isinstance(value, int) else {"stringValue": str(value)}
