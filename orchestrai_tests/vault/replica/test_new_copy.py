"""An ordinary replication looks at what is new, leaves what a whole one leaves, and is never led astray by its own progress."""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrai.core.code_identity import Producer
from orchestrai.errors import RetentionLocked
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import Signer
from orchestrai.storage.base import Store
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.format.layout import BYTES, VERIFIED, commit_key, tombstone_key
from orchestrai.vault.lifecycle.legal_hold import place_hold, release_hold
from orchestrai.vault.lifecycle.prune import Pruning
from orchestrai.vault.replica.replicate import opened_replica, replicate
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.storage.faults import MODES, Died, FaultStore
from orchestrai_tests.vault.conftest import Clock
from orchestrai_tests.vault.contents import files, read_all
from orchestrai_tests.vault.heal.two_copies import contents
from orchestrai_tests.vault.test_key_log import DATASET, SECOND, THIRD, House, stolen
from orchestrai_tests.vault.test_key_log import files as one_file


@dataclass
class Pair:
    """A vault, what the ledger keeps beside it, and a replica that was copied to once."""

    vault: Vault
    clock: Clock
    target: Store = field(default_factory=lambda: MemoryStore(name="copy"))
    days: int = 0

    def day(self, dataset: str = "d") -> None:
        self.days += 1
        self.clock.pass_by(days=1)
        self.vault.commit(dataset, {f"day-{self.days:04d}": files(a=b"%d" % self.days * 90, b=b"b%d" % self.days)})

    def ordinary(self) -> int:
        """Copy what is new; returns how many objects that were."""
        assert progressed(self.target)
        report = replicate(self.vault, self.target)
        assert report.verified.findings == ()
        return report.copied

    def require_restorable(self) -> None:
        """Every snapshot that counts in the vault counts in the replica, with the same bytes."""
        replica = opened_replica(self.vault, self.target)
        assert [one.digest for one in replica.snapshots()] == [one.digest for one in self.vault.snapshots()]
        assert verify(replica, level="read").findings == ()
        for commit in replica.snapshots():
            assert read_all(replica, commit) == read_all(self.vault, commit)


def progressed(target: Store) -> bool:
    return any(info.key == VERIFIED for info in target.list("work/"))


@pytest.fixture
def pair(vault: Vault, clock: Clock) -> Pair:
    made = Pair(vault, clock)
    made.day()
    made.day("e/f")
    assert replicate(vault, made.target).verified.ok
    return made


def pruned(vault: Vault, clock: Clock) -> None:
    """As a machine that runs prunes, twice: the first marks, the second deletes."""
    for _ in range(2):
        pruning = Pruning(Vault(vault.store, vault.signer, clock=clock, new_id=vault.new_id, workers=0))
        pruning.apply(pruning.plan())
        clock.pass_by(days=3)


def test_a_run_asks_as_little_after_many_days_as_after_few(pair: Pair) -> None:
    def asked() -> tuple[int, int]:
        primary, target = FaultStore(pair.vault.store), FaultStore(pair.target)
        vault = Vault(primary, pair.vault.signer, clock=pair.clock, new_id=pair.vault.new_id, workers=0)
        assert replicate(vault, target).verified.ok
        log = primary.log + target.log
        assert not any(entry.startswith(tuple(f"list {prefix}" for prefix in BYTES)) or entry == "list " for entry in log)
        return len(primary.log), len(target.log)

    pair.day()
    few = asked()
    for _ in range(60):
        pair.day()
    pair.ordinary()
    pair.day()
    many = asked()
    # a tree of more pages has some more to read
    assert many[0] <= few[0] + 8 and many[1] <= few[1] + 8


