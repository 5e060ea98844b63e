"""The same on Spark: in this process's session, and on executors that are processes of their own, of which one is killed."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import DigestMismatch, StorageError
from orchestrai.ledger.signing import Signer
from orchestrai.storage.local import LocalStore
from orchestrai.storage.spread.spark_executors import SparkExecutors
from orchestrai.vault.keys.key_file import FileKey
from orchestrai.vault.pieces.chunker import CHUNKED_FROM
from orchestrai.vault.spread.vault_spread import VaultSpread
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.vault.contents import read_all
from orchestrai_tests.vault.spread.cluster_program import sources_in
from orchestrai_tests.vault.spread.in_place import opened

ROOT = Path(__file__).resolve().parents[3]


def lake(folder: Path) -> LocalStore:
    """Small files, whole ones and one that is cut by its content, of three days."""
    rng, made = random.Random(3), LocalStore(folder / "lake")
    for day in ("2026-11-28", "2026-11-29", "2026-11-30"):
        for number in range(12):
            made.write(f"{day}/small-{number:02d}", rng.randbytes(50_000))
        made.write(f"{day}/whole", rng.randbytes(700_000))
    made.write("2026-11-30/cut", rng.randbytes(CHUNKED_FROM + 1))
    return made


@pytest.mark.spark
def test_a_sealed_vault_by_a_session_of_this_process_has_the_version_of_one_process(
    spark_session: Any, tmp_path: Path, signer: Signer
) -> None:
    contents, key = sources_in(lake(tmp_path)), FileKey(tmp_path / "vault.key")
    here, there = opened(tmp_path / "here", signer, key), opened(tmp_path / "there", signer, key)
    there.spread = VaultSpread(SparkExecutors(lambda: spark_session), there.store)
    one, other = here.commit("d", contents), there.commit("d", contents)
    assert one.version == other.version and read_all(here, one) == read_all(there, other)
    assert verify(there, level="read").ok
    victim = next(info.key for info in there.store.list("vault/packs/"))
    data = there.store.read(victim)
    there.store.write(victim, data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    found = verify(there, level="read").findings
    there.spread = None
    assert found == verify(there, level="read").findings and [one.key for one in found] == [victim]


@pytest.mark.spark
def test_an_error_of_ours_is_raised_as_it_was_there_and_one_of_the_cluster_is_told(
    spark_session: Any, tmp_path: Path, signer: Signer
) -> None:
    made = lake(tmp_path)
    contents = sources_in(made)
    vault = opened(tmp_path / "v", signer)
    vault.spread = VaultSpread(SparkExecutors(lambda: spark_session), vault.store)
    made.write("2026-11-29/whole", b"x" * 700_000)
    with pytest.raises(DigestMismatch, match="expected whole to be 700000 bytes"):
        vault.commit("d", contents)
    # where packs go is a file: a write there is an error of the store that may pass, so that it is tried again, until Spark gives up
    shutil.rmtree(tmp_path / "v" / "vault" / "packs", ignore_errors=True)
    (tmp_path / "v" / "vault" / "packs").write_bytes(b"")
    with pytest.raises(StorageError):
        vault.commit("d", sources_in(made))
    (tmp_path / "v" / "vault" / "packs").unlink()
    assert vault.snapshots() == []


@pytest.mark.spark
def test_an_executor_that_is_killed_in_the_middle_changes_nothing(tmp_path: Path, signer: Signer) -> None:
    if shutil.which("java") is None:
        pytest.skip("no Java runtime")
    contents = sources_in(lake(tmp_path))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LOST_ONCE": str(tmp_path / "lost")}
    done = subprocess.run(
        [sys.executable, "-m", "orchestrai_tests.vault.spread.cluster_program", str(tmp_path)],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    here = opened(tmp_path / "here", signer)
    commit = here.commit("d", contents)
    assert int((tmp_path / "lost").read_text()) > 1
    assert told == {"version": commit.version, "problems": [], "read": commit.size}
    out, made = LocalStore(tmp_path / "out"), LocalStore(tmp_path / "lake")
    assert {one.key: out.read(one.key) for one in out.list()} == {one.key: made.read(one.key) for one in made.list()}
