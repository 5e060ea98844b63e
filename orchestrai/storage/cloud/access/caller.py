"""Who a cloud says that a connection calls as: the least call that each has for it."""

from dataclasses import dataclass
from threading import Lock
from typing import Any

from orchestrai.errors import AccessRefused, ConfigError, StorageError, TransientStorageError
from orchestrai.project.connection_spec import Connection
from orchestrai.storage.cloud.caller_identity import claims_of
from orchestrai.storage.cloud.cloud_errors import aws_errors

# the connections that were found to call as the account that they declare, in this process
_PROVEN: set[Connection] = set()
_LOCK = Lock()


@dataclass(frozen=True)
class Caller:
    """A name as the cloud writes it, and the account or project it is of; both empty where the endpoint cannot say."""

    name: str = ""
    account: str = ""


def caller_of(connection: Connection) -> Caller:
    """Ask who calls; raises ConfigError, AccessRefused, TransientStorageError, and ConfigError for another account than declared."""
    if connection.identity.anonymous:
        return Caller("nobody: requests are not signed")
    found = {"aws": _aws, "azure": _azure, "gcp": _google}[connection.cloud](connection)
    if connection.cloud == "aws" and connection.account and found.account and found.account != connection.account:
        raise ConfigError(
            f"expected {connection.shown} to call as the account {connection.account}, found {found.name} of {found.account}: correct the "
            "identity or the account"
        )
    return found


def require_declared_account(connection: Connection) -> None:
    """Ask once a process who calls by a connection of AWS that declares its account, before anything is done by it; raises as `caller_of`.

    What failed is asked again at the next use. An endpoint that knows no accounts is taken at its word.
    """
    if connection.cloud != "aws" or not connection.account or connection.identity.anonymous:
        return
    with _LOCK:
        if connection not in _PROVEN:
            caller_of(connection)
            _PROVEN.add(connection)


def forget_callers() -> None:
    """Ask anew who calls by each connection at its next use."""
    with _LOCK:
        _PROVEN.clear()


def _aws(connection: Connection) -> Caller:
    from orchestrai.storage.cloud.aws import aws_client
    from orchestrai.storage.cloud.connection import StoreOptions

    options = StoreOptions(
        endpoint_url=connection.endpoint_of("sts"), region=connection.region or "us-east-1", connection=connection.declared
    )
    client = aws_client("sts", options=options, read_timeout=10)
    try:
        with aws_errors(f"{connection.shown} to say who it is"):
            answer = client.get_caller_identity()
    except StorageError as error:
        if connection.endpoint_of("sts") is None or isinstance(error, AccessRefused | TransientStorageError):
            raise
        # what speaks S3's protocol alone knows no accounts: that its keys are good is seen by what they open
        return Caller()
    return Caller(str(answer["Arn"]), str(answer["Account"]))


def _azure(connection: Connection) -> Caller:
    from orchestrai.storage.cloud.access.azure_access import storage_secret
    from orchestrai.storage.cloud.control_planes.azure_control import STORAGE_SCOPE
    from orchestrai.storage.cloud.rest import token_of

    secret = storage_secret(connection)
    if secret is not None:
        words = {"account_key": "the account's key", "sas": "a signature (SAS)"}
        return Caller(words[secret[0]], connection.account or "")
    claims = claims_of(token_of(connection, STORAGE_SCOPE)())
    who = claims.get("upn") or claims.get("app_displayname") or claims.get("appid") or claims.get("oid") or ""
    return Caller(str(who), str(claims.get("tid", "")))


def _google(connection: Connection) -> Caller:
    from orchestrai.storage.cloud.access.google_access import google_credentials_of
    from orchestrai.storage.cloud.rest import GOOGLE_SCOPE, token_of

    token_of(connection, GOOGLE_SCOPE)()
    credentials = google_credentials_of(connection)
    names: tuple[Any, ...] = tuple(
        getattr(credentials, name, None) for name in ("service_account_email", "signer_email", "account")
    )
    who = next((str(name) for name in names if name and name != "default"), "")
    project = connection.project or getattr(credentials, "project_id", None)
    return Caller(who or "an account that its token does not name", str(project or ""))
