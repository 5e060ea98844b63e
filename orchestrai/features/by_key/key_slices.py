"""Slices of an online store: rows of changed entities, column-wise, in blocks by key, in the tables of one SQLite file.

The newest slice that has a key has its row. A slice is merged with the one before it while that has less than twice its rows, so there
are few, and a row is written again a number of times that grows with the logarithm of the entities alone. Each block carries the
SHA-256 of its heads and of its values, and is hashed before it is read.
"""

import hashlib
import sqlite3
from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import pyarrow as pa

from orchestrai.errors import IntegrityError
from orchestrai.features.by_key.newest_rows import NOBODY, UNIT, Rows, ordered

BLOCK_ROWS = 1024
# blocks that readers of this process keep after they were hashed, about 100 KiB each
BLOCKS_KEPT = 256
_NEXT_LARGER = 2
SCHEMA = """
CREATE TABLE IF NOT EXISTS slice (number INTEGER PRIMARY KEY AUTOINCREMENT, rows INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS block (
  id INTEGER PRIMARY KEY, slice INTEGER NOT NULL, low TEXT NOT NULL, high TEXT NOT NULL,
  heads_sha256 TEXT NOT NULL, values_sha256 TEXT NOT NULL, heads BLOB NOT NULL, columns BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS block_low ON block (slice, low);
"""


@dataclass(frozen=True)
class Slice:
    """A slice as it lies in the store."""

    number: int
    rows: int


def slices(db: sqlite3.Connection) -> list[Slice]:
    """The slices, newest first."""
    return [Slice(*row) for row in db.execute("SELECT number, rows FROM slice ORDER BY number DESC")]


def heads_of(db: sqlite3.Connection, one: Slice) -> pa.Table:
    """Key, time and unit of all rows of a slice, in order of key; raises IntegrityError."""
    found = db.execute("SELECT heads, heads_sha256 FROM block WHERE slice = ? ORDER BY low", (one.number,))
    return pa.concat_tables([_opened(*row) for row in found]).combine_chunks()


def add(db: sqlite3.Connection, rows: Rows) -> int:
    """Add rows as the newest slice, merged with those before it that are not much larger; returns how many rows were written.

    Raises IntegrityError where a block that is merged is not as it was written.
    """
    merged, last = ordered(rows), True
    for before in slices(db):
        if before.rows >= _NEXT_LARGER * len(merged):
            last = False
            break
        merged = _over(_whole(db, before), merged)
        db.execute("DELETE FROM block WHERE slice = ?", (before.number,))
        db.execute("DELETE FROM slice WHERE number = ?", (before.number,))
    if last:
        import pyarrow.compute as pc

        # nothing older is left that a missing row would have to hide
        merged = merged.chosen(pc.not_equal(merged.heads.column(UNIT), NOBODY).combine_chunks())
    if not len(merged):
        return 0
    number = db.execute("INSERT INTO slice (rows) VALUES (?)", (len(merged),)).lastrowid
    keys = merged.keys
    for at in range(0, len(merged), BLOCK_ROWS):
        count = min(BLOCK_ROWS, len(merged) - at)
        heads, values = (_packed(table.slice(at, count)) for table in (merged.heads, merged.values))
        ends = (keys[at].as_py(), keys[at + count - 1].as_py())
        db.execute(
            "INSERT INTO block (slice, low, high, heads_sha256, values_sha256, heads, columns) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (number, *ends, _digest(heads), _digest(values), memoryview(heads), memoryview(values)),
        )
    return len(merged)


def _over(older: Rows, newer: Rows) -> Rows:
    """The rows of both, of a key that both have the newer slice's."""
    import pyarrow.compute as pc

    hidden = pc.is_in(older.heads.column("key"), value_set=newer.keys)
    left = older.chosen(pc.invert(hidden).combine_chunks())
    return ordered(_joined(left, newer)) if len(left) else newer


def _joined(first: Rows, second: Rows) -> Rows:
    heads = pa.concat_tables([first.heads, second.heads]).combine_chunks()
    return Rows(heads, pa.concat_tables([first.values, second.values], promote_options="permissive").combine_chunks())


def _whole(db: sqlite3.Connection, one: Slice) -> Rows:
    found = db.execute(
        "SELECT heads, heads_sha256, columns, values_sha256 FROM block WHERE slice = ? ORDER BY low", (one.number,)
    ).fetchall()
    heads = pa.concat_tables([_opened(row[0], row[1]) for row in found]).combine_chunks()
    return Rows(heads, pa.concat_tables([_opened(row[2], row[3]) for row in found]).combine_chunks())


def find(db: sqlite3.Connection, key: str) -> tuple[pa.Table, pa.Table] | None:
    """Heads and values of one entity, as tables of one row; None for one that has none. Raises IntegrityError."""
    for one in slices(db):
        row = db.execute(
            "SELECT id, high, heads_sha256, values_sha256 FROM block WHERE slice = ? AND low <= ? ORDER BY low DESC LIMIT 1",
            (one.number, key),
        ).fetchone()
        if row is None or row[1] < key:
            continue
        heads = _CACHE.get(db, row[0], "heads", row[2])
        keys = heads.column("key").chunk(0)
        at = bisect_left(range(len(keys)), key, key=lambda place: str(keys[place].as_py()))
        if at < len(keys) and keys[at].as_py() == key:
            head = heads.slice(at, 1)
            if head.column(UNIT)[0].as_py() == NOBODY:
                return None
            return head, _CACHE.get(db, row[0], "columns", row[3]).slice(at, 1)
    return None


class _Blocks:
    """Blocks by their hash, the last ones used: what was hashed once in this process need not be hashed again."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, Lock()
        self._tables: OrderedDict[str, pa.Table] = OrderedDict()

    def get(self, db: sqlite3.Connection, block: int, part: str, digest: str) -> pa.Table:
        with self._lock:
            table = self._tables.get(digest)
            if table is not None:
                self._tables.move_to_end(digest)
                return table
        table = _opened(db.execute(f"SELECT {part} FROM block WHERE id = ?", (block,)).fetchone()[0], digest)
        with self._lock:
            self._tables[digest] = table
            while len(self._tables) > self._most:
                self._tables.popitem(last=False)
        return table


_CACHE = _Blocks(2 * BLOCKS_KEPT)


def _packed(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue()


def _digest(data: pa.Buffer) -> str:
    return hashlib.sha256(data).hexdigest()


def _opened(data: bytes, digest: str) -> pa.Table:
    if hashlib.sha256(data).hexdigest() != digest:
        raise IntegrityError(
            f"expected a block of online features of sha256 {digest[:12]}, found other bytes: remove the store's file, "
            "the next run of the features fills it anew"
        )
    return pa.ipc.open_file(pa.BufferReader(data)).read_all()
