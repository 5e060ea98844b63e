"""Proof against its limits: verify, index, recall, and the way back to serving; one JSON object a line, exit code 1 if any is not ok.

python -m bench.proof [--snapshots 365] [--edges 1000000]
"""

import argparse
import atexit
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from orchestrai.ledger.manifest import sha256_hex
from orchestrai.ledger.signing import Keyring, load_or_create_signer
from orchestrai.models.estimators.artifact import load_model
from orchestrai.provenance.export.page import trace_html
from orchestrai.provenance.export.proof_folder import write_proof
from orchestrai.provenance.index import ReceiptIndex
from orchestrai.provenance.recall.recall import recall
from orchestrai.provenance.trace import trace_records
from orchestrai.provenance.verified_records import Records
from orchestrai.provenance.verify.model_proof import verify_model
from orchestrai.storage.base import ObjectInfo
from orchestrai.storage.local import LocalStore
from orchestrai.storage.memory import MemoryStore
from orchestrai.storage.retry import RetryingStore
from orchestrai_tests.provenance.builder import MODEL, World, uri
from orchestrai_tests.provenance.small import CHAMPION, DAYS, Small

failed = False


def line(case: str, metric: str, ours: float, peer: str, theirs: float, target: float = 1.0) -> None:
    """Print one result; `target` bounds the ratio ours / theirs."""
    global failed
    ratio = ours / theirs
    ok = ratio <= target
    failed |= not ok
    values = {"ours": round(ours, 6), "peer": peer, "theirs": round(theirs, 6), "ratio": round(ratio, 6), "target": target}
    print(json.dumps({"bench": "proof", "case": case, "metric": metric, **values, "ok": ok}), flush=True)


def scratch() -> pathlib.Path:
    """A folder that goes when the benchmark ends."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="orchestrai-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def timed(work: Callable[[], Any], runs: int = 3) -> tuple[float, float]:
    """The best wall and CPU seconds of some runs: what the work costs, not what else the machine does."""
    walls, cpus = [], []
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus)


def year(snapshots: int) -> tuple[World, pathlib.Path]:
    """A model over daily snapshots, each committed by itself through the real vault and restore, then laid on disk."""
    folder = scratch()
    world = World(store=MemoryStore(), signer=load_or_create_signer(folder / "keys"))
    days = [(date(2026, 1, 1) + timedelta(number)).isoformat() for number in range(snapshots)]
    (folder / "model.ubj").write_bytes(world.whole(days))
    disk = LocalStore(folder / "vault")
    for info in world.store.list():
        disk.write(info.key, world.store.read(info.key))
    return world, folder


def verify(world: World, folder: pathlib.Path, snapshots: int) -> None:
    """Everything behind a model file, from the vault's records; then with every byte; and the page of its trace."""
    vault = LocalStore(folder / "vault")

    def run(read_bytes: bool = False) -> None:
        found = verify_model(folder / "model.ubj", vault=vault, keyring=world.keyring, read_bytes=read_bytes)
        assert found.ok, found.problems

    wall, cpu = timed(run)
    line(f"verify a model over {snapshots} snapshots", "wall_s", wall, "limit", 2.0)
    line(f"verify a model over {snapshots} snapshots", "cpu_s", cpu, "limit", 2.0)
    wall, _ = timed(lambda: run(True), 1)
    line(f"verify a model over {snapshots} snapshots, with every byte", "wall_s", wall, "limit", 4.0)
    page = trace_html(trace_records(Records(vault, world.keyring), f"{MODEL}/champion"))
    line(f"page of a trace over {snapshots} snapshots", "bytes", len(page), "limit", 2_000_000)


class Distant(LocalStore):
    """A store whose every answer takes 10 ms, as one in a cloud's own region does."""

    def read(self, key: str, **how: Any) -> bytes:
        """After the way there and back."""
        time.sleep(0.01)
        return super().read(key, **how)

    def head(self, key: str, **how: Any) -> ObjectInfo:
        """After the way there and back."""
        time.sleep(0.01)
        return super().head(key, **how)

    def local_path(self, key: str) -> None:  # type: ignore[override]
        """Nothing lies on this machine."""


