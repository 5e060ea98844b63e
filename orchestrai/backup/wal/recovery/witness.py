"""A witness: what every table of a database held at an exact position of the log, to compare a restored server with.

The position is exact where no transaction that writes was open and nothing was written while the snapshot was taken; on a server that
is never still for that long there is no witness, and it says so.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrai.backup.wal.positions import lsn_text, parse_lsn
from orchestrai.core.canonical import JsonValue
from orchestrai.errors import AccessRefused, ConfigError
from orchestrai.storage.postgres import connection

PATIENCE = 10.0
BUSY = "somebody was writing all the time"
_HERE = "SELECT pg_current_wal_insert_lsn()::text"
_SNAPSHOT = """
SELECT pg_snapshot_xmin(s) = pg_snapshot_xmax(s), pg_current_wal_insert_lsn()::text, clock_timestamp(), current_database()::text
FROM pg_current_snapshot() s
"""
_TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Witness:
    """Rows and a sum over the rows of each table at a position; without a position nothing can be compared."""

    database: str
    lsn: int | None
    time: str
    tables: Mapping[str, tuple[int, str]]
    absent: str = ""

    def as_json(self) -> dict[str, JsonValue]:
        """The form kept in the vault."""
        return {
            "database": self.database,
            "lsn": lsn_text(self.lsn) if self.lsn is not None else None,
            "time": self.time,
            "absent": self.absent,
            "tables": {name: [rows, digest] for name, (rows, digest) in self.tables.items()},
        }

    def differences(self, tables: Mapping[str, tuple[int, str]]) -> list[str]:
        """What a restored server has otherwise, in words."""
        told = []
        for name in sorted({*self.tables, *tables}):
            expected, actual = self.tables.get(name), tables.get(name)
            if expected != actual:
                told.append(f"expected {_told(expected)} in {name}, found {_told(actual)}")
        return told


def read_witness(body: Mapping[str, JsonValue]) -> Witness:
    """A witness as it lies in the vault."""
    lsn, tables = body.get("lsn"), body.get("tables")
    listed = tables.items() if isinstance(tables, Mapping) else ()
    sums = {name: (int(str(one[0])), str(one[1])) for name, one in listed if isinstance(one, list)}
    return Witness(
        str(body["database"]),
        parse_lsn(str(lsn)) if lsn else None,
        str(body.get("time", "")),
        sums,
        str(body.get("absent", "")),
    )


def witness_or_none(reference: str) -> Witness:
    """A witness where the user may read every table; else one that nothing can be compared with, and why."""
    try:
        return take_witness(reference)
    except (ConfigError, AccessRefused) as exc:
        return Witness("", None, "", {}, exc.message)


def take_witness(reference: str, patience: float = PATIENCE) -> Witness:
    """Read every table in one snapshot whose position is known; raises StorageError, AccessRefused where that is not allowed."""
    deadline = time.monotonic() + patience
    with connection(reference, autocommit=True) as opened:
        while True:
            before = opened.execute(_HERE).fetchone()[0]
            opened.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            still, after, moment, database = opened.execute(_SNAPSHOT).fetchone()
            if still and before == after:
                tables = table_sums(opened)
                opened.execute("ROLLBACK")
                # a record behind the position, so that a recovery can stop right before it
                opened.execute("SELECT pg_logical_emit_message(true, 'orchestrai', 'witness')")
                return Witness(database, parse_lsn(before), moment.isoformat(), tables)
            opened.execute("ROLLBACK")
            if time.monotonic() > deadline:
                return Witness(database, None, moment.isoformat(), {}, BUSY)
            time.sleep(0.01)


def table_sums(opened: Any) -> dict[str, tuple[int, str]]:
    """Rows of each table and the sum of their hashes, whatever their order, in the connection's snapshot."""
    from psycopg import sql

    sums = {}
    for schema, name in opened.execute(_TABLES).fetchall():
        table = sql.Identifier(schema, name)
        query = sql.SQL(
            "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text FROM ONLY {} t"
        ).format(table)
        rows, digest = opened.execute(query).fetchone()
        sums[f"{schema}.{name}"] = (int(rows), str(digest))
    return sums


def _told(one: tuple[int, str] | None) -> str:
    return "no table" if one is None else f"{one[0]} rows of sum {one[1]}"
