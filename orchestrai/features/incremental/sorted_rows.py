"""Rows in the order of a window: where its groups begin, which rows each frame spans, and what is counted over them.

Whole numbers only, so every result is the one that any engine gives. What cannot be promised here (a sum that might overflow, a
NULL among the times) raises `Unsuited`, and the caller lets the engine's own windows do it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from orchestrai.features.incremental.window_shape import Sliding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

LIMIT = 2**63 - 1


class Unsuited(Exception):
    """Data for which these windows promise nothing."""


class SortedRows:
    """A table of sorted rows: where groups begin, and which rows each frame spans."""

    def __init__(self, data: pa.Table, dropped: Mapping[tuple[str, ...], int]) -> None:
        self.data = data
        self._dropped = dropped
        self._changes: dict[str, NDArray[np.bool_]] = {}
        self._groups: dict[tuple[str, ...], Numbers] = {}
        self._bounds: dict[tuple[Any, ...], tuple[Numbers, Numbers]] = {}
        self._sums: dict[tuple[str | None, str], tuple[Numbers, int]] = {}
        self._values: dict[str, tuple[Numbers, NDArray[np.bool_] | None]] = {}

    def column(self, window: Sliding) -> pa.Array:
        """The window's values, BIGINT."""
        import numpy as np

        if window.function == "row_number":
            starts = self.starts(window.partition)
            number = np.arange(len(starts), dtype=np.int64) - starts + 1
            return pa.array(number + np.where(starts == 0, self._dropped.get(window.partition, 0), 0))
        low, high = self.frame(window)
        count = self.span(window.argument, "count", low, high)
        if window.function == "count":
            return pa.array(count)
        assert window.argument is not None
        if window.function == "sum":
            return pa.array(self.span(window.argument, "sum", low, high), mask=count == 0)
        return pa.array(self.extreme(window.argument, window.function, low, high), mask=count == 0)

    def safe_end(self, window: Sliding) -> int:
        """How many rows have their whole frame here: peers of the last row may still come."""
        import numpy as np

        size = int(self.data.num_rows)
        if window.frame.kind != "range" or window.frame.end > 0:
            return size
        changes = self.changed((*window.partition, *window.order))
        positions = np.flatnonzero(changes)
        return int(positions[-1]) if len(positions) else 0

    def needed(self, window: Sliding, end: int) -> int:
        """The first row that a row from `end` on may still see."""
        import numpy as np

        if end == 0:
            return 0
        if window.frame.kind == "rank":
            return end - 1
        start = int(self.starts(window.partition)[end - 1])
        if window.frame.kind == "rows":
            return max(start, end - window.frame.start)
        times: Numbers = self.times(window)
        earliest = int(np.searchsorted(times[start:end], times[end - 1] - window.frame.start))
        return start + earliest

    def dropped(self, keep: int, partitions: set[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
        """By partition, how many rows of the group that goes on are no longer kept."""
        counts = {}
        for partition in partitions:
            starts = self.starts(partition)
            start = int(starts[keep])
            counts[partition] = keep - start + (self._dropped.get(partition, 0) if start == 0 else 0)
        return counts

    def changed(self, names: Sequence[str]) -> "NDArray[np.bool_]":
        """True where a row differs from the one before in some of the columns; the first one does not."""
        import numpy as np

        changed = np.zeros(self.data.num_rows, dtype=bool)
        for name in names:
            if name not in self._changes:
                column = self.data.column(name).chunk(0)
                if column.null_count:
                    raise Unsuited(f"NULL in {name}")
                differs = np.zeros(len(column), dtype=bool)
                if len(column) > 1:
                    differs[1:] = pc.not_equal(column[1:], column[:-1]).to_numpy(zero_copy_only=False)
                self._changes[name] = differs
            changed |= self._changes[name]
        return changed

    def starts(self, partition: tuple[str, ...]) -> "Numbers":
        import numpy as np

        if partition not in self._groups:
            changed = self.changed(partition)
            index = np.arange(len(changed), dtype=np.int64)
            self._groups[partition] = np.maximum.accumulate(np.where(changed, index, 0)) if len(index) else index
        return self._groups[partition]

    def times(self, window: Sliding) -> "Numbers":
        import numpy as np

        column = self.data.column(window.order[0]).chunk(0)
        if column.null_count:
            raise Unsuited(f"NULL in {window.order[0]}")
        times: Numbers = np.asarray(column.cast(pa.int64()))
        return times

    def frame(self, window: Sliding) -> tuple["Numbers", "Numbers"]:
        """The half-open span of rows of each row's frame; empty ones have low >= high."""
        import numpy as np

        key = (window.partition, window.order, window.frame)
        if key not in self._bounds:
            starts, frame = self.starts(window.partition), window.frame
            index = np.arange(len(starts), dtype=np.int64)
            if frame.kind == "rows":
                low, high = np.maximum(starts, index - frame.start), index - frame.end + 1
            else:
                keys = self._keys(window, starts)
                low = np.maximum(starts, np.searchsorted(keys, keys - frame.start, side="left"))
                high = np.searchsorted(keys, keys - frame.end, side="right")
            self._bounds[key] = (low, np.maximum(low, high))
        return self._bounds[key]

    def _keys(self, window: Sliding, starts: "Numbers") -> "Numbers":
        """Times that ascend over all groups, further apart between groups than a frame is long."""
        import numpy as np

        times = self.times(window)
        number = np.cumsum(self.changed(window.partition), dtype=np.int64)
        span = int(times.max()) - int(times.min()) + window.frame.start + 1
        if (int(number[-1]) + 1) * span > LIMIT:
            raise Unsuited("groups too many and too far apart in time")
        keys: Numbers = number * span + (times - times.min())
        return keys

    def values(self, name: str) -> tuple["Numbers", "NDArray[np.bool_] | None"]:
        """A column, 0 for NULL, and which of it are not NULL (None: all)."""
        import numpy as np

        if name not in self._values:
            column = self.data.column(name).chunk(0)
            valid = column.is_valid().to_numpy(zero_copy_only=False) if column.null_count else None
            filled = column if valid is None else pc.fill_null(column, 0)
            self._values[name] = (np.asarray(filled.cast(pa.int64())), valid)
        return self._values[name]

    def _valid(self, name: str) -> "Numbers":
        valid: Numbers = self.data.column(name).chunk(0).is_valid().to_numpy(zero_copy_only=False).astype("int64")
        return valid

    def span(self, name: str | None, what: Literal["count", "sum"], low: "Numbers", high: "Numbers") -> "Numbers":
        import numpy as np

        if name is None:
            return high - low
        key = (name, what)
        if key not in self._sums:
            values = self.values(name)[0] if what == "sum" else self._valid(name)
            largest = max(abs(int(values.min())), abs(int(values.max()))) if len(values) else 0
            total = np.zeros(len(values) + 1, dtype=np.int64)
            # wraps silently, and a difference of two wrapped sums is still exact while it fits itself
            np.cumsum(values, out=total[1:])
            self._sums[key] = (total, largest)
        total, largest = self._sums[key]
        if what == "sum" and len(low) and largest * int((high - low).max()) > LIMIT:
            raise Unsuited(f"a sum of {name} may not fit")
        return np.asarray(total[high] - total[low])

    def extreme(self, name: str, what: Literal["min", "max"], low: "Numbers", high: "Numbers") -> "Numbers":
        """Smallest or largest value of each span, of none the largest or smallest number there is.

        The better of two overlapping spans of a power of two.
        """
        import numpy as np

        values, valid = self.values(name)
        better = np.minimum if what == "min" else np.maximum
        nothing = np.iinfo(np.int64).max if what == "min" else np.iinfo(np.int64).min
        if valid is not None:
            values = np.where(valid, values, nothing)
        widths = high - low
        level = np.log2(np.maximum(widths, 1)).astype(np.int64)
        extremes = np.full(len(low), nothing, dtype=np.int64)
        table, step = values, 1
        for depth in range(int(level.max(initial=0)) + 1):
            chosen = np.flatnonzero((level == depth) & (widths > 0))
            extremes[chosen] = better(table[low[chosen]], table[high[chosen] - step])
            table = better(table[:-step], table[step:]) if len(table) > step else table
            step *= 2
        return extremes
