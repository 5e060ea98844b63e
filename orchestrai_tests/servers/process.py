"""Start a server process on a free loopback port, wait until it answers, end it."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


class ServerAbsent(Exception):
    """The server cannot be started on this machine; the message is the reason a test is skipped with."""


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_program(name: str, package: str) -> str:
    """The path of an installed program; raises ServerAbsent."""
    found = shutil.which(name)
    if found is None:
        raise ServerAbsent(f"{name} is not installed: install the package {package}")
    return found


def wait_for_port(port: int, seconds: float, process: "subprocess.Popen[bytes] | None" = None) -> None:
    """Return once the port accepts a connection; raises ServerAbsent when the process ends or the time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process is not None and process.poll() is not None:
            raise ServerAbsent(f"{process.args!r} ended with code {process.returncode} before it listened")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise ServerAbsent(f"nothing listened on port {port} within {seconds:.0f} s")


@contextlib.contextmanager
def running(
    command: Sequence[str], port: int, *, log: Path, seconds: float = 60, environment: Mapping[str, str] | None = None
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run a command until the block ends; its output goes to `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=None if environment is None else {**environment},
        )
    try:
        wait_for_port(port, seconds, process)
        yield process
    finally:
        stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process that this test started."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
