"""What heal brings back, what it leaves, and what it never does."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrai.core.canonical import canonical_json, sha256_hex
from orchestrai.errors import ConfigError, MissingObject, TransientStorageError
from orchestrai.ledger.signing import Signer, new_signer
from orchestrai.ledger.trust.key_log import CENSUS, KEY_LOG, first_record, record_key
from orchestrai.ledger.trust.key_rules import LoggedRules
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.format.layout import QUARANTINE, commit_key, tombstone_key
from orchestrai.vault.format.records import COMMIT_TYPE
from orchestrai.vault.heal.heal import Healing
from orchestrai.vault.keys.ceremony import Ceremony
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.lifecycle.anchor import Anchor
from orchestrai.vault.lifecycle.prune import apply_prune, plan_prune
from orchestrai.vault.replica.replicate import replicate
from orchestrai.vault.vault import Vault
from orchestrai_tests.storage.faults import MODES, Died, FaultStore
from orchestrai_tests.vault.contents import files, read_all
from orchestrai_tests.vault.heal.two_copies import BIG, TwoCopies, cloned, contents, filled, flipped

START = datetime(2026, 11, 30, tzinfo=UTC)


@pytest.fixture
def copies(signer: Signer) -> TwoCopies:
    return filled(TwoCopies(signer))


def objects(copies: TwoCopies) -> list[str]:
    return [info.key for info in copies.primary.list("vault/objects/")]


def pruned(vault: Vault) -> tuple[str, ...]:
    """Two prunes that wait for nothing."""
    apply_prune(vault, plan_prune(vault, wait=timedelta(days=-1)), wait=timedelta(days=-1))
    return apply_prune(vault, plan_prune(vault, wait=timedelta(days=-1)), wait=timedelta(days=-1)).deleted


def test_two_sound_copies_are_left_alone(copies: TwoCopies) -> None:
    before = [contents(store) for store in copies.stores]
    healing = copies.healing()
    plan = healing.plan()
    assert plan.is_sound and plan.mends == () and plan.snapshots == 4
    assert healing.apply(plan).mended == 0
    assert [contents(store) for store in copies.stores] == before
    assert list(copies.primary.list(QUARANTINE)) == []


def test_a_flipped_bit_in_a_replica_is_found_by_a_full_replication_and_mended_by_heal(copies: TwoCopies) -> None:
    key = objects(copies)[0]
    right = copies.replica.read(key)
    flipped(copies.replica, key, 1000)
    # judged by its receipt, which says what was read back before
    assert replicate(copies.vault, copies.replica).verified.ok
    report = replicate(copies.vault, copies.replica, full=True)
    assert [finding.key for finding in report.verified.findings] == [key]
    assert "orchestrai vault heal" in report.verified.findings[0].problem
    assert copies.heal().is_sound and copies.replica.read(key) == right
    assert replicate(copies.vault, copies.replica, full=True).verified.ok


def test_an_object_that_lay_in_the_replica_at_the_right_length_is_not_trusted_for_it(signer: Signer) -> None:
    copies = TwoCopies(signer)
    commit = copies.vault.commit("d", {"p": files(big=BIG)})
    file = copies.vault.files(commit, "p")[0]
    copies.replica.write(file.key, b"\0" * file.length)
    report = replicate(copies.vault, copies.replica)
    assert [finding.key for finding in report.verified.findings] == [file.key]
    assert copies.heal().is_sound
    copies.replicate()


def test_what_is_wrong_in_the_primary_comes_back_from_the_replica_and_stays_as_evidence(copies: TwoCopies) -> None:
    key = objects(copies)[0]
    flipped(copies.primary, key)
    wrong = copies.primary.read(key)
    plan = copies.healing().plan()
    assert [(mend.copy.store, mend.key, mend.source) for mend in plan.mends] == [(copies.primary, key, copies.replica)]
    assert copies.heal().is_sound and copies.findings() == []
    assert copies.primary.read(f"{QUARANTINE}{sha256_hex(wrong)[:16]}/{key}") == wrong


def test_what_neither_has_is_named_with_all_that_loses_by_it(copies: TwoCopies) -> None:
    vault = copies.vault
    key = next(file.key for file in vault.files(vault.latest("d"), "p") if file.path == "big")
    for store in copies.stores:
        flipped(store, key)
    after = copies.heal()
    assert [lost.key for lost in after.lost] == [key] and not after.is_sound
    assert {(dataset, seq): parts for (dataset, seq, _), parts in after.lost[0].loses.items()} == {
        ("d", commit.seq): ("p",) for commit in vault.snapshots("d")
    }


def test_newest_records_that_are_gone_come_back_only_where_that_is_asked_for(copies: TwoCopies, tmp_path: Path) -> None:
    anchor = Anchor(tmp_path / "anchor")
    anchor.update(copies.vault)
    head = copies.vault.catalog.head("d")
    for seq in (head.seq, head.seq - 1):
        copies.primary.delete(commit_key("d", seq))
    after = copies.heal()
    [newer] = after.newer
    assert (newer.log, newer.first, newer.last) == ("vault/snapshots/d", head.seq - 1, head.seq)
    assert not newer.anchored and after.mends == () and not after.is_sound
    assert copies.vault.catalog.head("d").seq == head.seq - 2
    assert copies.healing(anchor).plan().newer[0].anchored
    assert copies.heal(anchor, bring_back=True).is_sound
    assert copies.vault.catalog.head("d") == head and copies.findings() == []


def test_a_gap_in_a_chain_is_mended_without_being_asked(copies: TwoCopies) -> None:
    copies.primary.delete(commit_key("d", 1))
    assert copies.heal().is_sound and copies.findings() == []


def test_a_primary_that_is_lost_whole_is_brought_back_from_its_replica(copies: TwoCopies) -> None:
    before = contents(copies.replica)
    copies.primary = MemoryStore(name="new")
    plan = copies.healing().plan()
    # what the root signed comes back unasked: nobody who writes to a replica can sign it
    assert plan.newer and {mend.key for mend in plan.mends if mend.key.startswith("vault/")} == {
        "vault/keylog/000000000001.json"
    }
    assert copies.heal(bring_back=True).is_sound
    gone = {key for key, data in before.items() if contents(copies.primary).get(key) != data}
    # what was forgotten is named by nobody
    assert all("/s0002/" in key for key in gone) and copies.findings() == []


def test_a_fork_is_told_of_and_neither_side_is_touched(copies: TwoCopies) -> None:
    copies.vault.commit("d", {"p": files(one=b"one")})
    copies.opened(copies.replica).commit("d", {"p": files(two=b"two")})
    before = [contents(store) for store in copies.stores]
    after = copies.heal(bring_back=True)
    assert not after.is_sound and after.mends == () and any("two that are signed" in item.problem for item in after.unmended)
    assert [contents(store) for store in copies.stores] == before
    report = replicate(copies.vault, copies.replica)
    assert any("found another that is signed" in finding.problem for finding in report.verified.findings)


def test_a_damaged_record_of_a_forked_chain_does_not_come_from_the_other_side(copies: TwoCopies) -> None:
    copies.vault.commit("d", {"p": files(one=b"one")})
    ours = copies.vault.catalog.head("d").seq
    other = copies.opened(copies.replica)
    for text in (b"two", b"three"):
        other.commit("d", {"p": files(two=text)})
    copies.vault.commit("d", {"p": files(one=b"1")})
    flipped(copies.primary, commit_key("d", ours + 1), 40)
    after = copies.heal(bring_back=True)
    assert not after.is_sound
    assert not any(mend.key.startswith("vault/snapshots/") for mend in after.mends)


def test_what_a_prune_deleted_on_one_side_does_not_come_back(copies: TwoCopies) -> None:
    gone = pruned(copies.vault)
    assert gone
    assert copies.heal().is_sound
    assert not set(gone) & contents(copies.primary).keys() and set(gone) <= contents(copies.replica).keys()
    copies.replicate()
    # and the other way round: the fences of the replica's own prune give way once the primary goes on
    assert set(pruned(copies.opened(copies.replica))) == set(gone)
    copies.vault.commit("d", {"p": files(next=b"next")})
    copies.replicate()
    assert copies.heal().is_sound and copies.findings() == []
    assert not set(gone) & contents(copies.replica).keys()


def test_heal_sets_aside_the_fences_of_a_replica_that_was_pruned_by_itself(copies: TwoCopies) -> None:
    pruned(copies.opened(copies.replica))
    pruned(copies.opened(copies.replica))
    assert copies.heal().is_sound
    copies.vault.commit("d", {"p": files(next=b"next")})
    after = copies.heal()
    assert after.is_sound and copies.findings() == []
    fences = [info.key for info in copies.replica.list(QUARANTINE)]
    assert fences and all("vault/snapshots/" in key for key in fences)


def test_a_snapshot_that_was_forgotten_in_the_replica_alone_stays_in_the_primary_unless_asked_for(copies: TwoCopies) -> None:
    other = copies.opened(copies.replica)
    kept = copies.vault.snapshots("e/f")[0]
    other.forget(kept.snapshot_id, reason="by its own retention")
    after = copies.heal()
    assert [newer.log for newer in after.newer] == [tombstone_key("e/f", kept.seq)] and after.mends == ()
    assert kept.digest in {commit.digest for commit in copies.vault.snapshots()}


def test_a_tombstone_that_the_anchor_or_a_fence_remembers_comes_back_by_itself(copies: TwoCopies, tmp_path: Path) -> None:
    anchor = Anchor(tmp_path / "anchor")
    anchor.update(copies.vault)
    key = tombstone_key("d", 2)
    copies.primary.delete(key)
    assert copies.heal(anchor).is_sound and copies.primary.head(key)
    pruned(copies.vault)
    copies.primary.delete(key)
    assert copies.heal().is_sound and copies.primary.head(key)


def test_identity_and_data_key_come_back_and_no_new_one_is_made(signer: Signer, tmp_path: Path) -> None:
    copies = filled(TwoCopies(signer, FileKey(tmp_path / "key")))
    before = contents(copies.primary)
    for key in ("vault/identity.json", "vault/keys/000001.json"):
        copies.primary.delete(key)
    assert copies.heal().is_sound and copies.findings() == []
    assert {key: contents(copies.primary)[key] for key in before} == before


def test_copies_of_two_vaults_are_refused_and_so_is_one_store_twice(copies: TwoCopies, signer: Signer) -> None:
    other = TwoCopies(signer, primary=MemoryStore(name="other"), numbers=copies.numbers)
    other.vault.commit("d", {"p": files(a=b"a")})
    with pytest.raises(ConfigError, match="copies of one vault"):
        Healing([copies.primary, other.primary], signer.keyring(), copies.opened).plan()
    with pytest.raises(ConfigError, match="twice"):
        Healing([copies.primary, copies.primary], signer.keyring(), copies.opened)
    with pytest.raises(MissingObject):
        Healing([MemoryStore(name="x"), MemoryStore(name="y")], signer.keyring(), copies.opened).plan()


def test_of_three_copies_any_mends_the_others(copies: TwoCopies, signer: Signer) -> None:
    third = MemoryStore(name="third")
    replicate(copies.vault, third)
    keys = sorted(key for key in contents(copies.primary) if "/s0002/" not in key)
    for number, key in enumerate(keys):
        for store in [*copies.stores, third][: number % 3] or [third]:
            store.write(key, b"wrong")
    stores = [*copies.stores, third]
    healing = Healing(stores, signer.keyring(), copies.opened)
    assert healing.apply(healing.plan(bring_back=True)).failed == ()
    assert Healing(stores, signer.keyring(), copies.opened).plan().mends == ()
    assert len({tuple(sorted((key, contents(store)[key]) for key in keys)) for store in stores}) == 1


def test_snapshots_restore_from_what_was_healed_on_a_local_disk(signer: Signer, tmp_path: Path) -> None:
    copies = filled(TwoCopies(signer, None, LocalStore(tmp_path / "a"), LocalStore(tmp_path / "b")))
    wanted = {commit.digest: read_all(copies.vault, commit) for commit in copies.vault.snapshots()}
    for number, key in enumerate(sorted(contents(copies.primary))):
        flipped(copies.stores[number % 2], key, 7)
    assert copies.heal().is_sound and copies.findings() == []
    for store in copies.stores:
        vault = copies.opened(store)
        assert {commit.digest: read_all(vault, commit) for commit in vault.snapshots()} == wanted


def _damaged(whole: TwoCopies, faulty: Any) -> tuple[TwoCopies, dict[str, bytes]]:
    copies = cloned(whole)
    right = {key: data for key, data in contents(copies.primary).items() if "/s0002/" not in key}
    for number, key in enumerate(sorted(right)):
        store = copies.stores[number % 2]
        (flipped if number % 3 else _deleted)(store, key)
    return TwoCopies(copies.signer, copies.key, *faulty(copies.stores)), right


def _deleted(store: Any, key: str) -> None:
    store.delete(key)


@pytest.mark.parametrize("side", [0, 1])
def test_heal_may_die_or_fail_at_any_operation_and_is_repeated(copies: TwoCopies, side: int) -> None:
    def faulty(stores: Any, n: int = 0, mode: Any = "before") -> Any:
        return [FaultStore(store, n, mode) if number == side else store for number, store in enumerate(stores)]

    probe, right = _damaged(copies, faulty)
    probe.heal(bring_back=True)
    operations = probe.stores[side].count  # type: ignore[attr-defined]
    for n in range(1, operations + 1, 3):
        mode = MODES[n % len(MODES)]
        damaged, _ = _damaged(copies, lambda stores, n=n, mode=mode: faulty(stores, n, mode))
        healing = damaged.healing()
        try:
            healing.apply(healing.plan(bring_back=True))
        except (Died, TransientStorageError):
            pass
        bare = TwoCopies(copies.signer, None, *(getattr(store, "base", store) for store in damaged.stores))
        assert bare.heal(bring_back=True).is_sound, (n, mode)
        for store in bare.stores:
            now = contents(store)
            assert {key for key in right if now.get(key) != right[key]} == set(), (n, mode)


def test_a_record_that_was_forgotten_because_it_was_damaged_comes_back_without_a_fault(copies: TwoCopies) -> None:
    head = copies.vault.catalog.head("e/f")
    flipped(copies.primary, commit_key("e/f", head.seq), 60)
    copies.vault.forget_record("e/f", head.seq, reason="damaged")
    # it names the damaged bytes as what it follows
    copies.vault.commit("e/f", {"p": files(m=b"again")})
    after = copies.heal()
    assert after.is_sound and after.mends == () and copies.findings() == []
    assert head.seq not in {commit.seq for commit in copies.vault.snapshots("e/f")}
    copies.replicate()


# -- the key log -------------------------------------------------------------------------------------------------


def ended(copies: TwoCopies) -> Signer:
    """The key of both copies is ended and another follows, in both; returns that."""
    successor = new_signer()
    rules = copies.vault.keyring.rules
    assert isinstance(rules, LoggedRules)
    ceremony = Ceremony(copies.primary, rules, copies.signer, MemoryStore(), "ada", lambda: START)
    ceremony.end(copies.signer.key_id, "yearly", successor=successor.private_key.public_key())
    report = replicate(Vault(copies.primary, successor, copies.signer.keyring(), workers=0), copies.replica)
    assert report.verified.ok
    return successor


def of_key_log(copies: TwoCopies) -> list[str]:
    return [info.key for prefix in (KEY_LOG, CENSUS) for info in copies.primary.list(prefix)]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("how", ["flipped", "gone", "of another root"])
def test_what_says_which_signatures_count_is_mended_from_the_other_copy(copies: TwoCopies, place: int, how: str) -> None:
    ended(copies)
    before = [contents(store) for store in copies.stores]
    assert len(of_key_log(copies)) == 4
    for key in of_key_log(copies):
        store = copies.stores[place]
        if how == "flipped":
            flipped(store, key, 40)
        elif how == "gone":
            store.delete(key)
        else:
            other = new_signer()
            identity = sha256_hex(store.read("vault/identity.json"))
            store.write(key, first_record(copies.vault.catalog.vault(), identity, other, other, other.keyring(), "2026"))
        plan = copies.healing().plan()
        assert [mend.key for mend in plan.mends] == [key] and plan.mends[0].copy.store is store
        assert copies.heal().is_sound
        assert {name: data for name, data in contents(store).items() if not name.startswith(QUARANTINE)} == before[place]


def test_a_key_log_that_no_copy_has_whole_is_lost_by_name_and_nothing_is_written(copies: TwoCopies) -> None:
    ended(copies)
    for store in copies.stores:
        store.delete(record_key(1))
    before = [contents(store) for store in copies.stores]
    healing = copies.healing()
    plan = healing.plan()
    assert not plan.is_sound and record_key(2) in {lost.key for lost in plan.lost}
    healing.apply(plan)
    assert [contents(store) for store in copies.stores] == before


def test_what_an_ended_key_puts_in_place_of_a_record_gives_way_to_the_one_that_counts(copies: TwoCopies) -> None:
    ended(copies)
    key = commit_key("d", 3)
    right = copies.primary.read(key)
    body = json.loads(copies.signer.keyring().open(COMMIT_TYPE, right))
    copies.primary.write(key, copies.signer.sign(COMMIT_TYPE, canonical_json({**body, "tags": ["mine"]})))
    plan = copies.healing().plan()
    assert [(mend.key, mend.source) for mend in plan.mends] == [(key, copies.replica)]
    assert "does not count" in plan.mends[0].problem
    assert copies.heal().is_sound and copies.primary.read(key) == right
