"""503s, throttling, cut bodies and lost answers between the vault and S3, and a full disk: nothing acknowledged is lost, all is once."""

import dataclasses
import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrai.backup.folder_files import backup_folder
from orchestrai.errors import StorageError, TransientStorageError
from orchestrai.ledger.signing import Signer
from orchestrai.storage.base import Store
from orchestrai.storage.cloud.control import control_plane
from orchestrai.storage.local import LocalStore
from orchestrai.storage.url import open_store
from orchestrai.vault.commit.source import SourceFile
from orchestrai.vault.lifecycle.prune import apply_prune, plan_prune
from orchestrai.vault.replica.replicate import replicate
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.servers.proxy import Fault, FaultProxy, fault_proxy
from orchestrai_tests.servers.s3 import S3Server
from orchestrai_tests.storage.conftest import s3_options
from orchestrai_tests.vault.contents import files, read_all

pytestmark = pytest.mark.thorough("the simulator and the storage tests break every request")
FAULTS: tuple[Fault, ...] = ("unavailable", "slowed", "lost", "refused", "cut")
# every request of a snapshot is broken once by each fault where this is 1
STRIDE = int(os.environ.get("ORCHESTRAI_TEST_FAULT_STRIDE", "9"))
BIG = b"b" * 300_000


@dataclasses.dataclass
class Proxied:
    """A store behind a proxy, and the same store without."""

    proxy: FaultProxy
    store: Store
    direct: Store


@pytest.fixture
def s3(moto: S3Server) -> Iterator[Proxied]:
    with fault_proxy(moto.endpoint) as proxy:
        url = f"s3://{moto.bucket(versioned=True)}/v"
        opened: Any = open_store(url, s3_options(dataclasses.replace(moto, endpoint=proxy.endpoint)))
        yield Proxied(proxy, dataclasses.replace(opened, sleep=lambda seconds: None), open_store(url, s3_options(moto)))


def vault_on(store: Store, signer: Signer, name: str = "s") -> Vault:
    numbers = itertools.count()
    return Vault(store, signer, new_id=lambda: f"{name}{next(numbers):04d}", workers=0)


def break_nth(proxy: FaultProxy, n: int, fault: Fault) -> None:
    counter = itertools.count(1)
    proxy.rule = lambda method, path: fault if next(counter) == n else None


def mend(proxy: FaultProxy) -> int:
    proxy.rule = lambda method, path: None
    count = len(proxy.seen)
    proxy.seen.clear()
    return count


@pytest.mark.emulator
@pytest.mark.parametrize("fault", FAULTS)
def test_any_one_request_of_a_snapshot_may_fail_and_the_snapshot_is_there_once(
    s3: Proxied, signer: Signer, fault: Fault
) -> None:
    vault_on(s3.direct, signer, "zero").commit("d", {"p": files(a=BIG)})
    mend(s3.proxy)
    vault_on(s3.store, signer, "count").commit("d", {"p": files(a=BIG, n=b"0"), "q": files(c=BIG)})
    requests = mend(s3.proxy)
    done = 2
    for n in range(1 + FAULTS.index(fault) % STRIDE, requests + 1, STRIDE):
        break_nth(s3.proxy, n, fault)
        content = {"p": files(a=BIG, n=b"%d" % n), "q": files(c=BIG)}
        commit = vault_on(s3.store, signer, f"{fault}{n}x").commit("d", content)
        mend(s3.proxy)
        done += 1
        assert commit.seq == done, f"request {n}"
        seen = vault_on(s3.direct, signer, "look")
        assert [found.seq for found in seen.snapshots("d")] == list(range(1, done + 1))
        assert read_all(seen, seen.latest("d"))["p"]["n"] == b"%d" % n
    assert done > 3
    assert verify(vault_on(s3.direct, signer, "look"), level="read").ok


@pytest.mark.emulator
@pytest.mark.parametrize("fault", ["lost", "refused"])
def test_a_commit_whose_answer_is_lost_is_neither_lost_nor_made_twice(s3: Proxied, signer: Signer, fault: Fault) -> None:
    told = itertools.count()
    # number 0 opens the chain
    commits = "/snapshots/d/000000000001.json"
    s3.proxy.rule = lambda method, path: fault if method == "PUT" and commits in path and next(told) == 0 else None
    commit = vault_on(s3.store, signer).commit("d", {"p": files(a=b"a")})
    # the second try is refused with 412: its own first try won
    assert sum(method == "PUT" and commits in path for method, path, _ in s3.proxy.seen) == 2
    seen = vault_on(s3.direct, signer, "look")
    assert [found.digest for found in seen.snapshots()] == [commit.digest]


@pytest.mark.emulator
def test_a_number_that_a_rival_took_while_the_answer_was_out_is_not_taken_for_ours(s3: Proxied, signer: Signer) -> None:
    rival = vault_on(s3.direct, signer, "rival")
    rival.commit("d", {"z": files(a=b"z")})

    def rule(method: str, path: str) -> Fault | None:
        if method == "PUT" and path.split("?")[0].endswith("000000000002.json") and not taken:
            taken.append(rival.commit("d", {"r": files(a=b"r")}))
            return "unavailable"
        return None

    taken: list[Any] = []
    s3.proxy.rule = rule
    ours = vault_on(s3.store, signer).commit("d", {"p": files(a=b"p")})
    assert (taken[0].seq, ours.seq) == (2, 3)
    seen = vault_on(s3.direct, signer, "look")
    assert read_all(seen, seen.latest("d")) == {"z": {"a": b"z"}, "r": {"a": b"r"}, "p": {"a": b"p"}}


