"""BigQuery by its discovery document: jobs wait, run and are done; what they do DuckDB does, by the SQL of BigQuery's dialect."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import duckdb
import sqlglot

from orchestrai_tests.clouds.aws_model import OutsideModel
from orchestrai_tests.clouds.google_document import Call, google_document
from orchestrai_tests.clouds.warehouse_sql import PlayedWarehouse

KINDS = {
    "INTEGER": "BIGINT", "FLOAT": "DOUBLE", "BOOLEAN": "BOOLEAN", "STRING": "VARCHAR", "BYTES": "BLOB", "DATE": "DATE",
    "DATETIME": "TIMESTAMP", "TIMESTAMP": "TIMESTAMPTZ",
}  # fmt: skip
PAGE = 1


@dataclass
class Job:
    """A job, and how often it was looked at."""

    body: dict[str, Any]
    looks: int = 0
    error: dict[str, str] | None = None
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    cancelled: bool = False


@dataclass
class BigQueryService:
    """One project with one dataset. `broken` answers the next requests with 503, `fail` ends the next jobs of a kind with that message."""

    project: str
    root: str
    warehouse: PlayedWarehouse
    jobs: dict[str, Job] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    broken: int = 0
    lost: int = 0
    fail: dict[str, str] = field(default_factory=dict)
    reason: str = "resourcesExceeded"

    def answer(self, method: str, url: str, body: Any) -> tuple[int, Any]:
        """One request; status 0 for an answer that is lost."""
        if self.broken:
            self.broken -= 1
            return 503, _refusal(503, "backendError", "try again")
        document = google_document("bigquery.v2")
        try:
            if not url.startswith("/bigquery/v2/"):
                raise OutsideModel(f"expected a path of the service, found {url}")
            call = document.request(method, url.removeprefix("/bigquery/v2"), body)
            self.calls[str(call.method["id"])] += 1
            status, answer = self._play(call)
            answer = answer if status >= 300 else document.answer(call, answer)
        except OutsideModel as exc:
            self.faults.append(str(exc))
            return 400, _refusal(400, "invalid", str(exc))
        if self.lost and call.verb == "insert":
            self.lost -= 1
            return 0, None
        return status, answer

    def _play(self, call: Call) -> tuple[int, Any]:
        if call.path["projectsId"] != self.project:
            return 404, _refusal(404, "notFound", f"Not found: Project {call.path['projectsId']}")
        if call.verb == "insert":
            return self._insert(call)
        name = call.path.get("jobsId") or call.path["queriesId"]
        job = self.jobs.get(name)
        if job is None:
            return 404, _refusal(404, "notFound", f"Not found: Job {name}")
        if call.verb == "getQueryResults":
            at = int(call.query.get("pageToken", "0"))
            rows = [{"f": [{"v": None if one is None else str(one)} for one in row]} for row in job.rows[at : at + PAGE]]
            more = {"pageToken": str(at + PAGE)} if at + PAGE < len(job.rows) else {}
            return 200, {"jobComplete": True, "totalRows": str(len(job.rows)), **({"rows": rows} if rows else {}), **more}
        if call.verb == "cancel":
            job.cancelled = True
            return 200, {"job": self._shown(name, job)}
        self._move(job)
        return 200, self._shown(name, job)

    def _insert(self, call: Call) -> tuple[int, Any]:
        name = call.body["jobReference"]["jobId"]
        if name in self.jobs:
            return 409, _refusal(409, "duplicate", f"Already Exists: Job {name}")
        self.jobs[name] = Job(call.body)
        return 200, self._shown(name, self.jobs[name])

    def _shown(self, name: str, job: Job) -> dict[str, Any]:
        state = "DONE" if job.looks > 2 or job.cancelled else ("PENDING", "PENDING", "RUNNING")[job.looks]
        status = {"state": state, **({"errorResult": job.error, "errors": [job.error]} if job.error else {})}
        return {**job.body, "id": f"{self.project}:US.{name}", "kind": "bigquery#job", "status": status}

    def _move(self, job: Job) -> None:
        """It waits, it runs, it is done at the third look."""
        job.looks += 1
        if job.looks != 3:
            return
        (kind,) = set(job.body["configuration"]) & {"load", "query"}
        if kind in self.fail:
            job.error = {"reason": self.reason, "message": self.fail.pop(kind)}
            return
        try:
            if kind == "load":
                self._load(job.body["configuration"]["load"])
            else:
                self.warehouse.root = self.root
                self.warehouse.database.execute(f"USE {job.body['configuration']['query']['defaultDataset']['datasetId']}")
                job.rows = self.warehouse.run(self.warehouse.said(job.body["configuration"]["query"]["query"]))
        except (duckdb.Error, sqlglot.errors.SqlglotError, FileNotFoundError) as exc:
            job.error = {"reason": "invalidQuery", "message": str(exc)}
            try:
                self.warehouse.database.rollback()
            except duckdb.Error:
                pass
        self.warehouse.end_session()

    def _load(self, load: dict[str, Any]) -> None:
        place = load["destinationTable"]
        paths = [str(self.warehouse.file(uri, self.root)) for uri in load["sourceUris"]]
        columns = []
        for one in load["schema"]["fields"]:
            digits = f"({one['precision']},{one.get('scale', 0)})" if "precision" in one else ""
            kind = f"DECIMAL{digits}" if one["type"] in ("NUMERIC", "BIGNUMERIC") else KINDS[one["type"]]
            columns.append(f'CAST("{one["name"]}" AS {kind}) AS "{one["name"]}"')
        table = f'"{place["datasetId"]}"."{place["tableId"]}"'
        if (load["createDisposition"], load["writeDisposition"]) != ("CREATE_NEVER", "WRITE_APPEND"):
            raise duckdb.NotImplementedException(f"a load that makes {table} anew")
        self.warehouse.run([f"INSERT INTO {table} SELECT {', '.join(columns)} FROM read_parquet({paths})"])


def _refusal(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "error": {"code": code, "message": message, "errors": [{"reason": reason, "message": message, "domain": "global"}]}
    }
