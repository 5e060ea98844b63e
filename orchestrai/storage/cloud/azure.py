"""Microsoft: the one place that finds Azure's credentials, and Blob Storage and Data Lake Storage Gen2 through the Blob API."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property, partial
from typing import Any

from orchestrai.errors import MissingExtra
from orchestrai.project.connection_spec import Connection
from orchestrai.storage.cloud.access.azure_access import azure_identity_of
from orchestrai.storage.cloud.cloud_errors import azure_errors
from orchestrai.storage.cloud.connection import Backend, StoreOptions
from orchestrai.storage.cloud.control_planes.azure_control import STORAGE_SCOPE, AzureControlPlane
from orchestrai.storage.cloud.rest import AccessToken, token_of


@cache
def default_credential() -> Any:
    """Azure's default credentials: one object for the process, so that what it has found is found once."""
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError as exc:
        raise MissingExtra(
            "expected azure-identity for Azure's credentials, found none: pip install azure-identity"
        ) from exc
    return DefaultAzureCredential()


def storage_credential(options: StoreOptions) -> Any:
    """What an SDK of Azure Storage takes: the account's key, else a signature, else the default credentials."""
    if options.account_key:
        return {"account_name": options.account_name, "account_key": options.reveal("account_key")}
    if options.sas_token or options.anonymous:
        return options.reveal("sas_token")
    return azure_identity_of(options.connection) if options.connection is not None else default_credential()


def fetch_token(scope: str, connection: Connection | None = None) -> AccessToken:
    """A new token of a connection, else of the default credentials; raises ConfigError, AccessRefused, TransientStorageError."""
    credential = azure_identity_of(connection) if connection is not None else default_credential()
    who = connection.shown if connection is not None else "Azure's default credentials"
    with azure_errors(f"a token of {who} for {scope}"):
        token = credential.get_token(scope)
    return AccessToken(token.token, float(token.expires_on))


def _storage_token(connection: Connection | None) -> dict[str, object]:
    """The token of the data plane, as obstore takes it."""
    token = token_of(connection or Connection(cloud="azure"), STORAGE_SCOPE).current()
    return {"token": token.value, "expires_at": datetime.fromtimestamp(token.expires, UTC)}


def _declared_secret(options: StoreOptions) -> dict[str, object]:
    """The key or the signature of an account, as obstore takes it."""
    kind = "access_key" if options.account_key else "sas_token"
    return {kind: options.reveal("account_key") or options.reveal("sas_token"), "expires_at": None}


@dataclass
class AzureBackend(Backend):
    """One container, or a prefix of it."""

    # a hierarchical namespace lists folder by folder, which is another order than by key
    lists_in_order: bool = False

    @property
    def url(self) -> str:
        account = self.options.account_name
        return f"abfss://{self.bucket}@{account}.dfs.core.windows.net/{self.prefix}".rstrip("/")

    @property
    def account_url(self) -> str:
        return self.options.endpoint_url or f"https://{self.options.account_name}.blob.core.windows.net"

    @cached_property
    def client(self) -> Any:
        """The ContainerClient of the control plane."""
        from azure.storage.blob import BlobServiceClient

        credential = storage_credential(self.options)
        return BlobServiceClient(self.account_url, credential=credential).get_container_client(self.bucket)

    def refuse(self, name: str) -> str | None:
        # the service drops a trailing dot of a segment
        if any(segment.endswith(".") for segment in name.split("/")):
            return "Azure does not keep a dot at the end of a segment"
        return None

    def control(self) -> AzureControlPlane:
        return AzureControlPlane(self.client, self.prefix, self.url)

    def opened(self, retries: Any) -> Any:
        from obstore.store import AzureStore

        options = self.options
        settings: dict[str, Any] = {"account_name": options.account_name}
        if options.endpoint_url:
            settings["endpoint"] = options.endpoint_url
        if options.connection is not None:
            # obstore reads the variables too, and takes a token, an application or a key of theirs before what is declared here
            settings |= {"skip_signature": options.anonymous, "use_emulator": False}
        if options.connection is not None and (options.account_key or options.sas_token):
            settings["credential_provider"] = self.given_by(partial(_declared_secret, options))
        elif options.account_key:
            settings["account_key"] = options.reveal("account_key")
        elif options.sas_token:
            settings["sas_key"] = options.reveal("sas_token")
        elif not options.anonymous:
            settings["credential_provider"] = self.given_by(partial(_storage_token, options.connection))
        return AzureStore(self.bucket, client_options=options.client_options(), retry_config=retries, **settings)
