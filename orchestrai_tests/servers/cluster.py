"""A PostgreSQL cluster of one's own: to be killed, promoted, broken; on a socket in a folder in memory.

Clusters are copies of one that is made once a process, so they are one and the same server to whoever asks its identifier.
"""

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from orchestrai.backup.wal.programs import Account, Programs, account, find_programs
from orchestrai.errors import ConfigError
from orchestrai_tests.scratch import fast_folder
from orchestrai_tests.servers.process import ServerAbsent

MAJORS = (15, 18, 17, 16, 14)
# a base of one database in place of three has 374 files in place of 970
ONE_DATABASE = """
UPDATE pg_database SET datistemplate = false;
DROP DATABASE template0;
DROP DATABASE template1;
"""
SETTINGS = {
    "fsync": "off",
    "listen_addresses": "",
    "wal_segment_size": None,
    "max_wal_senders": "10",
    "shared_buffers": "16MB",
    "autovacuum": "off",
    "wal_sender_timeout": "5s",
    "log_min_messages": "warning",
}


class Cluster:
    """A data directory and the process that serves it."""

    def __init__(self, folder: Path, programs: Programs, who: Account) -> None:
        self.folder, self.programs, self.who = folder, programs, who
        self.data, self.socket = folder / "data", folder / "s"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, as the superuser."""
        return f"postgresql:///postgres?host={self.socket}&port=5432&user=postgres"

    def run(self, name: str, *options: str, text: str = "") -> None:
        """Run one of its programs, with a text to read."""
        done = subprocess.run(
            [self.programs.path(name), *options],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            **self._as(),
        )
        assert done.returncode == 0, done.stderr

    def init(self, segment_megabytes: int = 1) -> None:
        """Make an empty cluster, with small segments so that many are filled."""
        self.socket.mkdir()
        self.who.own(self.folder)
        options = [
            "--auth=trust",
            "--username=postgres",
            "--no-sync",
            f"--wal-segsize={segment_megabytes}",
            "--encoding=UTF8",
        ]
        self.run("initdb", f"--pgdata={self.data}", "--no-locale", *options)

    def drop_templates(self) -> None:
        """Leave one database, while it is not served."""
        self.run("postgres", "--single", "-F", "-D", str(self.data), "postgres", text=ONE_DATABASE)

    def copy(self, model: "Cluster") -> None:
        """Begin as another one that is not served."""
        self.socket.mkdir()
        shutil.copytree(model.data, self.data, symlinks=True)
        self.who.own(self.folder)

    def start(self, **settings: str) -> None:
        """Serve, and wait until it answers."""
        chosen = {name: value for name, value in {**SETTINGS, **settings}.items() if value is not None}
        words = [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
        command = [self.programs.path("postgres"), "-D", str(self.data), "-k", str(self.socket), *words]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, **self._as())
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(Exception):
                self.ask("SELECT 1")
                return
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT cleanly, SIGQUIT as if its machine had died."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def ask(self, query: str, *parameters: Any) -> list[Any]:
        """The rows of a query, each in a transaction of its own."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as opened:
            answer = opened.execute(query, parameters or None)  # type: ignore[arg-type]
            return answer.fetchall() if answer.description else []

    def standby(self, folder: Path) -> "Cluster":
        """A standby of it, made and started."""
        other = Cluster(folder, self.programs, self.who)
        folder.mkdir()
        other.socket.mkdir()
        self.who.own(folder)
        conninfo = f"host={self.socket} port=5432 user=postgres"
        self.run("pg_basebackup", f"--dbname={conninfo}", f"--pgdata={other.data}", "--checkpoint=fast", "-R", "--no-sync")
        other.start()
        return other

    def promote(self) -> None:
        """Make a standby a primary on a new timeline."""
        self.run("pg_ctl", "promote", "-w", f"--pgdata={self.data}")

    def _as(self) -> dict[str, Any]:
        return {"env": {**os.environ, "LC_ALL": "C"}, "cwd": "/", **self.who.options}


@cache
def _model(programs: Programs, who: Account) -> Cluster:
    """An empty cluster that others begin as; it goes with the process."""
    folder = Path(tempfile.mkdtemp(dir=fast_folder(), prefix="pgm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    model = Cluster(folder, programs, who)
    model.init()
    model.drop_templates()
    return model


@contextlib.contextmanager
def fresh_cluster(*, another: bool = False, **settings: str) -> Iterator[Cluster]:
    """A running cluster; with `another` of an identifier of its own, with all its databases.

    Raises ServerAbsent where there are no programs, or nobody who may run them.
    """
    for major in MAJORS:
        try:
            programs, who = find_programs(major), account()
            break
        except ConfigError:
            continue
    else:
        raise ServerAbsent("no PostgreSQL's programs are installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(dir=fast_folder(), prefix="pgc-"))
    cluster = Cluster(folder, programs, who)
    try:
        if another:
            cluster.init()
        else:
            cluster.copy(_model(programs, who))
        cluster.start(**settings)
        yield cluster
    finally:
        cluster.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)
