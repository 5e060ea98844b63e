"""MySQL and MariaDB by URL or secret reference: one connection in UTC and standard SQL, errors read once, no secret shown."""

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from orchestrai.errors import ConfigError, MissingExtra, OrchestraiError
from orchestrai.secrets.reference import is_reference, resolve_secret, scrubbed
from orchestrai.storage.databases.database_faults import DatabaseFault

SCHEMES = ("mysql://", "mariadb://")
# quotes as the standard has them, and nothing changed to fit
_MODE = "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
# the server or the way to it is gone or full; deadlock and waits
_TRANSIENT = (1040, 1053, 1077, 1129, 1205, 1213, 2002, 2003, 2006, 2013, 2055, 3024, 1969)
_RIGHTS = (1044, 1045, 1142, 1143, 1227, 1370, 1698)
_NAMES = (1046, 1049, 1051, 1054, 1064, 1102, 1103, 1146, 1305)
_OPTIONS = ("unix_socket", "ssl_ca", "ssl")


def parameters(reference: str) -> Mapping[str, Any]:
    """What the driver is given for a URL `mysql://user@host:port/database`, or for the one behind a reference; raises ConfigError."""
    text = resolve_secret(reference) if is_reference(reference) else reference
    where = reference if is_reference(reference) else "source.url"
    try:
        parts = urlsplit(text)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        port = parts.port or 3306
    except ValueError:
        # the message may quote the URL
        raise ConfigError(f"expected a MySQL URL at {where}, found text that is none: correct it") from None
    unknown = sorted(set(options) - set(_OPTIONS))
    if not text.startswith(SCHEMES) or not parts.path.strip("/") or unknown:
        known = f"options of {', '.join(_OPTIONS)}"
        raise ConfigError(f"expected mysql://host/database and {known} at {where}, found something else: correct it")
    given: dict[str, Any] = {
        "host": parts.hostname or "localhost",
        "port": port,
        "user": unquote(parts.username or "") or None,
        "password": unquote(parts.password or ""),
        "database": unquote(parts.path.strip("/")),
    }
    if "unix_socket" in options:
        given["unix_socket"] = options["unix_socket"]
    if "ssl_ca" in options or options.get("ssl", "") in ("true", "1", "required"):
        given["ssl"] = ssl.create_default_context(cafile=options.get("ssl_ca"))
    return given


def address(reference: str) -> str:
    """`mysql://host:port/database`, without user, password and options."""
    given = parameters(reference)
    where = "socket" if "unix_socket" in given else f"{given['host']}:{given['port']}"
    return f"mysql://{where}/{given['database']}"


@contextmanager
def connection(reference: str, *, raw: bool = False, timeout: float = 15.0) -> Iterator[Any]:
    """A pymysql connection in a transaction; leaving the block commits, or rolls back on an error.

    Times are UTC, double quotes are of names. With `raw` values come as the server's text. Raises TransientStorageError, StorageError,
    ConfigError (a wrong name in a statement).
    """
    driver = _driver()
    given = dict(parameters(reference))
    given |= {"charset": "utf8mb4", "connect_timeout": round(timeout), "local_infile": False, "autocommit": False}
    if raw:
        given["conv"] = driver.converters.encoders
    try:
        opened = driver.connect(**given, init_command=f"SET SESSION sql_mode = '{_MODE}', time_zone = '+00:00'")
        try:
            yield opened
            opened.commit()
        finally:
            opened.close()
    except driver.Error as exc:
        raise _translated(exc, address(reference), str(given["password"])) from None


@contextmanager
def snapshot(reference: str, *, statement_timeout: timedelta | None = None) -> Iterator[Any]:
    """A connection that reads one moment of the database and writes nothing, with values as text; raises as `connection` does."""
    with connection(reference, raw=True) as opened, opened.cursor() as cursor:
        if statement_timeout is not None:
            seconds = statement_timeout.total_seconds()
            maria = "MariaDB" in opened.get_server_info()
            limit = f"max_statement_time = {seconds:.3f}" if maria else f"max_execution_time = {round(seconds * 1000)}"
            cursor.execute(f"SET SESSION {limit}")
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        yield opened


def _driver() -> Any:
    try:
        import pymysql
    except ImportError as exc:
        raise MissingExtra("expected pymysql, found it absent: install orchestrai[mysql]") from exc
    return pymysql


def _translated(exc: Any, where: str, password: str) -> OrchestraiError:
    import pymysql

    code = exc.args[0] if exc.args and isinstance(exc.args[0], int) else 0
    text = scrubbed(str(exc.args[-1] if exc.args else exc).split("\n")[0][:300], password)
    lost = isinstance(exc, pymysql.err.InterfaceError) or (isinstance(exc, pymysql.OperationalError) and code == 0)
    if code in _RIGHTS:
        fault = DatabaseFault.RIGHTS
    elif code in _NAMES:
        fault = DatabaseFault.NAME
    else:
        fault = DatabaseFault.MOMENT if code in _TRANSIENT or lost else DatabaseFault.OTHER
    return fault.error(f"{where} to answer", text)
