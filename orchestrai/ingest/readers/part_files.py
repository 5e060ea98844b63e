"""Parquet parts of deterministic bytes: the same rows give the same file, however they were cut into batches."""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from orchestrai.ingest.anomaly.sketch import Sketch

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_ROWS = 131_072
GROUP_BYTES = 64 * 1024 * 1024


class PartWriter:
    """Writes one Parquet file in row groups of GROUP_ROWS (or about GROUP_BYTES), zstd, with statistics; `sketch` looks at each."""

    def __init__(self, path: Path, schema: "pa.Schema", sketch: Sketch | None = None) -> None:
        import pyarrow.parquet as pq

        self.path, self.rows, self.sketch = path, 0, sketch
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = self._waiting_bytes = 0
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", version="2.6", store_schema=False)

    def __enter__(self) -> "PartWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def write(self, batch: "pa.RecordBatch") -> None:
        """Append rows in order."""
        while batch.num_rows:
            room = GROUP_ROWS - self._waiting_rows
            piece, batch = batch.slice(0, room), batch.slice(room)
            self._waiting.append(piece)
            self._waiting_rows += piece.num_rows
            self._waiting_bytes += piece.nbytes
            if self._waiting_rows >= GROUP_ROWS or self._waiting_bytes >= GROUP_BYTES:
                self._flush()

    def close(self) -> None:
        """Finish the file; without rows it holds the schema alone."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            table = pa.Table.from_batches(self._waiting, self._schema).combine_chunks()
            self._writer.write_table(table, row_group_size=GROUP_ROWS)
            self.rows += table.num_rows
            if self.sketch is not None:
                self.sketch.add(table)
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0
