"""A connection as the resources of dagster-aws, dagster-gcp and dagster-azure that serve its cloud, for a user's own assets.

They are made, and their packages imported, when an asset asks for one: the import takes seconds.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from orchestrai.errors import ConfigError
from orchestrai.project.connection_set import ConnectionSet
from orchestrai.project.connection_spec import Connection
from orchestrai.project.in_force import connections

Make = Callable[[Connection], object]


def resource_key(name: str, more: str = "") -> str:
    """The key of a connection's resource: Dagster's names have no dashes."""
    return name.replace("-", "_") + more


def _s3(one: Connection) -> object:
    from dagster_aws.s3 import S3Resource

    return S3Resource(use_unsigned_session=one.identity.anonymous, **_boto(one, "s3"))


def _secrets(one: Connection) -> object:
    from dagster_aws.secretsmanager import SecretsManagerResource

    return SecretsManagerResource(**_boto(one, "secretsmanager"))


def _parameters(one: Connection) -> object:
    from dagster_aws.ssm import SSMResource

    return SSMResource(**_boto(one, "ssm"))


def _boto(one: Connection, service: str) -> dict[str, Any]:
    """What dagster-aws takes; the credentials of a role are good for an hour, which is longer than a step should hold a client."""
    from orchestrai.storage.cloud.access.aws_access import aws_session_of
    from orchestrai.storage.cloud.access.caller import require_declared_account

    require_declared_account(one)
    given: dict[str, Any] = {
        "region_name": one.region,
        "endpoint_url": one.endpoint_of(service),
        "max_attempts": one.retries.attempts,
    }
    if one.ca_file:
        raise ConfigError(
            f"expected an endpoint of a public authority for a resource of dagster-aws, found the ca_file of {one.shown}: name the file in "
            "AWS_CA_BUNDLE instead"
        )
    if one.identity.profile and not one.identity.role:
        given["profile_name"] = one.identity.profile
    elif one.identity.kinds and not one.identity.anonymous:
        keys = aws_session_of(one).get_credentials().get_frozen_credentials()
        given |= {
            "aws_access_key_id": keys.access_key,
            "aws_secret_access_key": keys.secret_key,
            "aws_session_token": keys.token,
        }
    return {name: value for name, value in given.items() if value is not None}


def _blob(one: Connection) -> object:
    from dagster_azure.blob import (
        AzureBlobStorageAnonymousCredential,
        AzureBlobStorageDefaultCredential,
        AzureBlobStorageKeyCredential,
        AzureBlobStorageResource,
        AzureBlobStorageSASTokenCredential,
    )

    from orchestrai.storage.cloud.access.azure_access import storage_secret

    secret = storage_secret(one)
    credential: Any = AzureBlobStorageDefaultCredential(kwargs=_default_kwargs(one))
    if one.identity.anonymous:
        credential = AzureBlobStorageAnonymousCredential()
    elif secret is not None:
        kind, text = secret
        credential = (
            AzureBlobStorageKeyCredential(key=text)
            if kind == "account_key"
            else AzureBlobStorageSASTokenCredential(token=text)
        )
    url = one.endpoint_of("blob") or f"https://{_account(one)}.blob.core.windows.net"
    return AzureBlobStorageResource(account_url=url, credential=credential)


def _data_lake(one: Connection) -> object:
    from dagster_azure.adls2 import ADLS2DefaultAzureCredential, ADLS2Key, ADLS2Resource, ADLS2SASToken

    from orchestrai.storage.cloud.access.azure_access import storage_secret

    secret = storage_secret(one)
    credential: Any = ADLS2DefaultAzureCredential(kwargs=_default_kwargs(one))
    if secret is not None:
        credential = ADLS2Key(key=secret[1]) if secret[0] == "account_key" else ADLS2SASToken(token=secret[1])
    return ADLS2Resource(storage_account=_account(one), credential=credential)


def _default_kwargs(one: Connection) -> dict[str, Any]:
    """Azure's default chain, led to the declared identity; dagster-azure knows no other credential that gives tokens."""
    named = one.identity.managed_identity
    if one.identity.service_principal is not None:
        raise ConfigError(
            f"expected an identity that dagster-azure knows for {one.shown}, found a service principal: let the environment say it "
            "(AZURE_CLIENT_ID, AZURE_TENANT_ID, AZURE_CLIENT_SECRET)"
        )
    return {"managed_identity_client_id": named} if named not in (None, "system") else {}


def _account(one: Connection) -> str:
    if one.account is None:
        raise ConfigError(f"expected the storage account of {one.shown}, found none: declare its account")
    return one.account


def _gcs(one: Connection) -> object:
    from dagster_gcp.gcs import GCSResource

    # it takes a project alone, and finds its credentials by itself
    if one.identity.kinds or one.endpoint_of("storage"):
        raise ConfigError(
            f"expected the default chain for dagster-gcp's GCSResource, found {one.shown} with {one.identity.shown}: it takes a project "
            "alone, so use orchestrai.storage.url.open_store in the asset"
        )
    return GCSResource(project=one.project)


def _bigquery(one: Connection) -> object:
    from dagster_gcp import BigQueryResource

    from orchestrai.storage.cloud.access.own_secrets import secret_of

    account = one.identity.service_account
    if one.identity.kinds and account is None:
        raise ConfigError(
            f"expected a service account or the default chain for BigQueryResource, found {one.identity.shown} in {one.shown}: "
            "declare one of them"
        )
    given = {"gcp_credentials": base64.b64encode(secret_of(one, account).encode()).decode()} if account else {}
    return BigQueryResource(project=one.project, location=one.region, **given)


_MADE: Mapping[str, Mapping[str, Make]] = {
    "aws": {"": _s3, "_secrets": _secrets, "_parameters": _parameters},
    "azure": {"": _blob, "_data_lake": _data_lake},
    "gcp": {"": _gcs, "_bigquery": _bigquery},
}


def connection_resources(declared: ConnectionSet) -> dict[str, dg.ResourceDefinition]:
    """The resources of every connection by key; nothing of them is made or imported yet."""
    return {
        resource_key(name, more): _resource(name, one, make)
        for name, one in declared.by_name.items()
        for more, make in _MADE[one.cloud].items()
    }


def _resource(name: str, one: Connection, make: Make) -> dg.ResourceDefinition:
    def made(_: dg.InitResourceContext) -> object:
        # as it is in force then
        return make(connections().by_name.get(name, one))

    text = f"Connection {name} of the project file ({one.cloud}, {one.identity.shown})."
    return dg.ResourceDefinition(resource_fn=made, description=text)
