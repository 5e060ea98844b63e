"""What a vault keeps and how it is found again."""

import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrai.backup.folder_files import backup_folder
from orchestrai.errors import DigestMismatch, InvalidKey, PreconditionFailed, RestoreError
from orchestrai.ledger.signing import Signer
from orchestrai.restore.folder import restore_folder
from orchestrai.storage.cloud.control import Capabilities, Retention
from orchestrai.storage.local import LocalStore
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.lifecycle.lock import lock_snapshot
from orchestrai.vault.vault import Vault
from orchestrai_tests.vault.conftest import Clock
from orchestrai_tests.vault.contents import files, read_all


def test_a_snapshot_is_the_whole_dataset(vault: Vault) -> None:
    vault.commit("d", {"p": files(a=b"1"), "q": files(b=b"2")})
    commit = vault.commit("d", {"q": files(b=b"3")})
    assert read_all(vault, commit) == {"p": {"a": b"1"}, "q": {"b": b"3"}}
    assert commit.changed == ("q",)
    assert vault.commit("d", {}, drop=["p"]).partitions == 1


def test_the_same_again_makes_no_snapshot(vault: Vault) -> None:
    first = vault.commit("d", {"p": files(a=b"1")})
    again = vault.commit("d", {"p": files(a=b"1")})
    assert again.snapshot_id == first.snapshot_id and again.new_bytes == 0 and len(vault.snapshots()) == 1


def test_a_snapshot_is_found_by_time_tag_and_id(vault: Vault, clock: Clock) -> None:
    first = vault.commit("d", {"p": files(a=b"1")}, tags=["golden"])
    between = clock() + timedelta(hours=1)
    clock.pass_by(days=1)
    second = vault.commit("d", {"p": files(a=b"2")})
    assert vault.latest("d") == second
    assert vault.latest("d", as_of=between) == first == vault.latest("d", tag="golden") == vault.get(first.snapshot_id)
    with pytest.raises(RestoreError):
        vault.latest("d", as_of=datetime(2000, 1, 1, tzinfo=UTC))
    with pytest.raises(RestoreError):
        vault.get("nothing")


def test_small_files_share_packs_of_one_partition(vault: Vault) -> None:
    many = {f"f{n:04d}": os.urandom(1000) for n in range(300)}
    commit = vault.commit("d", {"p": files(**many), "q": files(x=b"x", y=b"y")})
    keys = {part: {f.key for f in vault.files(commit, part)} for part in ("p", "q")}
    assert len(keys["p"]) == 1 and keys["p"].isdisjoint(keys["q"])
    assert read_all(vault, commit)["p"] == many


def test_an_altered_source_is_refused(vault: Vault) -> None:
    with pytest.raises(DigestMismatch):
        vault.commit("d", {"p": [SourceFile("a", 3, b"abc", "0" * 64)]})
    assert vault.snapshots() == []


def test_writers_on_several_threads_all_commit(tmp_path: Path, signer: Signer) -> None:
    def write(number: int) -> None:
        vault = Vault(LocalStore(tmp_path), signer)
        for turn in range(3):
            vault.commit("d", {f"p{number}": files(a=b"%d-%d" % (number, turn))})

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    vault = Vault(LocalStore(tmp_path), signer)
    commits = vault.snapshots("d")
    assert [commit.seq for commit in commits] == list(range(1, 13))
    assert read_all(vault, commits[-1]) == {f"p{n}": {"a": b"%d-2" % n} for n in range(4)}


