"""What is shared as a table with time travel: the `share` part of a declaration."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrai.core.yaml.declaration import Declaration, field_reader
from orchestrai.secrets.reference import is_reference
from orchestrai.storage.postgres import check_address

Format = Literal["iceberg", "delta"]


class ShareSpec(Declaration):
    """One table for other engines: the versions of a dataset, feature view or model's predictions as its snapshots.

    Of a dataset `of` says which data: what was restored from the backup, or the raw events. An Iceberg table is `table` in `catalog`,
    by default `<pipeline>.<name>` in an SQLite file of the home folder; its metadata lies at `at`, by default in the lake. A Delta table
    lies where its data lies in the lake, so that there is one for each dataset and stage.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    source: Annotated[str, Field(alias="from", description="a dataset, feature view or model of the pipeline")]
    of: Literal["restored", "raw"] = "restored"
    form: Annotated[Format, Field(alias="as", description="iceberg or delta")]
    catalog: Annotated[
        str, Field(description="sqlite:///file, postgresql://host/db or env://NAME; none of them with a password")
    ] = ""
    table: Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*)?$")] = ""
    at: Annotated[str, Field(description="the URL of the folder of the metadata")] = ""

    @model_validator(mode="after")
    def _consistent(self) -> "ShareSpec":
        if self.form == "delta":
            for name in ("catalog", "table", "at"):
                if getattr(self, name):
                    raise ValueError(
                        f"{name}: expected it beside `as: iceberg`, found it beside delta: the table lies with its data in the lake"
                    )
        scheme = self.catalog.partition("://")[0]
        if self.catalog and not is_reference(self.catalog):
            if scheme not in ("sqlite", "postgresql", "postgres"):
                raise ValueError(
                    f"catalog: expected sqlite:///, postgresql:// or a secret reference, found {self.catalog!r}: write one of them"
                )
            if scheme != "sqlite":
                field_reader(check_address)(self.catalog)
        return self
