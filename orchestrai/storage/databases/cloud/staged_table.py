"""A window of a table in a cloud's warehouse: Parquet files that it writes into a bucket, numbered rows put in order here."""

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrai.core.canonical import JsonValue
from orchestrai.errors import IntegrityError
from orchestrai.storage.base import Store
from orchestrai.storage.databases.cloud import bigquery_jobs, redshift_data
from orchestrai.storage.databases.cloud.cloud_warehouse import Unload, Warehouse, one_number
from orchestrai.storage.databases.table_port import Paging, Relation, Wanted, Window
from orchestrai.storage.databases.window_query import NUMBER, nulls_query, numbered_query, ranked_count_query
from orchestrai.storage.url import open_store

if TYPE_CHECKING:
    import pyarrow as pa


def _token() -> str:
    return uuid.uuid4().hex


@contextmanager
def staged_table(url: str, relation: Relation, limit: timedelta | None = None) -> "Iterator[StagedTable]":
    """A table of the warehouse at a URL with `staging`; no statement takes longer than `limit`. Raises ConfigError."""
    warehouse: bigquery_jobs.BigQuery | redshift_data.Redshift
    if url.startswith(redshift_data.SCHEME):
        warehouse = redshift_data.Redshift.at(url, limit or redshift_data.LIMIT)
    else:
        warehouse = bigquery_jobs.BigQuery.at(url, limit or bigquery_jobs.LIMIT)
    staging = warehouse.url.staging
    named = relation.table if relation.query or "." in relation.table else f"{warehouse.schema}.{relation.table}"
    yield StagedTable(warehouse, Relation(named, relation.query), open_store(staging), staging)


@dataclass
class StagedTable:
    """See TableSnapshot: rows and count are of the one transaction that `batches` asks for. `bucket` holds the files at `staging`.

    Each row has its number in the window, so that files may come in any order, and one that is missing or twice is found without
    a count. What was staged is removed when the rows were read, whether it went well or not.
    """

    warehouse: Warehouse
    relation: Relation
    bucket: Store
    staging: str
    token: str = field(default_factory=_token)
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
        dialect, prefix = self.warehouse.dialect, f"orchestrai-read/{self.token}/"
        asked = (dialect, self.relation, wanted, window, paging.limit_rows)
        count = ranked_count_query(*asked) if paging.counted else ""
        with tempfile.TemporaryDirectory(prefix="orchestrai-unload-") as folder:
            try:
                unload = Unload(numbered_query(*asked), count, f"{self.staging}/{prefix}", self.name)
                self._counted = self.warehouse.unload(unload)
                yield from _in_order(self._fetched(prefix, Path(folder)), Path(folder), paging.page_rows)
            finally:
                for info in list(self.bucket.list(prefix)):
                    self.bucket.delete(info.key)

    def _fetched(self, prefix: str, folder: Path) -> list[Path]:
        paths = []
        for number, info in enumerate(self.bucket.list(prefix)):
            path = folder / f"{number:06d}.parquet"
            with path.open("wb") as file:
                for chunk in self.bucket.stream(info.key):
                    file.write(chunk)
            paths.append(path)
        return paths


def _in_order(paths: list[Path], folder: Path, page_rows: int) -> "Iterator[pa.RecordBatch]":
    """Rows by their numbers, which must be those from 1 on, without the column that has them."""
    import duckdb
    import pyarrow as pa
    import pyarrow.compute as pc

    if not paths:
        return
    seen = 0
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone = 'UTC'")
        opened.execute(f"SET temp_directory = '{folder}'")
        found = opened.sql(
            f'SELECT * FROM read_parquet(?) ORDER BY "{NUMBER}"', params=[[str(path) for path in paths]]
        ).to_arrow_reader(page_rows)
        for batch in found:
            if not batch.num_rows:
                continue
            numbers = batch.column(batch.num_columns - 1)
            expected = pa.array(range(seen + 1, seen + 1 + batch.num_rows), pa.int64())
            if not pc.all(pc.equal(numbers.cast(pa.int64()), expected)).as_py():
                raise IntegrityError(
                    f"expected rows numbered from {seen + 1} on in the {len(paths)} files of a window, found another number: "
                    "a file is missing or there twice; look at what else writes to the staging folder"
                )
            seen += batch.num_rows
            yield batch.select(batch.schema.names[:-1])
