"""Every operation of snapshot, restore and prune fails or dies once, in each way; nothing acknowledged is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrai.errors import TransientStorageError
from orchestrai.ledger.signing import Signer
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.vault.lifecycle.prune import apply_prune, plan_prune
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.storage.faults import MODES, Died, FaultStore, Mode
from orchestrai_tests.vault.conftest import Clock
from orchestrai_tests.vault.contents import files, read_all
from orchestrai_tests.vault.simulation import JsonCodec

A, B = {"p": files(x=b"x" * 300_000, y=b"y")}, {"p": files(x=b"x" * 300_000, z=b"z")}
NEW = {"p": files(y=b"y", n=b"new" * 100_000), "q": files(m=b"m")}


def opened(store: object, signer: Signer, clock: Clock, name: str) -> Vault:
    numbers = iter(range(10**6))
    return Vault(
        store,  # type: ignore[arg-type]
        signer,
        clock=clock,
        new_id=lambda: f"{name}{next(numbers)}",
        workers=0,
        codec=JsonCodec(),
    )


def base(signer: Signer, clock: Clock) -> tuple[MemoryStore, Vault]:
    store = MemoryStore(clock)
    vault = opened(store, signer, clock, "base")
    for contents in (A, B):
        vault.commit("d", contents)
        clock.pass_by(hours=1)
    vault.forget(vault.commit("d", {"p": files(old=b"old" * 100_000)}).snapshot_id)
    clock.pass_by(hours=31)
    apply_prune(vault, plan_prune(vault))
    clock.pass_by(hours=31)
    return store, vault


def snapshot(vault: Vault) -> None:
    vault.commit("d", NEW)


def restore(vault: Vault) -> None:
    read_all(vault, vault.latest("d"))


def prune(vault: Vault) -> None:
    apply_prune(vault, plan_prune(vault))


def _expect(store: MemoryStore, signer: Signer, clock: Clock) -> Vault:
    vault = opened(store, signer, clock, "check")
    torn = [f.key for f in verify(vault).findings if f.key.startswith("vault/snapshots/")]
    for key in torn:  # only a store without atomic writes leaves a torn record: an operator forgets it
        vault.forget_record("d", int(key[-17:-5]), reason="torn")
    found = {commit.seq: commit for commit in vault.snapshots("d")}
    assert {"p": {f.path: f.content for f in A["p"]}} == read_all(vault, found[1])
    assert {"p": {f.path: f.content for f in B["p"]}} == read_all(vault, found[2])
    for commit in found.values():
        read_all(vault, commit)
    return vault


@pytest.mark.parametrize("work", [snapshot, restore, prune])
@pytest.mark.parametrize("mode", MODES)
def test_every_crash_point(work, mode: Mode, signer: Signer) -> None:  # type: ignore[no-untyped-def]
    n, reached = 0, True
    while reached:
        n += 1
        clock = Clock()
        store, _ = base(signer, clock)
        faulty = FaultStore(store, n, mode)
        acknowledged = False
        try:
            work(opened(faulty, signer, clock, "w"))
            acknowledged = True
        except (Died, TransientStorageError):
            pass
        reached = faulty.count >= n
        vault = _expect(store, signer, clock)
        if acknowledged and work is snapshot:
            newest = read_all(vault, vault.latest("d"))
            assert newest["q"] == {"m": b"m"} and newest["p"]["n"] == b"new" * 100_000
        vault.commit("d", NEW)
        clock.pass_by(hours=100)
        prune(vault)
        clock.pass_by(hours=100)
        prune(vault)
        vault = _expect(store, signer, clock)
        assert read_all(vault, vault.latest("d"))["q"] == {"m": b"m"}
        assert [f for f in verify(vault, level="read").findings if not f.key.startswith("vault/snapshots/")] == []
    assert n > 5


WRITER = """
import os, sys
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from orchestrai.ledger.signing import Signer
from orchestrai.storage.local import LocalStore
from orchestrai.vault.vault import Vault
from orchestrai.vault.lifecycle.prune import apply_prune, plan_prune
from orchestrai_tests.vault.contents import files
from orchestrai_tests.vault.simulation import JsonCodec
vault = Vault(LocalStore(Path(sys.argv[1])), Signer(Ed25519PrivateKey.from_private_bytes(b"\\x07" * 32)), codec=JsonCodec())
sys.stdin.readline()
def child():
    n = 0
    while True:
        n += 1
        vault.commit("d", {"p": files(a=b"%d-%d" % (os.getpid(), n), b=os.urandom(300_000)), "q": files(c=b"%d" % n)})
        os.write(1, b"%s\\n" % vault.latest("d").snapshot_id.encode())
        apply_prune(vault, plan_prune(vault))
for line in iter(sys.stdin.readline, ""):
    pid = os.fork()
    if pid == 0:
        child()
    os.write(1, b"pid %d\\n" % pid)
    os.waitpid(pid, 0)
    os.write(1, b"dead\\n")
"""


@pytest.mark.parametrize("part", range(5))
def test_real_kills_lose_nothing_acknowledged(tmp_path: Path, signer: Signer, part: int) -> None:
    kills = int(os.environ.get("ORCHESTRAI_TEST_KILLS", "50")) // 5
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    acknowledged = set()
    try:
        process.stdin.write("go\n")
        for number in range(kills):
            process.stdin.write("fork\n")
            pid = int(process.stdout.readline().split()[1])
            for _ in range(number % 3):  # so many snapshots are acknowledged first, whatever the machine's load
                acknowledged.add(process.stdout.readline().strip())
            time.sleep((number % 40) * 0.0007)
            os.kill(pid, signal.SIGKILL)
            while (line := process.stdout.readline().strip()) != "dead":
                acknowledged.add(line)
    finally:
        process.kill()
        process.wait()
    vault = Vault(LocalStore(tmp_path), signer, codec=JsonCodec())
    kept = {commit.snapshot_id for commit in vault.snapshots("d")} if acknowledged or list(vault.store.list()) else set()
    assert len(acknowledged) >= kills // 2
    assert acknowledged <= kept
    report = verify(vault, level="read")
    assert report.findings == ()
    assert kept


def test_a_full_disk_leaves_the_old_state(signer: Signer, clock: Clock) -> None:
    from orchestrai.errors import StorageError

    store, _ = base(signer, clock)

    class Full(FaultStore):
        def write(self, key, data, *, create=False):  # type: ignore[no-untyped-def]
            if key.startswith("vault/"):
                raise StorageError("no space left on device")
            return super().write(key, data, create=create)

    with pytest.raises(StorageError):
        snapshot(opened(Full(store), signer, clock, "w"))
    before = sorted(info.key for info in store.list("vault/"))
    with pytest.raises(StorageError):
        # a prune deletes nothing that it cannot fence: it needs the room of one record for each dataset
        prune(opened(Full(store), signer, clock, "w2"))
    assert sorted(info.key for info in store.list("vault/")) == before
    _expect(store, signer, clock)
    prune(opened(store, signer, clock, "w3"))
    assert len(list(store.list("vault/"))) < len(before)
    _expect(store, signer, clock)
