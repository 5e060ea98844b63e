"""Sessions of AWS by connection: a profile, a key pair whose parts lie elsewhere, or a role that is assumed and renewed."""

from threading import Lock
from typing import Any

from orchestrai.errors import ConfigError
from orchestrai.project.connection_spec import Connection
from orchestrai.storage.cloud.access.own_secrets import provider_of, secret_of
from orchestrai.storage.cloud.cloud_errors import Fault, aws_errors

ROLE_SECONDS = 3600
Keys = tuple[str, str, str | None]
# one assumed session for the process, renewed shortly before it ends; not one for each client
_ASSUMED: dict[Connection, Any] = {}
_LOCK = Lock()


def static_keys(connection: Connection) -> Keys | None:
    """The key pair of a connection and the token beside it; None where another kind of identity calls."""
    provider = provider_of(connection)
    if provider.aws_keys is not None:
        return provider.aws_keys()
    keys = connection.identity.access_key
    if keys is None:
        return None
    token = secret_of(connection, keys.token) if keys.token else None
    return secret_of(connection, keys.id), secret_of(connection, keys.secret), token


def aws_session_of(connection: Connection, region: str | None = None) -> Any:
    """A boto3 session of a connection; raises ConfigError, AccessRefused and TransientStorageError where a role is not given."""
    from orchestrai.storage.cloud.aws import plain_session

    where = region or connection.region
    identity = connection.identity
    keys = static_keys(connection)
    session = plain_session(identity.profile, keys, where)
    if identity.role is not None:
        session._session._credentials = _assumed(connection, session)
    return session


def _assumed(connection: Connection, base: Any) -> Any:
    """The credentials of the role, which botocore renews before they end, for all threads."""
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

    identity = connection.identity
    with _LOCK:
        if connection not in _ASSUMED:
            source = base.get_credentials()
            if source is None:
                raise ConfigError(
                    f"expected credentials to assume {identity.role} with, found none: name a profile or a key pair"
                )
            more: dict[str, Any] = {"RoleSessionName": identity.session_name, "DurationSeconds": ROLE_SECONDS}
            if identity.external_id is not None:
                more["ExternalId"] = identity.external_id

            def client(service: str, **settings: Any) -> Any:
                from botocore.config import Config

                config = Config(ignore_configured_endpoint_urls=True, user_agent_extra="orchestrai")
                return base._session.create_client(
                    service, endpoint_url=connection.endpoint_of("sts"), region_name=connection.region or base.region_name or "us-east-1",
                    config=config, verify=connection.ca_file, **settings,
                )  # fmt: skip

            fetcher = AssumeRoleCredentialFetcher(client, source, identity.role, extra_args=more)

            def fetch() -> Any:
                with aws_errors(
                    f"{connection.shown} to assume {identity.role}", own=lambda fault: _role_refused(fault, connection)
                ):
                    return fetcher.fetch_credentials()

            _ASSUMED[connection] = DeferredRefreshableCredentials(fetch, "assume-role")
        return _ASSUMED[connection]


def _role_refused(fault: Fault, connection: Connection) -> ConfigError | None:
    if fault.code != "AccessDenied":
        return None
    beside = "its external id" if connection.identity.external_id else "an external id, which it may ask for"
    return ConfigError(
        f"expected {connection.shown} to be let assume {connection.identity.role}, found it refused: look at the role's trust policy and "
        f"{beside}"
    )


def forget_roles() -> None:
    """Assume every role anew at its next use."""
    with _LOCK:
        _ASSUMED.clear()
