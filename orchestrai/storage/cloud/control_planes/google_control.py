"""The control plane of Google Cloud Storage, through google-cloud-storage."""

import base64
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Self

from orchestrai.storage.base import ObjectInfo
from orchestrai.storage.cloud import control
from orchestrai.storage.cloud.cloud_errors import google_errors
from orchestrai.storage.cloud.control import changed
from orchestrai.storage.cloud.control_planes.shared_control import CloudControl, Copying

_MODES: dict[str, control.LockMode] = {"Locked": "compliance", "Unlocked": "governance"}


class GcsControlPlane(CloudControl):
    """Generations, object retention, copies and storage classes of one bucket, or a prefix of it."""

    archives = False
    cloud = "Google Cloud"
    lock_remedy = "create the bucket with object retention enabled"
    sdk_errors = staticmethod(google_errors)

    def __init__(self, client: Any, bucket: str, prefix: str, url: str) -> None:
        super().__init__(client, prefix, url)
        self.bucket = client.bucket(bucket)

    def capabilities(self) -> control.Capabilities:
        with self._errors(""):
            self.bucket.reload()
        # a bucket's own policy cannot be extended per object, so only object retention counts as a lock
        locks = self.bucket.object_retention_mode == "Enabled"
        period = self.bucket.retention_period
        return control.Capabilities(
            "compliance" if locks else "none",
            timedelta(seconds=period) if period else None,
            legal_hold=True,
            versions=bool(self.bucket.versioning_enabled),
            server_copy=True,
            cold_tier=False,
        )

    def objects(self, prefix: str, *, after: str | None = None) -> Iterator[ObjectInfo]:
        # the service begins at its offset, not behind it
        behind = {"start_offset": self.prefix + after} if after else {}
        with self._errors(prefix):
            for blob in self.client.list_blobs(self.bucket, prefix=self.prefix + prefix, **behind):
                key = self.key_of(blob.name)
                if key != after:
                    yield ObjectInfo(key, blob.size, _data_plane_etag(blob), blob.updated)

    def versions(self, prefix: str) -> Iterator[control.ObjectVersion]:
        with self._errors(prefix):
            blobs = list(self.client.list_blobs(self.bucket, prefix=self.prefix + prefix, versions=True))
        blobs.sort(key=lambda blob: (blob.name.encode(), -blob.generation))
        for blob in blobs:
            latest = blob.time_deleted is None
            key = self.key_of(blob.name)
            yield control.ObjectVersion(key, str(blob.generation), blob.size, blob.etag or "", blob.updated, latest)

    def _delete(self, key: str, version: str) -> None:
        self._blob(key, version).delete()

    def retention(self, key: str, version: str | None = None) -> control.Retention | None:
        retention = self._loaded(key, version).retention
        if retention.retain_until_time is None:
            return None
        return control.Retention(_MODES[retention.mode], retention.retain_until_time)

    def _retain(self, key: str, version: str | None, now: control.Retention | None, wanted: control.Retention) -> None:
        blob = self._loaded(key, version)
        blob.retention.mode = "Locked" if wanted.mode == "compliance" else "Unlocked"
        blob.retention.retain_until_time = wanted.until
        with self._errors(key):
            blob.patch(override_unlocked_retention=now is not None and now.mode == "governance")

    def _as_kept(self, until: datetime) -> datetime:
        # in milliseconds
        return until.replace(microsecond=until.microsecond // 1000 * 1000)

    def held(self, key: str, version: str | None = None) -> bool:
        return bool(self._loaded(key, version).temporary_hold)

    def _hold(self, key: str, version: str | None, on: bool) -> None:
        blob = self._loaded(key, version)
        blob.temporary_hold = on
        with self._errors(key):
            blob.patch()

    def _copy(self, source: Self, asked: Copying) -> control.Copied:
        before = source._loaded(asked.source_key, asked.source_version)
        if asked.if_match is not None and _same_etag(before, asked.if_match) is False:
            raise changed(asked.source_key, source.url)
        target = self._blob(asked.key, None)
        if asked.storage_class:
            target.storage_class = asked.storage_class
        token: str | None = None
        with self._errors(asked.source_key):
            while True:
                token, _, _ = target.rewrite(before, token=token, if_source_generation_match=before.generation)
                if token is None:
                    break
            target.reload()
        return control.Copied(asked.key, target.etag or "", str(target.generation), _checksum(target))

    def checksum(self, key: str, version: str | None = None) -> control.ServiceChecksum | None:
        return _checksum(self._loaded(key, version))

    def tier(self, key: str, version: str | None = None) -> control.Tier:
        return control.Tier(self._loaded(key, version).storage_class or "STANDARD", "online")

    def warm(self, key: str, days: int, version: str | None = None) -> control.Tier:
        """Nothing to do: every class of Google Cloud Storage is read without waiting."""
        return self.tier(key, version)

    def _blob(self, key: str, version: str | None) -> Any:
        return self.bucket.blob(self.name_of(key), generation=int(version) if version else None)

    def _loaded(self, key: str, version: str | None) -> Any:
        blob = self._blob(key, version)
        with self._errors(key):
            blob.reload()
        return blob


def _same_etag(blob: Any, etag: str) -> bool | None:
    """Whether an etag of the data plane is this generation's: None when it cannot be told, as the two APIs name it apart."""
    md5 = base64.b64decode(blob.md5_hash).hex() if blob.md5_hash else None
    if etag.strip('"') in (blob.etag, md5):
        return True
    return None if md5 is None else False


def _data_plane_etag(blob: Any) -> str:
    """The etag by which the XML API names a generation."""
    md5 = base64.b64decode(blob.md5_hash).hex() if blob.md5_hash else str(blob.etag or "")
    return f'"{md5}"'


def _checksum(blob: Any) -> control.ServiceChecksum | None:
    if blob.md5_hash:
        return control.ServiceChecksum("md5", base64.b64decode(blob.md5_hash).hex(), cryptographic=False)
    if blob.crc32c:
        return control.ServiceChecksum("crc32c", base64.b64decode(blob.crc32c).hex(), cryptographic=False)
    return None
