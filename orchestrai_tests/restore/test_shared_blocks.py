"""Restored files that share blocks with the vault where the file system can: proven all the same, and independent ever after.

The file systems of most machines that run tests cannot: there a call that copies stands in for the kernel's.
"""

import errno
import os
from pathlib import Path

import pytest

from orchestrai.errors import DigestMismatch, StorageError
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.signing import Signer, load_or_create_signer
from orchestrai.restore.folder import restore_folder
from orchestrai.storage.disk import reflink
from orchestrai.storage.local import LocalStore
from orchestrai.vault.commit.source import held
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.vault import Vault
from orchestrai_tests.producers import producer
from orchestrai_tests.running import restore, snapshot

DATA = os.urandom(400_000)
SMALL = os.urandom(5000)


class Kernel:
    """A file system that can clone, or refuses with an error; it counts."""

    def __init__(self) -> None:
        self.cloned, self.refuses = 0, 0

    def ioctl(self, target: int, request: int, source: int) -> int:
        assert request == 0x40049409
        if self.refuses:
            raise OSError(self.refuses, os.strerror(self.refuses))
        os.pwrite(target, os.pread(source, 1 << 24, 0), 0)
        self.cloned += 1
        return 0


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(reflink.fcntl, "ioctl", made.ioctl)
    return made


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return load_or_create_signer(tmp_path / "keys")


def vault_of(folder: Path, signer: Signer, *, sealed: bool = False) -> Vault:
    port = FileKey(folder / "data.key") if sealed else None
    return Vault(LocalStore(folder / "vault"), signer, encryption=port)


def kept(vault: Vault) -> Path:
    """A snapshot of a large file, two small ones, and one that compresses; where the large one lies."""
    contents = [held("big.bin", DATA), held("a.bin", SMALL), held("b.bin", SMALL[::-1]), held("c.txt", b"text " * 100_000)]
    commit = vault.commit("bench", {"all": contents})
    key = next(file.key for file in vault.files(commit, "all") if file.path == "big.bin")
    path = vault.store.local_path(key)
    assert path is not None
    return path


def test_what_lies_whole_is_cloned_and_all_else_is_written(tmp_path: Path, signer: Signer, kernel: Kernel) -> None:
    vault = vault_of(tmp_path, signer)
    kept(vault)
    restore_folder(vault, vault.latest("bench"), tmp_path / "back", sync=False)
    assert kernel.cloned == 1
    assert (tmp_path / "back" / "big.bin").read_bytes() == DATA
    assert (tmp_path / "back" / "b.bin").read_bytes() == SMALL[::-1]
    assert (tmp_path / "back" / "c.txt").read_bytes() == b"text " * 100_000


@pytest.mark.parametrize("change", [lambda d: d[:-1] + bytes([d[-1] ^ 1]), lambda d: d[:-1], lambda d: d + b"x"])
def test_cloned_bytes_that_are_other_bytes_are_refused_and_nothing_is_restored(
    tmp_path: Path, signer: Signer, kernel: Kernel, change: "type[bytes]"
) -> None:
    vault = vault_of(tmp_path, signer)
    path = kept(vault)
    path.chmod(0o600)
    path.write_bytes(change(DATA))
    with pytest.raises(DigestMismatch):
        restore_folder(vault, vault.latest("bench"), tmp_path / "back", sync=False)
    assert kernel.cloned == 1 and not (tmp_path / "back").exists()


@pytest.mark.parametrize("refusal", [errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM])
def test_a_file_system_that_cannot_is_written_to(tmp_path: Path, signer: Signer, kernel: Kernel, refusal: int) -> None:
    vault, kernel.refuses = vault_of(tmp_path, signer), refusal
    kept(vault)
    restore_folder(vault, vault.latest("bench"), tmp_path / "back", sync=False)
    assert (tmp_path / "back" / "big.bin").read_bytes() == DATA


def test_a_full_disk_is_told_as_one(tmp_path: Path, signer: Signer, kernel: Kernel) -> None:
    vault, kernel.refuses = vault_of(tmp_path, signer), errno.ENOSPC
    kept(vault)
    with pytest.raises(StorageError, match="free space"):
        restore_folder(vault, vault.latest("bench"), tmp_path / "back", sync=False)


def test_sealed_bytes_are_never_cloned(tmp_path: Path, signer: Signer, kernel: Kernel) -> None:
    vault = vault_of(tmp_path, signer, sealed=True)
    kept(vault)
    restore_folder(vault, vault.latest("bench"), tmp_path / "back", sync=False)
    assert kernel.cloned == 0 and (tmp_path / "back" / "big.bin").read_bytes() == DATA


def test_a_restored_dataset_shares_blocks_and_is_published_only_where_they_prove_right(
    tmp_path: Path, signer: Signer, kernel: Kernel
) -> None:
    store = LocalStore(tmp_path / "vault")
    ledger = Ledger(LocalStore(tmp_path / "lake"), signer, vault=store)
    vault = Vault(store, signer, ledger.keyring)
    for day, data in (("2026-01-01", DATA), ("2026-01-02", DATA[::-1])):
        session = ledger.session("p/d/raw_events", producer("raw_events"))
        session.add_bytes(day, "part.parquet", data, rows=1)
        session.add_bytes(day, "landed/a.bin", data + b"x", role="landed")
        session.commit({day: []})
        snapshot(ledger, vault, source="p/d/raw_events", asset="p/d/snapshot", partitions=[day])
    first = {"snapshot": "p/d/snapshot", "asset": "p/d/restored", "partitions": ["2026-01-01"]}
    restore(ledger, vault, **first)
    assert kernel.cloned == 2
    ledger.open("p/d/restored").require_whole("2026-01-01")
    kernel.refuses = errno.ENOSPC
    with pytest.raises(StorageError, match="free space"):
        restore(ledger, vault, **{**first, "partitions": ["2026-01-02"]})
    kernel.refuses = 0
    damaged = next(f.key for f in vault.files(vault.latest("p/d/raw_events"), "2026-01-02") if f.role == "data")
    path = store.local_path(damaged)
    assert path is not None
    path.chmod(0o600)
    path.write_bytes(DATA)
    with pytest.raises(DigestMismatch):
        restore(ledger, vault, **{**first, "partitions": ["2026-01-02"]})
    assert "2026-01-02" not in ledger.open("p/d/restored").partitions


def test_on_a_file_system_that_can_what_is_written_to_one_is_not_seen_in_the_other(tmp_path: Path, signer: Signer) -> None:
    folder = Path(os.environ.get("ORCHESTRAI_TEST_REFLINK", "")) if "ORCHESTRAI_TEST_REFLINK" in os.environ else None
    if folder is None:
        pytest.skip("ORCHESTRAI_TEST_REFLINK names no folder on a file system that clones")
    place = folder / "shared-blocks"
    place.mkdir()
    vault = vault_of(place, signer)
    path = kept(vault)
    with path.open("rb") as source, (place / "probe").open("wb") as target:
        assert reflink.clone(source.fileno(), target.fileno())
    restore_folder(vault, vault.latest("bench"), place / "back", sync=False)
    restored = place / "back" / "big.bin"
    with restored.open("r+b") as file:
        file.write(b"changed")
    assert path.read_bytes() == DATA and restored.read_bytes() != DATA
