"""Bytes on their way into packs and out of them: buffers that are used again never mix files up."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrai.backup.folder_files import backup_folder, list_folder
from orchestrai.errors import DigestMismatch, MissingObject, PreconditionFailed
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.restore.folder import restore_folder
from orchestrai.storage.local import LocalStore
from orchestrai.vault.commit.source import SourceFile, read_into
from orchestrai.vault.keys.encryption import CHUNK, Cipher
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.vault import Vault

# around the window that is read at once, the buffer that is filled, and the size from which a file is an object of its own
SIZES = (
    0,
    1,
    255 * 1024,
    256 * 1024 - 1,
    256 * 1024,
    256 * 1024 + 1,
    512 * 1024,
    CHUNK - 1,
    CHUNK,
    CHUNK + 1,
    2 * CHUNK + 77,
)
CIPHER = Cipher(b"k" * 8, {b"k" * 8: b"s" * 32})


@pytest.mark.parametrize("sealed", [False, True])
def test_a_folder_of_files_of_every_size_comes_back_equal(tmp_path: Path, sealed: bool) -> None:
    source = tmp_path / "source"
    source.mkdir()
    written = {}
    for turn in range(5):
        for size in SIZES:
            name = f"{turn}-{size:08d}"
            written[name] = (hashlib.sha256(name.encode()).digest() * (size // 32 + 1))[:size]
            (source / name).write_bytes(written[name])
    port = FileKey(tmp_path / "data.key") if sealed else None
    vault = Vault(LocalStore(tmp_path / "vault"), load_or_create_signer(tmp_path / "keys"), encryption=port)
    commit = backup_folder(vault, "d", source)
    restore_folder(vault, commit, tmp_path / "target")
    assert {path.name: path.read_bytes() for path in (tmp_path / "target").iterdir()} == written
    assert all(vault.read_file(commit.snapshot_id, "all", name) == data for name, data in sorted(written.items())[:12])


@given(st.binary(max_size=300), st.binary(max_size=40))
def test_one_piece_sealed_is_the_stream_sealed(data: bytes, context: bytes) -> None:
    assert CIPHER.open_small(context, b"".join(CIPHER.seal(context, [data]))) == data
    assert b"".join(CIPHER.open(context, [CIPHER.seal_small(context, data)])) == data
    assert len(CIPHER.seal_small(context, data)) == CIPHER.sealed_length(len(data))


@given(st.integers(0, 2 * CHUNK + 100), st.lists(st.integers(1, CHUNK + 50), min_size=1, max_size=4))
def test_a_stream_is_sealed_alike_however_it_is_cut(size: int, cuts: list[int]) -> None:
    data = os.urandom(size)
    parts, at = [], 0
    while at < size:
        parts.append(data[at : at + cuts[len(parts) % len(cuts)] + 5000])
        at += len(parts[-1])
    sealed = b"".join(CIPHER.seal(b"c", parts))
    assert len(sealed) == CIPHER.sealed_length(size)
    assert b"".join(CIPHER.open(b"c", [sealed[:100], sealed[100:]])) == data


@pytest.mark.parametrize("grown", [b"abcd", b"ab", b""])
def test_a_small_file_that_is_not_as_long_as_it_was_is_not_kept(tmp_path: Path, grown: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(grown)
    assert read_into(SourceFile("a", 3, str(path)), memoryview(bytearray(3))) != 3
    assert read_into(SourceFile("a", 3, grown), memoryview(bytearray(3))) != 3
    vault = Vault(LocalStore(tmp_path / "vault"), load_or_create_signer(tmp_path / "keys"))
    with pytest.raises(DigestMismatch):
        vault.commit("d", {"p": [SourceFile("a", 3, path), SourceFile("b", 1, b"b")]})
    assert vault.snapshots() == []


def test_a_small_file_that_changes_or_goes_after_it_was_listed_is_not_kept(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_bytes(b"one")
    listed = list_folder(folder)
    vault = Vault(LocalStore(tmp_path / "vault"), load_or_create_signer(tmp_path / "keys"))
    (folder / "b").unlink()
    with pytest.raises(MissingObject):
        vault.commit("d", listed)
    (folder / "b").write_bytes(b"two")
    with pytest.raises(PreconditionFailed):
        vault.commit("d", listed)
    assert vault.snapshots() == []
