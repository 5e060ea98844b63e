"""What no emulator keeps, against fakes that state the contract: Google's retention, Azure's version-level immutability."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrai.errors import ObjectNotFound, PreconditionFailed, RetentionLocked, StorageError
from orchestrai.storage.cloud.connection import StoreOptions
from orchestrai.storage.cloud.control import Capabilities
from orchestrai.storage.cloud.control_planes.azure_control import AzureControlPlane
from orchestrai.storage.cloud.control_planes.google_control import GcsControlPlane
from orchestrai.storage.cloud.google import GcsBackend
from orchestrai_tests.servers.gcs_json import FakeGcs, fake_gcs


def later(days: float) -> datetime:
    return (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)


@pytest.fixture
def gcs_api() -> Iterator[FakeGcs]:
    with fake_gcs() as fake:
        fake.buckets["locked"] = {"objectRetention": {"mode": "Enabled"}, "versioning": {"enabled": True}}
        fake.buckets["plain"] = {"retentionPolicy": {"retentionPeriod": "86400"}}
        yield fake


def google(fake: FakeGcs, bucket: str = "locked") -> GcsControlPlane:
    return GcsBackend(bucket, "vault/", StoreOptions(endpoint_url=fake.endpoint)).control()


def test_google_bucket_policies_are_told_apart_from_object_locks(gcs_api: FakeGcs) -> None:
    assert google(gcs_api).capabilities() == Capabilities("compliance", None, True, True, True, False)
    plain = google(gcs_api, "plain").capabilities()
    assert (plain.lock, plain.default_lock, plain.versions) == ("none", timedelta(days=1), False)


def test_google_retention_is_set_extended_and_never_shortened(gcs_api: FakeGcs) -> None:
    control, version = google(gcs_api), gcs_api.put("locked", "vault/a/b", b"1")["generation"]
    assert control.retention("a/b", version) is None
    short, long = later(1), later(9)
    assert control.retain("a/b", short, "governance", version).mode == "governance"
    assert control.retain("a/b", long, "governance", version).until == long
    assert control.retain("a/b", short, "compliance", version).until == long
    assert control.retain("a/b", long, "compliance", version).mode == "compliance"
    assert control.retain("a/b", short, "compliance", version).until == long
    with pytest.raises(RetentionLocked, match=f"{long:%Y-%m-%d %H:%M}"):
        control.delete_version("a/b", version)


def test_google_retention_without_object_retention_is_refused(gcs_api: FakeGcs) -> None:
    gcs_api.put("plain", "vault/k", b"1")
    with pytest.raises(StorageError):
        google(gcs_api, "plain").retain("k", later(1), "compliance")


def test_google_holds_stop_a_delete_until_they_are_lifted(gcs_api: FakeGcs) -> None:
    control, version = google(gcs_api), gcs_api.put("locked", "vault/k", b"1")["generation"]
    assert control.hold("k", True, version) is True
    with pytest.raises(RetentionLocked):
        control.delete_version("k", version)
    assert control.hold("k", False, version) is False
    control.delete_version("k", version)
    control.delete_version("k", version)
    with pytest.raises(ObjectNotFound):
        control.tier("k", version)


def test_google_versions_are_listed_newest_first(gcs_api: FakeGcs) -> None:
    made = [gcs_api.put("locked", "vault/k", bytes([number]))["generation"] for number in range(3)]
    found = list(google(gcs_api).versions("k"))
    assert [entry.version for entry in found] == made[::-1]
    assert [entry.latest for entry in found] == [True, False, False]
    assert {entry.key for entry in found} == {"k"}


def test_google_copies_a_generation_with_its_checksum(gcs_api: FakeGcs) -> None:
    gcs_api.buckets["cold"] = {}
    version = gcs_api.put("locked", "vault/k", b"old")["generation"]
    gcs_api.put("locked", "vault/k", b"new")
    to = google(gcs_api, "cold")
    copied = to.copy(google(gcs_api), "k", "copy", source_version=version, storage_class="ARCHIVE")
    assert copied.checksum is not None
    assert copied.checksum.value == hashlib.md5(b"old").hexdigest()
    assert (to.tier("copy").storage_class, to.tier("copy").state) == ("ARCHIVE", "online")
    with pytest.raises(PreconditionFailed):
        to.copy(google(gcs_api), "k", "copy", if_match='"' + hashlib.md5(b"old").hexdigest() + '"')


class FakeBlob:
    """One blob version with version-level immutability, as azure-storage-blob shows it."""

    def __init__(self) -> None:
        self.policy: Any = None
        self.legal = False
        self.deleted = False

    def get_blob_properties(self) -> Any:
        if self.deleted:
            from azure.core.exceptions import ResourceNotFoundError

            raise ResourceNotFoundError("gone")
        return SimpleNamespace(immutability_policy=self.policy, has_legal_hold=self.legal)

    def set_immutability_policy(self, policy: Any) -> None:
        if self.policy and str(self.policy.policy_mode).lower() == "locked" and policy.expiry_time < self.policy.expiry_time:
            self._refuse()
        self.policy = policy

    def set_legal_hold(self, on: bool) -> None:
        self.legal = on

    def delete_blob(self) -> None:
        if self.legal or (self.policy and self.policy.expiry_time > datetime.now(UTC)):
            self._refuse()
        self.get_blob_properties()
        self.deleted = True

    def _refuse(self) -> None:
        from azure.core.exceptions import ResourceExistsError

        error = ResourceExistsError("This operation is not permitted as the blob is immutable due to a policy.")
        error.error_code = "BlobImmutableDueToPolicy"
        raise error


class FakeContainer:
    def __init__(self, immutable: bool = True) -> None:
        self.immutable = immutable
        self.blobs: dict[tuple[str, str | None], FakeBlob] = {}

    def get_container_properties(self) -> Any:
        return SimpleNamespace(immutable_storage_with_versioning_enabled=self.immutable)

    def get_blob_client(self, name: str, version_id: str | None = None) -> FakeBlob:
        return self.blobs.setdefault((name, version_id), FakeBlob())


def azure(container: FakeContainer) -> AzureControlPlane:
    return AzureControlPlane(container, "vault/", "abfss://box@account1.dfs.core.windows.net/vault")


def test_azure_says_whether_a_container_has_version_level_immutability() -> None:
    assert azure(FakeContainer()).capabilities().lock == "compliance"
    assert azure(FakeContainer(immutable=False)).capabilities().lock == "none"


def test_azure_retention_is_set_extended_and_never_shortened() -> None:
    container = FakeContainer()
    control = azure(container)
    short, long = later(1), later(9)
    assert control.retain("k", short, "governance", "v1").mode == "governance"
    assert control.retain("k", long, "governance", "v1").until == long
    assert control.retain("k", short, "compliance", "v1").until == long
    assert control.retain("k", long, "compliance", "v1").mode == "compliance"
    assert control.retain("k", short, "compliance", "v1").until == long
    assert control.retention("k", "v2") is None
    with pytest.raises(RetentionLocked, match=f"{long:%Y-%m-%d %H:%M}"):
        control.delete_version("k", "v1")
    assert ("vault/k", "v1") in container.blobs


def test_azure_holds_stop_a_delete_until_they_are_lifted() -> None:
    control = azure(FakeContainer())
    assert control.hold("k", True, "v1") is True
    with pytest.raises(RetentionLocked):
        control.delete_version("k", "v1")
    assert control.hold("k", False, "v1") is False
    control.delete_version("k", "v1")
    control.delete_version("k", "v1")
