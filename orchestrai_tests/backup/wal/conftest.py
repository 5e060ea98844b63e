"""A PostgreSQL of one's own, and a home that declares it."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from orchestrai.backup.wal.log_archive import Base, LogState, read_bases, read_log
from orchestrai.backup.wal.log_position import followed, log_source
from orchestrai.backup.wal.receiver.log_connection import Received
from orchestrai.backup.wal.receiver.receive import Receiver
from orchestrai.backup.wal.recovery.recover import Look, Recovery, recover
from orchestrai.backup.wal.recovery.recovery_plan import Target, plan_recovery
from orchestrai.ledger.report import StageReport
from orchestrai.pipeline.runtime import Runtime
from orchestrai.pipeline.template import write_template
from orchestrai.settings import load_settings
from orchestrai.vault.vault import Vault
from orchestrai_tests.servers.cluster import Cluster, fresh_cluster
from orchestrai_tests.servers.process import ServerAbsent

DATABASES = """
databases:
  - {name: crm, dsn_env: CRM_URL, method: wal, every: "0 2 * * *", keep: {last: 3}, window: 1d, rpo: 3s}
"""


@dataclass
class Followed:
    """A cluster, the home that follows it, and where restores may go."""

    cluster: Cluster
    home: Path
    scratch: Path

    def runtime(self) -> Runtime:
        """A fresh process's runtime."""
        return Runtime(load_settings())

    def run(self, stage: str) -> StageReport:
        """Materialize an asset of the database."""
        runtime = self.runtime()
        return runtime.run(runtime.project.nodes[f"shop/crm/{stage}"], ["all"])

    def receiver(self) -> Receiver:
        """A fresh process's receiver."""
        runtime = self.runtime()
        (subject,) = followed(runtime.project.nodes.values())
        return Receiver(runtime.vault, log_source(subject, runtime.vault, runtime.settings))

    def receive(self) -> Received:
        """Bring the log in the vault up to now."""
        return self.receiver().catch_up()

    def log(self) -> tuple[Vault, LogState, list[Base]]:
        """The vault, and what it holds of the server."""
        vault = self.runtime().vault
        return vault, read_log(vault, "shop/crm/wal"), read_bases(vault, "shop/crm/base")

    def restore(self, name: str, target: Target, look: Look | None = None) -> Recovery:
        """Restore to a target, from what the vault holds."""
        vault, state, bases = self.log()
        plan = plan_recovery(bases, state, target)
        return recover(vault, plan, self.scratch / name, look=look, durable=False)


def forked(work: Callable[[], object]) -> BaseProcess:
    """Work done by a process of its own, to be killed: a copy of this one, which has imported everything."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def until(what: Callable[[], object], seconds: float = 60) -> None:
    """Wait for something to be true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    try:
        with fresh_cluster() as running:
            yield running
    except ServerAbsent as exc:
        pytest.skip(str(exc))


@pytest.fixture
def crm(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Followed:
    home, declared = tmp_path / "home", tmp_path / "pipelines" / "shop"
    write_template("shop", declared)
    # without features and models, so that the declarations are soon read, which each step of a test does anew
    datasets, _, _ = (declared / "pipeline.yaml").read_text().partition("\nfeatures:")
    (declared / "pipeline.yaml").write_text(datasets + DATABASES)
    monkeypatch.setenv("ORCHESTRAI_HOME", str(home))
    monkeypatch.setenv("ORCHESTRAI_PIPELINES", str(declared))
    monkeypatch.setenv("CRM_URL", cluster.url)
    # the user postgres must come there, and pytest's folders are closed
    scratch = cluster.folder / "restored"
    scratch.mkdir()
    os.chmod(cluster.folder, 0o755)
    return Followed(cluster, home, scratch)
