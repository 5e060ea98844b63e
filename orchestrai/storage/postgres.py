"""PostgreSQL by secret reference, for the driver and the server's own tools: one connection, errors read once, no secret shown."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrai.errors import (
    ConfigError,
    MissingExtra,
    OrchestraiError,
    StorageError,
    TransientStorageError,
    UnreadableObject,
)
from orchestrai.secrets.reference import check_reference, resolve_secret, scrubbed
from orchestrai.storage.databases.database_faults import DatabaseFault, fault_in

# connection lost, resources short, operator intervention, serialization and deadlock
_TRANSIENT = ("08", "53", "57", "40")
_REFUSED = ("authentication failed", "does not exist", "pg_hba.conf", "no password supplied", "permission denied")
# a tool tells a lost connection in words only
_LOST = (
    "connection to server",
    "could not connect",
    "could not translate host name",
    "server closed the connection",
    "terminating connection",
    "the database system is",
)

SCHEMES = ("postgresql://", "postgres://")


def check_address(reference: str) -> str:
    """Return a secret reference, or a PostgreSQL URL without a password, unchanged; raises ConfigError that shows neither."""
    if not reference.startswith(SCHEMES):
        return check_reference(reference)
    if ("@" in reference and ":" in reference.partition("://")[2].partition("@")[0]) or "password=" in reference:
        raise ConfigError("expected a URL without a password, found one with: write where the URL lies, such as env://NAME")
    return reference


def parameters(reference: str) -> Mapping[str, str]:
    """The connection parameters behind a reference to a URL or DSN, or in a URL; raises ConfigError that shows none of them."""
    driver = _driver()
    text = check_address(reference) if reference.startswith(SCHEMES) else resolve_secret(reference)
    try:
        params = driver.conninfo.conninfo_to_dict(text)
    except driver.ProgrammingError:
        # the driver quotes what it cannot read
        raise ConfigError(f"expected a PostgreSQL URL at {reference}, found text that is none: correct it") from None
    return {name: str(value) for name, value in params.items() if value is not None}


def address(reference: str) -> str:
    """`postgresql://host:port/database`, without user, password and options."""
    params = parameters(reference)
    host = params.get("host", "localhost")
    where = "socket" if host.startswith("/") else f"{host}:{params.get('port', '5432')}"
    return f"postgresql://{where}/{params.get('dbname', params.get('user', ''))}"


@contextmanager
def connection(reference: str, *, autocommit: bool = False, timeout: float = 15.0) -> Iterator[Any]:
    """A psycopg connection with times in UTC; leaving the block commits, or rolls back on an error.

    Raises TransientStorageError, StorageError, ConfigError (a wrong name in a statement), UnreadableObject (a value that
    the driver cannot hold).
    """
    driver = _driver()
    given = _with_defaults(reference, timeout)
    given["options"] = (given.get("options", "") + " -c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=iso_8601").strip()
    try:
        with driver.connect(**given, autocommit=autocommit) as opened:
            yield opened
    except driver.Error as exc:
        raise _translated(exc, address(reference), given.get("password")) from None


@contextmanager
def snapshot(reference: str, *, statement_timeout: timedelta | None = None) -> Iterator[Any]:
    """A connection that reads one moment of the database and writes nothing; raises as `connection` does."""
    with connection(reference) as opened:
        opened.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        if statement_timeout is not None:
            opened.execute(f"SET LOCAL statement_timeout = {round(statement_timeout.total_seconds() * 1000)}")
        yield opened


@contextmanager
def tool_connection(reference: str, timeout: float = 15.0) -> Iterator[tuple[str, dict[str, str]]]:
    """What pg_dump and its like take as --dbname, and the variables that must be in their environment, for the length of the block.

    A command line is for everybody to read, and an environment for whoever runs as the same user: the password lies in a file that
    is readable by its owner alone and gone after the block.
    """
    given = _with_defaults(reference, timeout)
    password = given.pop("password", None)
    conninfo = str(_driver().conninfo.make_conninfo("", **given))
    if not password:
        yield conninfo, {}
        return
    with TemporaryDirectory(prefix="orchestrai-secret-") as folder:
        path = Path(folder) / "pgpass"
        path.touch(mode=0o600)
        escaped = password.replace("\\", "\\\\").replace(":", "\\:")
        path.write_text(f"*:*:*:*:{escaped}\n")
        yield conninfo, {"PGPASSFILE": str(path)}


def tool_error(said: str, expected: str, reference: str) -> StorageError:
    """What a tool's last words mean: a lost connection is transient, as it is for the driver."""
    text = scrubbed(said.strip(), parameters(reference).get("password"))[-500:]
    if any(word in text for word in _LOST) and not any(word in text for word in _REFUSED):
        return TransientStorageError(f"expected {expected}, found: {text}: retry")
    return StorageError(f"expected {expected}, found: {text}: check access and settings")


def _with_defaults(reference: str, timeout: float) -> dict[str, str]:
    given = dict(parameters(reference))
    given.setdefault("connect_timeout", str(max(2, round(timeout))))
    given.setdefault("application_name", "orchestrai")
    return given


def _driver() -> Any:
    try:
        import psycopg
        import psycopg.conninfo
    except ImportError as exc:
        raise MissingExtra("expected psycopg, found it absent: install orchestrai[postgres]") from exc
    return psycopg


def _translated(exc: Any, where: str, password: str | None) -> OrchestraiError:
    import psycopg

    text = scrubbed(exc.diag.message_primary or str(exc).split("\n")[0], password)
    state = exc.sqlstate or ""
    if isinstance(exc, psycopg.DataError):
        return UnreadableObject(f"expected values of {where} as declared, found: {text}; declare the column as STRING")
    return _fault_of(exc, state, text).error(f"{where} to answer", text)


def _fault_of(exc: Any, state: str, text: str) -> DatabaseFault:
    import psycopg

    if state == "42501" or state[:2] == "28":
        return DatabaseFault.RIGHTS
    if state[:2] in ("42", "3D") or isinstance(exc, psycopg.ProgrammingError):
        return DatabaseFault.NAME
    if state[:2] in _TRANSIENT:
        return DatabaseFault.MOMENT
    if state or not isinstance(exc, psycopg.OperationalError | psycopg.InterfaceError):
        return DatabaseFault.OTHER
    # whoever is not let in, or asks for a database that is not there, gets words alone; any others are of a connection that was lost
    told = fault_in(text)
    named = told is DatabaseFault.RIGHTS or "does not exist" in text
    return told if named else DatabaseFault.MOMENT