def test_an_unchanged_file_of_a_folder_is_not_opened(vault: Vault, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a").write_bytes(b"a")
    (folder / "b").write_bytes(b"b" * 300_000)
    first = backup_folder(vault, "f", folder)
    (folder / "b").chmod(0)
    (folder / "c").write_bytes(b"c")
    os.chmod(folder / "b", 0o600)
    (folder / "a").touch()
    second = backup_folder(vault, "f", folder)
    assert first.new_bytes == 300_001 and second.new_bytes >= 1
    assert read_all(vault, second) == {"all": {"a": b"a", "b": b"b" * 300_000, "c": b"c"}}
    third = backup_folder(vault, "f", folder)
    assert third.snapshot_id == second.snapshot_id and third.new_bytes == 0


def test_a_file_that_changes_while_it_is_read_is_never_mixed(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrai.backup import folder_files as module

    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a").write_bytes(b"a" * 100)
    listed = module.list_folder
    calls = []

    def changing(path: Path):  # type: ignore[no-untyped-def]
        found = listed(path)
        calls.append(1)
        (folder / "a").write_bytes(b"%d" % len(calls) * 100)
        return found

    monkeypatch.setattr(module, "list_folder", changing)
    with pytest.raises(PreconditionFailed):
        backup_folder(vault, "f", folder)
    assert len(calls) == 3 and vault.snapshots() == []


def test_a_link_in_a_folder_is_refused_by_name(vault: Vault, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(InvalidKey, match="link"):
        backup_folder(vault, "f", folder)


def test_a_folder_is_restored_whole_and_never_over_another(vault: Vault, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a").write_bytes(b"a")
    (folder / "big").write_bytes(os.urandom(300_000))
    commit = backup_folder(vault, "f", folder)
    assert restore_folder(vault, commit, tmp_path / "out") == 300_001
    assert (tmp_path / "out" / "sub" / "a").read_bytes() == b"a"
    with pytest.raises(RestoreError):
        restore_folder(vault, commit, tmp_path / "out")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a\0b", "a\\b", "x" * 2000, "a//b", "."])
def test_a_hostile_name_leaves_no_root(vault: Vault, tmp_path: Path, name: str) -> None:
    commit = vault.commit("d", {"all": files(**{name: b"evil"})})
    with pytest.raises(InvalidKey):
        restore_folder(vault, commit, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


class Locks:
    """A control plane that remembers retentions; `lock` is what the store can do."""

    def __init__(self, lock: str, keeps: bool = True) -> None:
        self.lock, self.keeps, self.held, self.requests = lock, keeps, {}, 0  # type: ignore[var-annotated]

    def capabilities(self) -> Capabilities:
        return Capabilities(lock=self.lock)  # type: ignore[arg-type]

    def retention(self, key: str, version: str | None = None) -> Retention | None:
        return self.held.get(key)

    def retain(self, key: str, until: datetime, mode: str, version: str | None = None) -> Retention:
        self.requests += 1
        if not self.keeps:
            return Retention("governance", datetime(2000, 1, 1, tzinfo=UTC))
        self.held[key] = Retention(mode, until)  # type: ignore[arg-type]
        return self.held[key]


def test_a_reused_object_is_locked_for_the_newer_snapshot_too(vault: Vault, clock: Clock) -> None:
    control = Locks("compliance")
    first = vault.commit("d", {"p": files(a=b"a" * 300_000)})
    assert lock_snapshot(vault, first, control, timedelta(days=30)).locked  # type: ignore[arg-type]
    clock.pass_by(days=25)
    second = vault.commit("d", {"p": files(a=b"a" * 300_000, b=b"b")})
    report = lock_snapshot(vault, second, control, timedelta(days=30))  # type: ignore[arg-type]
    assert report.locked and report.until == second.committed + timedelta(days=30)
    reused = vault.files(first, "p")[0].key
    assert control.held[reused].until >= second.committed + timedelta(days=30)
    before = control.requests
    assert lock_snapshot(vault, second, control, timedelta(days=30)).extended == 0  # type: ignore[arg-type]
    assert control.requests == before


@pytest.mark.parametrize("control", [None, Locks("none"), Locks("compliance", keeps=False)])
def test_a_store_that_does_not_lock_is_never_called_locked(vault: Vault, control: Locks | None) -> None:
    commit = vault.commit("d", {"p": files(a=b"a")})
    report = lock_snapshot(vault, commit, control, timedelta(days=30))  # type: ignore[arg-type]
    assert not report.locked and report.reason and report.until is None