def command(world: World, folder: pathlib.Path, snapshots: int) -> None:
    """The same as a stranger does it: one process, a folder, a public key; and from a store 10 ms away."""
    (folder / "pub.pem").write_bytes(world.signer.public_pem)
    program = [sys.executable, "-c", "from orchestrai.cli import main; main()", "model", "verify", str(folder / "model.ubj")]
    program += ["--vault", str(folder / "vault"), "--key", str(folder / "pub.pem"), "--json"]

    def run() -> None:
        subprocess.run(program, check=True, stdout=subprocess.DEVNULL)

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall, _ = timed(run)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 3
    line(f"`orchestrai model verify` over {snapshots} snapshots, the whole process", "wall_s", wall, "limit", 2.0)
    line(f"`orchestrai model verify` over {snapshots} snapshots, the whole process", "cpu_s", cpu, "limit", 2.0)
    vault = RetryingStore(Distant(folder / "vault"))
    wall, _ = timed(lambda: verify_model(folder / "model.ubj", vault=vault, keyring=world.keyring), 1)
    line(f"verify over {snapshots} snapshots from a store 10 ms away", "wall_s", wall, "limit", 10.0)


def offline(world: World, folder: pathlib.Path, snapshots: int) -> None:
    """The proof that leaves the building, and a stranger's Python that has nothing but its standard library."""
    model = folder / "model.ubj"
    proof = folder / "proof.zip"
    write_proof(
        {model.name: model}, vault=LocalStore(folder / "vault"), keyring=world.keyring, asset=f"{MODEL}/champion", to=proof
    )
    line(f"a proof over {snapshots} snapshots, as a zip file", "bytes", proof.stat().st_size, "limit", 10_000_000)
    with zipfile.ZipFile(proof) as archive:
        archive.extract("verify.py", folder)
    program = [sys.executable, "-I", "-S", str(folder / "verify.py"), str(proof), "--json"]
    for case, more in (("", []), (", with every byte", ["--vault", str(folder / "vault")])):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall, _ = timed(lambda more=more: subprocess.run([*program, *more], check=True, stdout=subprocess.DEVNULL), 1)  # type: ignore[misc]
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        line(f"verify.py over {snapshots} snapshots{case}", "wall_s", wall, "limit", 10.0)
        line(f"verify.py over {snapshots} snapshots{case}", "cpu_s", cpu, "limit", 10.0)


def index(world: World, folder: pathlib.Path) -> None:
    """The index from real receipts, beside the least that any reader must do: read each record once and check its signature."""
    vault = LocalStore(folder / "vault")

    def floor() -> None:
        for prefix, kind in (
            ("heads/", "application/vnd.orchestrai.head+json"),
            ("receipts/", "application/vnd.in-toto+json"),
        ):
            for info in vault.list(prefix):
                world.keyring.open(kind, vault.read(info.key))

    _, least = timed(floor)
    _, ours = timed(lambda: ReceiptIndex.build(vault, world.keyring))
    built = ReceiptIndex.build(vault, world.keyring)
    receipts = sum(1 for _ in vault.list("receipts/"))
    line(f"index of {receipts:,} receipts, {built.edges:,} edges", "cpu_s", ours, "read and check each record", least, 2.5)
    wall, _ = timed(lambda: recall(built, uri("2026-01-01")))
    line("recall in that index", "wall_s", wall, "limit", 1.0)


