"""A witness outside the vault: since when a snapshot was there, what was lost since, and whose word that is."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrai.core.canonical import JsonValue
from orchestrai.errors import ConfigError, IntegrityError, OrchestraiError, TransientStorageError
from orchestrai.ledger.signing import Signer
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.format.layout import commit_key
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai.vault.witness.time_stamp import StampAuthority
from orchestrai.vault.witness.witness_copy import copy_witness
from orchestrai.vault.witness.witness_log import WHOLE_EVERY, WitnessLog, ends_of, open_witness
from orchestrai.vault.witness.witness_record import Place, Since
from orchestrai_tests.servers.process import ServerAbsent
from orchestrai_tests.servers.stamp_authority import StampServer, stamp_server
from orchestrai_tests.vault.conftest import Clock
from orchestrai_tests.vault.simulation import sources


@pytest.fixture
def log(clock: Clock) -> WitnessLog:
    return WitnessLog(MemoryStore(clock))


def commit(vault: Vault, log: WitnessLog, dataset: str, name: str) -> SnapshotCommit:
    done = vault.commit(dataset, {name: sources(name)})
    log.note(vault, {dataset: Place(done.seq, done.digest)})
    return done


def anew(vault: Vault) -> Vault:
    """As another process opens it."""
    return Vault(vault.store, vault.signer, clock=vault.clock, new_id=vault.new_id, workers=0)


def test_a_snapshot_is_proven_since_the_first_record_that_covers_it(vault: Vault, log: WitnessLog, clock: Clock) -> None:
    unseen = vault.commit("d", {"a": sources("a")})
    clock.pass_by(hours=1)
    first = clock.now
    commit(vault, log, "d", "b")
    clock.pass_by(hours=1)
    commit(vault, log, "e", "x")
    later = vault.commit("d", {"c": sources("c")})
    assert log.since(vault, "d", unseen.seq) == Since(first) and log.since(vault, "d", later.seq) is None
    report = verify(vault, witness=log)
    assert report.ok and report.rollback == "none found" and report.witnessed is not None
    assert (report.witnessed.records, report.witnessed.first, report.witnessed.last) == (2, first, clock.now)
    assert {name: place.seq for name, place in report.witnessed.heads.items()} == {"d": 2, "e": 1}
    assert verify(vault).rollback == "not provable"


def test_a_vault_that_was_rolled_back_is_found_with_the_time_of_what_it_lost(
    vault: Vault, log: WitnessLog, clock: Clock
) -> None:
    for number in range(3):
        commit(vault, log, "d", f"p{number}")
        clock.pass_by(days=1)
    vault.store.delete(commit_key("d", 3))
    old = anew(vault)
    report = verify(old, witness=log)
    assert report.rollback == "found"
    assert any(
        "record 3 of d as it was witnessed at 2026-11-03 12:00:00 UTC, found none" in one.problem for one in report.findings
    )
    # another snapshot under the lost number does not pass for it, and does not get witnessed
    other = old.commit("d", {"q": sources("q")})
    assert other.seq == 3
    with pytest.raises(IntegrityError, match=r"record 3 of d as it was witnessed, found .* rolled back"):
        log.note(old, {"d": Place(other.seq, other.digest)})
    assert verify(anew(old), witness=log).rollback == "found"
    assert log.since(old, "d", 3) is None


def test_a_rollback_is_found_although_the_chain_has_grown_past_it(vault: Vault, log: WitnessLog, clock: Clock) -> None:
    for number in range(3):
        commit(vault, log, "d", f"p{number}")
        clock.pass_by(days=1)
    vault.store.delete(commit_key("d", 3))
    old = anew(vault)
    old.commit("d", {"q": sources("q")})
    # a place behind the lost one: nothing of what was seen is looked at for it
    commit(old, log, "d", "r")
    report = verify(anew(old), witness=log)
    assert report.rollback == "found"
    assert any("record 3 of d as it was witnessed at 2026-11-03 12:00:00 UTC" in one.problem for one in report.findings)
    assert log.since(old, "d", 3) is None and log.since(old, "d", 2) == Since(datetime(2026, 11, 2, 12, tzinfo=UTC))
    with pytest.raises(IntegrityError, match="record 3 of d as it was witnessed"):
        copy_witness(log.store, old.store, old.keyring)


def test_a_witnessed_record_that_was_given_up_for_lost_is_no_rollback(vault: Vault, log: WitnessLog) -> None:
    for number in range(3):
        commit(vault, log, "d", f"p{number}")
    vault.store.delete(commit_key("d", 2))
    assert verify(anew(vault), witness=log).rollback == "found"
    old = anew(vault)
    old.forget_record("d", 2, reason="lost with a disk")
    assert verify(anew(old), witness=log).rollback == "none found"
    copy_witness(log.store, old.store, old.keyring)


def test_a_loss_that_somebody_accepts_is_told_ever_after_and_fails_no_more(
    vault: Vault, log: WitnessLog, clock: Clock
) -> None:
    for number in range(3):
        commit(vault, log, "d", f"p{number}")
    vault.store.delete(commit_key("d", 3))
    old = anew(vault)
    with pytest.raises(ConfigError, match="expected a reason"):
        log.accept(old, "ann", " ")
    log.accept(old, "ann", "restored from the copy of Sunday")
    commit(old, log, "d", "new")
    report = verify(old, witness=log)
    assert report.ok and report.rollback == "none found" and report.witnessed is not None
    assert report.witnessed.accepted == ("2026-11-01T12:00:00 by ann: restored from the copy of Sunday",)
    # what was accepted is a new beginning, not a pardon for what comes
    old.store.delete(commit_key("d", 3))
    assert verify(anew(old), witness=log).rollback == "found"


def test_the_present_state_costs_few_reads_however_long_the_witness_is(
    vault: Vault, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore(clock)
    log, reads = WitnessLog(store), list[str]()
    commit(vault, log, "once", "a")
    done = vault.commit("d", {"b": sources("b")})
    for seq in range(3 * WHOLE_EVERY):
        # as if it had moved each time: what is witnessed is not looked at while it goes on
        log.note(vault, {"d": Place(done.seq + seq, done.digest if not seq else f"{seq:064x}")})
    real = store.read
    monkeypatch.setattr(store, "read", lambda key, **options: (reads.append(key), real(key, **options))[1])
    log.note(vault, {"d": Place(1000, "f" * 64)})
    assert 1 <= len(reads) <= WHOLE_EVERY
    monkeypatch.undo()
    assert {"once", "d"} == set(log.check(vault).heads)


@pytest.mark.parametrize("how", ["missing", "altered", "swapped", "another's"])
def test_a_witness_that_is_not_whole_is_a_finding(vault: Vault, clock: Clock, how: str) -> None:
    store = MemoryStore(clock)
    log = WitnessLog(store)
    for number in range(4):
        commit(vault, log, "d", f"p{number}")
    keys = [info.key for info in store.list()]
    match how:
        case "missing":
            store.delete(keys[1])
        case "altered":
            store.write(keys[1], store.read(keys[1]).replace(b'"sig":"', b'"sig":"A'))
        case "swapped":
            store.write(keys[1], store.read(keys[2]))
        case "another's":
            other = Vault(MemoryStore(clock), Signer(Ed25519PrivateKey.generate()), clock=clock, workers=0)
            elsewhere = WitnessLog(MemoryStore(clock))
            commit(other, elsewhere, "d", "p")
            store.write(keys[1], next(elsewhere.store.read(info.key) for info in elsewhere.store.list()))
    report = verify(vault, witness=log)
    assert [finding.key for finding in report.findings] == [store.url] and report.rollback == "not provable"


def test_a_witness_in_the_vault_itself_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path / "vault", tmp_path / "vault" / "inside"):
        with pytest.raises(ConfigError, match="a witness outside the vault"):
            open_witness(str(place), LocalStore(tmp_path / "vault"), StampAuthority())


def test_two_writers_of_one_witness_take_one_number_each(
    vault: Vault, log: WitnessLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = vault.commit("d", {"a": sources("a")}), vault.commit("e", {"b": sources("b")})
    real, between = log.store.write, [True]

    def write(key: str, data: bytes, *, create: bool = False) -> object:
        if between.pop() if between else False:
            log.note(vault, {"e": Place(second.seq, second.digest)})
        return real(key, data, create=create)

    monkeypatch.setattr(log.store, "write", write)
    assert log.note(vault, {"d": Place(first.seq, first.digest)}) == {"witness_seq": 2}
    report = log.check(vault)
    assert report.records == 2 and set(report.heads) == {"d", "e"} and not report.losses


# -- time-stamps of somebody else ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> Iterator[StampServer]:
    try:
        with stamp_server() as running:
            yield running
    except ServerAbsent as exc:
        pytest.skip(str(exc))


@pytest.mark.emulator
def test_an_authority_says_since_when_by_its_own_clock_and_sees_a_hash_alone(
    vault: Vault, clock: Clock, authority: StampServer
) -> None:
    log = WitnessLog(MemoryStore(clock), StampAuthority(authority.url, authority.root))
    begun = datetime.now(UTC).replace(microsecond=0)
    done = commit(vault, log, "orders", "a")
    since = log.since(vault, "orders", done.seq)
    # the vault's own clock stands at 1 November: the authority's word is another
    assert since is not None and since.witnessed == clock.now and since.stamped is not None and since.stamped >= begun
    assert b"orders" not in authority.asked[-1] and len(authority.asked[-1]) < 100
    report = verify(vault, witness=log)
    assert report.ok and report.witnessed is not None
    assert (report.witnessed.stamps, report.witnessed.stamped_until, report.witnessed.unstamped) == (1, since.stamped, "")
    # whoever names no roots is told that nothing was judged
    blind = WitnessLog(log.store).check(vault)
    assert blind.stamped_until is None and "no roots are named" in blind.unstamped


@pytest.mark.emulator
def test_an_authority_that_is_away_holds_nothing_up_and_the_next_stamp_covers_what_it_missed(
    vault: Vault, clock: Clock, authority: StampServer
) -> None:
    def away(url: str, request: bytes) -> bytes:
        raise TransientStorageError("expected a time-stamp, found: connection refused")

    store = MemoryStore(clock)
    done = vault.commit("d", {"a": sources("a")})
    told: dict[str, JsonValue] = WitnessLog(store, StampAuthority(authority.url, authority.root, away)).note(
        vault, {"d": Place(done.seq, done.digest)}
    )
    assert told["witness_stamped"] is False and "connection refused" in str(told["witness_stamp_problem"])
    log = WitnessLog(store, StampAuthority(authority.url, authority.root))
    assert log.since(vault, "d", done.seq) == Since(clock.now)
    commit(vault, log, "d", "b")
    since = log.since(vault, "d", done.seq)
    assert since is not None and since.stamped is not None


@pytest.mark.emulator
def test_a_stamp_of_another_record_or_authority_or_an_altered_one_does_not_hold(
    vault: Vault, clock: Clock, authority: StampServer
) -> None:
    judge = StampAuthority(authority.url, authority.root)
    mine, other = judge.stamp(b"mine"), judge.stamp(b"other")
    assert judge.time_of(b"mine", mine) is not None
    altered = bytearray(mine)
    altered[len(altered) // 2] ^= 1
    for record, answer in ((b"mine", other), (b"mine", bytes(altered)), (b"mine", b"no answer"), (b"mine", mine[:-9])):
        with pytest.raises(IntegrityError):
            judge.time_of(record, answer)
    with stamp_server("another") as stranger, pytest.raises(IntegrityError, match="found none that holds"):
        StampAuthority(stranger.url, stranger.root).time_of(b"mine", mine)
    # an old answer that is given again is not what was asked for
    authority.answers.append(other)
    with pytest.raises(OrchestraiError, match="of what was asked"):
        judge.stamp(b"mine")
    store = MemoryStore(clock)
    log = WitnessLog(store, judge)
    commit(vault, log, "d", "a")
    (key,) = [info.key for info in store.list() if info.key.endswith(".tsr")]
    store.write(key, other)
    assert log.since(vault, "d", 1) == Since(clock.now)
    report = log.check(vault)
    assert report.stamped_until is None and report.unstamped.startswith("1: expected a time-stamp of this record")


def test_every_chain_is_witnessed_at_once_by_whoever_asks(vault: Vault, log: WitnessLog) -> None:
    for name in ("d", "e", "f"):
        vault.commit(name, {"p": sources(name)})
    log.note(vault, ends_of(vault))
    assert set(log.check(vault).heads) == {"d", "e", "f"}
