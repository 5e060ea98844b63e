"""Credentials of Google by connection: a service account's key, an external account, or another account that is impersonated."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from orchestrai.errors import ConfigError
from orchestrai.project.connection_spec import Connection
from orchestrai.storage.cloud.access.own_secrets import provider_of, secret_of
from orchestrai.storage.cloud.cloud_errors import google_errors
from orchestrai.storage.cloud.rest import GOOGLE_SCOPE

AWS_SUBJECT = "urn:ietf:params:aws:token-type:aws4_request"
SCOPES = (GOOGLE_SCOPE,)


def google_credentials_of(connection: Connection) -> Any:
    """Credentials that give tokens; one object for the process and each connection. Raises ConfigError."""
    provider = provider_of(connection)
    if provider.google is not None:
        return provider.google()
    if not connection.identity.kinds:
        # by its module, so that there is one for the process
        from orchestrai.storage.cloud import google

        return google.default_credentials()
    identity = connection.identity
    account = secret_of(connection, identity.service_account) if identity.service_account else ""
    return _credentials(connection, account, identity.external_account, identity.impersonate, identity.anonymous)


def _external(told: dict[str, Any]) -> Any:
    """Credentials of workload identity federation; Google's own way asks the network for a project first."""
    from google.auth import aws, identity_pool

    if told.get("type") != "external_account":
        raise ValueError(told.get("type"))
    kind: Any = aws if told.get("subject_token_type") == AWS_SUBJECT else identity_pool
    return kind.Credentials.from_info(told, scopes=SCOPES)


@cache
def _credentials(_: Connection, account: str, external: str | None, impersonate: str | None, anonymous: bool) -> Any:
    import google.auth
    import google.auth.impersonated_credentials
    from google.auth.credentials import AnonymousCredentials

    if anonymous:
        return AnonymousCredentials()  # type: ignore[no-untyped-call]
    try:
        with google_errors("credentials of Google Cloud"):
            if account:
                load: Any = google.auth.load_credentials_from_dict
                found, _project = load(json.loads(account), scopes=SCOPES)
            elif external:
                found = _external(json.loads(Path(external).expanduser().read_bytes()))
            else:
                found, _project = google.auth.default(scopes=SCOPES)
    except (ValueError, OSError) as exc:
        where = external or "the secret that the service account lies in"
        # the text is a secret
        raise ConfigError(
            f"expected the credentials of an account of Google Cloud in {where}, found {type(exc).__name__}: correct it"
        ) from None
    if not impersonate:
        return found
    return google.auth.impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
        source_credentials=found, target_principal=impersonate, target_scopes=list(SCOPES)
    )
