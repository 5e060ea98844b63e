"""What is loaded into a warehouse table: the `load` part of a declaration."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrai.core.yaml.declaration import Declaration, field_reader
from orchestrai.secrets.reference import is_reference
from orchestrai.storage.databases.cloud.open_warehouse import check_warehouse
from orchestrai.storage.postgres import check_address


class LoadSpec(Declaration):
    """One table: the restored data of a dataset, a feature view or the predictions of a model, kept equal to its newest version.

    `to` is postgresql://, mysql://, duckdb:///file, bigquery:// or redshift-data:// with `staging`, snowflake://, an SQLAlchemy URL (of
    others, with that dialect installed), none with a password, or a secret reference to one (env://NAME). Mode "partitions"
    replaces the partitions that changed; "merge" inserts and updates by `key` (not by SQLAlchemy's URLs).
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    source: Annotated[str, Field(alias="from", description="a dataset, feature view or model of the pipeline")]
    to: str
    table: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,2}$")]
    mode: Literal["partitions", "merge"] = "partitions"
    key: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "LoadSpec":
        if (self.mode == "merge") != bool(self.key):
            raise ValueError("expected key with the mode merge, and only with it")
        scheme, separator, rest = self.to.partition("://")
        if not separator or not scheme:
            raise ValueError("expected to: a URL such as postgresql://host/db or env://NAME, found text that is none")
        if ":" in rest.partition("@")[0] and "@" in rest:
            raise ValueError(
                "expected a URL without a password, found one with: write where the URL lies, such as env://NAME"
            )
        if is_reference(self.to) or scheme in ("postgresql", "postgres"):
            field_reader(check_address)(self.to)
        if scheme == "snowflake":
            field_reader(check_warehouse)(self.to)
        return self
