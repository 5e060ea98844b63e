"""Prune gives back what no snapshot needs, and not before it may."""

from pathlib import Path

import pytest

from orchestrai.errors import IntegrityError, MissingObject, ObjectNotFound, RetentionLocked
from orchestrai.storage.cloud.control import Capabilities, ObjectVersion
from orchestrai.vault.format.layout import BYTES, commit_key, tombstone_key
from orchestrai.vault.lifecycle.anchor import Anchor
from orchestrai.vault.lifecycle.prune import apply_prune, plan_prune
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.vault.conftest import Clock
from orchestrai_tests.vault.contents import files, read_all


def stored(vault: Vault) -> set[str]:
    return {
        info.key
        for info in vault.store.list("vault/")
        if info.key.split("/")[1] in ("objects", "packs", "listings", "trees")
    }


def test_what_a_forgotten_snapshot_alone_needed_goes_after_the_wait(vault: Vault, clock: Clock) -> None:
    first = vault.commit("d", {"p": files(a=b"a" * 300_000, b=b"b")})
    only_first = stored(vault)
    second = vault.commit("d", {"p": files(c=b"c" * 300_000)})
    vault.forget(first.snapshot_id)
    deleted = []
    for _ in range(6):
        clock.pass_by(hours=20)
        deleted.append(set(apply_prune(vault, plan_prune(vault)).deleted))
    assert set().union(*deleted) == only_first
    assert deleted[0] == set()
    assert read_all(vault, second) == {"p": {"c": b"c" * 300_000}}
    assert plan_prune(vault).delete == {} and plan_prune(vault).mark == {}


def test_what_a_dead_session_left_goes(vault: Vault, clock: Clock) -> None:
    kept = vault.commit("d", {"p": files(a=b"a")})
    vault.store.write("vault/objects/dead/1", b"left behind")
    vault.store.write("work/sessions/dead.json", b"{}")
    for _ in range(3):
        clock.pass_by(hours=31)
        apply_prune(vault, plan_prune(vault))
    assert not any("dead" in info.key for info in vault.store.list())
    assert read_all(vault, kept) == {"p": {"a": b"a"}}


def test_content_shared_with_a_live_snapshot_stays(vault: Vault, clock: Clock) -> None:
    first = vault.commit("d", {"p": files(a=b"a" * 300_000, b=b"b" * 300_000)})
    second = vault.commit("d", {"p": files(a=b"a" * 300_000)})
    vault.forget(first.snapshot_id)
    for _ in range(4):
        clock.pass_by(hours=31)
        apply_prune(vault, plan_prune(vault))
    assert read_all(vault, second) == {"p": {"a": b"a" * 300_000}}
    assert len([key for key in stored(vault) if key.startswith("vault/objects/")]) == 1


def test_damage_in_a_live_snapshot_stops_a_prune(vault: Vault, clock: Clock) -> None:
    vault.commit("d", {"p": files(a=b"a")})
    for info in list(vault.store.list("vault/listings/")):
        vault.store.delete(info.key)
    with pytest.raises(MissingObject):
        plan_prune(vault)


