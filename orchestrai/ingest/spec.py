"""Where a dataset lands and how its objects are to be read: the `source` part of a declaration."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from orchestrai.contracts.contract import Contract
from orchestrai.core.time.calendar import Grain, zone_name
from orchestrai.core.time.duration_cron import Duration
from orchestrai.core.time.local_clock import Ambiguous, LocalClock
from orchestrai.core.yaml.declaration import Declaration, field_reader
from orchestrai.ingest.conversions.declared_formats import spelled_out
from orchestrai.ingest.discovery.passed_over import UNFINISHED, check_patterns
from orchestrai.ingest.readers.csv.csv_dialect import CsvDialect
from orchestrai.secrets.reference import check_reference
from orchestrai.secrets.url_credentials import shown_url

MIB = 1024 * 1024
Format = Literal["csv", "jsonl", "json", "parquet", "http", "sql"]
Kind = Literal["objects", "stream", "http", "sql"]
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
STREAMS = ("log://", "kafka://")
# how long records are on their way from a producer through a stream
ON_ITS_WAY = timedelta(minutes=1)


def _reference(text: str) -> str:
    return check_reference(text) if text else text


# days whose numbers grow by a digit, turn a month or turn a year
_ASCENDING = [
    datetime.fromisoformat(f"{day}T00:00+00:00")
    for day in ("1999-09-30", "1999-10-01", "1999-12-31", "2000-01-02", "2000-01-10", "2000-02-01")
]
Zone = Annotated[str, AfterValidator(field_reader(zone_name)), Field(description="IANA zone of times without a zone")]
SecretRef = Annotated[str, AfterValidator(field_reader(_reference))]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")]


class HttpOptions(Declaration):
    """How to page through an HTTP API; `token_env` names an environment variable, so that no secret is declared.

    Only the host of the URL is asked, and `hosts` (`name` or `name:port`) that redirects and next pages may lead to; secrets go to
    the first alone. `allow_private` lets it be at a loopback or private address; link-local and metadata addresses are never asked.
    `headers` and `params` are further secrets by reference (env://NAME). `time_limit` is for all pages of a partition.

    `next` is the field of a page that holds the next page's URL; without it `page_param` counts up from 1 until a page is
    empty. `{partition}` in the URL is replaced by the partition's key; without it only the current partition can be asked for.
    """

    page_param: str = ""
    size_param: str = ""
    page_size: Annotated[int, Field(ge=1, le=100_000)] = 500
    next: str = ""
    max_pages: Annotated[int, Field(ge=1)] = 10_000
    timeout_seconds: Annotated[float, Field(gt=0)] = 30.0
    retries: Annotated[int, Field(ge=0, le=20)] = 5
    requests_per_second: Annotated[float, Field(gt=0)] = 20.0
    token_env: str = ""
    max_page_bytes: Annotated[int, Field(ge=1024)] = 32 * MIB
    time_limit: Duration = timedelta(hours=1)
    hosts: tuple[str, ...] = ()
    allow_private: bool = False
    headers: dict[HeaderName, SecretRef] = Field(default_factory=dict)
    params: dict[str, SecretRef] = Field(default_factory=dict)


class StreamOptions(Declaration):
    """How a stream is reached and cut into micro-batches; `username`, `password`, `ca`, `certificate` and `key` are secret references.

    Azure Event Hubs: security SASL_SSL, mechanism AZURE_ENTRA_ID, or PLAIN with the user `$ConnectionString` and its connection string
    as the password. Amazon MSK: AWS_MSK_IAM or SCRAM-SHA-512. `ca`, `certificate` and `key` are PEM texts. `accept_gaps` goes on
    although records were deleted unread. More than `max_refused_share` of a batch in the dead letters refuses the batch. While a worker
    carries the stream on, Dagster is told each `report_every`. `options` are those librdkafka properties that docs/arrival.md lists.
    """

    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "AWS_MSK_IAM", "AZURE_ENTRA_ID"] = ""
    username: SecretRef = ""
    password: SecretRef = ""
    ca: SecretRef = ""
    certificate: SecretRef = ""
    key: SecretRef = ""
    options: dict[str, str | int | bool] = Field(default_factory=dict)
    batch_records: Annotated[int, Field(ge=1)] = 50_000
    batch_bytes: Annotated[int, Field(ge=1024)] = 64 * MIB
    wait_seconds: Annotated[float, Field(gt=0)] = 10.0
    accept_gaps: bool = False
    max_refused_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    report_every: Duration = timedelta(minutes=15)


class SqlOptions(Declaration):
    """A table, or a query whose rows are read like a table's, behind a watermark; `dsn_env` names the variable with the URL.

    `watermark` is the contract's column that grows with every change, the event time where none is named; `overlap` (or
    `overlap_ids`, of a numeric one) must be longer than the longest writing transaction. `key` replaces the contract's primary key.
    With `reconcile` the source counts the rows of the window that was read, in the same snapshot; another number refuses them.
    """

    table: str = ""
    query: str = ""
    watermark: str = ""
    key: tuple[str, ...] = ()
    dsn_env: str = ""
    overlap: Duration = timedelta(minutes=10)
    overlap_ids: Annotated[int, Field(ge=0)] = 1_000
    page_rows: Annotated[int, Field(ge=1)] = 5_000
    limit_rows: Annotated[int, Field(ge=1)] = 1_000_000
    statement_timeout: Duration = timedelta(minutes=30)
    retries: Annotated[int, Field(ge=0, le=20)] = 3
    reconcile: Annotated[bool, Field(description="the source counts again what was read; another number refuses it")] = False


class NotificationOptions(Declaration):
    """A queue that tells of landed objects, so that no tick lists the landing; a listing behind it finds what the queue lost.

    `sqs://host/account/name`, `azure-queue://account.queue.core.windows.net/name`, `pubsub://project/subscription`.
    """

    queue: Annotated[str, Field(pattern=r"^(sqs|azure-queue|pubsub)(\+[a-z][a-z0-9-]*)?://[^@\s]+$")]
    reconcile_every: Annotated[Duration, Field(description="how often the landing is listed")] = timedelta(hours=1)


class SourceSpec(CsvDialect):
    """One landing place; relative paths lie under the home folder. How its CSV objects are written says the `CsvDialect`.

    The URL says what kind it is: objects in a folder or store, a stream (`log://topic`, `kafka://host:port/topic`, of one JSON
    document a record), an HTTP API (format http) or a database (format sql).
    `max_refused_share` is the share of rows that may go to the dead letters: values of another type, rows that break a rule of theirs.
    `timestamp_formats` are strptime formats tried in order; without any, ISO 8601 is read. Times without a zone are of
    `timezone`: one that its clocks skip is refused, of one that they show twice the reading counts that `ambiguous` says.
    `key_prefix` promises that every key begins with its partition's time in this strftime format, `dt=%Y-%m-%d/` for one: then no
    tick lists what is older than the newest arrival by more than `late`. What breaks the promise, `reconcile_every` still finds.
    """

    url: str
    format: Format
    partition_from: Literal["filename", "path", "modified"] = "filename"
    partition_format: Annotated[str, Field(description="strptime format of the file name without its ending")] = ""
    objects: Annotated[
        Literal["all", "newest"], Field(description="newest: each object is the whole partition, the last one counts")
    ] = "all"
    key_prefix: Annotated[str, Field(description="strftime format that every key begins with, such as dt=%Y-%m-%d/")] = ""
    late: Annotated[Duration, Field(description="how much older than the newest arrival a partition still gets objects")] = (
        timedelta(days=3)
    )
    pattern: Annotated[str, Field(description="shell pattern the object's key must match")] = "*"
    passed_over: Annotated[
        tuple[str, ...], Field(description="names that are no data; of a file, with a slash at the end of a folder")
    ] = UNFINISHED
    equal_files: Annotated[
        Literal["once", "each"], Field(description="once: files of one content in a partition are one arrival")
    ] = "once"
    timestamp_formats: tuple[str, ...] = ()
    timezone: Zone = "UTC"
    ambiguous: Annotated[
        Ambiguous, Field(description="which reading counts of a time that the zone's clocks show twice")
    ] = "refuse"
    records: Annotated[str, Field(description="path of the list of records in a JSON document, such as data.items")] = ""
    http: HttpOptions = HttpOptions()
    sql: SqlOptions = SqlOptions()
    stream: StreamOptions = StreamOptions()
    notifications: NotificationOptions | None = None
    reconcile_every: Annotated[Duration, Field(description="how often the whole landing is held against the ledger")] = (
        timedelta(hours=1)
    )
    ask_again: Annotated[
        Duration,
        Field(description="how long after a run that failed its arrivals are asked for again; twice as long each time"),
    ] = timedelta(minutes=1)
    max_object_bytes: Annotated[int, Field(ge=1)] = 4 * 1024 * MIB
    max_partition_bytes: Annotated[int, Field(ge=1)] = 64 * 1024 * MIB
    spark_above: Annotated[
        str, Field(pattern=r"^([1-9][0-9]*(KB|MB|GB|TB))?$", description="type on Spark what passes this size, such as 10GB")
    ] = ""
    max_row_bytes: Annotated[int, Field(ge=64)] = MIB
    max_refused_share: Annotated[float, Field(ge=0, le=1)] = 0.01

    @property
    def kind(self) -> Kind:
        """What lies at the URL."""
        if self.format in ("http", "sql"):
            return "http" if self.format == "http" else "sql"
        return "stream" if self.url.startswith(STREAMS) else "objects"

    @property
    def clock(self) -> LocalClock | None:
        """The clock that times without a zone are read by; None for UTC."""
        return None if self.timezone == "UTC" else LocalClock(self.timezone, self.ambiguous)

    @property
    def positioned(self) -> bool:
        """True for what is read on from a position, a stream or a table: one reading feeds whatever partitions it finds."""
        return self.kind in ("stream", "sql")

    @property
    def settles(self) -> timedelta:
        """How long after a partition's end what was on its way then may still come: of a table its slowest transactions."""
        if self.kind == "sql":
            return self.sql.overlap
        return ON_ITS_WAY if self.kind == "stream" else timedelta(0)

    @property
    def address(self) -> str:
        """The URL as it may be shown."""
        return shown_url(self.url)

    @property
    def described(self) -> str:
        """Where data is read, and which names there are passed over, for people."""
        names = ", ".join(self.passed_over) or "nothing"
        return f"Reads {self.address}." + (f" Passed over: {names}." if self.kind == "objects" else "")

    def needs_spark(self, size: int) -> bool:
        """Whether a partition of `size` landed bytes is typed on Spark."""
        return bool(self.spark_above) and size > int(self.spark_above[:-2]) * _UNITS[self.spark_above[-2:]]

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "SourceSpec":
        if self.kind == "sql" and bool(self.sql.query.strip()) == bool(self.sql.table.strip()):
            raise ValueError("expected sql.table or sql.query for the format sql, found none or both")
        if self.kind == "stream" and self.format != "jsonl":
            raise ValueError(f"expected the format jsonl for a stream (a JSON document a record), found {self.format}")
        if self.notifications and self.kind != "objects":
            raise ValueError(f"expected notifications for objects only, found them for {self.url}")
        if self.format != "csv" and (foreign := self.foreign()):
            raise ValueError(f"expected {', '.join(foreign)} for the format csv only, found {self.format}")
        return self

    @field_validator("passed_over")
    @classmethod
    def _readable_patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        field_reader(check_patterns)(value)
        return value

    @field_validator("timestamp_formats")
    @classmethod
    def _known_directives(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for form in value:
            spelled_out(form)
        return value

    @field_validator("key_prefix")
    @classmethod
    def _sorts_by_time(cls, value: str) -> str:
        prefixes = [moment.strftime(value) for moment in _ASCENDING] if value else []
        if prefixes != sorted(prefixes) or len(set(prefixes)) < len(prefixes):
            raise ValueError(
                f"expected a key_prefix whose days sort in order of time, such as dt=%Y-%m-%d/, found {value!r}"
            )
        return value


@dataclass(frozen=True)
class DatasetTask:
    """What is asked of an arrival: partitions of a dataset, from its source, as its contract says."""

    asset: str
    source: SourceSpec
    contract: Contract
    grain: Grain
    partitions: tuple[str, ...] = ()
