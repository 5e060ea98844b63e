"""A real MariaDB from the system's package, on loopback."""

import contextlib
import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrai_tests.scratch import fast_folder
from orchestrai_tests.servers.process import ServerAbsent, free_port, require_program, running

USER, PASSWORD = "orchestrai", "p@ss w/rd"


@dataclass(frozen=True)
class MariadbServer:
    """A server with a user who may do everything."""

    port: int

    @property
    def url(self) -> str:
        """The server's own database, as its user."""
        return f"mysql://{USER}:p%40ss%20w%2Frd@127.0.0.1:{self.port}/test"

    def database(self) -> str:
        """Create a database with a fresh name and return its URL."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.run("test", f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return self.url.removesuffix("/test") + f"/{name}"

    def run(self, database: str, statement: str) -> list[tuple[object, ...]]:
        """One statement and its rows, with pymysql's own types."""
        import pymysql

        with (
            contextlib.closing(
                pymysql.connect(
                    host="127.0.0.1",
                    port=self.port,
                    user=USER,
                    password=PASSWORD,
                    database=database,
                    init_command="SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES'",
                )
            ) as opened,
            opened.cursor() as cursor,
        ):
            cursor.execute(statement)
            opened.commit()
            return list(cursor.fetchall())


@contextlib.contextmanager
def mariadb_server() -> Iterator[MariadbServer]:
    """Run MariaDB in a fresh folder; raises ServerAbsent where its package or pymysql is not installed."""
    try:
        import pymysql  # noqa: F401
    except ImportError:
        raise ServerAbsent("pymysql is not installed: uv sync --group dev") from None
    install = require_program("mariadb-install-db", "mariadb-server")
    server = require_program("mariadbd", "mariadb-server")
    with tempfile.TemporaryDirectory(dir=fast_folder()) as text:
        folder, port = Path(text), free_port()
        data = folder / "data"
        data.mkdir()
        user = ["--user=root"] if os.geteuid() == 0 else []
        try:
            made = subprocess.run(
                [install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal", *user],
                capture_output=True,
                text=True,
                timeout=300,
            )
        except subprocess.TimeoutExpired:
            raise ServerAbsent("mariadb-install-db took longer than 300 s") from None
        if made.returncode:
            raise ServerAbsent(f"mariadb-install-db ended with {made.returncode}: {made.stderr[-200:]}")
        init = folder / "init.sql"
        init.write_text(
            f"CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON *.* TO '{USER}'@'%' WITH GRANT OPTION;\n"
            "CREATE DATABASE IF NOT EXISTS test;\n"
        )
        command = [server, "--no-defaults", f"--datadir={data}", "--bind-address=127.0.0.1", f"--port={port}", *user]
        # nothing here outlives the tests
        command += [f"--socket={folder}/s", f"--init-file={init}", "--innodb-flush-log-at-trx-commit=0", "--skip-log-bin"]
        command += ["--skip-name-resolve"]
        with running(command, port, log=folder / "log", seconds=180):
            yield MariadbServer(port)
