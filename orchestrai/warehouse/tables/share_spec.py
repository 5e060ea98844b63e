"""What is shared as a table with time travel: the `share` part of a declaration."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrai.core.yaml.declaration import Declaration, field_reader
from orchestrai.project.connection_spec import check_endpoint
from orchestrai.secrets.reference import check_reference, is_reference
from orchestrai.storage.postgres import check_address

Format = Literal["iceberg", "delta"]


class CatalogAccess(Declaration):
    """How a catalog is asked that is a service by Iceberg's REST protocol.

    Either a `token` is sent as it is, or `client` and `secret` are exchanged for tokens at `token_url`; without both nothing is sent.
    """

    warehouse: str = ""
    token: Annotated[str, Field(description="a secret reference")] = ""
    client: str = ""
    secret: Annotated[str, Field(description="a secret reference")] = ""
    token_url: str = ""
    scope: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> "CatalogAccess":
        pair = (self.client, self.secret, self.token_url)
        if any(pair) and not all(pair):
            raise ValueError("expected client, secret and token_url together, found some of them: declare all or none")
        if self.token and self.secret:
            raise ValueError("expected a token, or client and secret, found both: leave one out")
        if self.scope and not self.secret:
            raise ValueError("scope: expected it beside client and secret, found it alone: leave it out")
        for reference in (self.token, self.secret):
            if reference:
                field_reader(check_reference)(reference)
        if self.token_url:
            field_reader(check_endpoint)(self.token_url)
        return self


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
        str,
        Field(
            description="sqlite:///file, postgresql://host/db, env://NAME or https://host/path; none of them with a password"
        ),
    ] = ""
    access: CatalogAccess | None = None
    table: Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*)?$")] = ""
    at: Annotated[str, Field(description="the URL of the folder of the metadata")] = ""

    @model_validator(mode="after")
    def _consistent(self) -> "ShareSpec":
        if self.form == "delta":
            for name in ("catalog", "access", "table", "at"):
                if getattr(self, name):
                    raise ValueError(
                        f"{name}: expected it beside `as: iceberg`, found it beside delta: the table lies with its data in the lake"
                    )
        scheme = self.catalog.partition("://")[0]
        if scheme in ("https", "http"):
            field_reader(check_endpoint)(self.catalog)
            return self
        if self.access is not None:
            raise ValueError("access: expected it beside the https:// URL of a catalog, found another catalog: leave it out")
        if self.catalog and not is_reference(self.catalog):
            if scheme not in ("sqlite", "postgresql", "postgres"):
                raise ValueError(
                    f"catalog: expected sqlite:///, postgresql://, https:// or a secret reference, found {self.catalog!r}: correct it"
                )
            if scheme != "sqlite":
                field_reader(check_address)(self.catalog)
        return self
