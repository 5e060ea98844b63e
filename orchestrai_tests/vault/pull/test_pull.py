"""Pulling a vault into a second account: what it copies, what it costs, and that it may die anywhere."""

import itertools
import tarfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from orchestrai.errors import ConfigError, IntegrityError, OrchestraiError, TransientStorageError
from orchestrai.ledger.trust.key_rules import governed
from orchestrai.storage.base import Store
from orchestrai.storage.cloud.control import Capabilities, LockMode, Retention, stronger
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.storage.url import open_store
from orchestrai.vault.format.layout import BYTES, PULLED
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.lifecycle.reachable import reach
from orchestrai.vault.pull.pull import Pull, PullTerms
from orchestrai.vault.replica.read_only_store import ReadOnlyStore
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.servers.s3 import S3Server
from orchestrai_tests.storage.conftest import s3_options
from orchestrai_tests.storage.faults import Died, FaultStore
from orchestrai_tests.unpacked import unpack
from orchestrai_tests.vault.contents import files
from orchestrai_tests.vault.pull.two_accounts import PULLER, WRITER, TwoAccounts, clone, contents, filled
from orchestrai_tests.vault.test_golden import ARCHIVE

ALL = ["d@1", "d@2", "d@3", "e/f@1"]


@pytest.fixture(params=["plain", "sealed"])
def accounts(request: pytest.FixtureRequest, tmp_path: Path) -> TwoAccounts:
    two = TwoAccounts(key=FileKey(tmp_path / "vault.key") if request.param == "sealed" else None)
    filled(two)
    return two


