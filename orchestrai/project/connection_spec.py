"""One connection, as declared: a cloud, where in it, and who calls. A frozen value without any secret, so that it may be sent on."""

from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_serializer, field_validator, model_validator

from orchestrai.core.time.duration_cron import Duration, format_duration
from orchestrai.core.yaml.declaration import Declaration, field_reader
from orchestrai.errors import ConfigError
from orchestrai.project.identity_spec import KINDS, Cloud, Identity
from orchestrai.project.url_cover import CLOUDS, check_cover

CONNECTION_NAME = r"^[a-z][a-z0-9-]{0,39}$"
# keys of resources that are taken
RESERVED = ("runtime", "pyspark")
ConnectionName = Annotated[str, Field(pattern=CONNECTION_NAME)]


def check_endpoint(url: str) -> str:
    """Return an endpoint unchanged; raises ConfigError for one with credentials, or without TLS elsewhere than on loopback."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        parts.port  # noqa: B018 - it raises for what is no number
    except ValueError as exc:
        raise ConfigError("expected an endpoint such as https://host:9000, found no URL") from exc
    if (
        parts.scheme not in ("http", "https")
        or not host
        or parts.username
        or parts.password
        or parts.query
        or parts.fragment
    ):
        raise ConfigError("expected an endpoint such as https://host without user, password or query, found another text")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ConfigError(f"expected https for {host}, found http, which is for loopback only: use https")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


Endpoint = Annotated[str, AfterValidator(field_reader(check_endpoint))]
Cover = Annotated[str, AfterValidator(field_reader(check_cover))]


class Budget(Declaration):
    """How often a call is made before its error is told; `within` is for how long at most a store's reads are repeated."""

    attempts: Annotated[int, Field(ge=1, le=20)] = 5
    within: Duration | None = None

    @field_serializer("within", when_used="json")
    def _written(self, value: timedelta | None) -> str | None:
        return None if value is None else format_duration(value)


class Connection(Declaration):
    """How one account and region of a cloud is reached; `name` is empty for what the environment says.

    `account` is AWS's account number, which must be the caller's, or the name of Azure's storage account. `endpoint` is of all services,
    one of `endpoints` of the service that it is named for; `ca_file` signs its certificate, where no public authority does. `covers` are
    URLs that are reached by it; a `default` one is for what has no URL or is covered by none.
    """

    name: ConnectionName | Literal[""] = ""
    cloud: Cloud
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{2,40}$")] | None = None
    account: Annotated[str, Field(pattern=r"^[a-z0-9]{3,24}$")] | None = None
    project: Annotated[str, Field(pattern=r"^[a-z][a-z0-9:.-]{4,60}$")] | None = None
    endpoint: Endpoint | None = None
    endpoints: dict[Annotated[str, Field(pattern=r"^[a-z0-9-]+$")], Endpoint] = Field(default_factory=dict)
    addressing: Literal["path", "virtual"] | None = None
    ca_file: Annotated[str, Field(min_length=1)] | None = None
    identity: Identity = Identity()
    covers: tuple[Cover, ...] = ()
    default: bool = False
    retries: Budget = Budget()

    @field_validator("account", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        # an account number without quotes is a number of YAML, and one with a leading zero is another one
        if isinstance(value, int) and not isinstance(value, bool):
            raise ValueError(f"expected the account in quotes, found the number {value}")
        return value

    @model_validator(mode="after")
    def _of_its_cloud(self) -> Self:
        for url in self.covers:
            if CLOUDS.get(url.partition(":")[0], self.cloud) != self.cloud:
                raise ValueError(f"covers: expected URLs of {self.cloud}, found {url!r}")
        kinds = [kind for kind in self.identity.kinds if kind not in KINDS[self.cloud]]
        if kinds:
            raise ValueError(f"identity: expected one of {', '.join(KINDS[self.cloud])} for {self.cloud}, found {kinds[0]}")
        for name, cloud in (("project", "gcp"), ("addressing", "aws"), ("ca_file", "aws")):
            if getattr(self, name) is not None and self.cloud != cloud:
                raise ValueError(f"{name}: expected a connection of {cloud}, found one of {self.cloud}")
        if self.account is not None and self.cloud == "gcp":
            raise ValueError("account: expected project for gcp, found account")
        if self.account is not None and self.cloud == "aws" and not (self.account.isdigit() and len(self.account) == 12):
            raise ValueError(f"account: expected the 12 digits of an AWS account, found {self.account!r}")
        if self.cloud == "azure" and {"account_key", "sas"} & {*self.identity.kinds} and self.account is None:
            # a key is of one account, and may not sign for another one
            raise ValueError("account: expected the storage account that the key or signature is of, found none")
        return self

    def __hash__(self) -> int:
        return hash((self.name, self.cloud, self.region, self.account, self.endpoint))

    def endpoint_of(self, service: str) -> str | None:
        """The endpoint of a service, None where it is the cloud's own."""
        return self.endpoints.get(service, self.endpoint)

    @property
    def declared(self) -> Self | None:
        """This one; None for what the environment says."""
        return self if self.name else None

    @property
    def shown(self) -> str:
        """Which connection this is, in a message."""
        return f"connection {self.name}" if self.name else f"the environment's connection to {self.cloud}"
