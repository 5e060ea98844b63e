"""A restored server, run for as long as it takes to recover and to be looked at: on a private socket, reaching for nothing outside.

Its own settings would have it archive into the primary's archive, subscribe, or load workers that act. All of that is off here.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrai.backup.instance_files import secret_file
from orchestrai.backup.wal.programs import Account, Programs
from orchestrai.errors import RestoreError, StorageError
from orchestrai.storage.postgres import connection

_PARENT_DEATH_SIGNAL = 1
# how long a server may recover, whether it answers meanwhile or not
PATIENCE = 6 * 3600.0
_NOT_REACHED = "recovery ended before configured recovery target was reached"
_FAULT = re.compile(r"(?:FATAL|PANIC): .*")
_FROM_CONTROL = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
    "wal_level setting": "wal_level",
}
_ALONE = {
    "listen_addresses": "",
    "archive_mode": "off",
    "archive_command": "",
    "recovery_end_command": "",
    "archive_cleanup_command": "",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "shared_preload_libraries": "",
    "session_preload_libraries": "",
    "local_preload_libraries": "",
    "max_logical_replication_workers": "0",
    "synchronous_standby_names": "",
    "hot_standby": "off",
    "autovacuum": "off",
    "ssl": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_min_messages": "warning",
    "lc_messages": "C",
    "huge_pages": "off",
    "shared_buffers": "128MB",
}


class TargetNotReached(RestoreError):
    """The log ended before the target."""


@dataclass(frozen=True)
class Recovered:
    """A server that recovered and accepts connections: by which reference, as a superuser of the restored cluster."""

    reference: str

    def ask(self, query: str) -> Any:
        """One row."""
        with connection(self.reference, autocommit=True) as opened:
            return opened.execute(query).fetchone()


def restore_command(log: Path) -> str:
    """The command by which a server fetches a segment from a folder."""
    return f"cp {shlex.quote(str(log)).replace('%', '%%')}/%f %p"


@contextmanager
def recovered(
    data: Path, programs: Programs, who: Account, settings: Mapping[str, str], role: str, database: str = "postgres"
) -> Iterator[Recovered]:  # fmt: skip
    """Start a restored server, wait until it has recovered and promoted, and stop it cleanly after the block.

    Raises TargetNotReached, RestoreError with the server's own last words, and RestoreError where it is not done within PATIENCE.
    """
    with TemporaryDirectory(prefix="pg-") as name:
        scratch = Path(name)
        (scratch / "pg_hba.conf").write_text("local all all trust\n")
        (scratch / "pg_ident.conf").touch()
        (scratch / "postgresql.conf").touch()
        who.own(scratch)
        chosen = {
            **_ALONE,
            **_controls(data, programs),
            "unix_socket_directories": name,
            "port": "5432",
            "config_file": f"{name}/postgresql.conf",
            "hba_file": f"{name}/pg_hba.conf",
            "ident_file": f"{name}/pg_ident.conf",
            "external_pid_file": "",
            **settings,
        }
        command = [programs.path("postgres"), "-D", str(data)]
        command += [word for key, value in chosen.items() for word in ("-c", f"{key}={value}")]
        log = scratch / "log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                cwd=data,
                env={"LC_ALL": "C", "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "TZ": "UTC"},
                start_new_session=True,
                preexec_fn=end_with_parent(),
                **who.options,
            )
        try:
            with secret_file(f"host='{name}' port=5432 user='{_quoted(role)}' dbname='{_quoted(database)}'") as reference:
                _await(process, reference, log)
                yield Recovered(reference)
            _stop(process, log)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGQUIT)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def end_with_parent() -> Callable[[], object] | None:
    """Has the server stop where whoever started it is killed, as far as the system can."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    # loaded before the fork: after it only what needs no lock may run
    call, parent = ctypes.CDLL(None).prctl, os.getpid()

    def bound() -> None:
        call(_PARENT_DEATH_SIGNAL, int(signal.SIGQUIT))
        if os.getppid() != parent:
            # it was killed before the line above: no signal will come any more
            os._exit(1)

    return bound


def _await(process: "subprocess.Popen[bytes]", reference: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with connection(reference, autocommit=True, timeout=5) as opened:
                if not opened.execute("SELECT pg_is_in_recovery()").fetchone()[0]:
                    return
            state = "in recovery"
        except StorageError as exc:
            # it starts up, or recovers
            state = exc.message
        with suppress(subprocess.TimeoutExpired):
            raise _fault(log, process.wait(0.1))
        if time.monotonic() > deadline:
            raise RestoreError(
                f"expected the restored server to have recovered within {PATIENCE:g} s, found it {state}: choose a base closer to the "
                "target, or restore with --no-start and start it yourself"
            )


def _stop(process: "subprocess.Popen[bytes]", log: Path) -> None:
    process.send_signal(signal.SIGINT)
    try:
        code = process.wait(600)
    except subprocess.TimeoutExpired:
        raise RestoreError("expected the restored server to stop within 600 s, found it running: restore again") from None
    if code != 0:
        raise _fault(log, code)


def _fault(log: Path, code: int) -> RestoreError:
    text = log.read_text(errors="replace")
    if _NOT_REACHED in text:
        return TargetNotReached("expected the log to reach the target, found its end before: choose an earlier target")
    said = _FAULT.findall(text) or [text.strip()[-300:]]
    return RestoreError(
        f"expected the restored server to run, found it ended with code {code}: {'; '.join(said[-3:])[-600:]}"
    )


def _controls(data: Path, programs: Programs) -> dict[str, str]:
    """What a recovery needs at least as large as the primary had it, from the control file."""
    answer = subprocess.run(
        [programs.path("pg_controldata"), str(data)],
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if answer.returncode != 0:
        raise RestoreError(f"expected a server's folder, found: {answer.stderr.strip()[-300:]}")
    pairs = (line.partition(":") for line in answer.stdout.splitlines())
    return {_FROM_CONTROL[name.strip()]: value.strip() for name, _, value in pairs if name.strip() in _FROM_CONTROL}


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