@pytest.mark.parametrize("kind", ["memory", "local", pytest.param("moto", marks=pytest.mark.emulator)])
def test_a_pulled_copy_is_the_vault_by_the_root_alone(
    accounts: TwoAccounts, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    accounts.target = _store(kind, tmp_path, request)
    before = contents(accounts.primary)
    report = accounts.pull()
    assert report.ok and report.snapshots == 4, report.findings
    assert contents(accounts.target) == contents(accounts.primary) == before
    assert accounts.shown() == ALL
    assert verify(accounts.pinned(accounts.target), level="read").findings == ()


def _store(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    if kind == "moto":
        server: S3Server = request.getfixturevalue("moto")
        return open_store(f"s3://{server.bucket()}/copy", s3_options(server))
    return LocalStore(tmp_path / "copy") if kind == "local" else MemoryStore(name="other")


def test_a_second_run_reads_what_is_new_alone(accounts: TwoAccounts) -> None:
    accounts.pull()
    accounts.target = counted = FaultStore(accounts.target)
    assert accounts.pull().snapshots == 0
    assert not any(line.startswith(("write", "stream")) or "/objects/" in line or "/packs/" in line for line in counted.log)
    accounts.clock.pass_by(days=1)
    accounts.vault.commit("d", {"q": files(x=b"new" * 40)})
    accounts.target = counted = FaultStore(counted.base)
    report = accounts.pull()
    assert (report.snapshots, report.ok) == (1, True)
    old = [line for line in counted.log if "vault/objects/s0001/" in line or "vault/packs/s0001/" in line]
    assert old == [], "what was proven before is not read back again"
    assert accounts.shown() == ["d@1", "d@2", "d@3", "d@4", "e/f@1"]


def test_full_reads_all_again_and_finds_a_bit_that_rotted_on_either_side(accounts: TwoAccounts) -> None:
    accounts.pull()
    name = next(info.key for info in accounts.target.list("vault/objects/"))
    right = accounts.target.read(name)
    accounts.target.write(name, right[:-1] + bytes([right[-1] ^ 1]))
    assert accounts.kinds() == []
    assert accounts.kinds(full=True) == ["copy"]
    assert accounts.target.read(name) == right and accounts.kinds(full=True) == []


@pytest.mark.parametrize("mode", ["before", "after", "err_before", "err_after"])
def test_a_run_that_dies_anywhere_shows_only_what_is_proven_and_is_done_again(mode: str, tmp_path: Path) -> None:
    accounts = TwoAccounts()
    filled(accounts)
    accounts.vault.forget(accounts.vault.catalog.visible("d")[1].snapshot_id, reason="x")
    empty, whole = accounts.target, FaultStore(clone(accounts.target, accounts.clock))
    accounts.pull(target=whole)
    steps = [n for n, line in enumerate(whole.log, 1) if line.startswith("write")]
    assert len(steps) > 15
    for n in steps:
        accounts.target = clone(empty, accounts.clock)
        with pytest.raises((Died, TransientStorageError)):
            accounts.pull(target=FaultStore(accounts.target, n, mode))  # type: ignore[arg-type]
        if contents(accounts.target).keys() & {"vault/identity.json"}:
            assert set(accounts.shown()) <= {"d@1", "d@3", "e/f@1"}, "each that is shown is restored"
        report = accounts.pull()
        assert report.ok, report.findings
        assert contents(accounts.target) == contents(whole.base)


@dataclass
class Locks:
    """The control plane of a store that can lock."""

    retentions: dict[str, Retention] = field(default_factory=dict)

    def capabilities(self) -> Capabilities:
        return Capabilities(lock="compliance", versions=True)

    def retention(self, key: str, version: str | None = None) -> Retention | None:
        return self.retentions.get(key)

    def retain(self, key: str, until: datetime, mode: LockMode, version: str | None = None) -> Retention:
        self.retentions[key] = stronger(self.retentions.get(key), until, mode)
        return self.retentions[key]

    def is_locked(self, key: str, until: datetime) -> bool:
        retention = self.retentions.get(key)
        return retention is not None and retention.mode == "compliance" and retention.until >= until


class LockingStore(MemoryStore):
    """A store in memory whose control plane can lock."""

    locks: Locks

    def control_plane(self) -> Locks:
        return self.locks


def test_what_is_pulled_is_locked_and_what_it_shares_is_locked_as_long(accounts: TwoAccounts) -> None:
    target = LockingStore(accounts.clock, name="copy")
    target.locks, accounts.target = Locks(), target
    report = accounts.pull(lock=30)
    until = accounts.clock.now + timedelta(days=30)
    assert report.ok and report.locked_until == until and report.locked == len(contents(target))
    assert all(target.locks.is_locked(name, until) for name in contents(target))
    accounts.clock.pass_by(days=20)
    accounts.vault.commit("d", {"q": files(x=b"new" * 40)})
    assert accounts.pull(lock=30).ok
    later = accounts.clock.now + timedelta(days=30)
    newest = accounts.pinned(target).catalog.visible("d")[-1]
    assert all(target.locks.is_locked(name, later) for name in reach(accounts.pinned(target), newest))


def test_a_run_that_dies_between_bytes_and_locks_is_locked_by_the_next(accounts: TwoAccounts) -> None:
    target = LockingStore(accounts.clock, name="copy")
    target.locks, accounts.target = Locks(), target
    accounts.pull()
    target.delete(PULLED)
    until = accounts.clock.now + timedelta(days=30)
    assert accounts.pull(lock=30).ok
    assert all(target.locks.is_locked(name, until) for name in contents(target))


def test_what_does_not_fit_is_refused_before_anything_is_written(accounts: TwoAccounts) -> None:
    with pytest.raises(ConfigError, match="store of its own"):
        accounts.pull(target=accounts.primary)
    with pytest.raises(ConfigError, match="lock objects"):
        accounts.pull(lock=3)
    other = TwoAccounts(key=accounts.key)
    other.numbers, other.primary = itertools.count(1000), MemoryStore(name="other")
    filled(other)
    before = contents(other.primary)
    with pytest.raises(ConfigError, match="found another"):
        accounts.pull(target=other.primary)
    assert contents(other.primary) == before and contents(accounts.target) == {}
    accounts.primary = MemoryStore(name="nothing")
    with pytest.raises(ConfigError, match="expected a vault in"):
        accounts.pull()


def test_a_vault_of_another_root_is_refused(accounts: TwoAccounts) -> None:
    with pytest.raises(IntegrityError, match="another's"):
        accounts.pinned(accounts.primary, root="0" * 64).identity()


def test_what_was_proven_is_remembered_under_the_key_of_whoever_pulls(accounts: TwoAccounts) -> None:
    accounts.pull()
    sealed = accounts.target.read(PULLED)
    accounts.target.write(PULLED, accounts.vault.signer.sign("application/vnd.orchestrai.verified+json", b"{}"))
    counted = FaultStore(accounts.target)
    assert accounts.pull(target=counted).ok, "what the primary's key signs there proves nothing, and only costs time"
    assert any("/packs/" in line for line in counted.log)
    assert len(accounts.target.read(PULLED)) == len(sealed)
    accounts.target.delete("vault/snapshots/d/000000000003.json")
    report = accounts.pull()
    assert [one.kind for one in report.findings] == ["copy"] and accounts.shown() == ALL


def test_a_store_that_fails_is_told_of_as_such(accounts: TwoAccounts) -> None:
    with pytest.raises(OrchestraiError) as told:
        accounts.pull(target=FaultStore(accounts.target, 3, "err_before"))
    assert told.value.exit_code == 3


@pytest.mark.emulator
def test_what_was_written_over_in_a_bucket_with_versions_is_pulled_as_it_was_written(moto: S3Server) -> None:
    accounts = TwoAccounts()
    accounts.primary = open_store(f"s3://{moto.bucket(versioned=True)}/v", s3_options(moto))
    filled(accounts)
    for name in [info.key for prefix in BYTES for info in accounts.primary.list(prefix)]:
        accounts.primary.write(name, b"junk")
    accounts.target = MemoryStore(name="copy")
    assert accounts.pull().ok and accounts.shown() == ALL


@pytest.mark.parametrize("name", ["plain", "sealed"])
def test_a_vault_from_before_the_key_log_is_pulled_by_its_writers_key(tmp_path: Path, name: str) -> None:
    with tarfile.open(ARCHIVE) as archive:
        unpack(archive, tmp_path)
    (tmp_path / "vault.key").chmod(0o600)
    store, key = ReadOnlyStore(LocalStore(tmp_path / name)), FileKey(tmp_path / "vault.key") if name == "sealed" else None
    old = Vault(store, PULLER, governed(store, WRITER.keyring()), workers=0, encryption=key)
    target = MemoryStore()
    report = Pull(old, target, PullTerms()).run()
    copy = Vault(target, PULLER, governed(target, WRITER.keyring()), workers=0, encryption=key)
    assert report.ok and verify(copy, level="read").findings == ()
    assert [one.digest for one in copy.catalog.visible()] == [one.digest for one in old.catalog.visible()] != []
    assert Pull(old, target, PullTerms()).run().records == 0


@pytest.mark.thorough("deaths at every write say the same of what a copy shows")
@pytest.mark.parametrize("side", ["primary", "copy"])
def test_a_run_that_fails_at_any_operation_of_either_store_is_done_again(accounts: TwoAccounts, side: str) -> None:
    whole, empty = (
        FaultStore(clone(accounts.primary if side == "primary" else accounts.target, accounts.clock)),
        accounts.target,
    )
    if side == "primary":
        right, accounts.primary = accounts.primary, whole
        accounts.pull(target=clone(empty, accounts.clock))
    else:
        right = accounts.primary
        accounts.pull(target=whole)
    for n in range(1, whole.count + 1):
        accounts.target, accounts.primary = clone(empty, accounts.clock), right
        broken = FaultStore(right if side == "primary" else accounts.target, n, "err_before")
        accounts.primary = broken if side == "primary" else right
        with pytest.raises(TransientStorageError):
            accounts.pull(target=accounts.target if side == "primary" else broken)
        accounts.primary = right
        if "vault/identity.json" in contents(accounts.target):
            assert set(accounts.shown()) <= set(ALL)
        assert accounts.pull().ok and accounts.shown() == ALL