@pytest.mark.parametrize("seed", range(4))
def test_an_ordinary_replica_has_what_a_whole_one_has(vault: Vault, clock: Clock, signer: Signer, seed: int) -> None:
    rng, pair = random.Random(seed), Pair(vault, clock)
    ledger = Ledger(MemoryStore(clock, name="lake"), signer, vault=vault.store, clock=clock)
    pair.day()
    assert replicate(vault, pair.target).verified.ok

    def publish() -> None:
        session = ledger.session("d/events", Producer("events", "orchestrai.vault.run"))
        key = f"day-{rng.randrange(9)}"
        session.add_bytes(key, "part", b"%d" % rng.randrange(10**6), rows=1)
        session.commit({key: ()})

    def forget() -> None:
        with suppress(RetentionLocked):
            vault.forget(rng.choice(vault.snapshots()[:-1] or vault.snapshots()).snapshot_id, reason="old")

    def hold() -> None:
        place_hold(vault, "d", rng.choice(vault.snapshots("d")), None, reason="case") if vault.snapshots("d") else None

    def release() -> None:
        for place in vault.holds():
            commit = next((one for one in vault.catalog.commits(place[0]) if one.seq == place[1]), None)
            release_hold(vault, place[0], commit, None, reason="over")

    acts: list[Callable[[], object]] = [
        pair.day, pair.day, lambda: pair.day("e/f"), lambda: pair.day("e/f/00x"), publish, publish, forget, hold, release,
        lambda: pruned(vault, clock),
    ]  # fmt: skip
    for _ in range(10):
        for act in rng.choices(acts, k=rng.randrange(1, 5)):
            act()
        pair.ordinary()
    pair.require_restorable()
    whole = MemoryStore(name="whole")
    assert replicate(vault, whole).verified.ok
    mine, theirs = contents(pair.target), contents(whole)
    needed = {key for key in theirs if not key.startswith(BYTES)}
    assert {key: mine.get(key) for key in needed} == {key: theirs[key] for key in needed}


def test_what_the_ledger_publishes_is_copied_with_all_that_it_names(pair: Pair, signer: Signer, clock: Clock) -> None:
    ledger = Ledger(MemoryStore(clock, name="lake"), signer, vault=pair.vault.store, clock=clock)
    for number in range(3):
        session = ledger.session("d/events", Producer("events", "orchestrai.vault.run"))
        session.add_bytes(f"day-{number}", "part", b"%d" % number, rows=1)
        session.commit({f"day-{number}": ()})
        # an entry, its page, the partition's manifest, a receipt
        assert pair.ordinary() == 4
    assert pair.ordinary() == 0
    lost = next(iter(pair.vault.store.list("manifests/"))).key
    session = ledger.session("d/events", Producer("events", "orchestrai.vault.run"))
    session.add_bytes("day-9", "part", b"9", rows=1)
    session.commit({"day-9": ()})
    newest = max(info.key for info in pair.vault.store.list("heads/"))
    for info in list(pair.vault.store.list("manifests/")):
        if info.key not in contents(pair.target):
            pair.vault.store.delete(info.key)
    found = replicate(pair.vault, pair.target).verified.findings
    assert lost and [finding.key for finding in found] == [newest]


def test_a_record_that_does_not_count_keeps_its_number_in_the_replica(clock: Clock) -> None:
    house = House(clock)
    house.add(SECOND, "write", "prune")
    target = MemoryStore(clock, name="copy")
    assert replicate(house.at(SECOND), target).verified.ok
    from orchestrai_tests.vault.test_key_log import FIRST

    house.ceremony().end(FIRST.key_id, "stolen", successor=THIRD.private_key.public_key())
    stolen(house).commit(DATASET, one_file("evil"))
    house.at(SECOND).commit(DATASET, one_file("next"))
    # it is told, as in the vault, and its place is taken as there
    report = replicate(house.at(SECOND), target)
    assert [finding.key for finding in report.verified.findings] == [commit_key(DATASET, 2)]
    assert target.read(commit_key(DATASET, 2)) == house.store.read(commit_key(DATASET, 2))
    house.at(SECOND).forget_record(DATASET, 2, reason="not ours")
    assert verify(house.at(SECOND)).ok and replicate(house.at(SECOND), target).verified.ok
    assert [one.seq for one in opened_replica(house.at(SECOND), target).snapshots(DATASET)] == [1, 3]


def test_the_tombstone_of_a_number_that_is_lost_is_copied(pair: Pair) -> None:
    pair.day()
    pair.day()
    (_, second, _) = pair.vault.snapshots("d")
    pair.vault.store.delete(commit_key("d", second.seq))
    pair.vault.forget_record("d", second.seq, reason="lost")
    assert pair.ordinary() > 0
    assert tombstone_key("d", second.seq) in contents(pair.target)
    again = MemoryStore(name="again")
    assert replicate(pair.vault, again).verified.ok


