"""An attacker who can write the vault's bucket, but not remove versions, changes nothing that is restored."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import MissingObject
from orchestrai.ledger.signing import Signer
from orchestrai.restore.folder import restore_folder
from orchestrai.storage.cloud.control import control_plane
from orchestrai.storage.memory import MemoryStore
from orchestrai.storage.url import open_store
from orchestrai.vault.heal.heal import Healing
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.lifecycle.cold_tier import cold_copy
from orchestrai.vault.replica.hidden_versions import hidden_under
from orchestrai.vault.replica.replicate import opened_replica, replicate
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.storage.conftest import s3_options
from orchestrai_tests.vault.contents import files

pytestmark = pytest.mark.emulator
BIG = bytes(range(256)) * 1200


@pytest.fixture(params=["moto", "rgw"])
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def made(server: Any, signer: Signer, *, key: FileKey | None = None, versioned: bool = True, **bucket: Any) -> Vault:
    numbers = itertools.count()
    store = open_store(f"s3://{server.bucket(versioned=versioned, **bucket)}/v", s3_options(server))
    return Vault(store, signer, new_id=lambda: f"s{next(numbers):04d}", workers=2, encryption=key)


def again(vault: Vault) -> Vault:
    """The vault as another process opens it."""
    return Vault(vault.store, vault.signer, encryption=vault.encryption)


def written_once(vault: Vault) -> list[str]:
    return [info.key for info in vault.store.list("vault/") if "/snapshots/" not in info.key]


@pytest.mark.parametrize("sealed", [False, True])
def test_what_is_overwritten_or_deleted_in_the_vault_is_restored_by_its_version(
    server: Any, signer: Signer, tmp_path: Path, sealed: bool
) -> None:
    vault = made(server, signer, key=FileKey(tmp_path / "key") if sealed else None)
    first = vault.commit("d", {"p": files(big=BIG, a=b"a", b=b"b")})
    second = vault.commit("d", {"p": files(big=BIG, a=b"a", b=b"b", c=b"c")})
    touched = [key for key in written_once(vault) if key.split("/")[1] in ("objects", "packs", "listings", "trees")]
    for number, key in enumerate(touched):
        if number % 2:
            vault.store.delete(key)
        else:
            vault.store.write(key, b"\0" * vault.store.head(key).size)
    for commit in (first, second):
        assert restore_folder(again(vault), commit, tmp_path / f"out{commit.seq}") == commit.size
    assert (tmp_path / "out2" / "p" / "big").read_bytes() == BIG
    third = again(vault).commit("d", {"p": files(big=BIG, a=b"a", b=b"b", c=b"c", e=b"e")})
    assert third.new_bytes == 1
    assert {finding.key for finding in verify(again(vault)).findings} < set(touched)
    report = verify(again(vault), level="read", control=control_plane(vault.store))
    assert {finding.key for finding in report.findings} == set(touched)
    assert any("deleted" in finding.problem for finding in report.findings)


def test_a_cold_copy_takes_the_bytes_that_were_committed(server: Any, signer: Signer, tmp_path: Path) -> None:
    vault = made(server, signer)
    vault.commit("d", {"p": files(big=BIG, a=b"a")})
    commit = vault.commit("d", {"p": files(big=BIG, a=b"a", b=b"b")})
    for key in written_once(vault):
        if key.split("/")[1] in ("objects", "packs", "listings", "trees"):
            vault.store.write(key, b"\0" * vault.store.head(key).size)
    target = MemoryStore()
    cold_copy(again(vault), commit, target, None)
    copy = opened_replica(vault, target)
    assert verify(copy, level="read").ok
    assert restore_folder(copy, copy.latest("d"), tmp_path / "out") == commit.size


def healing(vault: Vault) -> Healing:
    """Of a vault alone, by its own earlier versions."""
    return Healing(
        [vault.store], vault.keyring, lambda store, keyring: Vault(store, vault.signer, keyring, encryption=vault.encryption)
    )


@pytest.mark.parametrize("sealed", [False, True])
def test_what_was_hidden_is_brought_back_records_included_and_nothing_is_deleted(
    server: Any, signer: Signer, tmp_path: Path, sealed: bool
) -> None:
    vault = made(server, signer, key=FileKey(tmp_path / "key") if sealed else None)
    vault.commit("d", {"p": files(big=BIG, a=b"a")})
    commit = vault.commit("d", {"p": files(big=BIG, a=b"a", b=b"b")})
    control = control_plane(vault.store)
    assert control is not None
    keys = [info.key for info in vault.store.list("vault/")]
    assert healing(vault).plan().mends == ()
    for key in keys:
        vault.store.delete(key)
    hostile = [key for key in keys if "snapshots" in key]
    for key in hostile:
        vault.store.write(key, b"hostile")
    before = len(list(control.versions("vault/")))
    mending = healing(vault)
    plan = mending.plan()
    assert sorted(mend.key for mend in plan.mends) == sorted(keys)
    report = mending.apply(plan)
    assert (report.mended, report.failed) == (len(keys), ())
    assert len(list(control.versions("vault/"))) == before + len(keys)
    assert list(hidden_under(control, "vault/")) == [] == list(healing(vault).plan().mends)
    assert again(vault).latest("d").digest == commit.digest
    assert verify(again(vault), level="read", control=control).ok


def test_a_write_that_was_made_twice_is_nothing_to_mend(server: Any, signer: Signer) -> None:
    vault = made(server, signer)
    vault.commit("d", {"p": files(big=BIG)})
    for info in list(vault.store.list("vault/objects/")):
        vault.store.write(info.key, vault.store.read(info.key))
    assert healing(vault).plan().mends == ()
    assert verify(vault, level="read", control=control_plane(vault.store)).ok


def test_a_replica_reads_what_it_has_though_its_versions_are_others(server: Any, signer: Signer, tmp_path: Path) -> None:
    vault = made(server, signer)
    commit = vault.commit("d", {"p": files(big=BIG, a=b"a")})
    for target in (made(server, signer).store, MemoryStore()):
        assert replicate(vault, target).verified.ok
        copy = Vault(target, signer)
        assert verify(copy, level="read").ok
        assert restore_folder(copy, commit, tmp_path / target.url.rpartition("/")[2].replace(":", "")) == commit.size


def test_a_version_that_is_gone_and_a_newest_that_is_too_is_missing(server: Any, signer: Signer, tmp_path: Path) -> None:
    vault = made(server, signer)
    commit = vault.commit("d", {"p": files(big=BIG)})
    file = vault.files(commit, "p")[0]
    assert file.version
    vault.store.delete(file.key, version=file.version)
    with pytest.raises(MissingObject):
        restore_folder(vault, commit, tmp_path / "out")
    assert not verify(vault).ok


def test_a_store_without_versions_writes_the_lists_of_before(server: Any, signer: Signer) -> None:
    plain = made(server, signer, versioned=False)
    commit = plain.commit("d", {"p": files(big=BIG)})
    assert commit.tree_version == ""
    assert all(file.version == "" for file in plain.files(commit, "p"))
