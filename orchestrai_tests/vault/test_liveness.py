"""Which snapshots count follows from signed records alone: no time of the store, and no copy of the vault, changes it."""

import itertools
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import IntegrityError, MissingObject, RetentionLocked
from orchestrai.ledger.signing import Signer
from orchestrai.restore.folder import restore_folder
from orchestrai.storage.cloud.control import control_plane
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.storage.url import open_store
from orchestrai.vault.chain.chain_head import ranges
from orchestrai.vault.format.layout import DATA_KEYS, HOLDS, IDENTITY, commit_key
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.lifecycle.anchor import Anchor
from orchestrai.vault.lifecycle.hold_records import holds
from orchestrai.vault.lifecycle.legal_hold import place_hold, release_hold
from orchestrai.vault.lifecycle.prune import apply_prune, plan_prune
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.storage.conftest import s3_options
from orchestrai_tests.vault.conftest import Clock
from orchestrai_tests.vault.contents import files, read_all

WRITTEN = {"p": {"a": b"a" * 300_000, "b": b"b"}}


def opened(root: Path, signer: Signer, key: FileKey | None = None) -> Vault:
    return Vault(LocalStore(root), signer, workers=0, encryption=key)


def filled(root: Path, signer: Signer) -> Vault:
    vault = opened(root, signer)
    vault.commit("d", {"p": files(a=b"old" * 100_000)})
    vault.commit("d", {"p": files(**WRITTEN["p"])})
    return vault


def _touched(root: Path, days: float) -> Path:
    for path in root.rglob("*"):
        status = path.stat()
        os.utime(path, (status.st_atime + days * 86400, status.st_mtime + days * 86400))
    return root


def _copied(root: Path, copy: Callable[[Path, Path], Any]) -> Path:
    copy(root, root.with_name("copy"))
    return root.with_name("copy")


def _without_times(root: Path, target: Path) -> None:
    """As `cp -r` and `rsync -r` do: the same bytes, the times of now, in another order."""
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_file():
            (target / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / path.relative_to(root))


CHANGES: dict[str, Callable[[Path], Path]] = {
    "touch +2 days": lambda root: _touched(root, 2),
    "touch -2 days": lambda root: _touched(root, -2),
    "touch -20 years": lambda root: _touched(root, -7300),
    "cp -r": lambda root: _copied(root, _without_times),
    "cp -a": lambda root: _copied(root, shutil.copytree),
}


@pytest.mark.parametrize("change", CHANGES)
def test_times_and_copies_change_nothing(change: str, tmp_path: Path, signer: Signer) -> None:
    before = filled(tmp_path / "vault", signer).snapshots()
    anchor = Anchor(tmp_path / "anchor.json")
    anchor.update(opened(tmp_path / "vault", signer))
    vault = opened(CHANGES[change](tmp_path / "vault"), signer)
    assert vault.snapshots() == before
    report = verify(vault, level="read", anchor=anchor)
    assert (report.findings, report.snapshots, report.rollback) == ((), 2, "none found")
    # by a clock that is years ahead nothing waits
    for _ in range(2):
        late = vault.clock() + timedelta(days=400)
        ahead = Vault(vault.store, signer, clock=lambda now=late: now, workers=0)  # type: ignore[misc]
        assert apply_prune(ahead, plan_prune(ahead), anchor=anchor).deleted == ()
    assert read_all(vault, vault.latest("d")) == WRITTEN
    assert restore_folder(vault, before[0], tmp_path / "out", sync=False) == before[0].size
    assert vault.latest("d", as_of=before[0].committed) == before[0]


