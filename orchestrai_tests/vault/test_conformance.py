"""One life of a vault, the same on every kind of store."""

import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrai.core.identity import utc_now
from orchestrai.errors import ConfigError, ObjectNotFound
from orchestrai.ledger.signing import Signer
from orchestrai.restore.folder import restore_folder
from orchestrai.restore.folder_plan import plan_folder
from orchestrai.restore.warm_up import require_warm
from orchestrai.storage.base import Store
from orchestrai.storage.cloud.control import control_plane
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.storage.url import open_store
from orchestrai.vault.heal.heal import Healing
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.lifecycle.prune import apply_prune, plan_prune
from orchestrai.vault.lifecycle.retention import apply_retention, plan_retention
from orchestrai.vault.replica.replicate import opened_replica, replicate
from orchestrai.vault.spec import KeepSpec
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.servers.s3 import S3Server
from orchestrai_tests.storage.conftest import OPENERS, kind, s3_options, store
from orchestrai_tests.vault.contents import files, read_all

__all__ = ["kind", "store"]
pytestmark = pytest.mark.emulator
DAY = timedelta(days=1)
ONE = {"p": files(big=b"b" * 300_000, a=b"a", z=b"z" * 1000), "q": files(big=b"c" * 300_000)}
TWO = {"p": files(big=b"b" * 300_000, a=b"A", z=b"z" * 1000)}
WHOLE = {"p": {"big": b"b" * 300_000, "a": b"A", "z": b"z" * 1000}, "q": {"big": b"c" * 300_000}}


def opened(store: Store, signer: Signer, key: FileKey | None, ahead: timedelta = timedelta()) -> Vault:
    """The vault by a clock that is some days ahead: nobody waits in a test."""
    numbers = itertools.count(int(ahead.total_seconds()))
    return Vault(
        store,
        signer,
        clock=lambda: utc_now() + ahead,
        new_id=lambda: f"s{next(numbers):08d}",
        workers=2,
        encryption=key,
    )


@pytest.fixture(params=["plain", "sealed"])
def key(request: pytest.FixtureRequest, tmp_path: Path) -> FileKey | None:
    return FileKey(tmp_path / "vault.key") if request.param == "sealed" else None


def test_a_vault_lives_the_same_life_on_every_store(
    kind: str, store: Store, key: FileKey | None, signer: Signer, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    # the shim of Google's service speaks the XML API, and of the other one listings alone
    vault, control = opened(store, signer, key), control_plane(store) if kind != "gcs-shim" else None
    first = vault.commit("d", ONE, tags=["golden"])
    assert first.new_bytes == 601_001 and vault.commit("d", ONE).snapshot_id == first.snapshot_id
    second = vault.commit("d", TWO)
    assert (second.seq, second.new_bytes, second.reused_bytes) == (2, 1, 301_000)
    assert read_all(opened(store, signer, key), second) == WHOLE
    _restores(vault, first, second, tmp_path, control)
    _verifies(vault, control)
    _replicates(vault, second, kind, request, tmp_path)
    _prunes(store, signer, key, control)


def _restores(vault: Vault, first: Any, second: Any, tmp_path: Path, control: Any) -> None:
    plan = plan_folder(vault, second, control=control)
    require_warm(plan.warmth)
    assert plan.bytes == second.size
    assert restore_folder(vault, vault.latest("d", tag="golden"), tmp_path / "tag") == first.size
    # some stores tell times to a second
    then = vault.latest("d", as_of=first.committed) if first.committed < second.committed else vault.get(first.snapshot_id)
    assert restore_folder(vault, then, tmp_path / "as_of", partitions=["p"]) == 301_001
    assert (tmp_path / "as_of" / "p" / "a").read_bytes() == b"a"


def _verifies(vault: Vault, control: Any) -> None:
    assert verify(vault).ok
    report = verify(vault, level="read")
    assert report.ok and report.files_read == 5
    if control is None:
        with pytest.raises(ConfigError):
            verify(vault, level="checksum")
        return
    report = verify(vault, level="checksum", control=control)
    assert report.ok and report.unchecked == report.objects == 4


def _replicates(vault: Vault, second: Any, kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    target = LocalStore(tmp_path / "replica") if kind == "local" else OPENERS[kind](request)
    assert replicate(vault, target).verified.ok
    again = replicate(vault, target)
    assert again.verified.ok and again.copied == 0
    copy = opened_replica(vault, target)
    assert read_all(copy, copy.get(second.snapshot_id)) == WHOLE
    # the shim of Google's service tells of no versions
    if kind != "gcs-shim":
        _heals(vault, target)


def _heals(vault: Vault, target: Store) -> None:
    """Half of all keys are damaged in each copy."""
    if isinstance(target, MemoryStore):
        target.name = "replica"

    def healing() -> Healing:
        return Healing([vault.store, target], vault.keyring, lambda store, _: opened_replica(vault, store))

    keys = [info.key for info in vault.store.list("vault/")]
    right = {key: vault.store.read(key) for key in keys}
    for number, key in enumerate(keys):
        store = (vault.store, target)[number % 2]
        store.write(key, bytes([right[key][0] ^ 1]) + right[key][1:])
    mending = healing()
    plan = mending.plan()
    assert sorted(mend.key for mend in plan.mends) == sorted(keys) and plan.is_sound
    assert mending.apply(plan).failed == ()
    assert healing().plan().mends == ()
    for store in (vault.store, target):
        assert {key: store.read(key) for key in keys} == right


def _prunes(store: Store, signer: Signer, key: FileKey | None, control: Any) -> None:
    kept = opened(store, signer, key)
    plan = plan_retention(kept.snapshots("d"), KeepSpec(last=1), kept.store_time())
    assert len(apply_retention(kept, plan)) == 1 and len(kept.snapshots("d")) == 1
    present = {info.key for info in store.list("vault/objects/")} | {info.key for info in store.list("vault/packs/")}
    marking = opened(store, signer, key, 3 * DAY)
    assert apply_prune(marking, plan_prune(marking), control=control).deleted == ()
    deleting = opened(store, signer, key, 6 * DAY)
    gone = apply_prune(deleting, plan_prune(deleting), control=control).deleted
    # the old tree and one old list; its pack holds a file that is still needed
    assert len(gone) == 2 and not present & set(gone)
    for key_ in gone:
        with pytest.raises(ObjectNotFound):
            store.head(key_)
    last = opened(store, signer, key)
    assert verify(last, level="read").ok and read_all(last, last.latest("d")) == WHOLE


def test_the_service_tells_the_hash_of_packs_and_sealed_objects_without_a_download(
    moto: S3Server, key: FileKey | None, signer: Signer
) -> None:
    # moto keeps a checksum only where this header names it; S3 keeps it without
    headers = (("x-amz-sdk-checksum-algorithm", "SHA256"),)
    store = open_store(f"s3://{moto.bucket()}/v", s3_options(moto, headers=headers))
    vault, control = opened(store, signer, key), control_plane(store)
    vault.commit("d", ONE)
    vault.commit("d", TWO)
    report = verify(vault, level="checksum", control=control)
    assert report.ok and (report.objects, report.unchecked, report.bytes_read) == (4, 0, 0)
    for info in [*store.list("vault/objects/"), *store.list("vault/packs/")]:
        before = store.read(info.key)
        store.write(info.key, bytes([before[0] ^ 1]) + before[1:])
        assert [finding.key for finding in verify(vault, level="checksum", control=control).findings] == [info.key]
        store.write(info.key, before)
