"""Single files out of a snapshot into a folder that may hold others."""

from pathlib import Path

import pytest

from orchestrai.errors import DigestMismatch, RestoreError
from orchestrai.restore.folder_plan import plan_folder
from orchestrai.restore.single_files import restore_files
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.vault import Vault
from orchestrai_tests.vault.conftest import clock, signer, vault
from orchestrai_tests.vault.contents import files

__all__ = ["clock", "signer", "vault"]


@pytest.fixture
def commit(vault: Vault) -> SnapshotCommit:
    return vault.commit(
        "d", {"2011-03-01": files(a=b"one", b=b"two"), "2011-03-02": files(a=b"three"), "all": files(c=b"x" * 300_000)}
    )


def test_one_file_comes_back_beside_what_is_there(vault: Vault, commit: SnapshotCommit, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("untouched")
    plan = plan_folder(vault, commit, ["2011-03-01"], paths=["b"])
    (place,) = restore_files(vault, plan, tmp_path)
    assert (place, place.read_bytes()) == (tmp_path / "2011-03-01/b", b"two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2011-03-01", "mine"]


def test_a_glob_takes_files_of_every_partition_and_all_lies_flat(
    vault: Vault, commit: SnapshotCommit, tmp_path: Path
) -> None:
    target = tmp_path / "new"
    names = restore_files(vault, plan_folder(vault, commit, paths=["[ac]"]), target)
    assert [str(name.relative_to(target)) for name in names] == ["2011-03-01/a", "2011-03-02/a", "c"]
    assert (target / "c").read_bytes() == b"x" * 300_000


def test_nothing_is_written_over_unless_asked(vault: Vault, commit: SnapshotCommit, tmp_path: Path) -> None:
    (tmp_path / "2011-03-01").mkdir()
    (tmp_path / "2011-03-01/b").write_text("newer")
    plan = plan_folder(vault, commit, ["2011-03-01"])
    with pytest.raises(RestoreError, match="--overwrite"):
        restore_files(vault, plan, tmp_path)
    assert [path.name for path in (tmp_path / "2011-03-01").iterdir()] == ["b"]
    restore_files(vault, plan, tmp_path, overwrite=True)
    assert (tmp_path / "2011-03-01/b").read_bytes() == b"two"


def test_a_link_in_the_folder_leads_nowhere(vault: Vault, commit: SnapshotCommit, tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (target / "2011-03-01").symlink_to(outside)
    with pytest.raises(RestoreError, match="folder"):
        restore_files(vault, plan_folder(vault, commit, ["2011-03-01"]), target, overwrite=True)
    assert not [*outside.iterdir()]


def test_an_unknown_file_is_an_error_that_names_it(vault: Vault, commit: SnapshotCommit) -> None:
    with pytest.raises(RestoreError, match="nothing_such"):
        plan_folder(vault, commit, paths=["a", "nothing_such"])


def test_what_does_not_prove_right_never_appears(vault: Vault, commit: SnapshotCommit, tmp_path: Path) -> None:
    (file,) = vault.files(commit, "all")
    vault.store.write(file.key, b"y" * 300_000)
    with pytest.raises(DigestMismatch):
        restore_files(vault, plan_folder(vault, commit, ["all"]), tmp_path)
    assert not [*tmp_path.iterdir()]
