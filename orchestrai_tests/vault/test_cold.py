"""The cold tier: copied once, tier and lock as the store told, readable again after a warm-up, and apart from the vault's fate."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError, DigestMismatch, StorageError
from orchestrai.restore.folder import restore_folder
from orchestrai.restore.folder_plan import plan_folder
from orchestrai.restore.warm_up import survey, wait_until_warm, warm_up
from orchestrai.storage.cloud.control import control_plane
from orchestrai.storage.local import LocalStore
from orchestrai.storage.url import open_store
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.lifecycle.cold_tier import cold_copy
from orchestrai.vault.replica.replicate import opened_replica
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.servers.s3 import S3Server
from orchestrai_tests.storage.conftest import s3_options

DATASET = "shop/levels/features"


def files(*names: str) -> dict[str, list[SourceFile]]:
    return {name: [SourceFile("part.parquet", 300_000, name.encode() * 30_000)] for name in names}


@pytest.fixture
def local(signer: object, tmp_path: Path) -> Vault:
    return Vault(LocalStore(tmp_path / "vault"), signer)  # type: ignore[arg-type]


def ten(name: str) -> str:
    return name.ljust(10, "x")


def test_a_cold_copy_is_a_vault_of_its_own_that_holds_only_that_dataset(local: Vault, tmp_path: Path) -> None:
    local.commit("other/data", files(ten("o")))
    commit = local.commit(DATASET, files(ten("a"), ten("b")))
    target = LocalStore(tmp_path / "cold")
    done = cold_copy(local, commit, target, None, tier="DEEP_ARCHIVE", lock=timedelta(days=180))
    assert done.verified.ok and (done.copied, done.tier, done.locked) == (done.objects, "", False)
    assert done.tier_reason and done.lock_reason
    copy = opened_replica(local, target)
    assert copy.datasets() == [DATASET]
    assert copy.latest(DATASET).version == commit.version
    assert verify(copy, level="read").ok
    assert restore_folder(copy, copy.latest(DATASET), tmp_path / "back") == 600_000


def test_a_copy_made_long_after_the_commit_counts(local: Vault, tmp_path: Path) -> None:
    target = LocalStore(tmp_path / "cold")
    commit = local.commit(DATASET, files(ten("a")))
    cold_copy(local, commit, target, None)
    for info in target.list("vault/snapshots/"):
        path = target.local_path(info.key)
        assert path is not None
        later = info.modified.timestamp() + 3 * 86400
        os.utime(path, (later, later))
    (copied,) = opened_replica(local, target).snapshots(DATASET)
    assert copied.committed == commit.committed


def test_a_second_copy_takes_only_what_is_new(local: Vault, tmp_path: Path) -> None:
    target = LocalStore(tmp_path / "cold")
    cold_copy(local, local.commit(DATASET, files(ten("a"))), target, None)
    commit = local.commit(DATASET, files(ten("b")))
    done = cold_copy(local, commit, target, None)
    # content, listing, tree and commit of what is new
    assert done.copied == 4 and done.bytes < 310_000
    assert cold_copy(local, commit, target, None).copied == 0
    assert done.verified.ok and done.verified.snapshots == 2


def test_what_the_vault_forgets_the_archive_keeps(local: Vault, tmp_path: Path) -> None:
    target = LocalStore(tmp_path / "cold")
    first = local.commit(DATASET, files(ten("a")))
    cold_copy(local, first, target, None)
    never_copied = local.commit(DATASET, files(ten("b")))
    newest = local.commit(DATASET, files(ten("c")))
    for commit in (first, never_copied):
        local.forget(commit.snapshot_id)
    done = cold_copy(local, newest, target, None)
    copy = opened_replica(local, target)
    assert [commit.seq for commit in copy.snapshots(DATASET)] == [1, 3]
    assert done.verified.ok and verify(copy, level="read").ok


def test_a_store_that_alters_bytes_is_found_while_they_can_be_read(local: Vault, tmp_path: Path) -> None:
    class Altering(LocalStore):
        def stream(self, key: str, **options: object):  # type: ignore[no-untyped-def, override]
            for chunk in super().stream(key):
                yield bytes([chunk[0] ^ 1]) + chunk[1:] if key.startswith("vault/objects/") else chunk

    commit = local.commit(DATASET, files(ten("a")))
    with pytest.raises(DigestMismatch, match="as it was written"):
        cold_copy(local, commit, Altering(tmp_path / "cold"), None)
    with pytest.raises(ConfigError, match="another store"):
        cold_copy(local, commit, local.store, None)


@pytest.mark.emulator
def test_contents_go_to_deep_archive_and_come_back_after_a_warm_up(local: Vault, moto: S3Server, tmp_path: Path) -> None:
    commit = local.commit(DATASET, files(ten("a"), ten("b")))
    target = open_store(f"s3://{moto.bucket(versioned=True)}/archive", s3_options(moto))
    control = control_plane(target)
    assert control is not None
    done = cold_copy(local, commit, target, control, tier="DEEP_ARCHIVE", lock=timedelta(days=30))
    assert (done.tier, done.tier_reason) == ("DEEP_ARCHIVE", "")
    assert not done.locked and "cannot lock" in done.lock_reason
    assert done.verified.ok
    # one version of each content: the one that was written before it went cold is gone
    contents = [version for version in control.versions("vault/objects/") if not version.marker]
    assert len(contents) == 2
    copy = opened_replica(local, target)
    with pytest.raises(StorageError, match="cold tier"):
        restore_folder(copy, copy.latest(DATASET), tmp_path / "early")
    plan = plan_folder(copy, copy.latest(DATASET), control=control)
    assert len(plan.warmth.cold) == 2
    warm_up(plan.warmth, control, 3)
    # this server warms at once, or on the second look
    wait_until_warm(lambda: survey(plan.files, control), lambda seconds: None, limit=timedelta(hours=12))
    assert restore_folder(copy, copy.latest(DATASET), tmp_path / "back") == 600_000


@pytest.mark.emulator
def test_everything_the_copy_needs_is_locked_and_read_back(local: Vault, rgw: S3Server) -> None:
    commit = local.commit(DATASET, files(ten("a")))
    target = open_store(f"s3://{rgw.bucket(locked=True)}/archive", s3_options(rgw))
    control = control_plane(target)
    assert control is not None
    done = cold_copy(local, commit, target, control, lock=timedelta(days=2))
    assert done.locked and done.locked_until is not None
    assert done.locked_until >= commit.committed + timedelta(days=2) - timedelta(seconds=1)
    for info in target.list("vault/snapshots/"):
        assert control.retention(info.key) is not None


@pytest.mark.emulator
def test_a_class_that_the_store_has_not_is_told_and_never_claimed(local: Vault, rgw: S3Server) -> None:
    commit = local.commit(DATASET, files(ten("a")))
    target = open_store(f"s3://{rgw.bucket(locked=True)}/archive", s3_options(rgw))
    done = cold_copy(local, commit, target, control_plane(target), tier="DEEP_ARCHIVE")
    assert done.tier != "DEEP_ARCHIVE" and "expected every content in DEEP_ARCHIVE" in done.tier_reason
    assert done.verified.ok
