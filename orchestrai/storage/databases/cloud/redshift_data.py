"""Redshift by its Data API: batches of statements, each one transaction in a session of its own, rows by COPY from and UNLOAD to S3."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from orchestrai.core.identity import new_session_id
from orchestrai.core.sql.dialects import REDSHIFT, Dialect
from orchestrai.errors import ConfigError, IntegrityError, OrchestraiError
from orchestrai.storage.cloud.job_wait import Clock, Phase, phase_of
from orchestrai.storage.databases.cloud.bucket_staging import BucketStaging
from orchestrai.storage.databases.cloud.cloud_url import CloudUrl, cloud_url
from orchestrai.storage.databases.cloud.cloud_warehouse import LIMIT, Statement, Unload, Values, one_number
from orchestrai.storage.databases.cloud.statement_wait import until_done
from orchestrai.storage.databases.database_faults import statement_error

if TYPE_CHECKING:
    import pyarrow as pa

# so many statements the service takes in one batch
MOST = 40
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
_ENDED = ("FAILED", "ABORTED")


def redshift_url(text: str) -> CloudUrl:
    """The URL taken apart; raises ConfigError."""
    url = cloud_url(text, bucket="s3", required=("role",), optional=("region", "schema", "cluster", "user", "secret"))
    if not _ROLE.fullmatch(url.options["role"]):
        raise ConfigError(
            "expected role: the ARN of the role that COPY reads and UNLOAD writes by, found another text: correct the URL"
        )
    return url


@dataclass(frozen=True)
class Redshift:
    """See Warehouse; `url` is redshift-data://workgroup/database?staging=s3://bucket/folder&role=arn:..., the role being the one that COPY
    reads and UNLOAD writes by. `region`, `schema`; `cluster=true` with `user` for a provisioned cluster; `secret` for a secret's ARN.

    A batch is one transaction. What does not fit into one is cut between partitions: each partition is whole with its note.
    """

    url: CloudUrl
    client: Any
    clock: Clock = field(default_factory=Clock)
    token: Callable[[], str] = new_session_id
    limit: timedelta = LIMIT

    @classmethod
    def at(cls, text: str, limit: timedelta = LIMIT) -> "Redshift":
        """The warehouse at a URL; no statement of it takes longer than `limit`. Raises ConfigError."""
        from orchestrai.storage.cloud.aws import aws_client

        url = redshift_url(text)
        return cls(url, aws_client("redshift-data", region=url.options.get("region")), Clock(), limit=limit)

    @property
    def dialect(self) -> Dialect:
        """How its SQL differs."""
        return REDSHIFT

    @property
    def staging(self) -> BucketStaging:
        """The folder of the bucket."""
        return BucketStaging.at(self.url.staging)

    def close(self) -> None:
        """Nothing is held."""

    @property
    def schema(self) -> str:
        """The schema, public where the URL names none."""
        return self.url.options.get("schema", "public")

    @property
    def _where(self) -> dict[str, str]:
        options = self.url.options
        place = "ClusterIdentifier" if options.get("cluster") else "WorkgroupName"
        named = {"DbUser": options.get("user"), "SecretArn": options.get("secret")}
        return {"Database": self.url.path, place: self.url.host, **{key: text for key, text in named.items() if text}}

    def rows(self, query: str) -> list[Values]:
        """The rows of a query, page by page."""
        started = self._call("execute_statement", Sql=query, ClientToken=self.token(), **self._where)
        self._wait(str(started["Id"]))
        return self._rows_of(str(started["Id"]))

    def unload(self, asked: Unload) -> int | None:
        """One batch, so one transaction and one moment: the count, then UNLOAD."""
        role = REDSHIFT.value(self.url.options["role"])
        # a query inside of quotes: each of its own is doubled
        written = f"UNLOAD ({REDSHIFT.value(asked.rows)}) TO {REDSHIFT.value(asked.place)} IAM_ROLE {role} FORMAT AS PARQUET"
        named = {"StatementName": asked.name, "ClientToken": self.token(), **self._where}
        if not asked.count:
            self._wait(str(self._call("execute_statement", Sql=written, **named)["Id"]))
            return None
        started = self._call("batch_execute_statement", Sqls=[asked.count, written], **named)
        self._wait(str(started["Id"]))
        parts = self._call("describe_statement", Id=started["Id"])["SubStatements"]
        return one_number(self._rows_of(str(parts[0]["Id"])), f"the Redshift statement {started['Id']}")

    def _rows_of(self, statement: str) -> list[Values]:
        found: list[Values] = []
        page: dict[str, str] = {}
        while True:
            answer = self._call("get_statement_result", Id=statement, **page)
            found += [tuple(_text(value) for value in record) for record in answer["Records"]]
            if not answer.get("NextToken"):
                return found
            page = {"NextToken": answer["NextToken"]}

    def run(self, groups: Sequence[Sequence[Statement]]) -> None:
        """As few batches as hold them; a group is never cut."""
        batch: list[Statement] = []
        for group in groups:
            if batch and len(batch) + len(group) > MOST:
                self._run(batch)
                batch = []
            batch += group
        if batch:
            self._run(batch)

    def load(self, staged: str, schema: "pa.Schema", folder: str, uris: Sequence[str]) -> list[Statement]:
        """A table of the session, filled by COPY: a time is staged without its zone, as Parquet's are read."""
        columns = ", ".join(
            f"{REDSHIFT.column(one.name)} {REDSHIFT.type_of(one.type).replace('TIMESTAMPTZ', 'TIMESTAMP')}" for one in schema
        )
        place, role = REDSHIFT.column(staged), REDSHIFT.value(self.url.options["role"])
        return [
            Statement(f"CREATE TEMPORARY TABLE {place} ({columns})"),
            # whatever begins with it, so one statement for all the files
            Statement(f"COPY {place} FROM {REDSHIFT.value(folder)} IAM_ROLE {role} FORMAT AS PARQUET"),
        ]

    def forget(self, staged: Sequence[str]) -> None:
        """Tables of a session end with it."""

    def _run(self, batch: Sequence[Statement]) -> None:
        sqls = [statement.text for statement in batch]
        started = self._call("batch_execute_statement", Sqls=sqls, ClientToken=self.token(), **self._where)
        try:
            self._wait(str(started["Id"]))
        except OrchestraiError as exc:
            parts = self._call("describe_statement", Id=started["Id"]).get("SubStatements", ())
            for statement, part in zip(batch, parts, strict=False):
                if statement.told and part.get("Status") == "FAILED":
                    raise IntegrityError(f"{statement.told}; look at what else writes to the table") from exc
            raise

    def _wait(self, statement: str) -> None:
        def look() -> tuple[Phase, str, str]:
            told = self._call("describe_statement", Id=statement)
            reason = str(told.get("Error") or "") if told["Status"] == "FAILED" else ""
            return (*phase_of(str(told["Status"]), "FINISHED", _ENDED, told.get("Error")), reason)

        def stop() -> None:
            self._call("cancel_statement", Id=statement)

        until_done("the Redshift statement", statement, look, stop, limit=self.limit, clock=self.clock)

    def _call(self, operation: str, **given: Any) -> Any:
        from orchestrai.storage.cloud.cloud_errors import Fault, Meaning, aws_errors

        expected = f"Redshift to {operation.replace('_', ' ')}"

        def own(fault: Fault) -> OrchestraiError | None:
            """A wrong name or password is told in words, under a code for whatever is not valid."""
            return statement_error(expected, fault.words) if fault.meaning is Meaning.OTHER else None

        with aws_errors(expected, own=own):
            return getattr(self.client, operation)(**given)


def _text(value: dict[str, Any]) -> str | None:
    """A value as the API tells it, under the name of its type."""
    ((kind, told),) = value.items()
    return None if kind == "isNull" else str(told)
