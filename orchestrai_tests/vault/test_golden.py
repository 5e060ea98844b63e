"""A vault of format 1, kept byte for byte: whatever is released later must list, verify, restore and continue it.

`golden/format-1.tar.xz` was written once by the release of 2026-11-22 and is never made again: `plain`, `sealed` (key: vault.key) and
`replica` (of plain), each with three snapshots of shop/orders, of which the second was forgotten, and one of shop/models.
"""

import hashlib
import itertools
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from orchestrai.ledger.signing import Signer, key_id
from orchestrai.restore.folder import restore_folder
from orchestrai.storage.local import LocalStore
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.format.lists import ColumnCodec
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.lifecycle.anchor import Anchor
from orchestrai.vault.lifecycle.prune import plan_prune
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.unpacked import unpack

ARCHIVE = Path(__file__).parent / "golden" / "format-1.tar.xz"
SHA256 = "c7b8072ae4019bb69b67435d3b1ae67d19cd4ca274db411fca3e07f78e05f6ba"
WRITTEN = {
    "2026-11-18/a.parquet": b"alpha" * 100,
    "2026-11-18/b.parquet": b"beta" * 50,
    "2026-11-18/landed/a.csv": b"a,b\n1,2\n",
}


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    # the store's times are part of a vault, so it is kept in an archive that has them
    with tarfile.open(ARCHIVE) as archive:
        unpack(archive, tmp_path / "golden")
    (tmp_path / "golden" / "vault.key").chmod(0o600)
    return tmp_path / "golden"


def opened(golden: Path, name: str, signer: Signer) -> Vault:
    numbers = itertools.count()
    key = FileKey(golden / "vault.key") if name == "sealed" else None
    return Vault(LocalStore(golden / name), signer, new_id=lambda: f"later{next(numbers):04d}", workers=0, encryption=key)


def expected(golden: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((golden / "expected.json").read_text())[
        "sealed" if name == "sealed" else "plain"
    ]
    return found


def test_the_frozen_vault_is_the_one_that_was_frozen() -> None:
    assert hashlib.sha256(ARCHIVE.read_bytes()).hexdigest() == SHA256


@pytest.mark.parametrize("name", ["plain", "sealed", "replica"])
def test_a_vault_of_format_1_is_listed_verified_and_restored(
    golden: Path, tmp_path: Path, signer: Signer, name: str
) -> None:
    vault = opened(golden, name, signer)
    listed = [commit.as_json() for commit in vault.snapshots()]
    wanted = expected(golden, name)
    for row, want in zip(listed, wanted, strict=True):
        # the archive keeps times to a microsecond
        assert str(row["committed"])[:19] == want.pop("committed")[:19]
        assert {field: row[field] for field in want} == want
    anchor = Anchor(golden / f"{name}.anchor") if name != "replica" else None
    report = verify(vault, level="read", anchor=anchor)
    assert report.findings == () and report.files_read == 8
    assert report.rollback == ("none found" if anchor else "not provable")
    restore_folder(vault, vault.get("s0000"), tmp_path / "back", sync=False)
    back = {str(path.relative_to(tmp_path / "back")): path for path in (tmp_path / "back").rglob("*") if path.is_file()}
    assert sorted(back) == [*sorted(WRITTEN), "2026-11-19/big.parquet"]
    assert all(back[path].read_bytes() == data for path, data in WRITTEN.items())
    assert back["2026-11-19/big.parquet"].stat().st_size == 300_000


@pytest.mark.parametrize("name", ["plain", "sealed"])
def test_a_vault_of_format_1_is_continued(golden: Path, tmp_path: Path, signer: Signer, name: str) -> None:
    vault = opened(golden, name, signer)
    again = b"gamma" * 7
    same = SourceFile("a.parquet", len(again), again, hashlib.sha256(again).hexdigest(), 2)
    more = SourceFile("z.parquet", 3, b"new", hashlib.sha256(b"new").hexdigest(), 1)
    commit = vault.commit("shop/orders", {"2026-11-20": [same, more]})
    assert (commit.seq, commit.new_bytes, commit.reused_bytes) == (4, 3, len(again))
    assert verify(opened(golden, name, signer), level="read").ok
    assert plan_prune(opened(golden, name, signer)).delete == {}
    # its first commit of this release began the key log, with the home's own key as root
    log = opened(golden, name, signer).keyring.rules.log()  # type: ignore[union-attr]
    assert (key_id(log.root), set(log.keys), commit.key_log) == (signer.key_id, {signer.key_id}, log.named)


def test_lists_without_versions_are_written_as_format_1_has_them(golden: Path) -> None:
    store, codec = LocalStore(golden / "plain"), ColumnCodec()
    lists = [store.read(info.key) for info in store.list("vault/listings/")]
    trees = [store.read(info.key) for info in store.list("vault/trees/")]
    assert [codec.encode_files(codec.decode_files(data)) for data in lists] == lists and len(lists) == 5
    assert [codec.encode_tree(codec.decode_tree(data)) for data in trees] == trees and len(trees) == 4
