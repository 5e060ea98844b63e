"""BigQuery by its jobs (v2): Parquet from a bucket by load jobs and into one by EXPORT DATA, statements by query jobs, all waited for."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from orchestrai.core.identity import new_session_id
from orchestrai.core.sql.dialects import BIGQUERY, Dialect, family_of
from orchestrai.errors import ConfigError, IntegrityError, OrchestraiError
from orchestrai.storage.cloud.job_wait import Clock, Phase
from orchestrai.storage.cloud.rest import Api, Token, google_token
from orchestrai.storage.databases.cloud.bucket_staging import BucketStaging
from orchestrai.storage.databases.cloud.cloud_url import CloudUrl, cloud_url
from orchestrai.storage.databases.cloud.cloud_warehouse import LIMIT, Statement, Unload, Values, one_number
from orchestrai.storage.databases.cloud.statement_wait import until_done

if TYPE_CHECKING:
    import pyarrow as pa

ENDPOINT = "https://bigquery.googleapis.com"
_CHECK = re.compile(r"orchestrai check (\d+)")


def bigquery_url(text: str) -> CloudUrl:
    """The URL taken apart; raises ConfigError."""
    return cloud_url(text, bucket="gs", required=(), optional=("location", "endpoint"))


def _name() -> str:
    return f"orchestrai-{new_session_id()}"


@dataclass(frozen=True)
class BigQuery:
    """See Warehouse; `url` is bigquery://project/dataset?staging=gs://bucket/folder, with `location` and `endpoint` where they are others.

    A job has a name that is given here: asked for again after a lost answer, it is the same job.
    """

    url: CloudUrl
    token: Token = google_token
    clock: Clock = field(default_factory=Clock)
    name: Callable[[], str] = _name
    limit: timedelta = LIMIT

    @classmethod
    def at(cls, text: str, limit: timedelta = LIMIT) -> "BigQuery":
        """The warehouse at a URL; no job of it takes longer than `limit`. Raises ConfigError."""
        return cls(bigquery_url(text), google_token, Clock(), limit=limit)

    @property
    def dialect(self) -> Dialect:
        """How its SQL differs."""
        return BIGQUERY

    @property
    def staging(self) -> BucketStaging:
        """The folder of the bucket."""
        return BucketStaging.at(self.url.staging)

    def close(self) -> None:
        """Nothing is held."""

    @property
    def schema(self) -> str:
        """The dataset."""
        return self.url.path

    def rows(self, query: str) -> list[Values]:
        """The rows of a query, page by page."""
        return self._rows_of(self._done(self._query(query)))

    def unload(self, asked: Unload) -> int | None:
        """One script: rows and count into temporary tables by one transaction, so of one moment, then the rows into the bucket."""
        counted = [f"CREATE TEMP TABLE orchestrai_count AS SELECT ({asked.count}) AS counted"] if asked.count else []
        lines = [
            "BEGIN TRANSACTION",
            f"CREATE TEMP TABLE orchestrai_rows AS {asked.rows}",
            *counted,
            "COMMIT TRANSACTION",
            f"EXPORT DATA OPTIONS (uri = {BIGQUERY.value(asked.place + '*.parquet')}, format = 'PARQUET') AS "
            "SELECT * FROM orchestrai_rows",
            *(["SELECT counted FROM orchestrai_count"] if counted else []),
        ]
        job = self._done(self._query(";\n".join(lines) + ";"), asked.name)
        if not counted:
            return None
        return one_number(self._rows_of(job), f"the BigQuery job {job}")

    def _query(self, text: str) -> dict[str, Any]:
        """A statement or script; tables without a dataset are of the one in the URL."""
        place = {"projectId": self.url.host, "datasetId": self.schema}
        return {"query": {"query": text, "useLegacySql": False, "useQueryCache": False, "defaultDataset": place}}

    def _rows_of(self, job: str) -> list[Values]:
        found: list[Values] = []
        page: str | None = ""
        while page is not None:
            answer = self._call("GET", f"queries/{job}", query={"pageToken": page} if page else {})
            found += [tuple(cell["v"] for cell in row["f"]) for row in answer.get("rows", ())]
            page = answer.get("pageToken")
        return found

    def run(self, groups: Sequence[Sequence[Statement]]) -> None:
        """One script, and one transaction where there is more than definitions."""
        statements = [statement for group in groups for statement in group]
        if not statements:
            return
        if all(len(group) == 1 for group in groups):
            lines = [statement.text for statement in statements]
        else:
            lines = ["BEGIN TRANSACTION", *(statement.text for statement in statements), "COMMIT TRANSACTION"]
        script = ";\n".join(lines) + ";"
        try:
            self._done(self._query(script))
        except OrchestraiError as exc:
            if (found := _CHECK.search(exc.message)) is not None:
                told = [statement.told for statement in statements if statement.told]
                raise IntegrityError(f"{told[int(found[1])]}; look at what else writes to the table") from exc
            raise

    def load(self, staged: str, schema: "pa.Schema", folder: str, uris: Sequence[str]) -> list[Statement]:
        """A load job into a table of its own, by the types of the contract and not by those that Parquet would suggest.

        The table ends by itself after a day, where a run is killed before it drops it.
        """
        columns = ", ".join(f"{BIGQUERY.column(one.name)} {BIGQUERY.type_of(one.type)}" for one in schema)
        made = f"CREATE TABLE {BIGQUERY.name(self.schema)}.{BIGQUERY.column(staged)} ({columns})"
        self._done(
            self._query(f"{made} OPTIONS (expiration_timestamp = TIMESTAMP_ADD(CURRENT_TIMESTAMP(), INTERVAL 1 DAY))")
        )
        place = {"projectId": self.url.host, "datasetId": self.schema, "tableId": staged}
        self._done(
            {
                "load": {
                    "sourceUris": list(uris),
                    "sourceFormat": "PARQUET",
                    "schema": {"fields": [_field(column.name, column.type) for column in schema]},
                    "destinationTable": place,
                    "createDisposition": "CREATE_NEVER",
                    # to write anew might take its end away
                    "writeDisposition": "WRITE_APPEND",
                }
            }
        )
        return []

    def forget(self, staged: Sequence[str]) -> None:
        """Drop the staging tables."""
        self._done(self._query("".join(f"DROP TABLE IF EXISTS {one};\n" for one in staged)))

    def _call(self, method: str, path: str, *, query: dict[str, str] | None = None, body: Any = None) -> Any:
        api = Api(
            f"{self.url.options.get('endpoint', ENDPOINT)}/bigquery/v2/projects/{self.url.host}", self.token, what="BigQuery"
        )
        location = self.url.options.get("location")
        query = {**(query or {}), **({"location": location} if location and method == "GET" else {})}
        # a job of this name is there already: the answer to an earlier request was lost
        answer = api.call(method, path, query=query, body=body, none_for=(404, 409) if method == "POST" else (404,))
        if answer is None and method == "GET":
            raise ConfigError(f"expected BigQuery to have {path}, found none: correct project or location of the URL")
        return answer

    def _done(self, configuration: dict[str, Any], name: str = "") -> str:
        """Start a job and wait for its end; its name. Raises StorageError, AccessRefused, ConfigError with the service's reason."""
        job, location = name or self.name(), self.url.options.get("location")
        reference = {"projectId": self.url.host, "jobId": job, **({"location": location} if location else {})}
        labels = {"labels": {"made_by": "orchestrai"}}
        self._call("POST", "jobs", body={"jobReference": reference, "configuration": {**configuration, **labels}})

        def look() -> tuple[Phase, str, str]:
            status = self._call("GET", f"jobs/{job}")["status"]
            if status["state"] != "DONE":
                return "running", str(status["state"]), ""
            error = status.get("errorResult")
            if not error:
                return "completed", "DONE", ""
            reason = f"{error.get('reason')}: {error.get('message')}"
            return "ended", reason, reason

        def stop() -> None:
            self._call("POST", f"jobs/{job}/cancel", body={})

        until_done("the BigQuery job", job, look, stop, limit=self.limit, clock=self.clock)
        return job


def _field(name: str, kind: "pa.DataType") -> dict[str, Any]:
    """A column of a load job: types in the words of its schema, digits beside them."""
    family = family_of(kind)
    digits = {"precision": str(kind.precision), "scale": str(kind.scale)} if family == "decimal" else {}
    if family == "unsigned":
        digits = {"precision": "20"}
    words = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN"}
    plain = BIGQUERY.type_of(kind).partition("(")[0]
    return {"name": name, "type": words.get(plain, plain), "mode": "NULLABLE", **digits}
