"""The control plane of Azure Blob Storage, through azure-storage-blob."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Self

from orchestrai.errors import StorageError
from orchestrai.storage.base import ObjectInfo
from orchestrai.storage.cloud import control
from orchestrai.storage.cloud.cloud_errors import azure_errors
from orchestrai.storage.cloud.control import changed
from orchestrai.storage.cloud.control_planes.shared_control import CloudControl, Copying

STORAGE_SCOPE = "https://storage.azure.com/.default"
COPY_BYTES = 256 * 1024 * 1024
_MODES: dict[str, control.LockMode] = {"locked": "compliance", "unlocked": "governance"}


class AzureControlPlane(CloudControl):
    """Versions, version-level immutability, copies and access tiers of one container, or a prefix of it."""

    archives = True
    cloud = "Azure"
    lock_remedy = "enable version-level immutability on the container"
    sdk_errors = staticmethod(azure_errors)

    def capabilities(self) -> control.Capabilities:
        with self._errors(""):
            properties = self.client.get_container_properties()
        locks = bool(properties.immutable_storage_with_versioning_enabled)
        # a container cannot be asked for versioning, but version-level immutability implies it
        return control.Capabilities("compliance" if locks else "none", None, locks, locks, server_copy=True, cold_tier=True)

    def objects(self, prefix: str, *, after: str | None = None) -> Iterator[ObjectInfo]:
        with self._errors(prefix):
            blobs = list(self.client.list_blobs(name_starts_with=self.prefix + prefix))
        # as the data plane's listing gives etags, which quotes them elsewhere
        infos = [ObjectInfo(self.key_of(b.name), b.size, str(b.etag).strip('"'), b.last_modified) for b in blobs]
        infos.sort(key=lambda info: info.key.encode())
        yield from (info for info in infos if not after or info.key.encode() > after.encode())

    def versions(self, prefix: str) -> Iterator[control.ObjectVersion]:
        with self._errors(prefix):
            blobs = list(self.client.list_blobs(name_starts_with=self.prefix + prefix, include=["versions"]))
            blobs.sort(key=lambda blob: blob.version_id or "", reverse=True)
            blobs.sort(key=lambda blob: blob.name.encode())
        for blob in blobs:
            latest = bool(blob.is_current_version) or blob.version_id is None
            yield control.ObjectVersion(
                self.key_of(blob.name),
                blob.version_id or "",
                blob.size,
                _quoted(blob.etag),
                blob.last_modified,
                latest,
            )

    def _delete(self, key: str, version: str) -> None:
        self._blob(key, version).delete_blob()

    def retention(self, key: str, version: str | None = None) -> control.Retention | None:
        policy = self._properties(key, version).immutability_policy
        if policy is None or policy.expiry_time is None:
            return None
        return control.Retention(_MODES[str(policy.policy_mode).lower()], policy.expiry_time)

    def _retain(self, key: str, version: str | None, now: control.Retention | None, wanted: control.Retention) -> None:
        from azure.storage.blob import ImmutabilityPolicy

        policy = ImmutabilityPolicy(
            expiry_time=wanted.until, policy_mode="Locked" if wanted.mode == "compliance" else "Unlocked"
        )
        with self._errors(key):
            self._blob(key, version).set_immutability_policy(policy)

    def _as_kept(self, until: datetime) -> datetime:
        # in whole seconds
        return until.replace(microsecond=0)

    def held(self, key: str, version: str | None = None) -> bool:
        return bool(self._properties(key, version).has_legal_hold)

    def _hold(self, key: str, version: str | None, on: bool) -> None:
        with self._errors(key):
            self._blob(key, version).set_legal_hold(on)

    def _copy(self, source: Self, asked: Copying) -> control.Copied:
        from azure.storage.blob import StandardBlobTier

        source_key, storage_class = asked.source_key, asked.storage_class
        before = source._properties(source_key, asked.source_version)
        if before.size > COPY_BYTES:
            raise StorageError(
                f"expected {source_key!r} to have at most 256 MiB for one copy request, found more: stream it"
            )
        if asked.if_match not in (None, _quoted(before.etag)):
            raise changed(source_key, source.url)
        settings: dict[str, Any] = {"standard_blob_tier": StandardBlobTier(storage_class)} if storage_class else {}
        settings |= source._authorization(source_key)
        with self._errors(source_key):
            answer = self._blob(asked.key, None).start_copy_from_url(
                source._readable_url(source_key, asked.source_version), requires_sync=True, **settings
            )
        if source._properties(source_key, asked.source_version).etag != before.etag:
            raise changed(source_key, source.url)
        return control.Copied(asked.key, _quoted(answer["etag"]), answer.get("version_id"), self.checksum(asked.key))

    def checksum(self, key: str, version: str | None = None) -> control.ServiceChecksum | None:
        md5 = self._properties(key, version).content_settings.content_md5
        return control.ServiceChecksum("md5", bytes(md5).hex(), cryptographic=False) if md5 else None

    def tier(self, key: str, version: str | None = None) -> control.Tier:
        properties = self._properties(key, version)
        storage_class = str(properties.blob_tier or "Hot")
        if storage_class != "Archive":
            return control.Tier(storage_class, "online")
        return control.Tier(storage_class, "restoring" if properties.archive_status else "archived")

    def warm(self, key: str, days: int, version: str | None = None) -> control.Tier:
        """Move an archived blob to the hot tier, where it stays: Azure has no readable copy for some days."""
        if self.tier(key, version).state == "archived":
            with self._errors(key):
                self._blob(key, version).set_standard_blob_tier("Hot")
        return self.tier(key, version)

    def _blob(self, key: str, version: str | None) -> Any:
        return self.client.get_blob_client(self.name_of(key), version_id=version)

    def _properties(self, key: str, version: str | None) -> Any:
        with self._errors(key):
            return self._blob(key, version).get_blob_properties()

    def _authorization(self, key: str) -> dict[str, str]:
        """Who reads the source, where its URL does not say it: the right to write the target does not."""
        get_token = getattr(self.client.credential, "get_token", None)
        if get_token is None:
            return {}
        with self._errors(key):
            return {"source_authorization": f"Bearer {get_token(STORAGE_SCOPE).token}"}

    def _readable_url(self, key: str, version: str | None) -> str:
        """The blob's URL; where this account's key is known, with a signature good for an hour of reading."""
        from datetime import timedelta

        from azure.storage.blob import BlobSasPermissions, generate_blob_sas

        blob = self._blob(key, version)
        account_key = getattr(blob.credential, "account_key", None)
        if account_key is None:
            return str(blob.url)
        signature = generate_blob_sas(
            blob.account_name,
            blob.container_name,
            blob.blob_name,
            account_key=account_key,
            version_id=version,
            permission=BlobSasPermissions(read=True),
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        return f"{blob.url}{'&' if '?' in blob.url else '?'}{signature}"


def _quoted(etag: str) -> str:
    # the data plane gives etags as the service sends them, in quotes
    return etag if etag.startswith('"') else f'"{etag}"'
