"""A resource of dagster-aws, dagster-gcp or dagster-azure in the place of the connection that it has the name of."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
from pydantic import ValidationError

from orchestrai.defs.connection_resources.as_resources import resource_key
from orchestrai.errors import ConfigError
from orchestrai.project.connection_set import ConnectionSet
from orchestrai.project.connection_spec import Connection
from orchestrai.project.identity_spec import Identity
from orchestrai.project.in_force import replace_connection
from orchestrai.storage.cloud.access.own_secrets import Provider, provide


@dataclass(frozen=True)
class _Standing:
    """What a resource says of a connection, and who calls by it."""

    fields: dict[str, Any]
    provider: Provider


def adopt_resources(declared: ConnectionSet, resources: Mapping[str, object]) -> None:
    """Let each resource that has the name of a connection stand in its place in this process.

    Raises ConfigError for a resource of another cloud, or one that says no connection.
    """
    for name, one in declared.by_name.items():
        given = resources.get(resource_key(name))
        if given is None:
            continue
        standing = _standing(resource_key(name), given)
        try:
            kept = {"name": name, "cloud": one.cloud, "covers": one.covers, "default": one.default, "retries": one.retries}
            replaced = Connection(**{**kept, **standing.fields})
        except ValidationError as exc:
            problem = exc.errors(include_url=False)[0]
            raise ConfigError(
                f"expected a resource {resource_key(name)} that a connection can be made of, found {problem['msg']}"
            ) from exc
        if replaced.cloud != one.cloud:
            raise ConfigError(
                f"expected a resource {resource_key(name)} of {one.cloud}, found one of {replaced.cloud}: rename it"
            )
        replace_connection(replaced)
        provide(name, standing.provider)
        _forget()


def _forget() -> None:
    """What was given to whom the connection was before."""
    from orchestrai.storage.cloud.access.aws_access import forget_roles
    from orchestrai.storage.cloud.access.caller import forget_callers
    from orchestrai.storage.cloud.rest import token_of

    forget_roles()
    forget_callers()
    token_of.cache_clear()


def _standing(key: str, resource: object) -> _Standing:
    package = type(resource).__module__.partition(".")[0]
    resolved: Any = resource
    if isinstance(resource, dg.ConfigurableResource):
        try:
            # variables and secrets that it names are looked up
            resolved = resource.process_config_and_initialize()
        except dg.DagsterInvalidConfigError as exc:
            raise ConfigError(f"expected the resource {key} to be configured whole, found {exc.errors[0].message}") from exc
    for known, read in (("dagster_aws", _of_aws), ("dagster_azure", _of_azure), ("dagster_gcp", _of_google)):
        if package == known:
            return read(resolved)
    raise ConfigError(
        f"expected a resource of dagster-aws, dagster-azure or dagster-gcp in the place of the connection {key}, found "
        f"{type(resource).__name__}: rename it"
    )


def _of_aws(resource: Any) -> _Standing:
    fields: dict[str, Any] = {"cloud": "aws", "region": resource.region_name, "endpoint": resource.endpoint_url}
    fields["retries"] = {"attempts": resource.max_attempts}
    if getattr(resource, "use_unsigned_session", False):
        return _Standing({**fields, "identity": Identity(anonymous=True)}, Provider())
    if resource.aws_access_key_id:
        keys = (resource.aws_access_key_id, resource.aws_secret_access_key or "", resource.aws_session_token)
        return _Standing(fields, Provider(aws_keys=lambda: keys))
    return _Standing({**fields, "identity": Identity(profile=resource.profile_name)}, Provider())


def _of_azure(resource: Any) -> _Standing:
    url = getattr(resource, "account_url", None)
    suffix = getattr(resource, "endpoint_suffix", "core.windows.net")
    host = urlsplit(url).hostname or "" if url else f"{resource.storage_account}.blob.{suffix}"
    # an emulator has its account in the path
    account = host.partition(".")[0] if ".blob." in host else urlsplit(url or "").path.strip("/").partition("/")[0]
    fields = {"cloud": "azure", "account": account or None, "endpoint": url}
    credential = resource.credential
    secret = getattr(credential, "key", None), getattr(credential, "token", None)
    if secret[0]:
        return _Standing(fields, Provider(azure=lambda: {"account_name": account, "account_key": secret[0]}))
    if secret[1]:
        return _Standing(fields, Provider(azure=lambda: secret[1]))
    if getattr(credential, "credential_type", "") == "anonymous":
        return _Standing({**fields, "identity": Identity(anonymous=True)}, Provider())

    @cache
    def default() -> object:
        from azure.identity import DefaultAzureCredential

        return DefaultAzureCredential(**credential.kwargs)

    return _Standing(fields, Provider(azure=default, everywhere=not credential.kwargs))


def _of_google(resource: Any) -> _Standing:
    fields = {"cloud": "gcp", "project": resource.project}
    text = getattr(resource, "gcp_credentials", None)
    if not text:
        return _Standing(fields, Provider())

    @cache
    def account() -> object:
        import google.auth

        from orchestrai.storage.cloud.access.google_access import SCOPES

        load: Any = google.auth.load_credentials_from_dict
        found, _ = load(json.loads(base64.b64decode(text)), scopes=SCOPES)
        return found

    return _Standing(fields, Provider(google=account))
