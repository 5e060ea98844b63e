"""The control plane of S3, through boto3."""

import base64
import re
from collections.abc import Iterator
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Self

from orchestrai.errors import ObjectNotFound, OrchestraiError, StorageError
from orchestrai.storage.base import ObjectInfo
from orchestrai.storage.cloud import control
from orchestrai.storage.cloud.cloud_errors import Fault, aws_errors
from orchestrai.storage.cloud.control import changed
from orchestrai.storage.cloud.control_planes.shared_control import CloudControl, Copying

COPY_BYTES = 5 * 1024**3
_UNLOCKED = frozenset(
    {
        "NoSuchObjectLockConfiguration",
        "ObjectLockConfigurationNotFoundError",
        "InvalidRequest",
        "NotImplemented",
        "MethodNotAllowed",
    }
)
_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})


class S3ControlPlane(CloudControl):
    """Versions, Object Lock, copies, SHA-256 checksums and Glacier of one bucket, or a prefix of it."""

    archives = True
    cloud = "S3"
    lock_remedy = "create the bucket with Object Lock"
    sdk_errors = staticmethod(aws_errors)

    def __init__(self, client: Any, bucket: str, prefix: str, url: str) -> None:
        super().__init__(client, prefix, url)
        self.bucket = bucket

    def capabilities(self) -> control.Capabilities:
        lock, default = self._lock()
        with self._errors(""):
            versioning = self.client.get_bucket_versioning(Bucket=self.bucket).get("Status") == "Enabled"
        # RGW and moto speak of no class, so a cold tier is only promised where the endpoint is AWS's own
        cold = "amazonaws.com" in self.client.meta.endpoint_url
        return control.Capabilities(lock, default, lock != "none", versioning, server_copy=True, cold_tier=cold)

    def objects(self, prefix: str, *, after: str | None = None) -> Iterator[ObjectInfo]:
        behind = {"StartAfter": self.prefix + after} if after else {}
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self.prefix + prefix, **behind
        )
        with self._errors(prefix):
            for page in pages:
                for entry in page.get("Contents", ()):
                    key, modified = self.key_of(entry["Key"]), entry["LastModified"].astimezone(UTC)
                    yield ObjectInfo(key, entry["Size"], entry["ETag"], modified)

    def versions(self, prefix: str) -> Iterator[control.ObjectVersion]:
        pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=self.prefix + prefix)
        with self._errors(prefix):
            for page in pages:
                entries = [(entry, False) for entry in page.get("Versions", ())]
                entries += [(entry, True) for entry in page.get("DeleteMarkers", ())]
                entries.sort(
                    key=lambda pair: (pair[0]["Key"].encode(), -pair[0]["LastModified"].timestamp(), not pair[0]["IsLatest"])
                )
                for entry, marker in entries:
                    yield control.ObjectVersion(
                        self.key_of(entry["Key"]),
                        entry["VersionId"],
                        entry.get("Size", 0),
                        entry.get("ETag", ""),
                        entry["LastModified"].astimezone(UTC),
                        entry["IsLatest"],
                        marker,
                    )

    def _delete(self, key: str, version: str) -> None:
        self.client.delete_object(**self._target(key, version))

    def retention(self, key: str, version: str | None = None) -> control.Retention | None:
        try:
            with self._errors(key):
                retention = self.client.get_object_retention(**self._target(key, version)).get("Retention") or {}
        except _Unlocked:
            return None
        if not retention.get("RetainUntilDate"):
            return None
        return control.Retention(
            "compliance" if retention["Mode"] == "COMPLIANCE" else "governance", retention["RetainUntilDate"].astimezone(UTC)
        )

    def _retain(self, key: str, version: str | None, now: control.Retention | None, wanted: control.Retention) -> None:
        body = {"Mode": wanted.mode.upper(), "RetainUntilDate": wanted.until}
        # only ever used to make a lock stronger: `wanted` is neither shorter nor weaker than `now`
        bypass = {"BypassGovernanceRetention": True} if now and now.mode != wanted.mode else {}
        with self._errors(key):
            self.client.put_object_retention(**self._target(key, version), Retention=body, **bypass)

    def held(self, key: str, version: str | None = None) -> bool:
        try:
            with self._errors(key):
                hold = self.client.get_object_legal_hold(**self._target(key, version)).get("LegalHold") or {}
        except _Unlocked:
            return False
        return bool(hold.get("Status") == "ON")

    def _hold(self, key: str, version: str | None, on: bool) -> None:
        with self._errors(key):
            self.client.put_object_legal_hold(**self._target(key, version), LegalHold={"Status": "ON" if on else "OFF"})

    def _copy(self, source: Self, asked: Copying) -> control.Copied:
        source_key, storage_class = asked.source_key, asked.storage_class
        before = source._head(source_key, asked.source_version)
        if before["ContentLength"] > COPY_BYTES:
            raise StorageError(f"expected {source_key!r} to have at most 5 GiB for one copy request, found more: stream it")
        if asked.if_match not in (None, before["ETag"]):
            raise changed(source_key, source.url)
        settings: dict[str, Any] = {"StorageClass": storage_class} if storage_class else {}
        with self._errors(source_key):
            answer = self.client.copy_object(
                Bucket=self.bucket,
                Key=self.name_of(asked.key),
                CopySource=source._target(source_key, asked.source_version),
                CopySourceIfMatch=before["ETag"],
                ChecksumAlgorithm="SHA256",
                MetadataDirective="COPY",
                **settings,
            )
        if source._head(source_key, asked.source_version)["ETag"] != before["ETag"]:
            raise changed(source_key, source.url)
        result = answer["CopyObjectResult"]
        checksum = _sha256(result.get("ChecksumSHA256"))
        return control.Copied(asked.key, result["ETag"], answer.get("VersionId"), checksum)

    def checksum(self, key: str, version: str | None = None) -> control.ServiceChecksum | None:
        head = self._head(key, version, ChecksumMode="ENABLED")
        if head.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT":
            return None
        return _sha256(head.get("ChecksumSHA256"))

    def tier(self, key: str, version: str | None = None) -> control.Tier:
        head = self._head(key, version)
        storage_class = head.get("StorageClass", "STANDARD")
        if storage_class not in _ARCHIVES:
            return control.Tier(storage_class, "online")
        restore = head.get("Restore", "")
        if 'ongoing-request="true"' in restore:
            return control.Tier(storage_class, "restoring")
        if 'ongoing-request="false"' in restore:
            expiry = re.search('expiry-date="([^"]+)"', restore)
            return control.Tier(storage_class, "restored", parsedate_to_datetime(expiry.group(1)) if expiry else None)
        return control.Tier(storage_class, "archived")

    def warm(self, key: str, days: int, version: str | None = None) -> control.Tier:
        if self.tier(key, version).state == "archived":
            request = {"Days": days, "GlacierJobParameters": {"Tier": "Standard"}}
            with self._errors(key):
                self.client.restore_object(**self._target(key, version), RestoreRequest=request)
        return self.tier(key, version)

    def _target(self, key: str, version: str | None) -> dict[str, str]:
        target = {"Bucket": self.bucket, "Key": self.name_of(key)}
        return target if version is None else {**target, "VersionId": version}

    def _head(self, key: str, version: str | None, **more: str) -> Any:
        with self._errors(key):
            return self.client.head_object(**self._target(key, version), **more)

    def _lock(self) -> "tuple[Any, timedelta | None]":
        try:
            with self._errors(""):
                config = self.client.get_object_lock_configuration(Bucket=self.bucket).get("ObjectLockConfiguration") or {}
        except (_Unlocked, ObjectNotFound):
            return "none", None
        if config.get("ObjectLockEnabled") != "Enabled":
            return "none", None
        rule = (config.get("Rule") or {}).get("DefaultRetention") or {}
        days = rule.get("Days") or 365 * rule.get("Years", 0)
        return "compliance", timedelta(days=days) if days else None

    def _own(self, fault: Fault, key: str) -> OrchestraiError | None:
        if fault.code in _UNLOCKED:
            message = f"expected {self.url} to answer for {key!r}, found {fault.status} {fault.code}"
            return _Unlocked(f"{message}: create the bucket with Object Lock", key=key)
        return super()._own(fault, key)


class _Unlocked(StorageError):
    """The bucket or object knows no lock."""


def _sha256(value: str | None) -> control.ServiceChecksum | None:
    # a composite checksum ends in "-" and the number of parts
    if not value or "-" in value:
        return None
    return control.ServiceChecksum("sha256", base64.b64decode(value).hex(), cryptographic=True)
