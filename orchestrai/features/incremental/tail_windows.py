"""Windows of new rows that go on from earlier ones: the same numbers as over all rows, without reading those again.

A frame of rows takes an entity's last rows. A frame of time takes the rows at its far edge, the new ones, and of the slices that
lie inside every new row's frame only what each comes to.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from orchestrai.features.incremental.sorted_rows import LIMIT, SortedRows, Unsuited
from orchestrai.features.incremental.tail_slices import ROWS, Shape, Slice, Slices, sum_name, times_of, total
from orchestrai.features.incremental.window_shape import Frame, Sliding

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]


class NewRows:
    """Rows from a moment on, sorted by entity and time, before anything is known of earlier ones. Raises Unsuited."""

    def __init__(self, shape: Shape, table: pa.Table) -> None:
        import numpy as np

        self.shape = shape
        self.table = table
        self.rows = SortedRows(table, {})
        self.times = times_of(table, shape.time)
        changed = self.rows.changed((shape.entity,))
        self.code: Numbers = np.cumsum(changed, dtype=np.int64)
        self.starts = self.rows.starts((shape.entity,))
        firsts = np.concatenate([[0], np.flatnonzero(changed)])
        self.entities: pa.Array = table.column(shape.entity).chunk(0).take(pa.array(firsts))

    def codes(self, entities: pa.ChunkedArray) -> "Numbers":
        """The number of each entity among the new rows', -1 for one that has none."""
        import numpy as np

        column = entities.combine_chunks()
        if column.equals(self.entities):
            return np.arange(len(column), dtype=np.int64)
        codes: Numbers = np.asarray(pc.fill_null(pc.index_in(column, self.entities), -1).cast(pa.int64()))
        return codes

    def with_windows(self, slices: Slices, near: Sequence[Slice], cut: int) -> pa.Table:
        """The rows with their window columns.

        `near` are slices with each entity's last rows, oldest first; `slices` are all from the far edge of the first row's
        frames to `cut`, in microseconds, by number.
        """
        far: dict[Frame, _Far] = {}
        past = _Past(self, near, self.shape)
        out = self.table
        for window in self.shape.windows:
            if window.frame.kind == "rows":
                column = self._over_rows(window, past)
            else:
                if window.frame not in far:
                    far[window.frame] = _Far(self, slices, window.frame, cut)
                column = self._over_time(window, far[window.frame])
            out = out.append_column(window.name, column)
        return out

    def _over_rows(self, window: Sliding, past: "_Past") -> pa.Array:
        import numpy as np

        inside = np.arange(len(self.code), dtype=np.int64) - self.starts
        last, first = past.ends[self.code], past.starts[self.code]
        low = np.maximum(first, last - np.maximum(window.frame.start - inside, 0))
        high = np.maximum(low, last - np.maximum(window.frame.end - inside - 1, 0))
        return _combined(window, [(self.rows, *self.rows.frame(window)), (past.rows, low, high)], {})

    def _over_time(self, window: Sliding, far: "_Far") -> pa.Array:
        return _combined(
            window,
            [(self.rows, *self.rows.frame(window)), (far.edge.rows, far.low, far.high)],
            {name: values[self.code] for name, values in far.between(window).items()},
        )


class _Past:
    """Earlier rows of the new rows' entities, each entity's together and in order."""

    def __init__(self, new: NewRows, slices: Sequence[Slice], shape: Shape) -> None:
        import numpy as np

        codes: list[Numbers] = [np.empty(0, dtype=np.int64)]
        tables = [_nothing(shape, new.table)]
        for part in slices:
            groups = part.groups
            codes.append(np.repeat(new.codes(groups.column(shape.entity)), np.asarray(groups.column(ROWS))))
            tables.append(part.rows)
        code = np.concatenate(codes)
        table = pa.concat_tables(tables)
        if len(code) and (code[0] < 0 or bool((code[1:] < code[:-1]).any())):
            order = np.argsort(code, kind="stable")
            order = order[np.searchsorted(code[order], 0) :]
            code, table = code[order], table.take(pa.array(order))
        self.code = code
        self.rows = SortedRows(table.combine_chunks(), {})
        numbers = np.arange(len(new.entities), dtype=np.int64)
        self.starts: Numbers = np.searchsorted(code, numbers, side="left")
        self.ends: Numbers = np.searchsorted(code, numbers, side="right")


