"""Dagster as it runs for people, in processes of its own: a code server, a daemon, run workers; what dies is started again.

The vault and one landing lie in moto behind a proxy that may refuse, the lake and the other landing in folders.
"""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from orchestrai.pipeline.instance.settings_file import NAME, settings_text
from orchestrai.pipeline.runtime import Runtime
from orchestrai.settings import Settings
from orchestrai_tests.chaos.shop_by_hour import DATASETS, declare
from orchestrai_tests.observability.hooks import Hook, webhook
from orchestrai_tests.servers.moto import moto_server
from orchestrai_tests.servers.process import free_port
from orchestrai_tests.servers.proxy import FaultProxy, fault_proxy
from orchestrai_tests.servers.s3 import S3Server

BIN = Path(sys.executable).parent
CHECKOUT = Path(__file__).resolve().parents[2]
Process = subprocess.Popen[bytes]


class Operation:
    """A home that is operated. `services` are the processes that a supervisor keeps up."""

    def __init__(self, folder: Path, moto: S3Server, proxy: FaultProxy, hook: Hook) -> None:
        self.folder, self.moto, self.proxy, self.hook = folder, moto, proxy, hook
        self.home, self.bucket, self.port = folder / "home", moto.bucket(), free_port()
        self.landing = self.home / "landing" / "sales"
        self.landing.mkdir(parents=True)
        urls = {"sales": "landing/sales/", "visits": f"s3://{self.bucket}/landing/visits"}
        behind = dataclasses.replace(moto, endpoint=proxy.endpoint)
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRAI_", "DAGSTER_", "AWS_"))
        }
        self.environment = {
            **inherited,
            **behind.environment(),
            "PYTHONPATH": str(CHECKOUT),
            "ALERTS": hook.url,
            "DAGSTER_HOME": str(self.home / "dagster"),
            "ORCHESTRAI_HOME": str(self.home),
            "ORCHESTRAI_PIPELINES": str(declare(folder / "declared", urls)),
            "ORCHESTRAI_VAULT_URL": f"s3://{self.bucket}/vault",
            "ORCHESTRAI_ALERT_URL": "env://ALERTS",
        }
        self.workspace = folder / "workspace.yaml"
        self.workspace.write_text(
            f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {self.port}, location_name: day}}\n"
        )
        self.services: dict[str, Process] = {}
        self.others: list[Process] = []
        self.make_instance()

    def make_instance(self) -> None:
        """Settings of the instance that are somebody's own: what looks once a minute looks every few seconds."""
        base = self.home / "dagster"
        base.mkdir(exist_ok=True)
        text = settings_text(str(base)).replace("poll_interval_seconds: 60", "poll_interval_seconds: 3")
        # a run that was killed while it began is ended after so long; nothing sooner tells it from one that begins slowly
        text = text.replace("start_timeout_seconds: 300", "start_timeout_seconds: 150")
        assert "poll_interval_seconds: 3," in text and "start_timeout_seconds: 150" in text
        (base / NAME).write_text(text)

    # -- processes ---------------------------------------------------------------------------------------------

    def command(self, name: str) -> list[str]:
        """How a service is started."""
        if name == "code_server":
            served = ["api", "grpc", "-m", "orchestrai_tests.chaos.deployment", "--host", "127.0.0.1", "-p", str(self.port)]
            return [str(BIN / "dagster"), *served, "--location-name", "day", "--log-level", "warning"]
        return [str(BIN / "dagster-daemon"), "run", "-w", str(self.workspace), "--log-level", "warning"]

    def start(self, name: str) -> Process:
        """Start a process in a group of its own."""
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                self.command(name),
                cwd=CHECKOUT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def supervise(self) -> None:
        """Start again what ended, as systemd or Kubernetes does."""
        for name in ("code_server", "daemon"):
            process = self.services.get(name)
            if process is None or process.poll() is not None:
                self.services[name] = self.start(name)

    def kill(self, name: str) -> None:
        """Kill a service with nothing but itself: what it started lives on."""
        process = self.services[name]
        process.kill()
        process.wait()

    def kill_group(self, name: str) -> None:
        """Kill a service and all that it started."""
        process = self.services[name]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def workers(self) -> list[int]:
        """The processes that execute runs now."""
        return [pid for pid in _members(self.services["code_server"].pid) if "spawn_main" in _command_of(pid)]

    def end(self) -> None:
        """Kill everything that was started here, orphans too."""
        groups = {process.pid for process in [*self.services.values(), *self.others]}
        for group in groups | _groups_of(str(self.home)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        for process in [*self.services.values(), *self.others]:
            process.wait()

    # -- what it made -------------------------------------------------------------------------------------------

    def runtime(self) -> Runtime:
        """The project, opened anew."""
        settings = Settings(
            home=self.home,
            pipelines=self.environment["ORCHESTRAI_PIPELINES"],
            vault_url=self.environment["ORCHESTRAI_VAULT_URL"],
        )
        return Runtime(settings)

    def land(self, dataset: str, name: str, data: bytes) -> None:
        """A producer's object, complete at once."""
        if dataset == "sales":
            part = self.folder / "part"
            part.write_bytes(data)
            part.rename(self.landing / name)
        else:
            self.moto.client().put_object(Bucket=self.bucket, Key=f"landing/visits/{name}", Body=data)

    def until(self, seconds: float) -> None:
        """Let time pass under the supervisor."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self.supervise()
            time.sleep(0.25)


def _members(group: int) -> list[int]:
    return [pid for pid in _processes() if _stat(pid)[2:3] == [str(group)]]


def _groups_of(home: str) -> set[int]:
    """The groups of processes whose environment names a home: workers whose code server was killed are among them."""
    found = set()
    for pid in _processes():
        with contextlib.suppress(OSError):
            if f"ORCHESTRAI_HOME={home}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.add(int(_stat(pid)[2]))
    return found - {os.getpgrp()}


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> list[str]:
    """State, parent and group of a process; nothing of one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@contextlib.contextmanager
def operated(folder: Path) -> Iterator[Operation]:
    """An operation whose processes run until the block ends."""
    assert set(DATASETS) == {"sales", "visits"}
    with moto_server() as moto, fault_proxy(moto.endpoint) as proxy, webhook() as hook:
        operation = Operation(folder, moto, proxy, hook)
        os.environ.update({k: v for k, v in operation.environment.items() if k.startswith("AWS_")})
        try:
            operation.supervise()
            yield operation
        finally:
            operation.end()
