"""Redshift by its Data API: batches of statements, each one transaction in a session of its own, rows by COPY from S3."""

import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from orchestrai.core.sql.dialects import REDSHIFT, Dialect
from orchestrai.errors import ConfigError, IntegrityError, StorageError
from orchestrai.storage.cloud.job_wait import Clock, Phase, Waiting, phase_of
from orchestrai.warehouse.cloud.cloud_table import Statement, Values
from orchestrai.warehouse.cloud.cloud_url import CloudUrl, cloud_url

if TYPE_CHECKING:
    import pyarrow as pa

SCHEME = "redshift-data://"
# so many statements the service takes in one batch
MOST = 40
LIMIT = timedelta(hours=2)
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+")
_ENDED = ("FAILED", "ABORTED")


def _token() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Redshift:
    """See Warehouse; `url` is redshift-data://workgroup/database?staging=s3://bucket/folder&role=arn:..., the role being the one that COPY
    reads by. `region`, `schema`; `cluster=true` with `user` for a provisioned cluster; `secret` for a secret's ARN.

    A batch is one transaction. What does not fit into one is cut between partitions: each partition is whole with its note.
    """

    url: CloudUrl
    client: Any
    clock: Clock = field(default_factory=Clock)
    token: Callable[[], str] = _token

    @classmethod
    def at(cls, text: str) -> "Redshift":
        """The warehouse at a URL. Raises ConfigError."""
        from orchestrai.storage.cloud.aws import aws_client

        url = cloud_url(text, bucket="s3", required=("role",), optional=("region", "schema", "cluster", "user", "secret"))
        if not _ROLE.fullmatch(url.options["role"]):
            raise ConfigError("expected role: the ARN of the role that COPY reads by, found another text: correct the URL")
        return cls(url, aws_client("redshift-data", region=url.options.get("region")), Clock())

    @property
    def dialect(self) -> Dialect:
        """How its SQL differs."""
        return REDSHIFT

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
        found: list[Values] = []
        page: dict[str, str] = {}
        while True:
            answer = self._call("get_statement_result", Id=started["Id"], **page)
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

    def load(self, staged: str, schema: "pa.Schema", uris: Sequence[str]) -> list[Statement]:
        """A table of the session, filled by COPY: a time is staged without its zone, as Parquet's are read."""
        columns = ", ".join(
            f"{REDSHIFT.column(one.name)} {REDSHIFT.type_of(one.type).replace('TIMESTAMPTZ', 'TIMESTAMP')}" for one in schema
        )
        place, role = REDSHIFT.column(staged), REDSHIFT.value(self.url.options["role"])
        made = [Statement(f"CREATE TEMPORARY TABLE {place} ({columns})")]
        return made + [
            Statement(f"COPY {place} FROM {REDSHIFT.value(uri)} IAM_ROLE {role} FORMAT AS PARQUET") for uri in uris
        ]

    def forget(self, staged: Sequence[str]) -> None:
        """Tables of a session end with it."""

    def _run(self, batch: Sequence[Statement]) -> None:
        sqls = [statement.text for statement in batch]
        if len(sqls) > MOST:
            raise ConfigError(
                f"expected at most {MOST - 6} files in a partition for Redshift, found {len(sqls) - 6}: compact the partition"
            )
        started = self._call("batch_execute_statement", Sqls=sqls, ClientToken=self.token(), **self._where)
        try:
            self._wait(str(started["Id"]))
        except StorageError as exc:
            parts = self._call("describe_statement", Id=started["Id"]).get("SubStatements", ())
            for statement, part in zip(batch, parts, strict=False):
                if statement.told and part.get("Status") == "FAILED":
                    raise IntegrityError(f"{statement.told}; look at what else writes to the table") from exc
            raise

    def _wait(self, statement: str) -> None:
        def look() -> tuple[Phase, str]:
            told = self._call("describe_statement", Id=statement)
            return phase_of(str(told["Status"]), "FINISHED", _ENDED, told.get("Error"))

        def stop() -> None:
            self._call("cancel_statement", Id=statement)

        waiting = Waiting(
            LIMIT, timedelta(seconds=1), "look at its queue", self.clock, longest=timedelta(seconds=20), patient=True
        )
        waiting.until_done(statement, look, stop, what="the Redshift statement")

    def _call(self, operation: str, **given: Any) -> Any:
        from orchestrai.storage.cloud.cloud_errors import aws_errors

        with aws_errors(f"Redshift to {operation.replace('_', ' ')}"):
            return getattr(self.client, operation)(**given)


def _text(value: dict[str, Any]) -> str | None:
    """A value as the API tells it, under the name of its type."""
    ((kind, told),) = value.items()
    return None if kind == "isNull" else str(told)
