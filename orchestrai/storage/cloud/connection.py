"""How to reach a cloud store: endpoint, region and credentials, from arguments or the clouds' standard variables.

A `Backend` is one bucket or container as obstore and the cloud's own library reach it.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from orchestrai.errors import ConfigError, OrchestraiError
from orchestrai.project.connection_spec import Connection, check_endpoint
from orchestrai.storage.cloud.control import ControlPlane

OWN_RETRIES: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}
# a conditional write that was repeated by the client library could not be told from one that lost
NO_RETRIES: Any = {"max_retries": 0}
OWN_ERROR = f"{OrchestraiError.__module__}."
_SECRETS = ("secret_access_key", "session_token", "account_key", "sas_token", "service_account_key")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """What a URL does not say of its store; what is None comes from the environment, then from the cloud's own chain.

    Secrets may be given as text and print as asterisks. `headers` go with every request of the data plane.
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    access_key_id: str | None = None
    secret_access_key: SecretStr | str | None = None
    session_token: SecretStr | str | None = None
    account_name: str | None = None
    account_key: SecretStr | str | None = None
    sas_token: SecretStr | str | None = None
    service_account_file: str | None = None
    service_account_key: SecretStr | str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    connection: Connection | None = None
    """The declared connection that says all that is None here; None for what the environment says."""

    def __post_init__(self) -> None:
        for name in _SECRETS:
            value = getattr(self, name)
            if isinstance(value, str):
                object.__setattr__(self, name, SecretStr(value))

    def reveal(self, name: str) -> str | None:
        """The text of a secret field, for the library that must have it."""
        value = getattr(self, name)
        return value.get_secret_value() if isinstance(value, SecretStr) else None

    def for_s3(self, environ: Mapping[str, str]) -> "StoreOptions":
        """Fill from AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION, AWS_PROFILE and the access key's variables.

        A key pair is taken whole, from the arguments or from the environment, never half from each. A declared connection takes nothing
        from the environment but what its chain of credentials does.
        """
        if self.connection is not None:
            return self._of_aws(self.connection)
        filled = replace(
            self,
            endpoint_url=self.endpoint_url or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL"),
            region=self.region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION"),
            profile=self.profile or environ.get("AWS_PROFILE"),
        )
        if self.access_key_id is None and self.profile is None and environ.get("AWS_ACCESS_KEY_ID"):
            filled = replace(
                filled,
                access_key_id=environ["AWS_ACCESS_KEY_ID"],
                secret_access_key=_secret(environ.get("AWS_SECRET_ACCESS_KEY")),
                session_token=_secret(environ.get("AWS_SESSION_TOKEN")),
            )
        if (filled.access_key_id is None) != (filled.secret_access_key is None):
            raise ConfigError("expected an access key id together with its secret, found one of them: set both or neither")
        return filled._checked()

    def for_azure(self, environ: Mapping[str, str]) -> "StoreOptions":
        """Fill from AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_ACCOUNT, AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN."""
        parts = dict(
            part.split("=", 1) for part in environ.get("AZURE_STORAGE_CONNECTION_STRING", "").split(";") if "=" in part
        )
        own = environ.get("AZURE_STORAGE_ACCOUNT") or environ.get("AZURE_STORAGE_ACCOUNT_NAME")
        account = self.account_name or parts.get("AccountName") or own
        if self.connection is not None:
            return self._of_azure(self.connection, self.account_name or self.connection.account)
        if account is None:
            raise _no_account()
        # a connection string of another account says nothing of this one
        if parts.get("AccountName") != account:
            parts = {}
        key = parts.get("AccountKey") or environ.get("AZURE_STORAGE_KEY") or environ.get("AZURE_STORAGE_ACCOUNT_KEY")
        sas = parts.get("SharedAccessSignature") or environ.get("AZURE_STORAGE_SAS_TOKEN")
        if own not in (None, account) and not parts:
            # the key of one account would sign for another one
            key = sas = None
        return replace(
            self,
            account_name=account,
            endpoint_url=self.endpoint_url or parts.get("BlobEndpoint"),
            account_key=self.account_key or _secret(key),
            sas_token=self.sas_token or _secret(sas),
        )._checked()

    def for_gcs(self, environ: Mapping[str, str]) -> "StoreOptions":
        """Fill from STORAGE_EMULATOR_HOST and GOOGLE_APPLICATION_CREDENTIALS."""
        if self.connection is not None:
            return replace(self, endpoint_url=self.endpoint_url or self.connection.endpoint_of("storage"))._checked()
        emulator = environ.get("STORAGE_EMULATOR_HOST")
        if emulator and "://" not in emulator:
            emulator = f"http://{emulator}"
        return replace(
            self,
            endpoint_url=self.endpoint_url or emulator,
            service_account_file=self.service_account_file or environ.get("GOOGLE_APPLICATION_CREDENTIALS"),
        )._checked()

    def _of_aws(self, connection: Connection) -> "StoreOptions":
        from orchestrai.storage.cloud.access.aws_access import static_keys

        keys = static_keys(connection) if connection.identity.role is None else None
        return replace(
            self,
            endpoint_url=self.endpoint_url or connection.endpoint_of("s3"),
            region=self.region or connection.region,
            access_key_id=keys[0] if keys else None,
            secret_access_key=_secret(keys[1]) if keys else None,
            session_token=_secret(keys[2]) if keys else None,
        )._checked()

    def _of_azure(self, connection: Connection, account: str | None) -> "StoreOptions":
        from orchestrai.storage.cloud.access.azure_access import require_account, storage_secret

        if account is None:
            raise _no_account()
        require_account(connection, account)
        secret = storage_secret(connection)
        return replace(
            self,
            account_name=account,
            endpoint_url=self.endpoint_url or connection.endpoint_of("blob"),
            account_key=_secret(secret[1]) if secret and secret[0] == "account_key" else None,
            sas_token=_secret(secret[1]) if secret and secret[0] == "sas" else None,
        )._checked()

    @property
    def anonymous(self) -> bool:
        """Whether nobody signs."""
        return self.connection is not None and self.connection.identity.anonymous

    @property
    def plain_http(self) -> bool:
        """Whether the endpoint is reached without TLS, which only loopback is."""
        return self.endpoint_url is not None and urlsplit(self.endpoint_url).scheme == "http"

    def client_options(self) -> Any:
        """obstore's client options."""
        more: dict[str, object] = {"default_headers": dict(self.headers)} if self.headers else {}
        if self.connection is not None and self.connection.ca_file is not None:
            more["root_certificate"] = _certificate(self.connection.ca_file)
        return {"allow_http": self.plain_http, "timeout": "300s", "connect_timeout": "10s", **more}

    def anonymous_service_account(self) -> str:
        """A service account that sends no token, for an emulator."""
        account = {"gcs_base_url": self.endpoint_url, "disable_oauth": True}
        return json.dumps({**account, "client_email": "", "private_key": "", "private_key_id": ""})

    def _checked(self) -> "StoreOptions":
        if self.endpoint_url is not None:
            check_endpoint(self.endpoint_url)
        return self


