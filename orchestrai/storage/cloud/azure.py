"""Azure Blob Storage and Data Lake Storage Gen2, through the Blob API."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrai.storage.cloud.azure_control import AzureControlPlane
from orchestrai.storage.cloud.bucket import Backend


@dataclass
class AzureBackend(Backend):
    """One container, or a prefix of it."""

    # a hierarchical namespace lists folder by folder, which is another order than by key
    lists_in_order: bool = False

    @property
    def url(self) -> str:
        account = self.options.account_name
        return f"abfss://{self.bucket}@{account}.dfs.core.windows.net/{self.prefix}".rstrip("/")

    @property
    def account_url(self) -> str:
        return self.options.endpoint_url or f"https://{self.options.account_name}.blob.core.windows.net"

    @cached_property
    def client(self) -> Any:
        """The ContainerClient of the control plane."""
        from azure.storage.blob import BlobServiceClient

        options = self.options
        credential: Any
        if options.account_key:
            credential = {"account_name": options.account_name, "account_key": options.reveal("account_key")}
        elif options.sas_token:
            credential = options.reveal("sas_token")
        else:
            from azure.identity import DefaultAzureCredential

            credential = DefaultAzureCredential()
        return BlobServiceClient(self.account_url, credential=credential).get_container_client(self.bucket)

    def refuse(self, name: str) -> str | None:
        # the service drops a trailing dot of a segment
        if any(segment.endswith(".") for segment in name.split("/")):
            return "Azure does not keep a dot at the end of a segment"
        return None

    def control(self) -> AzureControlPlane:
        return AzureControlPlane(self.client, self.prefix, self.url)

    def opened(self, retries: Any) -> Any:
        from obstore.store import AzureStore

        options = self.options
        settings: dict[str, Any] = {"account_name": options.account_name}
        if options.endpoint_url:
            settings["endpoint"] = options.endpoint_url
        if options.account_key:
            settings["account_key"] = options.reveal("account_key")
        elif options.sas_token:
            settings["sas_key"] = options.reveal("sas_token")
        else:
            from obstore.auth.azure import AzureCredentialProvider

            settings["credential_provider"] = AzureCredentialProvider()
        return AzureStore(self.bucket, client_options=options.client_options(), retry_config=retries, **settings)
