"""A vault with compressed packs, pieces and chunks, kept byte for byte: later releases list, verify, restore and continue it.

`golden/pieces.tar.xz` was written once by the release of 2026-11-30 and is never made again: `plain` and `sealed` (key: vault.key), each
with two snapshots of shop/orders.
"""

import hashlib
import itertools
import tarfile
from pathlib import Path

import pytest

from orchestrai.ledger.signing import Signer
from orchestrai.storage.local import LocalStore
from orchestrai.vault.format.lists import ColumnCodec
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.unpacked import unpack
from orchestrai_tests.vault.contents import files, read_all

ARCHIVE = Path(__file__).parent / "golden" / "pieces.tar.xz"
SHA256 = "a83c77655bdde8298cc765312e28465a4ce3e4c46c35877e3be8e4e7067411f0"
_LINES = b"".join(b"%d,blue teapot,%d\n" % (number, number * 7919 % 1000) for number in range(60_000))
_LARGE = _LINES[: 1 << 20] * 17
# what each snapshot holds: small files of a pack, a file in pieces, one in chunks
WRITTEN = {
    "a.csv": (_LINES[:900], _LINES[:900]),
    "b.csv": (_LINES[:5_000], _LINES[:6_000]),
    "log.csv": (_LINES[:1_200_000], _LINES[:1_250_000]),
    "large.csv": (_LARGE, _LARGE[: 9 << 20] + b"!" + _LARGE[9 << 20 :]),
}


@pytest.fixture(params=["plain", "sealed"])
def vault(request: pytest.FixtureRequest, tmp_path: Path, signer: Signer) -> Vault:
    with tarfile.open(ARCHIVE) as archive:
        unpack(archive, tmp_path)
    (tmp_path / "vault.key").chmod(0o600)
    numbers = itertools.count()
    key = FileKey(tmp_path / "vault.key") if request.param == "sealed" else None
    store = LocalStore(tmp_path / request.param)
    return Vault(store, signer, new_id=lambda: f"later{next(numbers):04d}", workers=0, encryption=key)


def test_the_frozen_vault_is_the_one_that_was_frozen() -> None:
    assert hashlib.sha256(ARCHIVE.read_bytes()).hexdigest() == SHA256


def test_a_vault_with_pieces_is_listed_verified_and_restored(vault: Vault) -> None:
    assert verify(vault, level="read").findings == ()
    for number, commit in enumerate(vault.snapshots("shop/orders")):
        assert read_all(vault, commit) == {"2026-11-29": {name: data[number] for name, data in WRITTEN.items()}}
        rows = {file.path: file for file in vault.files(commit, "2026-11-29")}
        assert rows["a.csv"].piece and len(rows["log.csv"].table) and len(rows["large.csv"].objects) == 1 + number


def test_a_vault_with_pieces_is_continued(vault: Vault) -> None:
    longer = {name: data[1] + b"more\n" for name, data in WRITTEN.items()}
    commit = vault.commit("shop/orders", {"2026-11-30": files(**longer)})
    # small files are stored whole; of a large one the chunks at its end
    assert commit.seq == 3 and commit.new_bytes < 7_000 + 3 * 1024 * 1024
    assert read_all(vault, commit)["2026-11-30"] == longer
    assert verify(vault, level="read").ok


def test_the_lists_of_it_are_written_as_they_were(vault: Vault) -> None:
    codec = ColumnCodec()
    for commit in vault.snapshots():
        for entry in vault.partitions(commit).values():
            rows = vault.catalog.files(entry)
            assert codec.decode_files(codec.encode_files(rows)) == rows
            if not vault.encrypted:
                assert codec.encode_files(rows) == vault.store.read(entry.key)
