"""The control plane: locks against Ceph RGW, checksums and Glacier against moto, copies and tiers against Azurite."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import ConfigError, ObjectNotFound, PreconditionFailed, RetentionLocked, StorageError
from orchestrai.storage.base import Store
from orchestrai.storage.cloud.connection import StoreOptions
from orchestrai.storage.cloud.control import Capabilities, ControlPlane, capabilities, control_plane
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.storage.url import open_store
from orchestrai_tests.servers.azurite import AzuriteServer
from orchestrai_tests.servers.s3 import S3Server
from orchestrai_tests.storage.conftest import s3_options

pytestmark = pytest.mark.emulator


def s3(server: S3Server, *, locked: bool = False, versioned: bool = True, **more: Any) -> tuple[Store, ControlPlane]:
    store = open_store(f"s3://{server.bucket(locked=locked, versioned=versioned)}/vault", s3_options(server, **more))
    control = control_plane(store)
    assert control is not None
    return store, control


def whole_seconds(days: float) -> datetime:
    return (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=0)


def test_a_store_that_cannot_lock_is_never_called_locked(tmp_path: Path, moto: S3Server, rgw: S3Server) -> None:
    for store in (LocalStore(tmp_path), MemoryStore(), s3(moto)[0], s3(rgw)[0], s3(rgw, versioned=False)[0]):
        assert capabilities(store).lock == "none"
        assert not capabilities(store).legal_hold
    assert control_plane(LocalStore(tmp_path)) is None
    assert capabilities(LocalStore(tmp_path)) == Capabilities()


@pytest.mark.parametrize("kind", ["moto", "rgw"])
def test_a_bucket_with_object_lock_says_so_with_its_default(kind: str, request: pytest.FixtureRequest) -> None:
    server: S3Server = request.getfixturevalue(kind)
    bucket = server.bucket(locked=True)
    server.client().put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 3}},
        },
    )
    found = capabilities(open_store(f"s3://{bucket}", s3_options(server)))
    assert (found.lock, found.default_lock, found.versions) == ("compliance", timedelta(days=3), True)


def test_old_versions_stay_readable_and_listed_newest_first(rgw: S3Server) -> None:
    store, control = s3(rgw)
    versions = [store.write("k", f"{number}".encode()).version for number in range(3)]
    store.write("k2", b"other")
    store.delete("k")
    found = [entry for entry in control.versions("k") if entry.key == "k"]
    assert [entry.marker for entry in found] == [True, False, False, False]
    assert [entry.version for entry in found[1:]] == versions[::-1]
    assert [entry.latest for entry in found] == [True, False, False, False]
    with pytest.raises(ObjectNotFound):
        store.read("k")
    assert [store.read("k", version=version) for version in versions] == [b"0", b"1", b"2"]
    assert store.head("k", version=versions[0]).version == versions[0]


def test_one_version_is_deleted_and_a_missing_one_forgiven(rgw: S3Server) -> None:
    store, _ = s3(rgw)
    first, second = store.write("k", b"1").version, store.write("k", b"2").version
    store.delete("k", version=first)
    store.delete("k", version=first)
    with pytest.raises(ObjectNotFound):
        store.read("k", version=first)
    assert store.read("k", version=second) == b"2"


def test_a_locked_version_cannot_be_deleted_and_the_refusal_says_until_when(rgw: S3Server) -> None:
    store, control = s3(rgw, locked=True)
    version = store.write("k", b"1").version
    until = whole_seconds(2)
    assert control.retain("k", until, "compliance", version).until == until
    with pytest.raises(RetentionLocked, match=f"{until:%Y-%m-%d %H:%M}") as told:
        store.delete("k", version=version)
    assert told.value.fields["until"] == until
    assert store.read("k", version=version) == b"1"


def test_retention_is_extended_and_never_shortened(rgw: S3Server) -> None:
    store, control = s3(rgw, locked=True)
    version = store.write("k", b"1").version
    assert control.retention("k", version) is None
    short, long = whole_seconds(1), whole_seconds(9)
    control.retain("k", short, "compliance", version)
    assert control.retain("k", long, "compliance", version).until == long
    assert control.retain("k", short, "compliance", version).until == long
    assert control.retain("k", short, "governance", version).mode == "compliance"
    read = control.retention("k", version)
    assert read is not None
    assert (read.until, read.mode) == (long, "compliance")


def test_a_governance_lock_is_made_stronger_on_request(rgw: S3Server) -> None:
    store, control = s3(rgw, locked=True)
    version = store.write("k", b"1").version
    until = whole_seconds(1)
    assert control.retain("k", until, "governance", version).mode == "governance"
    assert control.retain("k", until, "compliance", version).mode == "compliance"


def test_a_legal_hold_is_set_read_back_and_lifted(rgw: S3Server) -> None:
    store, control = s3(rgw, locked=True)
    version = store.write("k", b"1").version
    assert control.held("k", version) is False
    assert control.hold("k", True, version) is True
    with pytest.raises(RetentionLocked, match="legal hold"):
        store.delete("k", version=version)
    assert control.hold("k", False, version) is False
    store.delete("k", version=version)
    with pytest.raises(ObjectNotFound):
        store.read("k", version=version)


def test_retention_in_a_bucket_without_lock_is_refused_with_the_remedy(rgw: S3Server) -> None:
    store, control = s3(rgw)
    version = store.write("k", b"1").version
    with pytest.raises(StorageError, match="Object Lock"):
        control.retain("k", whole_seconds(1), "compliance", version)


def test_s3_gives_the_sha256_of_a_whole_object_without_a_download(moto: S3Server) -> None:
    # moto keeps a checksum only for requests with the header of the SDKs
    store, control = s3(moto, headers=(("x-amz-sdk-checksum-algorithm", "SHA256"),))
    for key, body in (("small", b"abc"), ("large", b"x" * (20 * 1024 * 1024))):
        version = store.write(key, iter([body]), create=True).version
        found = control.checksum(key, version)
        assert found is not None
        assert (found.algorithm, found.value, found.cryptographic) == ("sha256", hashlib.sha256(body).hexdigest(), True)


def test_a_server_that_keeps_no_checksum_says_none(rgw: S3Server) -> None:
    store, control = s3(rgw)
    store.write("k", b"1")
    assert control.checksum("k") is None


@pytest.mark.parametrize("kind", ["moto", "rgw"])
def test_a_copy_between_buckets_is_made_by_the_server(kind: str, request: pytest.FixtureRequest) -> None:
    server: S3Server = request.getfixturevalue(kind)
    (source, from_), (target, to) = s3(server), s3(server)
    old = source.write("a b/é", b"old")
    source.write("a b/é", b"new")
    copied = to.copy(from_, "a b/é", "copy/é", source_version=old.version, if_match=old.etag)
    assert target.read("copy/é", version=copied.version) == b"old"
    if kind == "moto":
        assert copied.checksum is not None
        assert copied.checksum.value == hashlib.sha256(b"old").hexdigest()


@pytest.mark.parametrize("kind", ["moto", "rgw"])
def test_a_copy_of_a_changed_source_is_refused(kind: str, request: pytest.FixtureRequest) -> None:
    server: S3Server = request.getfixturevalue(kind)
    (source, from_), (target, to) = s3(server), s3(server)
    old = source.write("k", b"old")
    source.write("k", b"changed")
    with pytest.raises(PreconditionFailed):
        to.copy(from_, "k", "k", if_match=old.etag)
    with pytest.raises(ObjectNotFound):
        target.read("k")
    with pytest.raises(ObjectNotFound):
        to.copy(from_, "missing", "k")


def test_an_archived_object_is_named_warmed_and_then_readable(moto: S3Server) -> None:
    (source, from_), (target, to) = s3(moto), s3(moto)
    source.write("k", b"cold")
    to.copy(from_, "k", "k", storage_class="DEEP_ARCHIVE")
    assert (to.tier("k").storage_class, to.tier("k").state) == ("DEEP_ARCHIVE", "archived")
    with pytest.raises(StorageError, match="cold tier"):
        target.read("k")
    assert to.warm("k", days=2).state in ("restoring", "restored")
    for _ in range(5):
        state = to.warm("k", days=2)
    assert state.state == "restored"
    assert target.read("k") == b"cold"
    assert from_.tier("k").state == "online"


def test_a_copy_from_another_cloud_is_refused(moto: S3Server, azurite: AzuriteServer) -> None:
    _, to = s3(moto)
    _, from_ = azure(azurite)
    with pytest.raises(ConfigError, match="stream"):
        to.copy(from_, "k", "k")


def azure(server: AzuriteServer) -> tuple[Store, ControlPlane]:
    options = StoreOptions(account_name=server.account, account_key=server.key, endpoint_url=server.endpoint)
    store = open_store(f"az://{server.container()}/vault", options)
    control = control_plane(store)
    assert control is not None
    return store, control


def test_azure_copies_between_containers_and_keeps_an_md5(azurite: AzuriteServer) -> None:
    (source, from_), (target, to) = azure(azurite), azure(azurite)
    info = source.write("a b/é", b"bytes")
    copied = to.copy(from_, "a b/é", "copy", if_match=info.etag)
    assert target.read("copy") == b"bytes"
    assert target.head("copy").etag == copied.etag
    found = from_.checksum("a b/é")
    assert found is not None
    assert (found.value, found.cryptographic) == (hashlib.md5(b"bytes").hexdigest(), False)
    source.write("a b/é", b"changed")
    with pytest.raises(PreconditionFailed):
        to.copy(from_, "a b/é", "copy", if_match=info.etag)


def test_azure_names_an_archived_blob_and_warms_it(azurite: AzuriteServer) -> None:
    (source, from_), (target, to) = azure(azurite), azure(azurite)
    source.write("k", b"cold")
    to.copy(from_, "k", "k", storage_class="Archive")
    assert to.tier("k").state == "archived"
    with pytest.raises(StorageError, match="cold tier"):
        target.read("k")
    assert to.warm("k", days=1).state in ("restoring", "online")
    assert target.read("k") == b"cold"


def test_azure_without_version_level_immutability_is_not_called_locked(azurite: AzuriteServer) -> None:
    store, control = azure(azurite)
    store.write("k", b"1")
    assert capabilities(store).lock == "none"
    assert control.retention("k") is None
    assert control.held("k") is False
    with pytest.raises(StorageError):
        control.retain("k", whole_seconds(1), "compliance")
    with pytest.raises(ObjectNotFound):
        control.tier("missing")
