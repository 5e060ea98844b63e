"""A window of a table in a cloud's warehouse: Parquet files that it writes into a bucket, numbered rows put in order here."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.core.canonical import JsonValue
from orchestrai.core.identity import new_session_id
from orchestrai.core.sql.quoting import literal, quoted
from orchestrai.errors import IntegrityError, UnreadableObject
from orchestrai.storage.databases.cloud.cloud_warehouse import Staging, Unload, Warehouse, one_number
from orchestrai.storage.databases.cloud.open_warehouse import open_warehouse
from orchestrai.storage.databases.table_port import Paging, Relation, Wanted, Window
from orchestrai.storage.databases.window_query import NUMBER, nulls_query, numbered_query, ranked_count_query

if TYPE_CHECKING:
    import pyarrow as pa


@contextmanager
def staged_table(url: str, relation: Relation, limit: timedelta | None = None) -> "Iterator[StagedTable]":
    """A table of the warehouse at a URL with `staging`; no statement takes longer than `limit`. Raises ConfigError."""
    warehouse = open_warehouse(url, limit)
    named = relation.table if relation.query or "." in relation.table else f"{warehouse.schema}.{relation.table}"
    try:
        yield StagedTable(warehouse, Relation(named, relation.query), warehouse.staging)
    finally:
        warehouse.close()


@dataclass
class StagedTable:
    """See TableSnapshot: rows and count are of the one transaction that `batches` asks for; the files lie in `staging`.

    Each row has its number in the window, so that files may come in any order, and one that is missing or twice is found without
    a count. What was staged is removed when the rows were read, whether it went well or not.
    """

    warehouse: Warehouse
    relation: Relation
    staging: Staging
    token: str = field(default_factory=new_session_id)
    _counted: int | None = None

    @property
    def name(self) -> str:
        """What the warehouse's history calls the reading."""
        return f"orchestrai-{self.token}"

    def facts(self, watermark: str) -> dict[str, JsonValue]:
        """The name of the reading's transaction, and rows that are never read, counted before it."""
        nulls = self.warehouse.rows(nulls_query(self.warehouse.dialect, self.relation, watermark))
        return {
            "snapshot": self.name,
            "server_version": self.warehouse.dialect.parser,
            "null_watermarks": one_number(nulls, "the warehouse"),
            "oldest_transaction_seconds": None,
        }

    def count(self, wanted: Wanted, window: Window) -> int:
        """The rows of the window that `batches` was asked for, in its transaction."""
        if self._counted is None:
            raise ValueError("expected the rows to be read before their count, with a count in paging")
        return self._counted

    def batches(self, wanted: Wanted, window: Window, paging: Paging) -> "Iterator[pa.RecordBatch]":
        """Rows in order. Raises IntegrityError where their numbers have a hole or one twice, StorageError, AccessRefused, ConfigError."""
        folder = f"orchestrai-read/{self.token}"
        asked = (self.warehouse.dialect, self.relation, wanted, window, paging.limit_rows)
        count = ranked_count_query(*asked) if paging.counted else ""
        with tempfile.TemporaryDirectory(prefix="orchestrai-unload-") as scratch:
            try:
                unload = Unload(numbered_query(*asked), count, f"{self.staging.place}/{folder}/", self.name)
                self._counted = self.warehouse.unload(unload)
                yield from _in_order(self.staging.fetch(folder, Path(scratch)), Path(scratch), paging.page_rows)
            finally:
                self.staging.clean(folder)


def _in_order(paths: list[Path], folder: Path, page_rows: int) -> "Iterator[pa.RecordBatch]":
    """Rows by their numbers, which must be those from 1 on, without the column that has them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    seen = 0
    for batch in _sorted(paths, folder, page_rows) if paths else ():
        numbers = batch.column(batch.num_columns - 1)
        expected = pa.array(range(seen + 1, seen + 1 + batch.num_rows), pa.int64())
        if not pc.all(pc.equal(numbers.cast(pa.int64()), expected)).as_py():
            raise IntegrityError(
                f"expected rows numbered from {seen + 1} on in the {len(paths)} files of a window, found another number: "
                "a file is missing or there twice; look at what else writes to the staging folder"
            )
        seen += batch.num_rows
        yield pa.RecordBatch.from_arrays([_whole(one) for one in batch.columns[:-1]], names=batch.schema.names[:-1])


def _sorted(paths: list[Path], folder: Path, page_rows: int) -> "Iterator[pa.RecordBatch]":
    """Rows in the order of the last column; what does not fit into memory goes into the folder. Raises UnreadableObject."""
    import duckdb

    try:
        with duckdb.connect() as opened:
            opened.execute("SET TimeZone = 'UTC'")
            opened.execute(f"SET temp_directory = {literal(str(folder))}")
            query = f"SELECT * FROM read_parquet(?) ORDER BY {quoted(NUMBER)}"
            for batch in opened.sql(query, params=[[str(path) for path in paths]]).to_arrow_reader(page_rows):
                if batch.num_rows:
                    yield batch
    except duckdb.Error as exc:
        raise UnreadableObject(
            f"expected Parquet as the warehouse wrote it, found: {str(exc).splitlines()[0][:200]}; run it again"
        ) from exc


def _whole(column: "pa.Array") -> "pa.Array":
    """Integers as such, where a warehouse has but decimals for them."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    if not kinds.is_decimal(column.type) or column.type.scale:
        return column
    try:
        return pc.cast(column, pa.int64())
    except pa.ArrowInvalid:
        # beyond 64 bits: what it may become says the table of conversions
        return column
