"""Lists keep what they are given, byte for byte the same each time, and never bring pandas in."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrai.errors import IntegrityError
from orchestrai.ledger.manifest import FileEntry, canonical_json
from orchestrai.vault.format.chunk_table import ROW_BYTES, StoredObject
from orchestrai.vault.format.lists import ColumnCodec, StoredFile, StoredPartition
from orchestrai.vault.keys.encryption import context

# what str.isprintable says of a text, as an alphabet: drawing text and throwing most of it away took the time
TEXT = st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" "), max_size=20)
NUMBER = st.integers(0, 2**62)
FILE = st.builds(
    StoredFile, TEXT, st.sampled_from(["data", "landed"]), NUMBER, NUMBER, st.binary(min_size=32, max_size=32).map(bytes.hex),
    TEXT, TEXT, st.integers(-1, 10**6), NUMBER, NUMBER, TEXT, TEXT, TEXT, NUMBER, NUMBER, st.integers(0, 1),
    st.lists(st.builds(StoredObject, TEXT, NUMBER, TEXT, TEXT), max_size=2).map(tuple),
    st.integers(0, 2).map(lambda chunks: bytes(range(ROW_BYTES)) * chunks),
)  # fmt: skip
PARTITION = st.builds(StoredPartition, TEXT, TEXT, NUMBER, NUMBER, NUMBER, TEXT, TEXT, TEXT, NUMBER)


@given(st.lists(FILE, max_size=20), st.lists(PARTITION, max_size=20))
def test_lists_round_trip_and_are_deterministic(files: list[StoredFile], partitions: list[StoredPartition]) -> None:
    codec = ColumnCodec()
    assert codec.decode_files(codec.encode_files(files)) == files
    assert codec.decode_tree(codec.encode_tree(partitions)) == partitions
    assert codec.encode_files(files) == codec.encode_files(list(files))


@given(st.text(st.characters(codec="utf-8")), NUMBER, NUMBER, st.binary(min_size=32, max_size=32))
def test_a_leaf_and_a_context_are_canonical_json(path: str, size: int, rows: int, digest: bytes) -> None:
    file = StoredFile(path, "data", size, rows, digest.hex(), "s", "", -1, 0, size)
    assert file.leaf() == FileEntry(path, size, rows, digest.hex(), "k").leaf()
    assert context(path, "pack", path, "s", size) == canonical_json([path, "pack", path, "s", size])


@pytest.mark.parametrize("data", [b"", b"PAR1 something else", ColumnCodec().encode_tree([])[:-3]])
def test_what_is_no_list_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        ColumnCodec().decode_files(data)
    with pytest.raises(IntegrityError):
        ColumnCodec().decode_tree(data)


def test_a_list_of_other_columns_is_refused() -> None:
    codec = ColumnCodec()
    with pytest.raises(IntegrityError, match="other columns"):
        codec.decode_files(codec.encode_tree([]))
    one = StoredFile("a", "data", 1, 0, "00" * 32, "s", "", -1, 0, 1)
    with pytest.raises(IntegrityError, match="uneven"):
        codec.decode_files(codec.encode_files([one]) + bytes(32))


def test_a_snapshot_brings_neither_pandas_nor_dagster_in(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.local import LocalStore
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.vault import Vault
vault = Vault(LocalStore(Path({str(tmp_path)!r}) / "v"), load_or_create_signer(Path({str(tmp_path)!r}) / "k"))
vault.commit("d", {{"p": [SourceFile("a", 1, b"a")]}})
vault.read_file(vault.latest("d").snapshot_id, "p", "a")
assert not {{"pandas", "dagster", "boto3"}} & set(sys.modules), sorted(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