@pytest.mark.emulator
def test_a_store_that_goes_away_loses_nothing_and_a_repeat_finishes(s3: Proxied, signer: Signer) -> None:
    first = vault_on(s3.direct, signer, "zero").commit("d", {"p": files(a=BIG)})
    content = {"p": files(a=BIG, b=b"b"), "q": files(c=BIG)}
    mend(s3.proxy)
    failed = 0
    for n in range(1, 40, STRIDE):
        counter = itertools.count(1)
        s3.proxy.rule = lambda method, path, counter=counter, n=n: "unavailable" if next(counter) >= n else None  # type: ignore[misc]
        try:
            vault_on(s3.store, signer, f"away{n}x").commit("d", content)
        except TransientStorageError:
            failed += 1
        mend(s3.proxy)
        seen = vault_on(s3.direct, signer, "look")
        assert seen.get(first.snapshot_id).digest == first.digest
        # a commit that was made, though nobody could be told, is there once
        assert len(seen.snapshots()) <= 2
    assert failed >= 2
    assert vault_on(s3.store, signer, "again").commit("d", content).seq == 2
    assert verify(vault_on(s3.direct, signer, "look"), level="read").ok


@pytest.mark.emulator
@pytest.mark.parametrize("fault", ["cut", "lost", "unavailable"])
def test_reading_back_and_replicating_survive_broken_answers(
    s3: Proxied, signer: Signer, fault: Fault, tmp_path: Path
) -> None:
    commit = vault_on(s3.direct, signer, "zero").commit("d", {"p": files(a=BIG, b=b"b"), "q": files(c=BIG)})
    counter = itertools.count(1)
    s3.proxy.rule = lambda method, path: fault if method == "GET" and next(counter) % 3 == 0 else None
    vault = vault_on(s3.store, signer)
    assert verify(vault, level="read").ok
    assert read_all(vault, commit)["q"]["c"] == BIG
    assert replicate(vault, LocalStore(tmp_path / "replica")).verified.ok


@pytest.mark.emulator
def test_a_prune_through_a_broken_line_deletes_nothing_that_is_needed(s3: Proxied, signer: Signer) -> None:
    vault_on(s3.direct, signer, "zero").commit("d", {"p": files(a=BIG)})
    counter = itertools.count(1)
    s3.proxy.rule = lambda method, path: ("lost", "unavailable", None, None)[next(counter) % 4]  # type: ignore[return-value]
    vault = vault_on(s3.store, signer)
    vault.commit("d", {"p": files(a=b"other" * 70_000)})
    apply_prune(vault, plan_prune(vault), control=control_plane(s3.store))
    mend(s3.proxy)
    assert verify(vault_on(s3.direct, signer, "look"), level="read").ok


# -- a full disk -------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB; skipped where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=400", "none", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("this user may not mount a small tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_what_was_kept_and_can_be_pruned_and_continued(
    small_disk: Path, signer: Signer, tmp_path: Path
) -> None:
    vault = vault_on(LocalStore(small_disk / "vault"), signer)
    first = vault.commit("d", {"p": files(a=BIG, b=b"b")})
    source = tmp_path / "source"
    source.mkdir()
    for number in range(12):
        (source / f"{number}").write_bytes(os.urandom(300_000))
    for _ in range(3):
        with pytest.raises(StorageError, match="space"):
            backup_folder(vault, "e", source)
    seen = vault_on(LocalStore(small_disk / "vault"), signer, "look")
    assert [found.digest for found in seen.snapshots()] == [first.digest]
    assert verify(seen, level="read").ok and read_all(seen, first)["p"]["a"] == BIG
    # what the failed sessions left is no snapshot's: given back, the disk takes a small snapshot again
    for info in list(seen.store.list("vault/objects/")):
        if info.key in plan_prune(seen).mark:
            seen.store.delete(info.key)
    small = SourceFile("s", 3, b"new")
    assert vault_on(LocalStore(small_disk / "vault"), signer, "after").commit("e", {"all": [small]}).seq == 1
    assert verify(vault_on(LocalStore(small_disk / "vault"), signer, "last"), level="read").ok


def test_nothing_can_be_written_on_a_disk_without_one_free_byte_and_all_is_still_read(
    small_disk: Path, signer: Signer, tmp_path: Path
) -> None:
    vault = vault_on(LocalStore(small_disk / "vault"), signer)
    commit = vault.commit("d", {"p": files(a=BIG)})
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError, match="space"):
        while True:
            ballast.write(b"\0" * 4096)
    for _ in range(2):
        with pytest.raises(StorageError, match="space"):
            vault_on(LocalStore(small_disk / "vault"), signer, "full").commit("d", {"p": files(a=b"c" * 300_000)})
    seen = vault_on(LocalStore(small_disk / "vault"), signer, "look")
    assert read_all(seen, seen.latest("d")) == {"p": {"a": BIG}} and seen.latest("d").digest == commit.digest
    (small_disk / "ballast").unlink()
    assert vault_on(LocalStore(small_disk / "vault"), signer, "after").commit("d", {"p": files(a=b"c" * 300_000)}).seq == 2
