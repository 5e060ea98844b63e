"""Landed Parquet: footers are checked before a byte is unpacked."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrai.contracts.contract import Contract
from orchestrai.contracts.footers import check_envelope, check_sizes, one_line, read_failures
from orchestrai.errors import UnreadableObject
from orchestrai.ingest.conversions.convert import shown as shown_scalar
from orchestrai.ingest.readers.chunks import Chunk
from orchestrai.ingest.readers.rejects import LazyMarks, Mark, shown

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 65_536
# pages prove themselves where they carry a checksum; times of 96 bits reach beyond 2262 in microseconds
OPTIONS: dict[str, Any] = {"page_checksum_verification": True, "coerce_int96_timestamp_unit": "us"}


PROBE = """
import sys, pyarrow.parquet as pq
try:
    metadata = pq.read_metadata(sys.argv[1])
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            column.total_uncompressed_size
except BaseException:
    sys.exit(3)
"""


def probe(path: Path) -> None:
    """Walk a footer's columns in another process; raises UnreadableObject when that process does not survive it.

    pyarrow aborts the whole process on some damaged column metadata, which no handler in this one could catch.
    """
    try:
        done = subprocess.run([sys.executable, "-I", "-c", PROBE, str(path)], capture_output=True, timeout=60, check=False)
    except subprocess.TimeoutExpired as exc:
        raise UnreadableObject("expected a Parquet footer that is read in 60 s, found one that takes longer") from exc
    if done.returncode < 0:
        raise UnreadableObject("expected readable Parquet column metadata, found some that stops the reader: it is damaged")


class ParquetReader:
    """A Parquet object; raises UnreadableObject for a bomb, a lying footer or damage."""

    def __init__(self, path: Path, contract: Contract, limit: int) -> None:
        import pyarrow.parquet as pq

        self.wanted = tuple(column.source for column in contract.landed)
        check_envelope(path)
        probe(path)
        try:
            metadata = pq.read_metadata(path)
            check_sizes(path.stat().st_size, metadata, limit)
            self.fields: tuple[str, ...] = tuple(metadata.schema.to_arrow_schema().names)
        except read_failures() as exc:
            raise UnreadableObject(f"expected a readable Parquet footer, found {one_line(exc)}") from exc

    def fast(self, path: Path) -> Iterator[Chunk]:
        """As `careful`: a row's place is its number, so nothing has to be read twice to tell it."""
        yield from self.careful(path)

    def careful(self, path: Path) -> Iterator[Chunk]:
        import pyarrow.parquet as pq

        wanted = [name for name in self.wanted if name in self.fields]
        row = 0
        try:
            with pq.ParquetFile(path, **OPTIONS) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=wanted, use_threads=False):
                    batch.validate(full=True)
                    yield Chunk(
                        {name: batch.column(name) for name in batch.schema.names}, batch.num_rows, RowMarks(batch, row)
                    )
                    row += batch.num_rows
        except read_failures() as exc:
            raise UnreadableObject(f"expected readable Parquet columns, found {one_line(exc)}") from exc


class RowMarks(LazyMarks):
    """The marks of a batch's rows by their numbers; `first` rows lie before it."""

    def __init__(self, batch: "pa.RecordBatch", first: int) -> None:
        self._batch, self._first = batch, first

    def __len__(self) -> int:
        return int(self._batch.num_rows)

    def mark(self, row: int) -> Mark:
        """The mark of one row."""
        values = {name: _plain(self._batch.column(name)[row]) for name in self._batch.schema.names}
        return Mark(self._first + row + 1, 0, 0, shown(json.dumps(values, default=str)))


def _plain(value: Any) -> Any:
    try:
        return value.as_py()
    except (ValueError, OverflowError, ImportError):
        return shown_scalar(value)  # a time that Python has no value for
