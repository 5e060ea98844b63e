"""Google Cloud Storage."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrai.storage.cloud.bucket import Backend
from orchestrai.storage.cloud.google_control import GcsControlPlane


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
            from obstore.auth.google import GoogleCredentialProvider

            settings["credential_provider"] = GoogleCredentialProvider()
        return GCSStore(self.bucket, client_options=options.client_options(), retry_config=retries, **settings)