class _Far:
    """What of earlier rows a frame of time holds: the rows at its edges, and whole slices between them."""

    def __init__(self, new: NewRows, slices: Slices, frame: Frame, cut: int) -> None:
        import numpy as np

        shape = new.shape
        first, last = int(new.times.min()), int(new.times.max())
        inside = range(-(-(last - frame.start) // shape.length), min(cut, first - frame.end + 1) // shape.length)
        reached = range((first - frame.start) // shape.length, -(-cut // shape.length))
        between = [slices[number].groups for number in inside if number in slices]
        self._between = [(new.codes(groups.column(shape.entity)), groups) for groups in between]
        self._entities = len(new.entities)
        edge = [slices[number] for number in reached if number in slices and number not in inside]
        self.edge = _Past(new, edge, shape)
        times = times_of(self.edge.rows.data, shape.time)
        # times that ascend over all entities, further apart between them than a frame is long
        base = min(first, int(times.min())) - frame.start - 1 if len(times) else first - frame.start - 1
        span = last - base + 1
        if (len(new.entities) + 1) * span > LIMIT:
            raise Unsuited("entities too many and too far apart in time")
        keys = self.edge.code * span + (times - base)
        mine = new.code * span + (new.times - base)
        low, high = self.edge.starts[new.code], self.edge.ends[new.code]
        self.low: Numbers = np.clip(np.searchsorted(keys, mine - frame.start, side="left"), low, high)
        self.high: Numbers = np.clip(np.searchsorted(keys, mine - frame.end, side="right"), self.low, high)

    def between(self, window: Sliding) -> dict[str, "Numbers"]:
        """By function, what the slices between come to, by entity: the window's own, and the count."""
        import numpy as np

        aggregates: dict[str, Numbers] = {}
        for function in dict.fromkeys(("count", window.function)):
            name = sum_name(function, window.argument)
            nothing = {"min": np.iinfo(np.int64).max, "max": np.iinfo(np.int64).min}.get(function, 0)
            values = np.full(self._entities, nothing, dtype=np.int64)
            for code, groups in self._between:
                known = code >= 0
                one = np.asarray(groups.column(name).combine_chunks())
                _add(function, values, code[known], one[known])
            aggregates[function] = values
        return aggregates


def _add(function: str, values: "Numbers", code: "Numbers", more: "Numbers") -> None:
    """Take `more` into `values` at `code`, each of which occurs once."""
    import numpy as np

    if function == "min":
        values[code] = np.minimum(values[code], more)
    elif function == "max":
        values[code] = np.maximum(values[code], more)
    else:
        values[code] = total([values[code], more]) if len(code) else values[code]


def _combined(
    window: Sliding, spans: "Sequence[tuple[SortedRows, Numbers, Numbers]]", between: "dict[str, Numbers]"
) -> pa.Array:
    """A window's values over several spans of rows and what lies between them."""
    import numpy as np

    name, function = window.argument, window.function
    known = [between["count"]] if between else []
    count = total([*(rows.span(name, "count", low, high) for rows, low, high in spans), *known])
    if function == "count":
        return pa.array(count)
    assert name is not None and function != "row_number"
    more = [between[function]] if between else []
    if function == "sum":
        return pa.array(total([*(rows.span(name, "sum", low, high) for rows, low, high in spans), *more]), mask=count == 0)
    parts = [*(rows.extreme(name, function, low, high) for rows, low, high in spans), *more]
    better = np.minimum if function == "min" else np.maximum
    return pa.array(better.reduce(parts), mask=count == 0)


def _nothing(shape: Shape, like: pa.Table) -> pa.Table:
    return like.select([shape.time, *shape.arguments]).slice(0, 0)