def test_a_tombstone_of_long_ago_is_found_beside_many(vault: Vault, clock: Clock, tmp_path: Path) -> None:
    stores = LocalStore(tmp_path / "vault"), LocalStore(tmp_path / "copy")
    numbers = iter(range(10**6))
    kept = Vault(stores[0], vault.signer, clock=clock, new_id=lambda: f"n{next(numbers):05d}", workers=0)
    pair = Pair(kept, clock, stores[1])
    for _ in range(12):
        pair.day()
    first = kept.snapshots("d")[0]
    for commit in kept.snapshots("d")[1:-1]:
        kept.forget(commit.snapshot_id, reason="old")
    assert replicate(kept, stores[1]).verified.ok
    kept.forget(first.snapshot_id, reason="old")
    assert pair.ordinary() == 1
    pair.require_restorable()


def test_a_snapshot_whose_base_was_pruned_in_the_replica_is_copied_whole(pair: Pair) -> None:
    pair.day()
    pair.ordinary()
    base = pair.vault.snapshots("d")[-1]
    pair.day()
    for commit in pair.vault.snapshots("d")[:-1]:
        pair.vault.forget(commit.snapshot_id, reason="old")
    # the tombstones came, the snapshot behind did not yet, and the replica is pruned by itself
    for commit in (base, pair.vault.catalog.records("d")[1]):
        pair.target.write(tombstone_key("d", commit.seq), pair.vault.store.read(tombstone_key("d", commit.seq)))
    pruned(opened_replica(pair.vault, pair.target), pair.clock)
    assert not any(info.key.startswith(f"vault/objects/{base.session}") for info in pair.target.list())
    pair.ordinary()
    pair.require_restorable()


def test_a_vault_that_was_rolled_back_is_told(pair: Pair) -> None:
    pair.day()
    pair.ordinary()
    seq = pair.vault.snapshots("d")[-1].seq
    pair.vault.store.delete(commit_key("d", seq))
    found = replicate(pair.vault, pair.target).verified.findings
    assert [finding.key for finding in found] == [commit_key("d", seq)] and "rolled back" in found[0].problem


def test_a_replica_that_was_emptied_is_filled_again(pair: Pair) -> None:
    pair.day()
    pair.ordinary()
    for key in contents(pair.target):
        pair.target.delete(key)
    pair.ordinary()
    pair.require_restorable()


def test_a_snapshot_that_cannot_be_read_waits_and_others_are_copied(pair: Pair) -> None:
    pair.day()
    newest = pair.vault.snapshots("d")[-1]
    pair.day("e/f")
    pair.vault.store.delete(newest.tree)
    report = replicate(pair.vault, pair.target)
    assert any(finding.key == newest.tree for finding in report.verified.findings)
    assert commit_key("d", newest.seq) not in contents(pair.target)
    assert len(opened_replica(pair.vault, pair.target).snapshots("e/f")) == 2


@pytest.mark.parametrize("side", ["vault", "replica"])
def test_a_run_may_die_or_fail_at_any_operation_and_is_repeated(pair: Pair, side: str) -> None:
    pair.day()
    pair.vault.forget(pair.vault.snapshots("e/f")[0].snapshot_id, reason="old")
    pair.day("e/f")
    before, number = {**contents(pair.target), VERIFIED: pair.target.read(VERIFIED)}, 0
    while True:
        number += 5
        target = MemoryStore(name="copy")
        for key, data in before.items():
            target.write(key, data)
        mode = MODES[number // 5 % len(MODES)]
        source = FaultStore(pair.vault.store, number if side == "vault" else 0, mode)
        faulty = FaultStore(target, number if side == "replica" else 0, mode)
        vault = Vault(source, pair.vault.signer, clock=pair.clock, new_id=pair.vault.new_id, workers=0)
        with suppress(Died, Exception):
            replicate(vault, faulty)
        torn = mode == "torn" and faulty.log and faulty.log[-1].startswith("write ")
        report = replicate(pair.vault, target, full=bool(torn))
        if not torn:
            assert report.verified.findings == ()
            Pair(pair.vault, pair.clock, target).require_restorable()
        if number > max(source.count, faulty.count):
            return


def test_a_chain_below_another_ones_name_is_copied(pair: Pair, tmp_path: Path) -> None:
    pair.day("d/2026")
    pair.ordinary()
    assert len(opened_replica(pair.vault, pair.target).snapshots("d/2026")) == 1
