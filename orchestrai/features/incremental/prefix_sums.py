"""Window functions over rows that come sorted, by prefix sums: each row costs the same, however wide its frame."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from orchestrai.features.incremental.sorted_rows import SortedRows, Unsuited
from orchestrai.features.incremental.window_shape import Frame, Sliding

__all__ = ["Frame", "Slider", "Sliding", "Unsuited"]


class Slider:
    """Adds window columns to a stream of tables sorted by partition and order; keeps only the rows that frames still reach."""

    def __init__(self, windows: Sequence[Sliding]) -> None:
        self._windows = windows
        self._data: pa.Table | None = None
        self._done = 0
        self._dropped: dict[tuple[str, ...], int] = {}

    def run(self, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """The rows in their order with their window columns; raises Unsuited."""
        for table in tables:
            if table.num_rows:
                yield from self._step(table, last=False)
        if self._data is not None:
            yield from self._step(self._data.slice(0, 0), last=True)

    def _step(self, table: pa.Table, *, last: bool) -> Iterator[pa.Table]:
        data = table if self._data is None else pa.concat_tables([self._data, table])
        data = data.combine_chunks()
        if not data.num_rows:
            return
        rows = SortedRows(data, self._dropped)
        end = data.num_rows if last else min(rows.safe_end(window) for window in self._windows)
        if end > self._done:
            out = data
            for window in self._windows:
                out = out.append_column(window.name, rows.column(window))
            yield out.slice(self._done, end - self._done)
        # the last row stays, for the next one to be compared with
        keep = min(max(end - 1, 0), *(rows.needed(window, end) for window in self._windows))
        self._dropped = rows.dropped(keep, {window.partition for window in self._windows})
        self._data, self._done = data.slice(keep), max(end, self._done) - keep
