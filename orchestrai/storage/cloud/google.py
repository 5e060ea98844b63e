"""Google: the one place that finds its credentials, and Google Cloud Storage."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from typing import Any

from orchestrai.storage.cloud.cloud_errors import google_errors
from orchestrai.storage.cloud.connection import Backend
from orchestrai.storage.cloud.control_planes.google_control import GcsControlPlane
from orchestrai.storage.cloud.rest import GOOGLE_SCOPE, AccessToken, google_token


@cache
def default_credentials() -> Any:
    """Google's default credentials: one object for the process; raises ConfigError."""
    import google.auth

    with google_errors("default credentials of Google Cloud"):
        credentials, _ = google.auth.default(scopes=[GOOGLE_SCOPE])
    return credentials


def fetch_token() -> AccessToken:
    """A new token of the default credentials; raises ConfigError, AccessRefused, TransientStorageError."""
    from google.auth.transport.requests import Request

    credentials = default_credentials()
    with google_errors("a token of Google's default credentials"):
        credentials.refresh(Request())
    # in UTC, without saying so
    expiry = credentials.expiry
    return AccessToken(str(credentials.token), expiry.replace(tzinfo=UTC).timestamp() if expiry else math.inf)


def _storage_token() -> dict[str, object]:
    """The token of the data plane, as obstore takes it."""
    token = google_token.current()
    return {
        "token": token.value,
        "expires_at": None if math.isinf(token.expires) else datetime.fromtimestamp(token.expires, UTC),
    }


@dataclass
class GcsBackend(Backend):
    """One bucket, or a prefix of it."""

    @property
    def url(self) -> str:
        return f"gs://{self.bucket}/{self.prefix}".rstrip("/")

    @cached_property
    def client(self) -> Any:
        """The google-cloud-storage client of the control plane."""
        import json

        from google.auth.credentials import AnonymousCredentials
        from google.cloud.storage import Client

        options = self.options
        if options.endpoint_url:
            anonymous: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
            return Client(project="test", credentials=anonymous, client_options={"api_endpoint": options.endpoint_url})
        if options.service_account_key:
            return Client.from_service_account_info(json.loads(options.reveal("service_account_key") or ""))
        if options.service_account_file:
            return Client.from_service_account_json(options.service_account_file)
        return Client()

    def refuse(self, name: str) -> str | None:
        if name.startswith(".well-known/acme-challenge/"):
            return "Google Cloud Storage keeps .well-known/acme-challenge/ for itself"
        return None

    def control(self) -> GcsControlPlane:
        return GcsControlPlane(self.client, self.bucket, self.prefix, self.url)

    def opened(self, retries: Any) -> Any:
        from obstore.store import GCSStore

        options = self.options
        settings: dict[str, Any] = {}
        if options.service_account_key:
            settings["service_account_key"] = options.reveal("service_account_key")
        elif options.endpoint_url:
            settings["service_account_key"] = options.anonymous_service_account()
        elif options.service_account_file:
            settings["application_credentials"] = options.service_account_file
        else:
            settings["credential_provider"] = _storage_token
        return GCSStore(self.bucket, client_options=options.client_options(), retry_config=retries, **settings)
