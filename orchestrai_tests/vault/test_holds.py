"""Legal hold: by orchestrai's own records everywhere, and by the store where it can (Ceph RGW)."""

import itertools
from datetime import timedelta

import pytest

from orchestrai.errors import ConfigError, IntegrityError, RetentionLocked, SignatureInvalid
from orchestrai.ledger.signing import Signer
from orchestrai.storage.cloud.control import control_plane
from orchestrai.storage.url import open_store
from orchestrai.vault.lifecycle.hold_records import held_by, holds
from orchestrai.vault.lifecycle.legal_hold import extend_hold, place_hold, release_hold
from orchestrai.vault.lifecycle.prune import apply_prune, plan_prune
from orchestrai.vault.lifecycle.retention import apply_retention, plan_retention
from orchestrai.vault.spec import KeepSpec
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.servers.s3 import S3Server
from orchestrai_tests.storage.conftest import s3_options
from orchestrai_tests.vault.conftest import Clock
from orchestrai_tests.vault.contents import files, read_all


def active(vault: Vault) -> set[tuple[str, int]]:
    return set(holds(vault.store, vault.keyring, vault.identity()))


def test_what_is_held_is_neither_forgotten_nor_pruned_until_it_is_released(vault: Vault, clock: Clock) -> None:
    first = vault.commit("d", {"p": files(a=b"a" * 300_000)})
    vault.commit("d", {"p": files(a=b"b" * 300_000)})
    report = place_hold(vault, "d", first, None, reason="case 17")
    assert not report.enforced and "cannot hold" in report.reason
    for refused in (lambda: vault.forget(first.snapshot_id), lambda: vault.forget_record("d", 1, reason="x")):
        with pytest.raises(RetentionLocked, match="release it first"):
            refused()
    plan = plan_retention(
        vault.snapshots("d"), KeepSpec(last=1), clock(), holds(vault.store, vault.keyring, vault.identity())
    )
    assert plan.forget == () and plan.decisions[1].reasons == ("legal hold: case 17",)
    release_hold(vault, "d", first, None, reason="closed")
    assert active(vault) == set()
    plan = plan_retention(vault.snapshots("d"), KeepSpec(last=1), clock(), {})
    assert apply_retention(vault, plan) == (first.snapshot_id,)


def test_a_hold_of_a_dataset_holds_the_snapshots_to_come(vault: Vault) -> None:
    vault.commit("d", {"p": files(a=b"a")})
    place_hold(vault, "d", None, None, reason="case")
    later = vault.commit("d", {"p": files(a=b"b")})
    other = vault.commit("e", {"p": files(a=b"b")})
    found = holds(vault.store, vault.keyring, vault.identity())
    assert held_by(found, later) is not None and held_by(found, other) is None
    with pytest.raises(RetentionLocked):
        vault.forget(later.snapshot_id)
    vault.forget(other.snapshot_id)


