"""Whom a cloud's credentials at hand belong to, as that cloud itself says: asked once for each process."""

import base64
import binascii
import json
import os
from collections.abc import Callable, Mapping
from functools import cache

from orchestrai.errors import ConfigError, TransientStorageError
from orchestrai.storage.cloud.cloud_errors import aws_errors

AZURE_SCOPE = "https://management.azure.com/.default"
GOOGLE_INFO = "https://oauth2.googleapis.com/tokeninfo"
# the first claim there is: a person, then an application, then the bare object
_AZURE_CLAIMS = ("upn", "preferred_username", "unique_name", "appid", "azp", "oid")


@cache
def caller_identity(cloud: str) -> str:
    """The caller by the name that its cloud gives it: an ARN, a principal or an application of Azure, an account of Google.

    Raises ConfigError where there are no credentials or they name nobody, AccessRefused, TransientStorageError.
    """
    return _CLOUDS[cloud]()


def _aws() -> str:
    from orchestrai.storage.cloud.aws import aws_client
    from orchestrai.storage.cloud.connection import StoreOptions

    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    options = StoreOptions(region=region, profile=os.environ.get("AWS_PROFILE"))
    with aws_errors("the caller's identity at AWS STS"):
        return str(aws_client("sts", options=options).get_caller_identity()["Arn"])


def _azure() -> str:
    from orchestrai.storage.cloud.azure import fetch_token

    claims = claims_of(fetch_token(AZURE_SCOPE).value)
    return _named("Azure", next((str(claims[name]) for name in _AZURE_CLAIMS if claims.get(name)), ""))


def _google() -> str:
    import httpx

    from orchestrai.storage.cloud.google import default_credentials, fetch_token
    from orchestrai.storage.cloud.rest import REQUEST_SECONDS

    account = str(getattr(default_credentials(), "service_account_email", "") or "")
    if account and account != "default":
        return account
    # a person's own credentials, or those of a machine: only the token's issuer knows whose they are
    try:
        answer = httpx.post(GOOGLE_INFO, data={"access_token": fetch_token().value}, timeout=REQUEST_SECONDS)
        told = answer.json() if answer.status_code == 200 else {}
    except (httpx.HTTPError, ValueError) as exc:
        raise TransientStorageError(
            f"expected Google to say whose a token is, found {type(exc).__name__}: try again later"
        ) from exc
    return _named("Google", str(told.get("email") or ""))


def claims_of(token: str) -> Mapping[str, object]:
    """What a JSON web token says, not verified: it came from the credentials of this process; empty for another kind of token."""
    parts = token.split(".")
    try:
        body = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))) if len(parts) == 3 else {}
    except (binascii.Error, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def _named(cloud: str, name: str) -> str:
    if not name:
        raise ConfigError(
            f"expected credentials of {cloud} that name who has them, found none: set ORCHESTRAI_IDENTITY=os, or others"
        )
    return name


_CLOUDS: dict[str, Callable[[], str]] = {"aws": _aws, "azure": _azure, "google": _google}
