"""A wrong password, a name that is not there and a missing right, told by real servers and by warehouses' words: the same errors."""

import contextlib
import uuid
from typing import Any
from urllib.parse import urlsplit

import pytest

from orchestrai.errors import AccessRefused, ConfigError, OrchestraiError, StorageError, TransientStorageError
from orchestrai.storage.databases.database_faults import DatabaseFault, fault_in
from orchestrai.storage.databases.open_table import Place, table_snapshot
from orchestrai.storage.databases.table_port import Relation, Wanted, Window

CANARY = "hunter2canary"


def read(monkeypatch: pytest.MonkeyPatch, url: str, table: str = "orders") -> None:
    monkeypatch.setenv("ASKED_URL", url)
    with table_snapshot(Place("env://ASKED_URL"), Relation(table)) as opened:
        opened.count(Wanted(("id",), frozenset(), ("id",), timed=False), Window())


def told(kind: type[OrchestraiError], remedy: str, monkeypatch: pytest.MonkeyPatch, *asked: str) -> None:
    with pytest.raises(kind) as caught:
        read(monkeypatch, *asked)
    assert type(caught.value) is kind and str(caught.value).endswith(remedy)
    assert CANARY not in str(caught.value)


@pytest.mark.emulator
def test_mariadb_tells_a_wrong_password_a_missing_name_and_a_missing_right_apart(
    mariadb: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # whoever comes may do everything in databases whose names begin with test_
    name, user = f"guarded_{uuid.uuid4().hex[:12]}", f"u{uuid.uuid4().hex[:12]}"
    mariadb.run("test", f"CREATE DATABASE {name}")
    url = mariadb.url.removesuffix("/test") + f"/{name}"
    port = urlsplit(url).port
    mariadb.run(name, "CREATE TABLE orders (id BIGINT PRIMARY KEY)")
    mariadb.run(name, "CREATE TABLE others (id BIGINT PRIMARY KEY)")
    mariadb.run(name, f"CREATE USER {user}@'127.0.0.1' IDENTIFIED BY '{CANARY}'")
    try:
        mariadb.run(name, f"GRANT SELECT ON {name}.orders TO {user}@'127.0.0.1'")
        mine = f"mysql://{user}:{CANARY}@127.0.0.1:{port}/{name}"
        read(monkeypatch, mine)
        told(AccessRefused, "grant it", monkeypatch, f"mysql://{user}:{CANARY}x@127.0.0.1:{port}/{name}")
        told(AccessRefused, "grant it", monkeypatch, mine, "others")
        told(ConfigError, "correct the name, or grant it", monkeypatch, url, "nowhere")
        told(ConfigError, "correct the name, or grant it", monkeypatch, url + "x")
    finally:
        mariadb.run(name, f"DROP USER {user}@'127.0.0.1'")


@pytest.mark.emulator
def test_postgres_tells_who_may_not_come_a_missing_name_and_a_missing_right_apart(
    postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    url, role = postgres.database(), f"u{uuid.uuid4().hex[:12]}"
    with contextlib.closing(psycopg.connect(url, autocommit=True)) as opened:
        opened.execute("CREATE TABLE orders (id bigint PRIMARY KEY)")
        opened.execute("CREATE TABLE others (id bigint PRIMARY KEY)")
        opened.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{CANARY}'")  # type: ignore[arg-type]
        try:
            opened.execute(f"GRANT SELECT ON orders TO {role}")  # type: ignore[arg-type]
            owner = urlsplit(url).username
            mine = url.replace(f"{owner}:@" if f"{owner}:@" in url else f"{owner}@", f"{role}:{CANARY}@")
            read(monkeypatch, mine)
            told(AccessRefused, "grant it", monkeypatch, mine, "others")
            told(AccessRefused, "grant it", monkeypatch, mine.replace(role, f"{role}x"))
            told(ConfigError, "correct the name, or grant it", monkeypatch, url, "nowhere")
            told(ConfigError, "correct the name, or grant it", monkeypatch, url.replace("/test_", "/gone_"))
            opened.execute(f"ALTER ROLE {role} NOLOGIN")  # type: ignore[arg-type]
            told(AccessRefused, "grant it", monkeypatch, mine)
        finally:
            opened.execute(f"DROP OWNED BY {role}")  # type: ignore[arg-type]
            opened.execute(f"DROP ROLE {role}")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("accessDenied: Access Denied: Table p:d.t: User does not have permission to query table", AccessRefused),
        ("ERROR: permission denied for relation orders", AccessRefused),
        ('FATAL: password authentication failed for user "ann"', AccessRefused),
        ("3001 SQL access control error: Insufficient privileges to operate on table 'ORDERS'", AccessRefused),
        ("notFound: Not found: Table p:d.t was not found in location EU", ConfigError),
        ('ERROR: relation "nowhere" does not exist', ConfigError),
        ("2003 SQL compilation error: Object 'NOWHERE' does not exist or not authorized.", ConfigError),
        ("Redshift endpoint doesn't exist in this region.", ConfigError),
        ("jobRateLimitExceeded: too many", TransientStorageError),
        ("ERROR: 1023 DETAIL: Serializable isolation violation on table", TransientStorageError),
        ("resourcesExceeded: Query exceeded resource limits", StorageError),
    ],
)
def test_the_words_of_a_warehouse_become_the_same_errors(words: str, kind: type[OrchestraiError]) -> None:
    error = fault_in(words).error("the statement to end well", words)
    assert type(error) is kind and words in str(error)


@pytest.mark.parametrize("fault", DatabaseFault)
def test_each_error_says_what_was_expected_what_was_found_and_what_to_do(fault: DatabaseFault) -> None:
    assert str(fault.error("it to answer", "no")) == f"expected it to answer, found: no: {fault.value}"


def test_a_postgres_whose_socket_is_not_there_is_down_and_not_misnamed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    with pytest.raises(TransientStorageError, match="No such file or directory"):
        read(monkeypatch, f"postgresql:///shop?host={tmp_path}")
