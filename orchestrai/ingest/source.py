"""Where a dataset lands and how its objects are to be read: the `source` part of a declaration."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MIB = 1024 * 1024
Format = Literal["csv", "jsonl", "json", "parquet", "http", "sql"]


class HttpOptions(BaseModel):
    """How to page through an HTTP API; `token_env` names an environment variable, so that no secret is declared.

    `next` is the field of a page that holds the next page's URL; without it `page_param` counts up from 1 until a page is
    empty. `{partition}` in the URL is replaced by the partition's key; without it only the current partition can be asked for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

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


class SqlOptions(BaseModel):
    """A query over one partition's window, `%(start)s` to `%(end)s`; `dsn_env` names the variable with the connection string.

    `settle_seconds` is how long after its end a partition is read anew, for rows that were committed late.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: str = ""
    dsn_env: str = ""
    settle_seconds: Annotated[int, Field(ge=0)] = 3600


class SourceSpec(BaseModel):
    """One landing place; relative paths lie under the home folder.

    `max_refused_share` is the share of rows that may go to the dead letters before the schema check fails.
    `skip_leading_column` drops an unnamed first field in rows that have one field more than the header has names.
    `timestamp_formats` are strptime formats tried in order; without any, ISO 8601 is read. Times without a zone are UTC.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    format: Format
    partition_from: Literal["filename", "path", "modified"] = "filename"
    partition_format: Annotated[str, Field(description="strptime format of the file name without its ending")] = ""
    objects: Annotated[
        Literal["all", "newest"], Field(description="newest: each object is the whole partition, the last one counts")
    ] = "all"
    pattern: Annotated[str, Field(description="shell pattern the object's key must match")] = "*"
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    quote: Annotated[str, Field(min_length=1, max_length=1)] = '"'
    header: bool = True
    columns: Annotated[tuple[str, ...], Field(description="names of the fields where there is no header")] = ()
    encoding: str = "utf-8"
    null_values: tuple[str, ...] = ("",)
    timestamp_formats: tuple[str, ...] = ()
    skip_leading_column: bool = False
    records: Annotated[str, Field(description="path of the list of records in a JSON document, such as data.items")] = ""
    http: HttpOptions = HttpOptions()
    sql: SqlOptions = SqlOptions()
    max_object_bytes: Annotated[int, Field(ge=1)] = 4 * 1024 * MIB
    max_partition_bytes: Annotated[int, Field(ge=1)] = 64 * 1024 * MIB
    max_row_bytes: Annotated[int, Field(ge=64)] = MIB
    max_refused_share: Annotated[float, Field(ge=0, le=1)] = 0.01

    @model_validator(mode="after")
    def _has_query(self) -> "SourceSpec":
        if self.format == "sql" and not self.sql.query.strip():
            raise ValueError("expected sql.query for the format sql, found none")
        return self

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            plain = "\n,".encode(value) == b"\n,"
        except LookupError:
            plain = False
        if not plain:
            # lines are found before they are decoded
            raise ValueError(f"expected an encoding that keeps ASCII, such as utf-8 or latin-1, found {value!r}")
        return value