def test_a_hold_that_is_placed_while_its_snapshot_is_being_forgotten_wins(
    vault: Vault, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = vault.commit("d", {"p": files(a=b"a" * 300_000)})
    vault.commit("d", {"p": files(a=b"b" * 300_000)})
    looked = vault.holds

    def hold_after_the_look(*, strict: bool = True) -> object:
        found = looked(strict=strict)
        place_hold(vault, "d", first, None, reason="case")
        return found

    monkeypatch.setattr(vault, "holds", hold_after_the_look)
    with pytest.raises(RetentionLocked, match="meanwhile"):
        vault.forget(first.snapshot_id)
    monkeypatch.undo()
    assert list(vault.store.list("vault/forgotten/"))
    assert [commit.seq for commit in vault.snapshots("d")] == [1, 2]
    assert [commit.seq for commit in vault.catalog.recent("d", 5)] == [1, 2]
    assert vault.catalog.at("d", 1) is not None
    assert verify(vault, level="read").snapshots == 2, "what is held is looked at"
    for _ in "12":
        clock.pass_by(days=3)
        apply_prune(vault, plan_prune(vault))
    assert read_all(vault, first) == {"p": {"a": b"a" * 300_000}}
    release_hold(vault, "d", first, None, reason="closed")
    assert [commit.seq for commit in vault.snapshots("d")] == [2]
    assert vault.catalog.forgotten("d") == {("d", 1)}


def test_a_hold_of_a_dataset_brings_back_nothing_that_was_forgotten_before(vault: Vault) -> None:
    first, second = (vault.commit("d", {"p": files(a=text)}) for text in (b"a", b"b"))
    vault.forget(first.snapshot_id)
    place_hold(vault, "d", None, None, reason="case")
    assert [commit.seq for commit in vault.snapshots("d")] == [second.seq]
    with pytest.raises(ConfigError, match="forgotten"):
        place_hold(vault, "d", first, None, reason="too late")
    place_hold(vault, "d", second, None, reason="again")
    assert [commit.seq for commit in vault.snapshots("d")] == [second.seq]


def test_placing_and_releasing_are_kept_as_signed_records_and_idempotent(vault: Vault) -> None:
    commit = vault.commit("d", {"p": files(a=b"a")})
    for _ in "12":
        place_hold(vault, "d", commit, None, reason="one")
    release_hold(vault, "d", commit, None, reason="two")
    place_hold(vault, "d", commit, None, reason="three")
    assert len(list(vault.store.list("vault/holds/"))) == 3
    with pytest.raises(ConfigError, match="reason"):
        place_hold(vault, "d", commit, None, reason=" ")
    with pytest.raises(ConfigError, match="found none"):
        release_hold(vault, "d", None, None, reason="never placed")


def test_a_forged_or_moved_hold_is_refused(vault: Vault) -> None:
    commit = vault.commit("d", {"p": files(a=b"a")})
    place_hold(vault, "d", commit, None, reason="one")
    key = next(iter(vault.store.list("vault/holds/"))).key
    record = vault.store.read(key)
    vault.store.write(key.replace("000001.json", "000002.json"), record)
    with pytest.raises(IntegrityError, match="moved"):
        active(vault)
    vault.store.delete(key.replace("000001.json", "000002.json"))
    vault.store.write(key, record.replace(b'payload":"', b'payload":"AAAA'))
    with pytest.raises(SignatureInvalid):
        active(vault)


@pytest.mark.emulator
def test_the_store_keeps_what_is_held_and_shared_objects_stay_held_by_the_other(rgw: S3Server, signer: Signer) -> None:
    numbers = itertools.count()
    store = open_store(f"s3://{rgw.bucket(locked=True)}/v", s3_options(rgw))
    control = control_plane(store)
    assert control is not None
    vault = Vault(store, signer, new_id=lambda: f"s{next(numbers):04d}", max_session=timedelta(seconds=2), workers=0)
    first = vault.commit("d", {"p": files(shared=b"s" * 300_000, one=b"1" * 300_000)})
    second = vault.commit("d", {"p": files(shared=b"s" * 300_000, two=b"2" * 300_000)})
    keys = {file.path: (file.key, file.version) for commit in (first, second) for file in vault.files(commit, "p")}
    lengths = {file.path: file.object_length for file in vault.files(first, "p")}
    for commit in (first, second):
        assert place_hold(vault, "d", commit, control, reason="case").enforced
    assert all(control.held(*place) for place in keys.values())
    with pytest.raises(RetentionLocked):
        control.delete_version(*keys["one"])
    released = release_hold(vault, "d", first, control, reason="closed")
    assert released.enforced
    assert {path: control.held(*place) for path, place in keys.items()} == {"shared": True, "two": True, "one": False}
    # what is held by somebody else in the store defers its deletion
    control.hold(keys["one"][0], True, keys["one"][1])
    vault.forget(first.snapshot_id)
    import time

    time.sleep(3.2)
    wait = timedelta(seconds=2)
    apply_prune(vault, plan_prune(vault, wait=wait), wait=wait, control=control)
    time.sleep(3.2)
    report = apply_prune(vault, plan_prune(vault, wait=wait), wait=wait, control=control)
    assert "legal hold" in report.deferred[keys["one"][0]]
    assert store.head(keys["one"][0], version=keys["one"][1]).size == lengths["one"]


@pytest.mark.emulator
def test_a_new_snapshot_of_a_held_dataset_is_held_by_what_is_new_alone(rgw: S3Server, signer: Signer) -> None:
    store = open_store(f"s3://{rgw.bucket(locked=True)}/v", s3_options(rgw))
    control = control_plane(store)
    vault = Vault(store, signer, workers=0)
    vault.commit("d", {"p": files(a=b"a" * 300_000), "q": files(a=b"q" * 300_000)})
    whole = place_hold(vault, "d", None, control, reason="case")
    second = vault.commit("d", {"p": files(a=b"b" * 300_000)})
    more = extend_hold(vault, "d", [second], control, beyond=True)
    # commit, tree, list, object; the first one the identity, the key log, a list and an object besides
    assert more.enforced and (more.objects, whole.objects) == (4, 8)