def test_a_lock_defers_and_the_next_prune_tries_again(vault: Vault, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    first = vault.commit("d", {"p": files(a=b"a")})
    vault.commit("d", {"p": files(b=b"b")})
    vault.forget(first.snapshot_id)
    clock.pass_by(hours=25)
    apply_prune(vault, plan_prune(vault))
    clock.pass_by(hours=31)
    plan = plan_prune(vault)
    assert plan.delete

    def locked(key: str, *, version: str | None = None) -> None:
        if key.startswith("vault/"):
            raise RetentionLocked("locked until 2027-01-01")

    with monkeypatch.context() as patch:
        patch.setattr(vault.store, "delete", locked)
        report = apply_prune(vault, plan)
    assert set(report.deferred) == set(plan.delete) and report.deleted == ()
    assert set(apply_prune(vault, plan_prune(vault)).deleted) == set(plan.delete)


def test_a_plan_that_went_stale_deletes_nothing_that_is_needed(vault: Vault, clock: Clock) -> None:
    first = vault.commit("d", {"p": files(a=b"a")})
    vault.commit("d", {"p": files(b=b"b")})
    vault.forget(first.snapshot_id)
    clock.pass_by(hours=25)
    apply_prune(vault, plan_prune(vault))
    clock.pass_by(hours=31)
    plan = plan_prune(vault)
    vault.store.delete(f"vault/forgotten/d/{first.seq:012d}.json")
    assert apply_prune(vault, plan).deleted == ()


def test_a_session_may_last_as_long_as_it_likes(vault: Vault, clock: Clock) -> None:
    from orchestrai.vault.commit.protocol import Request, WriteSession

    class Slow(WriteSession):
        def put_tree(self, attempt, entries):  # type: ignore[no-untyped-def]
            clock.pass_by(hours=25)
            return super().put_tree(attempt, entries)

    commit = Slow(vault, Request("d", {"p": files(a=b"a")})).run()
    assert [found.seq for found in vault.snapshots()] == [commit.seq] == [1]
    assert read_all(vault, vault.latest("d")) == {"p": {"a": b"a"}}


def test_a_writer_whose_bytes_were_pruned_meanwhile_stores_them_again(vault: Vault, clock: Clock) -> None:
    from orchestrai.vault.commit.protocol import WriteSession

    pruned: list[str] = []

    class Overtaken(WriteSession):
        def put_tree(self, attempt, entries):  # type: ignore[no-untyped-def]
            place = super().put_tree(attempt, entries)
            for _ in range(0 if pruned else 2):
                pruned.extend(apply_prune(vault, plan_prune(vault)).deleted)
                clock.pass_by(hours=31)
            return place

    vault.session = lambda request, progress=None: Overtaken(vault, request, progress)  # type: ignore[method-assign]
    commit = vault.commit("d", {"p": files(a=b"a" * 300_000)})
    assert any(key.startswith("vault/objects/") for key in pruned)
    assert read_all(vault, commit) == {"p": {"a": b"a" * 300_000}}


def test_planning_writes_nothing(vault: Vault, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    first = vault.commit("d", {"p": files(a=b"a")})
    vault.commit("d", {"p": files(b=b"b")})
    vault.forget(first.snapshot_id)
    apply_prune(vault, plan_prune(vault))
    clock.pass_by(hours=31)

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a plan wrote or deleted something")

    for name in ("write", "write_file", "delete"):
        monkeypatch.setattr(vault.store, name, refused)
    assert plan_prune(vault).delete


def test_a_prune_stops_where_a_record_is_missing_until_its_number_is_forgotten(vault: Vault, clock: Clock) -> None:
    for number in range(3):
        vault.commit("d", {"p": files(a=b"%d" % number)})
    vault.forget_record("d", 1, reason="old")
    apply_prune(vault, plan_prune(vault))
    clock.pass_by(hours=31)
    plan = plan_prune(vault)
    vault.store.delete(commit_key("d", 2))
    for work in (lambda: plan_prune(vault), lambda: apply_prune(vault, plan)):
        with pytest.raises(IntegrityError, match="found it gone"):
            work()
    vault.forget_record("d", 2, reason="lost for good")
    assert apply_prune(vault, plan).deleted
    assert read_all(vault, vault.latest("d")) == {"p": {"a": b"2"}}
    with pytest.raises(ObjectNotFound):
        vault.forget_record("d", 99, reason="never there")


def test_a_prune_stops_where_the_anchor_remembers_more(vault: Vault, clock: Clock, tmp_path: Path) -> None:
    anchor = Anchor(tmp_path / "anchor.json")
    first = vault.commit("d", {"p": files(a=b"a")})
    vault.commit("d", {"p": files(b=b"b")})
    vault.forget(first.snapshot_id)
    vault.commit("d", {"p": files(c=b"c")})
    anchor.update(vault)
    apply_prune(vault, plan_prune(vault))
    clock.pass_by(hours=31)
    hidden = vault.store.read(commit_key("d", 3))
    vault.store.delete(commit_key("d", 3))
    again = Vault(vault.store, vault.signer, clock=clock, workers=0)
    with pytest.raises(IntegrityError, match="rolled back"):
        apply_prune(again, plan_prune(again), anchor=anchor)
    vault.store.write(commit_key("d", 3), hidden)
    assert read_all(vault, vault.get(vault.latest("d").snapshot_id)) == {"p": {"c": b"c"}}


def test_what_a_prune_took_for_forgotten_stays_so_without_its_tombstone(vault: Vault, clock: Clock) -> None:
    first = vault.commit("d", {"p": files(a=b"a")})
    vault.commit("d", {"p": files(b=b"b")})
    vault.forget(first.snapshot_id)
    for _ in range(2):
        apply_prune(vault, plan_prune(vault))
        clock.pass_by(hours=31)
    vault.store.delete(tombstone_key("d", 1))
    again = Vault(vault.store, vault.signer, clock=clock, workers=0)
    assert [commit.seq for commit in again.snapshots()] == [2] == [commit.seq for commit in again.catalog.recent("d", 9)]
    assert again.catalog.at("d", 1) is None and ("d", 1) in again.catalog.forgotten()
    assert [finding.key for finding in verify(again).findings] == [tombstone_key("d", 1)]
    assert again.commit("d", {"p": files(a=b"a")}).new_bytes == 1


def test_every_version_of_an_unneeded_object_goes(vault: Vault, clock: Clock) -> None:
    first = vault.commit("d", {"p": files(a=b"a")})
    vault.commit("d", {"p": files(b=b"b")})
    vault.forget(first.snapshot_id)
    clock.pass_by(hours=25)
    apply_prune(vault, plan_prune(vault))
    clock.pass_by(hours=31)
    gone: list[tuple[str, str]] = []

    class Versions:
        def capabilities(self) -> Capabilities:
            return Capabilities(versions=True)

        def versions(self, prefix: str) -> list[ObjectVersion]:
            if not prefix.startswith(BYTES):
                return []
            return [
                ObjectVersion(key, version, 1, "", clock(), version == "2")
                for key in (prefix, prefix + "9")
                for version in ("1", "2")
            ]

        def delete_version(self, key: str, version: str) -> None:
            gone.append((key, version))

    plan = plan_prune(vault)
    apply_prune(vault, plan, control=Versions())  # type: ignore[arg-type]
    assert sorted(gone) == sorted((key, version) for key in plan.delete for version in ("1", "2"))
