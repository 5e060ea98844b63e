"""The control plane of Google Cloud Storage, through google-cloud-storage."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
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

_MODES: dict[str, LockMode] = {"Locked": "compliance", "Unlocked": "governance"}


class GcsControlPlane:
    """Generations, object retention, copies and storage classes of one bucket, or a prefix of it."""

    archives = False

    def __init__(self, client: Any, bucket: str, prefix: str, url: str) -> None:
        self.bucket = client.bucket(bucket)
        self.client = client
        self.prefix = prefix
        self.url = url

    def capabilities(self) -> Capabilities:
        with self._errors(""):
            self.bucket.reload()
        # a bucket's own policy cannot be extended per object, so only object retention counts as a lock
        locks = self.bucket.object_retention_mode == "Enabled"
        period = self.bucket.retention_period
        return Capabilities(
            "compliance" if locks else "none",
            timedelta(seconds=period) if period else None,
            legal_hold=True,
            versions=bool(self.bucket.versioning_enabled),
            server_copy=True,
            cold_tier=False,
        )

    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        with self._errors(prefix):
            found = list(self.client.list_blobs(self.bucket, prefix=self.prefix + prefix, versions=True))
        found.sort(key=lambda blob: (blob.name.encode(), -blob.generation))
        for blob in found:
            latest = blob.time_deleted is None
            key = blob.name[len(self.prefix) :]
            yield ObjectVersion(key, str(blob.generation), blob.size, blob.etag or "", blob.updated, latest)

    def delete_version(self, key: str, version: str) -> None:
        blob = self._blob(key, version)
        try:
            with self._errors(key):
                blob.delete()
        except ObjectNotFound:
            return
        except _Refused as exc:
            why = locked(key, version, self.retention(key, version), self.held(key, version))
            raise why or StorageError(exc.message, key=key) from exc

    def retention(self, key: str, version: str | None = None) -> Retention | None:
        found = self._loaded(key, version).retention
        if found.retain_until_time is None:
            return None
        return Retention(_MODES[found.mode], found.retain_until_time)

    def retain(self, key: str, until: datetime, mode: LockMode, version: str | None = None) -> Retention:
        now = self.retention(key, version)
        wanted = stronger(now, until, mode)
        if wanted == now:
            return wanted
        blob = self._loaded(key, version)
        blob.retention.mode = "Locked" if wanted.mode == "compliance" else "Unlocked"
        blob.retention.retain_until_time = wanted.until
        with self._errors(key):
            blob.patch(override_unlocked_retention=now is not None and now.mode == "governance")
        # the service keeps milliseconds
        least = until.replace(microsecond=until.microsecond // 1000 * 1000)
        remedy = "create the bucket with object retention enabled"
        return require_kept(key, self.url, self.retention(key, version), least, remedy)

    def held(self, key: str, version: str | None = None) -> bool:
        return bool(self._loaded(key, version).temporary_hold)

    def hold(self, key: str, on: bool, version: str | None = None) -> bool:
        blob = self._loaded(key, version)
        blob.temporary_hold = on
        with self._errors(key):
            blob.patch()
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
        if not isinstance(source, GcsControlPlane):
            raise elsewhere("Google Cloud", self.url)
        before = source._loaded(source_key, source_version)
        if if_match is not None and _same_etag(before, if_match) is False:
            raise changed(source_key, source.url)
        target = self._blob(key, None)
        if storage_class:
            target.storage_class = storage_class
        token: str | None = None
        with self._errors(source_key):
            while True:
                token, _, _ = target.rewrite(before, token=token, if_source_generation_match=before.generation)
                if token is None:
                    break
            target.reload()
        return Copied(key, target.etag or "", str(target.generation), _checksum(target))

    def checksum(self, key: str, version: str | None = None) -> ServiceChecksum | None:
        return _checksum(self._loaded(key, version))

    def tier(self, key: str, version: str | None = None) -> Tier:
        return Tier(self._loaded(key, version).storage_class or "STANDARD", "online")

    def warm(self, key: str, days: int, version: str | None = None) -> Tier:
        """Nothing to do: every class of Google Cloud Storage is read without waiting."""
        return self.tier(key, version)

    def _blob(self, key: str, version: str | None) -> Any:
        return self.bucket.blob(self.prefix + check_key(key), generation=int(version) if version else None)

    def _loaded(self, key: str, version: str | None) -> Any:
        blob = self._blob(key, version)
        with self._errors(key):
            blob.reload()
        return blob

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        from google.api_core import exceptions as raised
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        told = f"expected {self.url} to answer for {key!r}"
        try:
            yield
        except raised.NotFound as exc:
            raise ObjectNotFound(f"expected an object {key!r} in {self.url}, found none", key=key) from exc
        except raised.PreconditionFailed as exc:
            raise changed(key, self.url) from exc
        except raised.Forbidden as exc:
            raise _Refused(f"{told}, found access refused: check the credentials and their roles", key=key) from exc
        except (raised.TooManyRequests, raised.ServerError, raised.RetryError, RequestException) as exc:
            raise TransientStorageError(f"{told}, found {type(exc).__name__}: try again", key=key) from exc
        except raised.GoogleAPICallError as exc:
            raise StorageError(f"{told}, found {exc.code}: check the bucket's settings", key=key) from exc
        except GoogleAuthError as exc:
            raise ConfigError(f"expected Google credentials for {self.url}, found none that work: set them") from exc


class _Refused(StorageError):
    """The service denied access."""


def _same_etag(blob: Any, etag: str) -> bool | None:
    """Whether an etag of the data plane is this generation's: None when it cannot be told, as the two APIs name it apart."""
    md5 = base64.b64decode(blob.md5_hash).hex() if blob.md5_hash else None
    if etag.strip('"') in (blob.etag, md5):
        return True
    return None if md5 is None else False


def _checksum(blob: Any) -> ServiceChecksum | None:
    if blob.md5_hash:
        return ServiceChecksum("md5", base64.b64decode(blob.md5_hash).hex(), cryptographic=False)
    if blob.crc32c:
        return ServiceChecksum("crc32c", base64.b64decode(blob.crc32c).hex(), cryptographic=False)
    return None
