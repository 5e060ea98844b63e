"""Keys as a ceremony: what an ended or limited key signs does not count, and the key log cannot be cut, swapped or forged."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrai.core.canonical import canonical_json, sha256_hex
from orchestrai.errors import ApprovalNeeded, ConfigError, IntegrityError, KeyRefused, NotCounted, SignatureInvalid
from orchestrai.ledger.signing import Keyring, Signer, key_id, opened_envelope
from orchestrai.ledger.trust.approvals import Approvals
from orchestrai.ledger.trust.key_log import (
    CENSUS,
    KEY_LOG,
    KeyLog,
    fingerprint,
    first_record,
    record_key,
    sign_record,
    typed_fingerprint,
)
from orchestrai.ledger.trust.key_rules import LoggedRules, governed
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.format.layout import IDENTITY, commit_key, tombstone_key
from orchestrai.vault.format.records import COMMIT_TYPE, IDENTITY_TYPE, TOMBSTONE_TYPE
from orchestrai.vault.keys.ceremony import Ceremony
from orchestrai.vault.lifecycle.anchor import Anchor
from orchestrai.vault.lifecycle.hold_records import HOLD_RECORDS, Hold
from orchestrai.vault.lifecycle.legal_hold import place_hold, release_hold
from orchestrai.vault.lifecycle.prune import Pruning
from orchestrai.vault.replica.replicate import replicate
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.vault.conftest import Clock

DATASET = "d"


def key(number: int) -> Signer:
    """A key that is the same in each run."""
    return Signer(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


ROOT, FIRST, SECOND, THIRD = (key(number) for number in (1, 2, 3, 4))


def files(text: str) -> dict[str, list[SourceFile]]:
    """One partition with one file."""
    return {"p": [SourceFile(f"{text}.csv", len(text), text.encode())]}


@dataclass
class House:
    """A vault, whoever works on it, and its root."""

    clock: Clock
    store: MemoryStore = field(init=False)
    count: int = 0

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.clock)
        self.at(FIRST).commit(DATASET, files("one"))

    def at(self, signer: Signer, store: MemoryStore | None = None, **more: object) -> Vault:
        """The vault as a machine with a key opens it."""
        self.count += 1
        numbers = iter(range(10**6))
        prefix = f"m{self.count:03d}"
        trusted = Keyring({**FIRST.keyring().keys, **signer.keyring().keys})
        return Vault(
            store or self.store,
            signer,
            trusted,
            clock=self.clock,
            new_id=lambda: f"{prefix}{next(numbers):04d}",
            workers=0,
            root=ROOT,
            **more,  # type: ignore[arg-type]
        )

    def rules(self) -> LoggedRules:
        rules = governed(self.store, FIRST.keyring()).rules
        assert isinstance(rules, LoggedRules)
        return rules

    def ceremony(self, root: Signer = ROOT) -> Ceremony:
        return Ceremony(self.store, self.rules(), root, MemoryStore(self.clock), "ada", self.clock)

    def log(self) -> KeyLog:
        log = self.rules().log()
        assert log is not None
        return log

    def log_vault(self) -> str:
        return str(self.at(FIRST).catalog.vault())

    def rotate(self, successor: Signer = SECOND) -> KeyLog:
        return self.ceremony().end(FIRST.key_id, "yearly", successor=successor.private_key.public_key())

    def add(self, signer: Signer, *roles: str) -> KeyLog:
        return self.ceremony().add(signer.private_key.public_key(), roles, "colleague")


@pytest.fixture
def house(clock: Clock) -> House:
    return House(clock)


def names(vault: Vault) -> list[int]:
    return [commit.seq for commit in vault.snapshots(DATASET)]


def findings(vault: Vault) -> list[str]:
    return [f"{finding.key}: {finding.problem}" for finding in verify(vault, level="read").findings]


def stolen(house: House, signer: Signer = FIRST) -> Vault:
    """The vault in the hands of whoever has a stolen key, and code that asks nobody whether it counts."""
    vault = house.at(signer)
    vault.keyring = Keyring({**FIRST.keyring().keys, **SECOND.keyring().keys, **THIRD.keyring().keys})
    vault.catalog.keyring = vault.keyring
    return vault


# -- the ceremony ------------------------------------------------------------------------------------------------


def test_the_first_commit_begins_the_log_and_names_it(house: House) -> None:
    log = house.log()
    assert (log.seq, set(log.keys), key_id(log.root)) == (1, {FIRST.key_id}, ROOT.key_id)
    (commit,) = house.at(FIRST).snapshots(DATASET)
    assert commit.key_log == log.named


def test_without_a_root_key_the_writers_own_is_root(clock: Clock, vault: Vault, signer: Signer) -> None:
    vault.commit(DATASET, files("one"))
    log = vault.keyring.rules.log()  # type: ignore[union-attr]
    assert key_id(log.root) == signer.key_id


def test_after_a_rotation_all_that_was_signed_before_counts_and_the_new_key_goes_on(house: House) -> None:
    place_hold(house.at(FIRST), DATASET, None, None, reason="case")
    log = house.rotate()
    assert log.keys[FIRST.key_id].ended == log.seq and not log.keys[SECOND.key_id].ended
    vault = house.at(SECOND)
    commit = vault.commit(DATASET, files("two"))
    assert names(vault) == [1, commit.seq] and vault.holds()
    assert not findings(vault)
    place, digest = log.keys[FIRST.key_id].ends[f"vault/snapshots/{DATASET}"]
    assert sha256_hex(house.store.read(commit_key(DATASET, place))) == digest


def test_a_writer_whose_key_was_ended_is_told_so_and_writes_nothing(house: House) -> None:
    house.rotate()
    before = [info.key for info in house.store.list("vault/")]
    with pytest.raises(KeyRefused, match="was ended by the key log"):
        house.at(FIRST).commit(DATASET, files("late"))
    assert [info.key for info in house.store.list("vault/")] == before


def test_a_writer_whose_key_ends_while_it_commits_gets_an_error_and_no_false_promise(house: House) -> None:
    late = house.at(FIRST)
    session = late.session
    assert late.key_log

    def raced(request, progress=None):  # type: ignore[no-untyped-def]
        made = session(request, progress)
        create = made.create

        def rival(commit):  # type: ignore[no-untyped-def]
            house.rotate()
            return create(commit)

        made.create = rival  # type: ignore[method-assign]
        return made

    late.session = raced  # type: ignore[method-assign]
    with pytest.raises(KeyRefused):
        late.commit(DATASET, files("late"))
    vault = house.at(SECOND)
    assert names(vault) == [1]
    # the number it took stays taken, and the next goes on behind it
    assert vault.commit(DATASET, files("next")).seq == 3 and names(vault) == [1, 3]
    assert any("does not count" in one for one in findings(vault))


def test_an_end_that_died_half_way_is_finished_by_the_next(house: House) -> None:
    house.ceremony().begin_end(FIRST.key_id, "yearly", successor=SECOND.private_key.public_key())
    with pytest.raises(KeyRefused, match="is being recorded"):
        house.at(FIRST).commit(DATASET, files("late"))
    assert names(house.at(SECOND)) == [1]
    log = house.rotate()
    assert log.keys[FIRST.key_id].ended == log.seq == 3
    with pytest.raises(ConfigError, match=r"found .* \(ended\)"):
        house.rotate()


def test_the_last_key_that_may_write_is_not_revoked_without_a_successor(house: House) -> None:
    with pytest.raises(ConfigError, match="rotate it instead"):
        house.ceremony().end(FIRST.key_id, "stolen")


def test_another_key_than_the_root_changes_nothing(house: House) -> None:
    with pytest.raises(ConfigError, match="root key"):
        house.ceremony(FIRST).add(SECOND.private_key.public_key(), ["write"], "mine")


def test_what_a_key_signed_since_it_was_stolen_can_be_taken_back(house: House, clock: Clock) -> None:
    house.add(SECOND)
    house.add(THIRD, "write", "prune", "release", "decide")
    thief = house.at(THIRD)
    clock.pass_by(hours=1)
    good = thief.commit(DATASET, files("good"))
    clock.pass_by(hours=1)
    bad = thief.commit(DATASET, files("bad"))
    clock.pass_by(hours=1)
    # the thief's prune note and tombstone, which an honest writer builds on
    thief.forget_record(DATASET, 1, reason="hide")
    honest = house.at(FIRST).commit(DATASET, {"q": files("honest")["p"]})
    clock.pass_by(hours=1)
    ceremony = house.ceremony()
    ending = ceremony.ending(THIRD.key_id, bad)
    assert {one.key for one in ending.stops} >= {commit_key(DATASET, bad.seq), tombstone_key(DATASET, 1)}
    ceremony.end(THIRD.key_id, "stolen", since=bad)
    vault = house.at(FIRST)
    assert names(vault) == [1, good.seq, honest.seq]


# -- attacks by a key that was ended -----------------------------------------------------------------------------


def test_an_ended_key_commits_and_it_does_not_count(house: House) -> None:
    house.rotate()
    thief = stolen(house)
    thief.commit(DATASET, files("evil"))
    thief.commit("another", files("evil"))
    vault = house.at(SECOND)
    assert names(vault) == [1] and not vault.snapshots("another")
    assert sum("does not count" in one for one in findings(vault)) >= 3
    assert vault.commit(DATASET, files("next")).seq == 3
    with pytest.raises(IntegrityError, match="does not count"):
        Pruning(vault).plan()


def test_an_ended_key_takes_over_an_old_number_and_it_does_not_count(house: House) -> None:
    house.at(FIRST).commit(DATASET, files("two"))
    house.rotate()
    thief = stolen(house)
    (old, _) = thief.snapshots(DATASET)
    house.store.write(commit_key(DATASET, old.seq), replace(old, tags=("evil",)).sign(FIRST))
    vault = house.at(SECOND)
    assert names(vault) == [2]
    assert vault.catalog.recent(DATASET, 5)[0].seq == 2
    assert vault.catalog.at(DATASET, old.seq) is None


def test_an_ended_key_hides_nothing_by_a_tombstone(house: House) -> None:
    house.rotate()
    stolen(house).forget_record(DATASET, 1, reason="hide")
    vault = house.at(SECOND)
    assert names(vault) == [1] and vault.catalog.recent(DATASET, 5)
    assert vault.catalog.at(DATASET, 1) is not None and not vault.catalog.forgotten()
    assert any("vault/forgotten" in one for one in findings(vault))


def test_an_ended_key_lifts_no_hold_and_fences_nothing(house: House) -> None:
    place_hold(house.at(FIRST), DATASET, None, None, reason="case")
    house.rotate()
    thief = stolen(house)
    release_hold(thief, DATASET, None, None, reason="mine")
    Pruning(thief).fence(["vault/objects/x/y"])
    vault = house.at(SECOND)
    assert (DATASET, 0) in vault.holds()
    assert vault.catalog.head(DATASET).fence == 0
    commit = vault.commit(DATASET, files("next"))
    assert commit.fence == 0 and commit.holds and (DATASET, 0) in vault.holds()
    assert any("vault/holds/" in one for one in findings(vault))


def test_an_ended_key_places_no_hold(house: House) -> None:
    house.rotate()
    place_hold(stolen(house), DATASET, None, None, reason="ransom")
    assert not house.at(SECOND).holds()


def test_an_ended_key_makes_no_new_identity(house: House) -> None:
    house.rotate()
    body = {"format": 1, "vault": "evil", "encrypted": False}
    house.store.write(IDENTITY, FIRST.sign(IDENTITY_TYPE, canonical_json(body)))
    with pytest.raises(IntegrityError, match="key log of this vault"):
        house.at(SECOND).snapshots()


def test_an_ended_key_that_has_no_place_in_the_log_any_more_begins_no_log_of_its_own(house: House) -> None:
    house.rotate()
    vault = house.at(SECOND)
    vault.commit(DATASET, files("two"))
    first = json.loads(house.store.read(IDENTITY))
    assert first
    for info in list(house.store.list(KEY_LOG)):
        house.store.delete(info.key)
    record = first_record(house.log_vault(), sha256_hex(house.store.read(IDENTITY)), FIRST, FIRST, FIRST.keyring(), "")
    house.store.write(record_key(1), record)
    with pytest.raises(IntegrityError):
        house.at(SECOND).snapshots(DATASET)


# -- the log itself ----------------------------------------------------------------------------------------------


def test_a_log_that_was_cut_off_is_found_by_what_commits_name(house: House) -> None:
    log = house.rotate()
    house.at(SECOND).commit(DATASET, files("two"))
    for seq in range(2, log.seq + 1):
        house.store.delete(record_key(seq))
    with pytest.raises(IntegrityError):
        house.at(FIRST).snapshots(DATASET)
    assert findings(house.at(FIRST))


def test_a_log_that_was_removed_is_found_by_what_commits_name(house: House) -> None:
    house.store.delete(record_key(1))
    with pytest.raises(IntegrityError, match="cut off or replaced"):
        house.at(FIRST).snapshots(DATASET)
    with pytest.raises(IntegrityError):
        house.at(FIRST).commit(DATASET, files("two"))


def test_a_log_that_was_cut_off_is_found_by_the_homes_copy(house: House, tmp_path: Path) -> None:
    log = house.rotate()

    def keyring() -> Keyring:
        return governed(house.store, FIRST.keyring(), folder=tmp_path)

    assert keyring().rules.named() == log.named  # type: ignore[union-attr]
    kept = {seq: house.store.read(record_key(seq)) for seq in range(1, log.seq + 1)}
    house.store.delete(record_key(log.seq))
    with pytest.raises(IntegrityError, match="this home has a copy of"):
        keyring().rules.named()  # type: ignore[union-attr]
    house.store.write(record_key(log.seq), kept[log.seq])
    for seq in kept:
        house.store.delete(record_key(seq))
    with pytest.raises(IntegrityError, match="this home has a copy of"):
        keyring().rules.named()  # type: ignore[union-attr]


def test_a_copy_of_the_vault_that_lags_behind_is_read_by_the_homes_copy_of_the_log(house: House, tmp_path: Path) -> None:
    lagging = MemoryStore(house.clock)
    for info in list(house.store.list()):
        lagging.write(info.key, house.store.read(info.key))
    log = house.rotate()
    keyring = governed(house.store, FIRST.keyring(), folder=tmp_path)
    Vault(house.store, SECOND, keyring).snapshots()
    copied = governed(lagging, FIRST.keyring(), folder=tmp_path, copy=True)
    assert copied.rules.named() == log.named  # type: ignore[union-attr]
    assert len(Vault(lagging, SECOND, copied).snapshots()) == 1


def test_the_log_of_another_vault_with_the_same_keys_is_refused(house: House, clock: Clock) -> None:
    other = House(clock, 500)
    other.rotate()
    for info in list(other.store.list(KEY_LOG)):
        house.store.write(info.key, other.store.read(info.key))
    with pytest.raises(IntegrityError, match="key log of this vault"):
        house.at(FIRST).snapshots()


def test_a_forked_log_is_refused(house: House) -> None:
    before = house.store.read(record_key(1))
    house.add(SECOND)
    house.at(FIRST).commit(DATASET, files("two"))
    body = {**house.log().records[1], "reason": "another"}
    house.store.write(record_key(2), sign_record(body, ROOT))
    with pytest.raises(IntegrityError, match="cut off or replaced"):
        house.at(FIRST).snapshots()
    assert house.store.read(record_key(1)) == before


@pytest.mark.parametrize("signer", [FIRST, THIRD])
def test_a_record_that_the_root_did_not_sign_is_refused(house: House, signer: Signer) -> None:
    log = house.log()
    body = {**log.records[0], "seq": 2, "previous": log.digest, "change": "add", "add": {}, "key": ""}
    house.store.write(record_key(2), sign_record(body, signer))
    with pytest.raises(SignatureInvalid, match="signed by its root"):
        house.at(FIRST).snapshots()


def test_a_record_is_not_replayed_at_another_number(house: House) -> None:
    house.add(SECOND)
    house.store.write(record_key(3), house.store.read(record_key(2)))
    with pytest.raises(IntegrityError, match="another place"):
        house.at(FIRST).snapshots()


def test_a_census_that_is_altered_or_gone_is_a_finding_not_a_loss(house: House) -> None:
    house.rotate()
    (info,) = house.store.list(CENSUS)
    data = house.store.read(info.key)
    house.store.write(info.key, data[32:])
    with pytest.raises(IntegrityError, match="as the key log names it"):
        house.at(SECOND).snapshots()
    house.store.delete(info.key)
    with pytest.raises(IntegrityError, match="as the key log names it"):
        house.at(SECOND).snapshots()
    house.store.write(info.key, data)
    assert names(house.at(SECOND)) == [1]


def test_only_a_root_that_is_vouched_for_or_named_counts(house: House) -> None:
    stranger = governed(house.store, THIRD.keyring())
    with pytest.raises(IntegrityError, match="vouched for"):
        Vault(house.store, THIRD, stranger).snapshots()
    digits = fingerprint(ROOT.private_key.public_key())
    named = governed(house.store, Keyring({}), root=typed_fingerprint(digits[:40].upper()))
    assert len(Vault(house.store, THIRD, named).snapshots()) == 1
    another = governed(house.store, Keyring({}), root=fingerprint(THIRD.private_key.public_key()))
    with pytest.raises(IntegrityError, match="another's"):
        Vault(house.store, THIRD, another).snapshots()


@pytest.mark.parametrize("text", ["", "abc", "g" * 64, "a" * 65])
def test_a_fingerprint_of_too_few_digits_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="hex digits"):
        typed_fingerprint(text)


# -- roles -------------------------------------------------------------------------------------------------------


def test_a_key_that_may_only_write_forgets_fences_and_releases_nothing(house: House) -> None:
    place_hold(house.at(FIRST), DATASET, None, None, reason="case")
    house.add(SECOND, "write")
    writer = house.at(SECOND)
    assert writer.commit(DATASET, files("two")).seq == 3
    acts: list[Callable[[], object]] = [
        lambda: writer.forget_record(DATASET, 3, reason="x"),
        lambda: Pruning(writer).fence(["vault/objects/x/y"]),
        lambda: release_hold(writer, DATASET, None, None, reason="x"),
    ]
    for act in acts:
        with pytest.raises(KeyRefused, match="role"):
            act()
    thief = stolen(house, SECOND)
    release_hold(thief, DATASET, None, None, reason="x")
    thief.forget_record(DATASET, 3, reason="x")
    Pruning(thief).fence(["vault/objects/x/y"])
    vault = house.at(FIRST)
    assert (DATASET, 0) in vault.holds() and names(vault) == [1, 3]
    assert vault.catalog.head(DATASET).fence == 0


def test_a_key_that_may_not_write_commits_nothing(house: House) -> None:
    house.add(SECOND, "prune")
    with pytest.raises(KeyRefused, match="role write"):
        house.at(SECOND).commit(DATASET, files("two"))
    stolen(house, SECOND).commit(DATASET, files("two"))
    assert names(house.at(FIRST)) == [1]
    house.at(SECOND).forget_record(DATASET, 1, reason="old")
    assert names(house.at(FIRST)) == []


def test_a_key_signs_nothing_before_its_time(house: House) -> None:
    house.at(FIRST).commit(DATASET, files("two"))
    house.add(SECOND, "write", "prune", "release", "decide")
    (old, _) = house.at(FIRST).snapshots(DATASET)
    house.store.write(commit_key(DATASET, 1), replace(old, tags=("evil",)).sign(SECOND))
    assert names(house.at(FIRST)) == [2]


def test_a_role_is_bound_to_the_kind_of_record_and_not_to_the_place(house: House) -> None:
    house.add(SECOND, "write")
    keyring = house.at(FIRST).keyring
    stone = canonical_json({"format": 1})
    with pytest.raises(NotCounted, match="prune"):
        keyring.open(TOMBSTONE_TYPE, SECOND.sign(TOMBSTONE_TYPE, stone))
    note = canonical_json({"kind": "fence"})
    with pytest.raises(NotCounted, match="prune"):
        keyring.open(COMMIT_TYPE, SECOND.sign(COMMIT_TYPE, note))
    hold = Hold("v", DATASET, 0, "vault/holds/d/000000000000/000001.json", "", False, "x", "")
    with pytest.raises(NotCounted, match="release"):
        keyring.open(HOLD_RECORDS.payload_type, HOLD_RECORDS.sign(SECOND, hold))


# -- two people --------------------------------------------------------------------------------------------------


def approvals(vault: Vault) -> Approvals:
    return Approvals(vault.store, vault.keyring, vault.signer)


@pytest.fixture
def two(house: House) -> House:
    """A vault where it takes two keys to forget and to release."""
    house.add(SECOND, "write", "prune", "release")
    house.ceremony().require_approvals({"forget": 2, "release": 2}, "two-person rule")
    return house


def test_to_forget_takes_two_and_the_second_run_does_it(two: House) -> None:
    first, second = two.at(FIRST), two.at(SECOND)
    with pytest.raises(ApprovalNeeded, match="found 1"):
        first.forget_record(DATASET, 1, reason="old")
    with pytest.raises(ApprovalNeeded, match="found 1"):
        first.forget_record(DATASET, 1, reason="old")
    assert names(first) == [1]
    (proposal,) = approvals(second).all()
    assert (proposal.what, proposal.body["reason"], set(proposal.signatures)) == ("forget", "old", {FIRST.key_id})
    approvals(second).sign(approvals(second).one(proposal.id[:6]))
    assert names(first) == [1]
    first.forget_record(DATASET, 1, reason="old")
    assert names(two.at(SECOND)) == [] and not findings(two.at(FIRST))


def test_one_key_alone_forgets_nothing_whatever_it_writes(two: House) -> None:
    thief = stolen(two, SECOND)
    thief.forget_record(DATASET, 1, reason="hide")
    assert names(two.at(FIRST)) == [1]
    stone = two.store.read(tombstone_key(DATASET, 1))
    kind, payload, ((name, signature),) = opened_envelope(stone)
    doubled = canonical_json(
        {
            "payload": json.loads(stone)["payload"],
            "payloadType": kind,
            "signatures": [json.loads(stone)["signatures"][0]] * 2,
        }
    )
    two.store.write(tombstone_key(DATASET, 1), doubled)
    assert names(two.at(FIRST)) == [1] and signature and name and payload


def test_a_key_without_the_role_approves_nothing(two: House) -> None:
    two.add(THIRD, "write")
    with pytest.raises(ApprovalNeeded):
        two.at(FIRST).forget_record(DATASET, 1, reason="old")
    third = approvals(two.at(THIRD))
    with pytest.raises(KeyRefused, match="role prune"):
        third.sign(next(iter(third.all())))


def test_to_release_takes_two_in_the_chain_too(two: House) -> None:
    place_hold(two.at(FIRST), DATASET, None, None, reason="case")
    release_hold(stolen(two, FIRST), DATASET, None, None, reason="mine")
    assert (DATASET, 0) in two.at(SECOND).holds()


def test_a_release_that_two_signed_lifts_the_hold(two: House) -> None:
    place_hold(two.at(FIRST), DATASET, None, None, reason="case")
    with pytest.raises(ApprovalNeeded):
        release_hold(two.at(FIRST), DATASET, None, None, reason="closed")
    assert (DATASET, 0) in two.at(FIRST).holds()
    second = approvals(two.at(SECOND))
    second.sign(next(iter(second.all())))
    release_hold(two.at(FIRST), DATASET, None, None, reason="closed")
    assert not two.at(SECOND).holds() and not findings(two.at(FIRST))


def test_what_was_forgotten_before_the_rule_stays_forgotten(house: House) -> None:
    house.at(FIRST).commit(DATASET, files("two"))
    house.at(FIRST).forget_record(DATASET, 1, reason="old")
    house.add(SECOND, "prune")
    house.ceremony().require_approvals({"forget": 2}, "two-person rule")
    assert names(house.at(FIRST)) == [2]


def test_a_rule_that_nobody_could_keep_is_refused(house: House) -> None:
    with pytest.raises(ConfigError, match="expected 2 keys with the role prune"):
        house.ceremony().require_approvals({"forget": 2}, "two-person rule")
    with pytest.raises(ConfigError, match="forget=N"):
        house.ceremony().require_approvals({"all": 2}, "two-person rule")


# -- nobody is left behind ---------------------------------------------------------------------------------------


def test_an_anchor_outlives_the_key_that_signed_it(house: House, tmp_path: Path) -> None:
    anchor = Anchor(tmp_path / "anchor")
    anchor.update(house.at(FIRST))
    house.rotate()
    checked = anchor.check(house.at(SECOND).catalog)
    assert checked is not None and not checked.losses
    house.at(SECOND).commit(DATASET, files("two"))
    anchor.update(house.at(SECOND))


def test_a_writer_whom_the_beginning_home_did_not_know_is_added_with_its_history(clock: Clock) -> None:
    store = MemoryStore(clock)
    trusted = Keyring({**FIRST.keyring().keys, **SECOND.keyring().keys})
    ids = iter(range(10**6))

    def at(signer: Signer, keyring: Keyring) -> Vault:
        return Vault(store, signer, keyring, clock=clock, new_id=lambda: f"s{next(ids):05d}", workers=0)

    first = at(FIRST, FIRST.keyring())
    first.commit(DATASET, files("one"))
    # a release of before, on another machine, which knows no key log
    other = at(SECOND, trusted)
    other.keyring = other.catalog.keyring = trusted
    other.commit("theirs", files("two"))
    with pytest.raises(SignatureInvalid, match="keys add"):
        at(FIRST, trusted).snapshots("theirs")
    rules = governed(store, FIRST.keyring()).rules
    assert isinstance(rules, LoggedRules)
    ceremony = Ceremony(store, rules, FIRST, MemoryStore(clock), "ada", clock)
    ceremony.add(SECOND.private_key.public_key(), ["write"], "the other writer", history=True)
    assert len(at(FIRST, trusted).snapshots("theirs")) == 1


def test_a_replica_has_the_key_log_and_is_judged_by_it(house: House) -> None:
    house.rotate()
    target = MemoryStore(house.clock)
    report = replicate(house.at(SECOND), target)
    assert report.verified.ok and report.verified.snapshots == 1
    stolen(house).commit(DATASET, files("evil"))
    assert names(house.at(SECOND, target)) == [1]


def test_a_log_that_a_rival_began_meanwhile_is_taken_and_is_no_alarm(clock: Clock, tmp_path: Path) -> None:
    """Two first writers of one home at once: one reads that there is no log, the other begins it and commits, the first goes on."""
    store = MemoryStore(clock)
    trusted = Keyring({**FIRST.keyring().keys, **SECOND.keyring().keys})

    def opened(signer: Signer) -> tuple[Vault, LoggedRules]:
        keyring = governed(store, trusted, folder=tmp_path)
        assert isinstance(keyring.rules, LoggedRules)
        return Vault(store, signer, keyring, clock=clock, new_id=lambda: f"{signer.key_id}0001", workers=0), keyring.rules

    (slow, read), (quick, _) = opened(FIRST), opened(SECOND)
    assert read.log() is None
    quick.commit(DATASET, files("one"))
    slow.commit(DATASET, files("two"))
    assert len(slow.catalog.visible(DATASET)) == 2
    for info in list(store.list(KEY_LOG)):
        store.delete(info.key)
    with pytest.raises(IntegrityError):
        opened(FIRST)[0].commit(DATASET, files("three"))
