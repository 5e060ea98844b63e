"""`python -m bench.scale`: a snapshot, its reading back and its restore by Spark's executors, and what is left for the driver.

    python -m bench.scale [--gb 2] [--folder FOLDER] [--executors 2] [--memory 1024]

Parquet files of 64 MB, a partition for each GB, on a local cluster of executors of one core each. `ours` is the CPU of the driver's Python
in seconds, `theirs` that of the cluster: its JVMs and Python workers. The version must be the one that the manifests give, and up to 4 GB
also that of a snapshot by one process, whose rates are told beside. Three times the GB are needed on disk. One JSON object a line; exits 1
if any is not ok.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.core.canonical import dataset_version
from orchestrai.ledger.manifest import FileEntry, make_partition
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.local import LocalStore
from orchestrai.storage.spread.spark_executors import SparkExecutors
from orchestrai.vault.commit.source import SourceFile, StoredAt
from orchestrai.vault.format.records import SnapshotCommit
from orchestrai.vault.spread.vault_spread import VaultSpread
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify

FILE_ROWS = 2_000_000
FILES_A_PARTITION = 16
COMPARED_GB = 4
# of the CPU of a step so much may be the driver's
TARGET = 0.1
TICK = os.sysconf("SC_CLK_TCK")
failed = False


def emit(case: str, metric: str, ours: float, peer: str, theirs: float, target: float | None, **more: Any) -> None:
    """Print one result; `target` bounds ours / theirs."""
    global failed
    ratio = ours / theirs if theirs else 0.0
    ok = target is None or ratio <= target
    failed |= not ok
    values = {"ours": round(ours, 3), "peer": peer, "theirs": round(theirs, 3), "ratio": round(ratio, 4), "target": target}
    print(json.dumps({"bench": "scale", "case": case, "metric": metric, **values, **more, "ok": ok}), flush=True)


def written(lake: LocalStore, gb: float) -> dict[str, list[SourceFile]]:
    """Parquet files of that many GB, with their hashes: what a manifest has."""
    contents: dict[str, list[SourceFile]] = {}
    size = number = 0
    while size < gb * 1e9:
        rng = np.random.default_rng(number)
        columns = {f"x{place}": rng.standard_normal(FILE_ROWS, dtype=np.float64) for place in range(3)}
        table = pa.table({"user": rng.integers(0, 10**6, FILE_ROWS), **columns})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, use_dictionary=False, compression="none")
        data = sink.getvalue().to_pybytes()
        partition = f"2026-{number // FILES_A_PARTITION // 28 + 1:02d}-{number // FILES_A_PARTITION % 28 + 1:02d}"
        name = f"part-{number % FILES_A_PARTITION:05d}.parquet"
        lake.write(f"{partition}/{name}", data)
        at = StoredAt(lake, f"{partition}/{name}")
        contents.setdefault(partition, []).append(SourceFile(name, len(data), at, sha256(data).hexdigest(), FILE_ROWS))
        size, number = size + len(data), number + 1
    lake.sync()
    return contents


def version_of(contents: dict[str, list[SourceFile]]) -> str:
    """What the manifests give, without a vault."""
    return dataset_version(
        {
            partition: make_partition(
                partition, [FileEntry(one.path, one.size, one.rows, one.sha256, one.path) for one in sources]
            ).root
            for partition, sources in contents.items()
        }
    )


@contextmanager
def cluster(executors: int, megabytes: int) -> Iterator[Any]:
    """Executors of one core that are processes of their own."""
    import pyspark
    from pyspark.sql import SparkSession

    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ["SPARK_HOME"] = str(Path(pyspark.__file__).parent)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    root = str(Path(__file__).resolve().parents[1])
    builder = SparkSession.builder.master(f"local-cluster[{executors},1,{megabytes}]").appName("orchestrai-bench")
    for name, value in {
        "spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1",
        "spark.executor.memory": f"{megabytes}m", "spark.executorEnv.PYTHONPATH": root, "spark.driver.memory": "1g",
    }.items():  # fmt: skip
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    try:
        yield session
    finally:
        session.stop()


def cpu_of_tree() -> float:
    """CPU seconds of all processes below this one, by Linux; of those that ended too, where their parent has not."""
    parents, used = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        number = int(path.parent.name)
        parents[number], used[number] = int(fields[1]), sum(map(int, fields[11:15])) / TICK
    below = {os.getpid()}
    while more := {number for number, parent in parents.items() if parent in below} - below:
        below |= more
    return sum(used[number] for number in below if number != os.getpid() and number in used)


def own_cpu() -> float:
    """CPU seconds of this process."""
    times = os.times()
    return times.user + times.system


def measured(case: str, size: int, done: Callable[[], Any]) -> Any:
    """Do it, and tell the driver's CPU beside the cluster's."""
    mine, theirs, begun = own_cpu(), cpu_of_tree(), time.perf_counter()
    result = done()
    wall = time.perf_counter() - begun
    mine, theirs = own_cpu() - mine, cpu_of_tree() - theirs
    rate = size / 1e6 / theirs if theirs else 0.0
    load = round(os.getloadavg()[0], 1)
    emit(case, "cpu_s", mine, "cluster", theirs, TARGET, wall_s=round(wall, 1), mb_a_core_s=round(rate), load=load)
    return result


def by_one_process(folder: Path, contents: dict[str, list[SourceFile]], size: int) -> str:
    """The same without executors; the version, and its rates."""
    vault = Vault(LocalStore(folder / "alone"), load_or_create_signer(folder / "keys"))
    for case, done in (
        ("snapshot, one process", lambda: vault.commit("d", contents)),
        ("read back, one process", lambda: verify(vault, level="read")),
    ):
        before, begun = own_cpu(), time.perf_counter()
        done()
        used, wall = own_cpu() - before, time.perf_counter() - begun
        emit(case, "cpu_s", used, "", 0.0, None, wall_s=round(wall, 1), mb_a_core_s=round(size / 1e6 / used))
    version = vault.newest("d", 1)[0].version
    for info in list(vault.store.list()):
        vault.store.delete(info.key)
    return version


def main() -> int:
    """Run all steps."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gb", type=float, default=2.0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--executors", type=int, default=2)
    parser.add_argument("--memory", type=int, default=1024)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orchestrai-scale-", dir=options.folder) as name:
        folder = Path(name)
        contents = written(LocalStore(folder / "lake"), options.gb)
        size = sum(one.size for sources in contents.values() for one in sources)
        wanted = {version_of(contents)}
        if options.gb <= COMPARED_GB:
            wanted.add(by_one_process(folder, contents, size))
        vault = Vault(LocalStore(folder / "vault"), load_or_create_signer(folder / "keys"))
        told = f"{size / 1e9:.2f} GB"
        with cluster(options.executors, options.memory) as session:
            vault.spread = VaultSpread(SparkExecutors(lambda: session), vault.store)
            session.range(1).count()
            commit: SnapshotCommit = measured(f"snapshot, {told}", size, lambda: vault.commit("d", contents))
            report = measured(f"read back, {told}", size, lambda: verify(vault, level="read"))
            files = [(file, f"{day}/{file.path}") for day in vault.partitions(commit) for file in vault.files(commit, day)]
            spread, target = vault.spread, LocalStore(folder / "restored")
            measured(f"restore, {told}", size, lambda: spread.copy_out(vault, target, files, None))
        same = wanted == {commit.version} and report.ok and report.bytes_read == size
        same = same and sum(info.size for info in target.list()) == size
        emit(f"versions and sizes, {told}", "differences", float(not same), "", 1.0, 0.0, version=commit.version[:19])
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