@dataclass
class Credentials:
    """Gives obstore its credentials; it tells of an error by its text alone, so the error itself waits here."""

    give: Callable[[], Any]
    config: dict[str, Any] = field(default_factory=dict)
    error: OrchestraiError | None = None

    def __call__(self) -> Any:
        try:
            return self.give()
        except OrchestraiError as error:
            self.error = error
            raise


@dataclass
class Backend(ABC):
    """Two obstore stores on the same bucket, and what differs between the clouds; `options` are complete."""

    bucket: str
    prefix: str
    """Empty, or ending in a slash."""
    options: StoreOptions = field(repr=False)
    lists_in_order: bool = True
    credentials: Credentials | None = field(default=None, repr=False)

    def given_by(self, give: Callable[[], Any]) -> Credentials:
        """`give` as obstore's provider of credentials; one for both stores."""
        self.credentials = self.credentials or Credentials(give)
        return self.credentials

    def credentials_error(self, exc: Exception) -> OrchestraiError | None:
        """What kept credentials from being given, where that is what obstore's error tells of."""
        return self.credentials.error if self.credentials is not None and OWN_ERROR in str(exc) else None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where this is, without any secret."""

    @cached_property
    def once(self) -> Any:
        """The obstore store that asks once: whoever asks it knows what it asked, and repeats that (storage/retry.py)."""
        return self.opened(NO_RETRIES)

    @cached_property
    def repeated(self) -> Any:
        """The obstore store that repeats by itself: the rest of a stream, and parts of an upload that nobody sees before the last."""
        connection = self.options.connection
        if connection is None:
            return self.opened(OWN_RETRIES)
        within = connection.retries.within or OWN_RETRIES["retry_timeout"]
        return self.opened({"max_retries": connection.retries.attempts - 1, "retry_timeout": within})

    @abstractmethod
    def opened(self, retries: Any) -> Any:
        """An obstore store with these retries."""

    @abstractmethod
    def refuse(self, name: str) -> str | None:
        """Why the cloud cannot hold a name, or None."""

    @abstractmethod
    def control(self) -> ControlPlane:
        """What obstore cannot do, through the cloud's own library."""


def _secret(value: str | None) -> SecretStr | None:
    return SecretStr(value) if value else None


def _no_account() -> ConfigError:
    return ConfigError("expected the name of a storage account, found none: set AZURE_STORAGE_ACCOUNT or use abfss://")


def _certificate(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as exc:
        raise ConfigError(
            f"expected certificates (PEM) in the ca_file {path}, found {type(exc).__name__}: correct it"
        ) from exc
