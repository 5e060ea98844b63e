"""Rows that windows look back on, by slices of time: each entity's rows together, and what a whole slice of them comes to."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from orchestrai.features.incremental import one_sort
from orchestrai.features.incremental.sorted_rows import LIMIT, SortedRows, Unsuited
from orchestrai.features.incremental.window_chain import Plan
from orchestrai.features.incremental.window_shape import Sliding
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.view import FeatureView
from orchestrai.ledger.manifest import canonical_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

ROWS = "rows"
_HOUR = timedelta(hours=1)
_SLICES_IN_REACH = 10


@dataclass(frozen=True)
class Shape:
    """A view whose windows go on from earlier rows: the rows its last windows see, and slices of `length` microseconds."""

    plan: Plan
    length: int

    @property
    def entity(self) -> str:
        """The one column that groups rows."""
        return self.plan.entity[0]

    @property
    def time(self) -> str:
        """The column that orders them."""
        return self.plan.time

    @property
    def windows(self) -> tuple[Sliding, ...]:
        """The last windows."""
        return self.plan.stages[-1].windows

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """The columns that windows count, sum or compare."""
        return tuple(sorted({window.argument for window in self.windows if window.argument is not None}))

    @cached_property
    def rows(self) -> int:
        """How many rows before its own a frame of rows reaches; 0 where none does."""
        return max((window.frame.start for window in self.windows if window.frame.kind == "rows"), default=0)

    @cached_property
    def reach(self) -> int:
        """How many microseconds before its own a frame of time reaches; 0 where none does."""
        return max((window.frame.start for window in self.windows if window.frame.kind == "range"), default=0)

    @cached_property
    def sums(self) -> tuple[tuple[str, str | None], ...]:
        """What a whole slice is summed up to: function and argument."""
        aggregates = {(w.function, w.argument) for w in self.windows if w.frame.kind == "range"}
        # a sum or an extreme is NULL where nothing was counted
        aggregates |= {("count", argument) for _, argument in aggregates}
        return tuple(sorted(aggregates, key=lambda item: (item[0], item[1] or "")))

    @cached_property
    def hash(self) -> str:
        """What slices hold, in one word: equal hashes, interchangeable slices."""
        body = [self.plan.source, [stage.sql for stage in self.plan.stages[:-1]], self.arguments, self.sums, self.length]
        return hashlib.sha256(canonical_json(body)).hexdigest()


def shape_of(view: FeatureView) -> Shape | None:
    """How the view's windows go on from earlier rows; None where they do not.

    They do where a view declares `files_every`, one column names the entity, and the rows of the last windows are made of one
    table, moment by moment.
    """
    plan = one_sort.plan(view)
    every = view.spec.files_every if isinstance(view.spec, FeatureViewSpec) else None
    if plan is None or every is None or not plan.by_moment or len(plan.entity) != 1:
        return None
    windows = plan.stages[-1].windows
    if any(window.frame.kind == "rank" or window.partition != plan.entity for window in windows):
        return None
    reach = max((window.frame.start for window in windows if window.frame.kind == "range"), default=0)
    length = _length(every, reach)
    return Shape(plan, length) if length else None


def _length(every: timedelta, reach: int) -> int:
    """The slice: `files_every`, or the part of it that a frame of time spans ten of; partitions begin where slices do."""
    micros, hour = every // timedelta(microseconds=1), _HOUR // timedelta(microseconds=1)
    parts = max(1, -(-micros * _SLICES_IN_REACH // reach)) if reach else 1
    while micros % parts:
        parts += 1
    length = micros // parts
    return length if hour % length == 0 else 0


class Slice(Protocol):
    """The rows of one slice of time."""

    @property
    def groups(self) -> pa.Table:
        """One row per entity, in order: how many rows it has, and what they come to."""
        ...

    @property
    def rows(self) -> pa.Table:
        """Time and arguments of the rows, the entities one after the other."""
        ...


@dataclass(frozen=True)
class MadeSlice:
    """A slice in memory."""

    groups: pa.Table
    rows: pa.Table


def cut_slices(shape: Shape, table: pa.Table) -> dict[int, MadeSlice]:
    """Rows sorted by entity and time as slices, by number counted from 1970; raises Unsuited."""
    import numpy as np

    if not table.num_rows:
        return {}
    numbers = times_of(table, shape.time) // shape.length
    slices = {}
    for number in np.unique(numbers):
        inside = np.flatnonzero(numbers == number)
        part = table if len(inside) == table.num_rows else table.take(pa.array(inside))
        slices[int(number)] = _slice(shape, part.combine_chunks())
    return slices


def _slice(shape: Shape, part: pa.Table) -> MadeSlice:
    import numpy as np

    rows = SortedRows(part, {})
    firsts = np.flatnonzero(rows.changed((shape.entity,)))
    firsts = np.concatenate([[0], firsts]).astype(np.int64)
    ends = np.append(firsts[1:], part.num_rows)
    columns: dict[str, pa.Array] = {
        shape.entity: part.column(shape.entity).chunk(0).take(pa.array(firsts)),
        ROWS: pa.array(ends - firsts),
    }
    for function, argument in shape.sums:
        columns[sum_name(function, argument)] = pa.array(_summed(rows, function, argument, firsts, ends))
    return MadeSlice(pa.table(columns), part.select([shape.time, *shape.arguments]))


def _summed(rows: SortedRows, function: str, argument: str | None, low: "Numbers", high: "Numbers") -> "Numbers":
    if function in ("min", "max"):
        assert argument is not None
        return rows.extreme(argument, "min" if function == "min" else "max", low, high)
    return rows.span(argument, "sum" if function == "sum" else "count", low, high)


def sum_name(function: str, argument: str | None) -> str:
    """The column of `groups` that holds a function's value."""
    return f"{function}:{argument or ''}"


def times_of(table: pa.Table, name: str) -> "Numbers":
    """A time column in microseconds; raises Unsuited for a NULL."""
    import numpy as np

    column = table.column(name).combine_chunks()
    if column.null_count:
        raise Unsuited(f"NULL in {name}")
    times: Numbers = np.asarray(column.cast(pa.int64()))
    return times


def total(parts: list["Numbers"]) -> "Numbers":
    """The sum of columns; raises Unsuited where it might not fit."""
    import numpy as np

    bound = sum(max(abs(int(part.min())), abs(int(part.max()))) for part in parts if len(part))
    if bound > LIMIT:
        raise Unsuited("a sum may not fit")
    sums: Numbers = np.sum(parts, axis=0, dtype=np.int64) if len(parts) > 1 else parts[0]
    return sums


Slices = Mapping[int, Slice]
