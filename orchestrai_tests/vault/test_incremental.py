"""Locks and replicas cost what changed: requests are counted, not timed."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from orchestrai.storage.cloud.control import Capabilities, Retention
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.lifecycle.lock import lock_snapshot
from orchestrai.vault.replica.replicate import opened_replica, replicate
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.storage.faults import FaultStore
from orchestrai_tests.vault.conftest import Clock
from orchestrai_tests.vault.contents import files

MONTH = timedelta(days=30)


class CountedLocks:
    """A control plane that remembers retentions and what it was asked."""

    def __init__(self) -> None:
        self.until: dict[str, datetime] = {}
        self.asked: list[str] = []

    def capabilities(self) -> Capabilities:
        return Capabilities(lock="compliance")

    def retention(self, key: str, version: str | None = None) -> Retention | None:
        self.asked.append(key)
        return Retention("compliance", self.until[key]) if key in self.until else None

    def retain(self, key: str, until: datetime, mode: Any, version: str | None = None) -> Retention:
        self.until[key] = max(until, self.until.get(key, until))
        return Retention("compliance", self.until[key])


def partitions(count: int, mark: bytes = b"") -> dict[str, Any]:
    return {f"p{number:03d}": files(a=b"%d" % number * 100 + mark) for number in range(count)}


def needs(vault: Vault, commit: Any) -> list[str]:
    return [file.key for name in vault.partitions(commit) for file in vault.files(commit, name)]


def test_a_commit_reads_back_the_locks_of_what_is_new_and_no_more(vault: Vault, clock: Clock) -> None:
    control: Any = CountedLocks()
    first = vault.commit("d", partitions(50))
    assert lock_snapshot(vault, first, control, MONTH).objects >= 100
    control.asked.clear()
    clock.pass_by(days=1)
    second = vault.commit("d", {"p007": files(a=b"changed")})
    report = lock_snapshot(vault, second, control, MONTH)
    # commit, tree, list, object
    assert report.locked and report.objects == 4 == len(control.asked)
    assert report.relied_on == first.snapshot_id
    assert all(control.until[key] >= second.committed + MONTH for key in needs(vault, second))
    control.asked.clear()
    assert lock_snapshot(vault, second, control, MONTH).locked and control.asked == []
    assert lock_snapshot(vault, second, control, MONTH, full=True).objects > 100


def test_every_object_stays_locked_long_enough_through_months_of_daily_snapshots(vault: Vault, clock: Clock) -> None:
    control: Any = CountedLocks()
    sweeps = 0
    vault.commit("d", partitions(20))
    for day in range(40):
        clock.pass_by(days=1)
        commit = vault.commit("d", {"p003": files(a=b"%d" % day)})
        control.asked.clear()
        assert lock_snapshot(vault, commit, control, MONTH).locked
        sweeps += len(control.asked) > 10
        assert all(control.until[key] >= commit.committed + MONTH for key in needs(vault, commit))
    # all is extended once per slack of seven days, not every day
    assert sweeps == 5


@pytest.mark.parametrize("what", ["deleted", "forged", "of another snapshot", "stronger mode asked"])
def test_a_lock_record_that_proves_nothing_costs_requests_and_no_lock(vault: Vault, clock: Clock, what: str) -> None:
    control: Any = CountedLocks()
    first = vault.commit("d", partitions(5))
    lock_snapshot(vault, first, control, MONTH)
    key = next(iter(vault.store.list("work/locks/"))).key
    second = vault.commit("d", {"p001": files(a=b"new")})
    control.until.clear()
    if what == "deleted":
        vault.store.delete(key)
    elif what == "forged":
        vault.store.write(key, vault.store.read(key).replace(b'payload":"', b'payload":"AAAA'))
    elif what == "of another snapshot":
        vault.forget(first.snapshot_id)
    else:
        clock.pass_by(days=60)
        second = vault.commit("d", {"p001": files(a=b"newer")})
    assert lock_snapshot(vault, second, control, MONTH).locked
    assert set(control.until) >= set(needs(vault, second))


def test_a_record_of_the_primary_proves_nothing_for_a_copy_elsewhere(vault: Vault) -> None:
    control: Any = CountedLocks()
    commit = vault.commit("d", partitions(5))
    lock_snapshot(vault, commit, control, MONTH)
    copy = MemoryStore(vault.clock, name="copy")
    for info in vault.store.list():
        copy.write(info.key, vault.store.read(info.key))
    elsewhere: Any = CountedLocks()
    assert lock_snapshot(opened_replica(vault, copy), commit, elsewhere, MONTH).locked
    assert set(elsewhere.until) >= set(needs(vault, commit))


def test_a_replica_is_verified_where_it_is_new_and_with_full_everywhere(vault: Vault) -> None:
    vault.commit("d", partitions(40))
    target = FaultStore(MemoryStore(vault.clock, name="copy"))
    assert replicate(vault, target).verified.ok

    def lists_read() -> int:
        return sum(entry.startswith("read vault/listings/") for entry in target.log)

    vault.commit("d", {"p007": files(a=b"changed")})
    target.log.clear()
    report = replicate(vault, target)
    assert report.verified.ok and report.copied == 4
    assert lists_read() == 1
    target.log.clear()
    assert replicate(vault, target).copied == 0 and lists_read() == 0
    target.log.clear()
    assert replicate(vault, target, full=True).verified.ok and lists_read() == 41


def test_what_a_replica_lost_behind_its_progress_is_found_by_a_whole_run_and_by_verify(vault: Vault) -> None:
    commit = vault.commit("d", partitions(3))
    target = MemoryStore(vault.clock, name="copy")
    replicate(vault, target)
    lost = needs(vault, commit)[0]
    target.delete(lost)
    assert replicate(vault, target).copied == 0
    assert [finding.key for finding in verify(opened_replica(vault, target)).findings] == [lost]
    assert replicate(vault, target, full=True).copied == 1
    assert verify(opened_replica(vault, target), level="read").ok


def test_a_replica_that_did_not_verify_is_looked_at_whole_the_next_time(vault: Vault) -> None:
    vault.commit("d", partitions(3))
    target = MemoryStore(vault.clock, name="copy")
    replicate(vault, target)
    vault.commit("d", {"p001": files(a=b"changed")})
    new = vault.partitions(vault.latest("d"))["p001"].key
    vault.store.write(new, b"x" * vault.store.head(new).size)
    assert not replicate(vault, target).verified.ok
    assert not replicate(vault, target).verified.ok


def test_a_forged_record_of_what_was_verified_is_not_believed(vault: Vault) -> None:
    vault.commit("d", partitions(3))
    target = FaultStore(MemoryStore(vault.clock, name="copy"))
    replicate(vault, target)
    record = target.base.read("work/verified.json")
    target.base.write("work/verified.json", record.replace(b'payload":"', b'payload":"AAAA'))
    target.log.clear()
    assert replicate(vault, target).verified.ok
    assert sum(entry.startswith("read vault/listings/") for entry in target.log) == 3
