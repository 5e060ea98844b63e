"""The control plane of S3, through boto3."""

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from orchestrai.errors import (
    ConfigError,
    ObjectNotFound,
    StorageError,
    TransientStorageError,
)
from orchestrai.storage.base import check_key
from orchestrai.storage.control import (
    Capabilities,
    ControlPlane,
    Copied,
    LockMode,
    ObjectVersion,
    Retention,
    ServiceChecksum,
    Tier,
)
from orchestrai.storage.control_rules import changed, elsewhere, locked, require_kept, stronger

COPY_BYTES = 5 * 1024**3
_MISSING = frozenset({"NoSuchKey", "NoSuchVersion", "404", "NotFound"})
_UNLOCKED = frozenset(
    {
        "NoSuchObjectLockConfiguration",
        "ObjectLockConfigurationNotFoundError",
        "InvalidRequest",
        "NotImplemented",
        "MethodNotAllowed",
    }
)
_REFUSED = frozenset({"AccessDenied", "403", "Forbidden"})
_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})


class S3ControlPlane:
    """Versions, Object Lock, copies, SHA-256 checksums and Glacier of one bucket, or a prefix of it."""

    archives = True

    def __init__(self, client: Any, bucket: str, prefix: str, url: str) -> None:
        self.client = client
        self.bucket = bucket
        self.prefix = prefix
        self.url = url

    def capabilities(self) -> Capabilities:
        lock, default = self._lock()
        with self._errors(""):
            versioning = self.client.get_bucket_versioning(Bucket=self.bucket).get("Status") == "Enabled"
        # RGW and moto speak of no class, so a cold tier is only promised where the endpoint is AWS's own
        cold = "amazonaws.com" in self.client.meta.endpoint_url
        return Capabilities(lock, default, lock != "none", versioning, server_copy=True, cold_tier=cold)

    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=self.prefix + prefix)
        with self._errors(prefix):
            for page in pages:
                entries = [(entry, False) for entry in page.get("Versions", ())]
                entries += [(entry, True) for entry in page.get("DeleteMarkers", ())]
                entries.sort(
                    key=lambda pair: (pair[0]["Key"].encode(), -pair[0]["LastModified"].timestamp(), not pair[0]["IsLatest"])
                )
                for entry, marker in entries:
                    yield ObjectVersion(
                        entry["Key"][len(self.prefix) :],
                        entry["VersionId"],
                        entry.get("Size", 0),
                        entry.get("ETag", ""),
                        entry["LastModified"].astimezone(UTC),
                        entry["IsLatest"],
                        marker,
                    )

    def delete_version(self, key: str, version: str) -> None:
        try:
            with self._errors(key):
                self.client.delete_object(**self._target(key, version))
        except ObjectNotFound:
            return
        except _Refused as exc:
            why = locked(key, version, self.retention(key, version), self.held(key, version))
            raise why or StorageError(exc.message, key=key) from exc

    def retention(self, key: str, version: str | None = None) -> Retention | None:
        try:
            with self._errors(key):
                found = self.client.get_object_retention(**self._target(key, version)).get("Retention") or {}
        except _Unlocked:
            return None
        if not found.get("RetainUntilDate"):
            return None
        return Retention(
            "compliance" if found["Mode"] == "COMPLIANCE" else "governance", found["RetainUntilDate"].astimezone(UTC)
        )

    def retain(self, key: str, until: datetime, mode: LockMode, version: str | None = None) -> Retention:
        now = self.retention(key, version)
        wanted = stronger(now, until, mode)
        if wanted == now:
            return wanted
        body = {"Mode": wanted.mode.upper(), "RetainUntilDate": wanted.until}
        # only ever used to make a lock stronger: `wanted` is neither shorter nor weaker than `now`
        bypass = {"BypassGovernanceRetention": True} if now and now.mode != wanted.mode else {}
        with self._errors(key):
            self.client.put_object_retention(**self._target(key, version), Retention=body, **bypass)
        return require_kept(key, self.url, self.retention(key, version), until, "create the bucket with Object Lock")

    def held(self, key: str, version: str | None = None) -> bool:
        try:
            with self._errors(key):
                found = self.client.get_object_legal_hold(**self._target(key, version)).get("LegalHold") or {}
        except _Unlocked:
            return False
        return bool(found.get("Status") == "ON")

    def hold(self, key: str, on: bool, version: str | None = None) -> bool:
        with self._errors(key):
            self.client.put_object_legal_hold(**self._target(key, version), LegalHold={"Status": "ON" if on else "OFF"})
        return self.held(key, version)

    def copy(
        self,
        source: ControlPlane,
        source_key: str,
        key: str,
        *,
        source_version: str | None = None,
        if_match: str | None = None,
        storage_class: str | None = None,
    ) -> Copied:
        if not isinstance(source, S3ControlPlane):
            raise elsewhere("S3", self.url)
        before = source._head(source_key, source_version)
        if before["ContentLength"] > COPY_BYTES:
            raise StorageError(f"expected {source_key!r} to have at most 5 GiB for one copy request, found more: stream it")
        if if_match is not None and before["ETag"] != if_match:
            raise changed(source_key, source.url)
        settings: dict[str, Any] = {"StorageClass": storage_class} if storage_class else {}
        with self._errors(source_key):
            answer = self.client.copy_object(
                Bucket=self.bucket,
                Key=self.prefix + check_key(key),
                CopySource=source._target(source_key, source_version),
                CopySourceIfMatch=before["ETag"],
                ChecksumAlgorithm="SHA256",
                MetadataDirective="COPY",
                **settings,
            )
        if source._head(source_key, source_version)["ETag"] != before["ETag"]:
            raise changed(source_key, source.url)
        result = answer["CopyObjectResult"]
        checksum = _sha256(result.get("ChecksumSHA256"))
        return Copied(key, result["ETag"], answer.get("VersionId"), checksum)

    def checksum(self, key: str, version: str | None = None) -> ServiceChecksum | None:
        found = self._head(key, version, ChecksumMode="ENABLED")
        if found.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT":
            return None
        return _sha256(found.get("ChecksumSHA256"))

    def tier(self, key: str, version: str | None = None) -> Tier:
        found = self._head(key, version)
        storage_class = found.get("StorageClass", "STANDARD")
        if storage_class not in _ARCHIVES:
            return Tier(storage_class, "online")
        restore = found.get("Restore", "")
        if 'ongoing-request="true"' in restore:
            return Tier(storage_class, "restoring")
        if 'ongoing-request="false"' in restore:
            expiry = re.search('expiry-date="([^"]+)"', restore)
            return Tier(storage_class, "restored", parsedate_to_datetime(expiry.group(1)) if expiry else None)
        return Tier(storage_class, "archived")

    def warm(self, key: str, days: int, version: str | None = None) -> Tier:
        if self.tier(key, version).state == "archived":
            request = {"Days": days, "GlacierJobParameters": {"Tier": "Standard"}}
            with self._errors(key):
                self.client.restore_object(**self._target(key, version), RestoreRequest=request)
        return self.tier(key, version)

    def _target(self, key: str, version: str | None) -> dict[str, str]:
        target = {"Bucket": self.bucket, "Key": self.prefix + check_key(key)}
        return target if version is None else {**target, "VersionId": version}

    def _head(self, key: str, version: str | None, **more: str) -> Any:
        with self._errors(key):
            return self.client.head_object(**self._target(key, version), **more)

    def _lock(self) -> "tuple[Any, timedelta | None]":
        try:
            with self._errors(""):
                found = self.client.get_object_lock_configuration(Bucket=self.bucket).get("ObjectLockConfiguration") or {}
        except (_Unlocked, ObjectNotFound):
            return "none", None
        if found.get("ObjectLockEnabled") != "Enabled":
            return "none", None
        rule = (found.get("Rule") or {}).get("DefaultRetention") or {}
        days = rule.get("Days") or 365 * rule.get("Years", 0)
        return "compliance", timedelta(days=days) if days else None

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            yield
        except ClientError as exc:
            raise self._translated(exc.response, key) from exc
        except NoCredentialsError as exc:
            raise ConfigError(
                f"expected AWS credentials for {self.url}, found none: set them or give the machine a role"
            ) from exc
        except BotoCoreError as exc:
            raise TransientStorageError(
                f"expected {self.url} to answer, found {type(exc).__name__}: try again", key=key
            ) from exc

    def _translated(self, response: Any, key: str) -> StorageError:
        code = response["Error"].get("Code", "")
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        told = f"expected {self.url} to answer for {key!r}, found {status} {code}"
        if code in _MISSING:
            return ObjectNotFound(f"expected an object {key!r} in {self.url}, found none", key=key)
        if code == "PreconditionFailed":
            return changed(key, self.url)
        if code in _UNLOCKED:
            return _Unlocked(f"{told}: create the bucket with Object Lock", key=key)
        if code in _REFUSED:
            return _Refused(f"{told}: check the credentials and their policy", key=key)
        if code == "InvalidObjectState":
            return StorageError(f"expected {key!r} to be readable, found it in a cold tier: request its restore", key=key)
        if status >= 500 or status == 429:
            return TransientStorageError(f"{told}: try again", key=key)
        return StorageError(f"{told}: check the store's settings", key=key)


class _Unlocked(StorageError):
    """The bucket or object knows no lock."""


class _Refused(StorageError):
    """The service denied access."""


def _sha256(value: str | None) -> ServiceChecksum | None:
    # a composite checksum ends in "-" and the number of parts
    if not value or "-" in value:
        return None
    return ServiceChecksum("sha256", base64.b64decode(value).hex(), cryptographic=True)