def million(edges: int) -> None:
    """A recall in an index of a million edges: objects through four stages, and models that learn from spans of features."""
    built = ReceiptIndex.empty()
    chains, stages = edges // 6, ("raw_events", "snapshot", "restored", "features")
    chain = [("object", "l", "landing"), *(("derived", f"p/d/{stage}", stage) for stage in stages)]
    built.add_nodes(
        (number * 5 + place + 1, kind, f"{name}/{number}" if place == 0 else name, "" if place == 0 else str(number),
         f"{number * 5 + place:064x}", f"{number * 5 + place:064x}", stage, "")
        for number in range(chains)
        for place, (kind, name, stage) in enumerate(chain)
    )  # fmt: skip
    built.add_edges((n * 5 + place, n * 5 + place + 1) for n in range(chains) for place in range(1, 5))
    models = range(0, chains, 1000)
    built.add_nodes(
        (chains * 5 + 1 + number, "derived", "p/m/champion", "all", f"m{number:063x}", f"m{number:063x}", "champion", "")
        for number in range(len(models))
    )
    built.add_edges(
        (n * 5 + 5, chains * 5 + 1 + number)
        for number, start in enumerate(models)
        for n in range(start, min(start + 2000, chains))
    )
    built.finish()
    found = recall(built, f"l/{chains // 2}")
    assert len(found.of("champion")) == 2
    wall, _ = timed(lambda: recall(built, f"l/{chains // 2}"))
    line(f"recall of one object among {built.edges:,} edges", "wall_s", wall, "limit", 1.0)


def back_to_serving() -> None:
    """A poisoned day taught to a champion; the command that recalls it, to the clean champion scoring; and the clean retraining."""
    folder = scratch()
    small = Small.at(folder)
    small.land(*DAYS[:-1])
    small.publish(*DAYS[:-1])
    clean = small.train()
    (bad,) = small.land(DAYS[-1], poisoned=True)
    small.publish(DAYS[-1])
    assert small.train() != clean
    environment = {**os.environ, "ORCHESTRAI_HOME": str(small.home), "ORCHESTRAI_PIPELINES": str(folder / "declared")}
    command = [
        sys.executable,
        "-c",
        "from orchestrai.cli import main; main()",
        "recall",
        sha256_hex(bad.read_bytes()),
        "--apply",
    ]
    began = time.perf_counter()
    subprocess.run([*command, "--json"], env=environment, check=True, stdout=subprocess.DEVNULL)
    served = load_model(small.runtime.ledger, CHAMPION).version
    line("recall by command, until the clean champion is loaded", "wall_s", time.perf_counter() - began, "limit", 60.0)
    assert served == clean
    began = time.perf_counter()
    subprocess.run([*command, "--retrain", "--json"], env=environment, check=True, stdout=subprocess.DEVNULL)
    line("clean retraining by command", "wall_s", time.perf_counter() - began, "limit", 60.0)


def reproduce(keyring: Keyring | None = None) -> None:
    """The smallest pipeline made again from its vault alone, beside what making it took."""
    from orchestrai.provenance.recall.reproduce import reproduce as again
    from orchestrai.storage.url import open_store

    folder = scratch()
    small = Small.at(folder)
    small.land(*DAYS)
    began = time.perf_counter()
    small.publish(*DAYS)
    small.train()
    made = time.perf_counter() - began
    began = time.perf_counter()
    ledger, project = small.runtime.ledger, small.runtime.project
    vault = open_store(small.runtime.settings.vault)
    found = again(CHAMPION, None, vault=vault, keyring=keyring or ledger.keyring, home=folder / "again", project=project)
    assert found.ok, found.first_difference
    line("reproduce a model from its vault, byte for byte", "wall_s", time.perf_counter() - began, "making it", made, 1.5)


def cases(snapshots: int = 365, edges: int = 1_000_000) -> bool:
    """Run every case; True when one is not ok."""
    million(edges)
    back_to_serving()
    reproduce()
    world, folder = year(snapshots)
    verify(world, folder, snapshots)
    command(world, folder, snapshots)
    offline(world, folder, snapshots)
    index(world, folder)
    return failed


def main() -> int:
    """Run every case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--snapshots", type=int, default=365)
    parser.add_argument("--edges", type=int, default=1_000_000)
    arguments = parser.parse_args()
    return int(cases(arguments.snapshots, arguments.edges))


if __name__ == "__main__":
    sys.exit(main())
