"""Run by a test in a process of its own, since a JVM has one Spark: a cluster of two executors on this machine, one of them killed.

    python -m orchestrai_tests.vault.spread.cluster_program FOLDER

It stores, reads back and copies out what lies in FOLDER/lake, and prints what came of it as JSON.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.storage.local import LocalStore
from orchestrai.storage.spread.spark_executors import SparkExecutors
from orchestrai.vault.commit.source import SourceFile, StoredAt
from orchestrai.vault.spread import content_tasks
from orchestrai.vault.spread.vault_spread import VaultSpread
from orchestrai.vault.vault import Vault
from orchestrai.vault.verify.verify import verify
from orchestrai_tests.servers.spark import SMALL

store = content_tasks.store


def store_and_be_lost(task: Mapping[str, Any], attempt: int) -> Mapping[str, Any]:
    """Store, and have the whole executor killed before it can answer, once."""
    done = store(task, attempt)
    marker = Path(os.environ["LOST_ONCE"])
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return done
    # the worker's parent is the daemon that forked it, and that one's the executor
    daemon = os.getppid()
    marker.write_text(str(parent_of(daemon)))
    os.kill(parent_of(daemon), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def parent_of(process: int) -> int:
    """By Linux."""
    return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])


@contextmanager
def cluster(executors: int, megabytes: int) -> Iterator[Any]:
    """A session on executors that are processes of their own."""
    import pyspark
    from pyspark.sql import SparkSession

    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ["SPARK_HOME"] = str(Path(pyspark.__file__).parent)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master(f"local-cluster[{executors},1,{megabytes}]").appName("orchestrai-spread")
    for name, value in SMALL.items():
        builder = builder.config(name, value)
    builder = builder.config("spark.executor.memory", f"{megabytes}m").config(
        "spark.executor.extraJavaOptions", "-XX:+UseSerialGC"
    )
    for name in ("PYTHONPATH", "LOST_ONCE"):
        builder = builder.config(f"spark.executorEnv.{name}", os.environ.get(name, ""))
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    try:
        yield session
    finally:
        session.stop()


def sources_in(lake: LocalStore) -> dict[str, list[SourceFile]]:
    """What lies in a lake, by its first folder."""
    found: dict[str, list[SourceFile]] = {}
    for info in lake.list():
        partition, _, name = info.key.partition("/")
        digest = sha256(lake.read(info.key)).hexdigest()
        found.setdefault(partition, []).append(SourceFile(name, info.size, StoredAt(lake, info.key), digest, rows=1))
    return found


def main(folder: Path) -> None:
    """Everything once."""
    content_tasks.store = store_and_be_lost  # type: ignore[assignment]
    content_tasks.TASK_BYTES = 1_000_000
    vault = Vault(LocalStore(folder / "vault"), load_or_create_signer(folder / "keys"), workers=0)
    with cluster(2, 512) as session:
        vault.spread = VaultSpread(SparkExecutors(lambda: session), vault.store)
        commit = vault.commit("d", sources_in(LocalStore(folder / "lake")))
        report = verify(vault, level="read")
        out = LocalStore(folder / "out")
        files = [(file, f"{name}/{file.path}") for name in vault.partitions(commit) for file in vault.files(commit, name)]
        vault.spread.copy_out(vault, out, files, None)
    told = {"version": commit.version, "problems": [one.problem for one in report.findings], "read": report.bytes_read}
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
