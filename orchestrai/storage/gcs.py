"""Google Cloud Storage."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from orchestrai.storage.objects import NO_RETRIES, READ_RETRIES
from orchestrai.storage.options import StoreOptions


@dataclass
class GcsBackend:
    """One bucket, or a prefix of it; `options` are complete."""

    bucket: str
    prefix: str
    options: StoreOptions = field(repr=False)
    lists_in_order: bool = True

    @property
    def url(self) -> str:
        return f"gs://{self.bucket}/{self.prefix}".rstrip("/")

    @cached_property
    def reads(self) -> Any:
        return self._store(READ_RETRIES)

    @cached_property
    def writes(self) -> Any:
        return self._store(NO_RETRIES)

    @cached_property
    def client(self) -> Any:
        """The google-cloud-storage client of the control plane."""
        import json

        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        options = self.options
        if options.endpoint_url:
            return storage.Client(
                project="test", credentials=AnonymousCredentials(), client_options={"api_endpoint": options.endpoint_url}
            )
        if options.service_account_key:
            return storage.Client.from_service_account_info(json.loads(options.service_account_key.get_secret_value()))
        if options.service_account_file:
            return storage.Client.from_service_account_json(options.service_account_file)
        return storage.Client()

    def refuse(self, name: str) -> str | None:
        if name.startswith(".well-known/acme-challenge/"):
            return "Google Cloud Storage keeps .well-known/acme-challenge/ for itself"
        return None

    def delete_version(self, name: str, version: str) -> None:
        from orchestrai.storage.gcs_control import GcsControlPlane

        GcsControlPlane(self).delete_name_version(name, version)

    def _store(self, retries: dict[str, Any]) -> Any:
        from obstore.store import GCSStore

        options = self.options
        settings: dict[str, Any] = {}
        if options.service_account_key:
            settings["service_account_key"] = options.service_account_key.get_secret_value()
        elif options.endpoint_url:
            settings["service_account_key"] = options.anonymous_service_account()
        elif options.service_account_file:
            settings["application_credentials"] = options.service_account_file
        else:
            from obstore.auth.google import GoogleCredentialProvider

            settings["credential_provider"] = GoogleCredentialProvider()
        return GCSStore(self.bucket, client_options=options.client_options(), retry_config=retries, **settings)
