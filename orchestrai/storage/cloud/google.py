"""Google: the one place that finds its credentials, and Google Cloud Storage."""

import math
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property, partial
from typing import Any

from orchestrai.project.connection_spec import Connection
from orchestrai.storage.cloud.access.google_access import google_credentials_of
from orchestrai.storage.cloud.cloud_errors import google_errors
from orchestrai.storage.cloud.connection import Backend
from orchestrai.storage.cloud.control_planes.google_control import GcsControlPlane
from orchestrai.storage.cloud.rest import GOOGLE_SCOPE, AccessToken, token_of

API = "https://storage.googleapis.com"


@cache
def default_credentials() -> Any:
    """Google's default credentials: one object for the process; raises ConfigError."""
    import google.auth

    with google_errors("default credentials of Google Cloud"):
        credentials, _ = google.auth.default(scopes=[GOOGLE_SCOPE])
    return credentials


def fetch_token(connection: Connection | None = None) -> AccessToken:
    """A new token of a connection, else of the default credentials; raises ConfigError, AccessRefused, TransientStorageError."""
    from google.auth.transport.requests import Request

    credentials = google_credentials_of(connection) if connection is not None else default_credentials()
    who = connection.shown if connection is not None else "Google's default credentials"
    with google_errors(f"a token of {who}"):
        credentials.refresh(Request())
    # in UTC, without saying so
    expiry = credentials.expiry
    return AccessToken(str(credentials.token), expiry.replace(tzinfo=UTC).timestamp() if expiry else math.inf)


def _storage_token(connection: Connection | None) -> dict[str, object]:
    """The token of the data plane, as obstore takes it."""
    token = token_of(connection or Connection(cloud="gcp"), GOOGLE_SCOPE).current()
    return {
        "token": token.value,
        "expires_at": None if math.isinf(token.expires) else datetime.fromtimestamp(token.expires, UTC),
    }


def client_settings(connection: Connection, service: str) -> dict[str, Any]:
    """What a client of one of Google's libraries is made with, so that it calls by a connection; nothing for the environment's."""
    if not connection.name:
        return {}
    endpoint = connection.endpoint_of(service)
    where = {"client_options": {"api_endpoint": endpoint.partition("://")[2]}} if endpoint else {}
    return {"credentials": google_credentials_of(connection), **where}


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
        # the library reads STORAGE_EMULATOR_HOST too, which is not meant for what was declared
        endpoint = options.endpoint_url or (API if options.connection is not None else None)
        where: Any = {"client_options": {"api_endpoint": endpoint}} if endpoint else {}
        if self._unsigned:
            anonymous: Any = AnonymousCredentials()  # type: ignore[no-untyped-call]
            return Client(project="test", credentials=anonymous, **where)
        if options.service_account_key:
            return Client.from_service_account_info(json.loads(options.reveal("service_account_key") or ""), **where)
        connection = options.connection
        credentials = google_credentials_of(connection) if connection is not None else default_credentials()
        # a person's credentials name no project, and a bucket is reached without one
        project = (connection.project if connection is not None else None) or getattr(credentials, "project_id", None)
        return Client(project=project or os.environ.get("GOOGLE_CLOUD_PROJECT") or "none", credentials=credentials, **where)

    @property
    def _unsigned(self) -> bool:
        """An emulator that the environment names, or what anybody may read."""
        return self.options.anonymous or (self.options.connection is None and self.options.endpoint_url is not None)

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
        elif self._unsigned:
            settings["service_account_key"] = options.anonymous_service_account()
        else:
            # whatever kind of account it is, its tokens come from Google's own library: obstore knows fewer kinds
            settings["credential_provider"] = self.given_by(partial(_storage_token, options.connection))
            if options.connection is not None:
                # obstore reads the variables too
                settings["skip_signature"] = False
            if options.endpoint_url:
                settings["base_url"] = options.endpoint_url
        return GCSStore(self.bucket, client_options=options.client_options(), retry_config=retries, **settings)
