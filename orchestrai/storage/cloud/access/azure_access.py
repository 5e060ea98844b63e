"""Credentials of Azure by connection: an identity of the machine or the cluster, an application, an account's key or a signature."""

from functools import cache
from typing import Any

from orchestrai.errors import ConfigError, MissingExtra
from orchestrai.project.connection_spec import Connection
from orchestrai.storage.cloud.access.own_secrets import provider_of, secret_of


def azure_identity_of(connection: Connection) -> Any:
    """What gives tokens for a connection; raises ConfigError where a key or a signature is all that it has."""
    provider = provider_of(connection)
    if provider.azure is not None:
        found = provider.azure()
        if hasattr(found, "get_token"):
            return found
    kinds = {*connection.identity.kinds} & {"account_key", "sas", "anonymous"}
    if kinds or provider.azure is not None:
        kind = next(iter(kinds), "account_key").replace("_", " ")
        raise ConfigError(
            f"expected {connection.shown} to have an identity that tokens are given to, found the {kind} of storage: declare another "
            "connection for what is no storage"
        )
    if not connection.identity.kinds:
        # by its module, so that there is one for the process
        from orchestrai.storage.cloud import azure

        return azure.default_credential()
    return _credential(connection)


@cache
def _credential(connection: Connection) -> Any:
    try:
        import azure.identity as library
    except ImportError as exc:
        raise MissingExtra(
            "expected azure-identity for Azure's credentials, found none: pip install azure-identity"
        ) from exc
    identity = connection.identity
    if identity.managed_identity is not None:
        named: dict[str, Any] = {} if identity.managed_identity == "system" else {"client_id": identity.managed_identity}
        return library.ManagedIdentityCredential(**named)
    if identity.workload_identity is not None:
        told = identity.workload_identity
        names = {"tenant_id": told.tenant, "client_id": told.client, "token_file_path": told.token_file}
        try:
            return library.WorkloadIdentityCredential(**{name: value for name, value in names.items() if value})
        except ValueError as exc:
            raise ConfigError(
                f"expected {connection.shown} to know tenant, client and token file of its workload identity, found one missing: declare "
                "it, or let the cluster set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE"
            ) from exc
    principal = identity.service_principal
    assert principal is not None
    return library.ClientSecretCredential(principal.tenant, principal.client, secret_of(connection, principal.secret))


def storage_secret(connection: Connection) -> tuple[str, str] | None:
    """The kind and the text of what opens an account's storage by itself, `account_key` or `sas`; None where a token does."""
    provider = provider_of(connection)
    if provider.azure is not None:
        found = provider.azure()
        if isinstance(found, dict):
            return "account_key", str(found["account_key"])
        return ("sas", found) if isinstance(found, str) else None
    identity = connection.identity
    if identity.account_key is not None:
        return "account_key", secret_of(connection, identity.account_key)
    return ("sas", secret_of(connection, identity.sas)) if identity.sas is not None else None


def require_account(connection: Connection, account: str) -> None:
    """Raises ConfigError for another account than the connection's: its key would sign for a stranger."""
    if connection.account is not None and connection.account != account:
        raise ConfigError(
            f"expected {connection.shown} to be used for the account {connection.account}, found {account}: declare another connection"
        )