@pytest.mark.emulator
@pytest.mark.parametrize("name", ["moto", "rgw"])
@pytest.mark.parametrize("locked", [False, True])
def test_the_same_bytes_put_again_change_nothing(
    name: str, locked: bool, signer: Signer, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(name)
    store = open_store(f"s3://{server.bucket(versioned=True, locked=locked)}/v", s3_options(server))
    vault = Vault(store, signer, workers=0, max_session=timedelta(seconds=1))
    vault.commit("d", {"p": files(a=b"old" * 100_000)})
    before = [vault.commit("d", {"p": files(**WRITTEN["p"])})]
    import time

    time.sleep(2)
    for info in list(store.list("vault/")):
        store.write(info.key, store.read(info.key))
    again = Vault(store, signer, workers=0, max_session=timedelta(seconds=1))
    assert [c.digest for c in again.snapshots()][1:] == [c.digest for c in before]
    for _ in range(2):
        time.sleep(1.3)
        assert apply_prune(again, plan_prune(again), control=control_plane(store)).deleted == ()
    assert verify(again, level="read", control=control_plane(store)).findings == ()
    assert read_all(again, again.latest("d")) == WRITTEN


def test_a_commit_is_never_older_than_the_one_before_it(signer: Signer) -> None:
    clock = Clock()
    vault = Vault(MemoryStore(clock), signer, clock=clock, workers=0)
    first = vault.commit("d", {"p": files(a=b"a")})
    clock.pass_by(days=-30)
    second = vault.commit("d", {"p": files(a=b"b")})
    clock.pass_by(days=40)
    third = vault.commit("d", {"p": files(a=b"c")})
    assert first.committed == second.committed < third.committed
    assert vault.latest("d", as_of=first.committed) == second


@pytest.mark.parametrize("gone", [IDENTITY, DATA_KEYS])
@pytest.mark.parametrize("held_in_memory", [False, True])
def test_identity_and_data_key_are_never_made_anew(gone: str, held_in_memory: bool, tmp_path: Path, signer: Signer) -> None:
    key = FileKey(tmp_path / "vault.key")
    first = opened(tmp_path / "vault", signer, key)
    commit = first.commit("d", {"p": files(a=b"a")})
    taken = {info.key: first.store.read(info.key) for info in first.store.list(gone)}
    for name in taken:
        first.store.delete(name)
    vault = first if held_in_memory else opened(tmp_path / "vault", signer, key)
    if held_in_memory:
        # who has them open can go on, and is told
        assert {finding.key for finding in verify(vault).findings} == set(taken)
    else:
        for work in (
            lambda: vault.commit("d", {"p": files(a=b"b")}),
            lambda: vault.commit("e", {"p": files(a=b"b")}),
            lambda: read_all(vault, commit),
        ):
            with pytest.raises(MissingObject):
                work()
        assert not verify(vault).ok
    assert list(vault.store.list(gone)) == []
    for name, data in taken.items():
        vault.store.write(name, data)
    assert read_all(opened(tmp_path / "vault", signer, key), commit) == {"p": {"a": b"a"}}


def test_a_prune_whose_clock_is_ahead_moves_no_time(vault: Vault, clock: Clock) -> None:
    first = vault.commit("d", {"p": files(a=b"a")})
    vault.commit("d", {"p": files(a=b"b")})
    vault.forget(first.snapshot_id)
    ahead = Vault(vault.store, vault.signer, clock=lambda: clock() + timedelta(days=3650), workers=0)
    deleted = [apply_prune(ahead, plan_prune(ahead)).deleted for _ in range(2)]
    assert deleted[1]
    assert vault.commit("d", {"p": files(a=b"c")}).committed == clock()


def test_reading_a_store_without_a_vault_makes_none(tmp_path: Path, signer: Signer) -> None:
    vault = opened(tmp_path / "vault", signer, FileKey(tmp_path / "vault.key"))
    assert vault.identity() == "" and vault.snapshots() == [] and vault.holds() == {}
    assert verify(vault).ok and plan_prune(vault).delete == {}
    assert list(vault.store.list()) == []
    with pytest.raises(MissingObject, match="take a snapshot first"):
        place_hold(vault, "d", None, None, reason="case")
    assert list(vault.store.list()) == []


def test_a_hold_holds_without_its_record_and_without_its_note(vault: Vault, tmp_path: Path) -> None:
    first = vault.commit("d", {"p": files(a=b"a")})
    vault.commit("d", {"p": files(a=b"b")})
    place_hold(vault, "d", first, None, reason="case 17")
    anchor = Anchor(tmp_path / "anchor.json")
    anchor.update(vault)
    record = next(iter(vault.store.list(HOLDS)))
    kept = vault.store.read(record.key)
    vault.store.delete(record.key)
    again = Vault(vault.store, vault.signer, clock=vault.clock, workers=0)
    assert [hold.reason for hold in again.holds().values()] == ["case 17"]
    with pytest.raises(RetentionLocked):
        again.forget(first.snapshot_id)
    assert [finding.key for finding in verify(again, anchor=anchor).findings] == [record.key]
    release_hold(again, "d", first, None, reason="closed")
    assert again.holds() == {} and verify(again, anchor=anchor).ok
    # the note cut off with the chain's end: the record holds, and the anchor tells
    again.store.write(record.key, kept)
    for seq in (3, 4):
        again.store.delete(commit_key("d", seq))
    for info in list(again.store.list(HOLDS)):
        if info.key != record.key:
            again.store.delete(info.key)
    cut = Vault(vault.store, vault.signer, clock=vault.clock, workers=0)
    assert set(holds(cut.store, cut.keyring, cut.identity())) == {("d", 1)}
    assert verify(cut, anchor=anchor).rollback == "found"


def test_a_hold_whose_records_are_all_gone_is_told_by_the_anchor(vault: Vault, tmp_path: Path) -> None:
    vault.commit("d", {"p": files(a=b"a")})
    place_hold(vault, "d", None, None, reason="case")
    anchor = Anchor(tmp_path / "anchor.json")
    anchor.update(vault)
    for info in [*vault.store.list(HOLDS), vault.store.head(commit_key("d", 2))]:
        vault.store.delete(info.key)
    problems = [finding.problem for finding in verify(vault, anchor=anchor).findings]
    assert any("hold of d (all)" in problem for problem in problems)
    with pytest.raises(IntegrityError):
        anchor.update(vault)


def test_numbers_as_ranges() -> None:
    assert ranges({5, 1, 2, 3, 9, 8}) == ((1, 3), (5, 5), (8, 9)) and ranges(()) == ()
    spans = ranges(itertools.chain(range(100), range(200, 300)))
    assert spans == ((0, 99), (200, 299))
