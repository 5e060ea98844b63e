"""A window of a table in MySQL or MariaDB, by an unbuffered cursor: the server's text, read by Arrow as the types it names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrai.core.canonical import JsonValue
from orchestrai.core.sql.dialects import MYSQL
from orchestrai.storage.databases.table_port import Paging, Relation, Wanted, Window
from orchestrai.storage.databases.window_query import count_query, nulls_query, rows_query

if TYPE_CHECKING:
    import pyarrow as pa

# the numbers of the protocol
_INTEGERS, _FLOAT, _DOUBLE, _DATE, _BIT = (1, 2, 3, 8, 9, 13), 4, 5, 10, 16
_TIMESTAMP, _DATETIME = 7, 12


@dataclass(frozen=True)
class MysqlTable:
    """See TableSnapshot; `opened` is a connection of `mysql.snapshot`."""

    opened: Any
    relation: Relation

    def _row(self, query: str) -> tuple[Any, ...]:
        with self.opened.cursor() as cursor:
            cursor.execute(query)
            return tuple(cursor.fetchone())

    def facts(self, watermark: str) -> dict[str, JsonValue]:
        """The moment of the snapshot by the server's clock, its version, rows that are never read. Of transactions nothing is known."""
        (nulls,) = self._row(nulls_query(MYSQL, self.relation, watermark))
        moment, version = self._row("SELECT CAST(UTC_TIMESTAMP(6) AS CHAR), VERSION()")
        return {
            "snapshot": str(moment),
            "server_version": str(version),
            "null_watermarks": int(nulls),
            "oldest_transaction_seconds": None,
        }

    def count(self, wanted: Wanted, window: Window) -> int:
        """The rows of a window, in this snapshot."""
        return int(self._row(count_query(MYSQL, self.relation, wanted, window))[0])

    def batches(self, wanted: Wanted, window: Window, paging: Paging) -> "Iterator[pa.RecordBatch]":
        """Rows in order."""
        import pyarrow as pa
        from pymysql.cursors import SSCursor

        with self.opened.cursor() as cursor:
            cursor.execute(rows_query(MYSQL, self.relation, wanted, window, 0))
            codes = [one[1] for one in cursor.description]
        # the text of a FLOAT has six digits, and of a BIT no digits at all
        shown = {
            name: "({0} + 0.0E0)" if code == _FLOAT else "({0} + 0)"
            for name, code in zip(wanted.columns, codes, strict=False)
            if code in (_FLOAT, _BIT)
        }
        query = rows_query(MYSQL, self.relation, wanted, window, paging.limit_rows, shown)
        names = [str(place) for place in range(len(codes))]
        with self.opened.cursor(SSCursor) as cursor:
            cursor.execute(query)
            while rows := cursor.fetchmany(paging.page_rows):
                columns = zip(*rows, strict=True)
                arrays = [_typed(values, code) for values, code in zip(columns, codes, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, names=names)


def _typed(values: Sequence[Any], code: int) -> "pa.Array":
    """The server's text by its type; as text where that has no such value, a day that is no day for one, so that it is judged."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = pa.array(values)
    kind = None
    if code in (*_INTEGERS, _BIT):
        kind = pa.int64()
    elif code in (_FLOAT, _DOUBLE):
        kind = pa.float64()
    elif code == _DATE:
        kind = pa.date32()
    elif code in (_TIMESTAMP, _DATETIME):
        kind = pa.timestamp("us")
    if kind is None or pa.types.is_null(array.type):
        return array
    try:
        typed = pc.cast(array, kind)
    except pa.ArrowInvalid:
        return array
    # the session is in UTC, and a TIMESTAMP is a moment where a DATETIME is what a clock shows
    return pc.cast(typed, pa.timestamp("us", tz="UTC")) if code == _TIMESTAMP else typed
