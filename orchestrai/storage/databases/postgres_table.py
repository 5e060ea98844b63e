"""A window of a table in PostgreSQL, by COPY: the server writes text, Arrow reads it by the types that the server names."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrai.core.canonical import JsonValue
from orchestrai.core.sql.dialects import POSTGRES
from orchestrai.errors import UnreadableObject
from orchestrai.storage.databases.table_port import Paging, Relation, Wanted, Window
from orchestrai.storage.databases.window_query import count_query, nulls_query, rows_query

if TYPE_CHECKING:
    import pyarrow as pa

_FACTS = (
    "SELECT pg_current_snapshot()::text, current_setting('server_version'), (SELECT extract(epoch FROM max(now() - "
    "xact_start))::float8 FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid())"
)


@dataclass(frozen=True)
class PostgresTable:
    """See TableSnapshot; `opened` is a psycopg connection in a transaction that reads one moment."""

    opened: Any
    relation: Relation

    def facts(self, watermark: str) -> dict[str, JsonValue]:
        """The snapshot's own name, the server's version, rows that are never read, the age of the oldest writing transaction."""
        (nulls,) = self.opened.execute(nulls_query(POSTGRES, self.relation, watermark)).fetchone()
        shown, version, age = self.opened.execute(_FACTS).fetchone()
        return {
            "snapshot": shown,
            "server_version": version,
            "null_watermarks": nulls,
            "oldest_transaction_seconds": age,
        }

    def count(self, wanted: Wanted, window: Window) -> int:
        """The rows of a window, in this snapshot."""
        (rows,) = self.opened.execute(count_query(POSTGRES, self.relation, wanted, window)).fetchone()
        return int(rows)

    def batches(self, wanted: Wanted, window: Window, paging: Paging) -> "Iterator[pa.RecordBatch]":
        """Rows in order; raises UnreadableObject for a time beyond the years 1 to 9999."""
        described = self.opened.execute(rows_query(POSTGRES, self.relation, wanted, window, 0)).description
        kinds = [_arrow_type(one.type_code) for one in described]
        query = rows_query(POSTGRES, self.relation, wanted, window, paging.limit_rows)
        with self.opened.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT csv)") as copy:
            for lines in _pages(self.opened.pgconn, copy, paging.page_rows):
                yield _batch(lines, kinds)


def _pages(server: Any, copy: Any, size: int) -> Iterator[bytes]:
    """Lines in pages; the server sends each row by itself."""
    lines: list[Any] = []
    while True:
        # what is there already needs no waiting: three times as quick as asking psycopg for each row
        length, line = server.get_copy_data(1)
        if length == 0:
            line = copy.read()
        elif length < 0:
            while (result := server.get_result()) is not None:
                _require_end(result, server)
            line = b""
        if not line:
            break
        lines.append(line)
        if len(lines) == size:
            yield b"".join(lines)
            lines = []
    if lines:
        yield b"".join(lines)


def _require_end(result: Any, server: Any) -> None:
    """Raise what ended the copy, where the server ended it by an error."""
    import psycopg

    if result.status not in (psycopg.pq.ExecStatus.COMMAND_OK, psycopg.pq.ExecStatus.COPY_OUT):
        raise psycopg.errors.error_from_result(result)


def _batch(lines: bytes, kinds: Sequence["pa.DataType"]) -> "pa.RecordBatch":
    import pyarrow as pa
    import pyarrow.csv as pc

    names = [str(place) for place in range(len(kinds))]
    try:
        table = pc.read_csv(
            pa.BufferReader(lines),
            pc.ReadOptions(use_threads=False, column_names=names, block_size=len(lines) + 1),
            pc.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            pc.ConvertOptions(
                column_types=dict(zip(names, kinds, strict=True)),
                null_values=[""],
                true_values=["t"],
                false_values=["f"],
                strings_can_be_null=True,
                # an empty text is written in quotes, a null is not
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as exc:
        found = str(exc).split("\n")[0][:200]
        raise UnreadableObject(
            f"expected values of the table as declared, found: {found}; declare the column as STRING"
        ) from None
    (batch,) = table.combine_chunks().to_batches()
    return batch


def _arrow_type(code: int) -> "pa.DataType":
    """What the text of a server's type is read as; text where digits could be lost or the contract must judge."""
    import pyarrow as pa

    moment = pa.timestamp("us")
    kinds: Mapping[int, pa.DataType] = {
        16: pa.bool_(),
        20: pa.int64(),
        21: pa.int64(),
        23: pa.int64(),
        700: pa.float64(),
        701: pa.float64(),
        1082: pa.date32(),
        1114: moment,
        1184: pa.timestamp("us", tz="UTC"),
    }
    return kinds.get(code, pa.string())
