"""Partitions of a view that lie side by side, computed by one query where that gives each the rows that its own query gives.

It does where the rows of the last windows are made of one table, moment by moment, and frames reach back a length of time that lies
within the look-back: then no row sees more in a longer stretch of the table. A query of its own for each of some thousand small days
costs more than all that is done with its rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pyarrow as pa

from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Engine, Query
from orchestrai.features.incremental import one_sort
from orchestrai.features.plan import Task, union
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.view import FeatureView
from orchestrai.features.views.view_inputs import Inputs

# what one query reads, in rows: what it gives is held until its last partition is written
MOST_ROWS = 250_000
_MICRO = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Neighbours:
    """The rows of tasks that share a query, by group; a group is computed when the first of its tasks is asked for."""

    engine: Engine
    query: Callable[[Task], Query]
    groups: Sequence[Sequence[Task]]
    _rows: dict[str, pa.Table] = field(default_factory=dict)

    def rows(self, task: Task) -> Iterator[pa.RecordBatch] | None:
        """The rows of a task in order, once; None where it has a query of its own."""
        if task.key not in self._rows:
            group = next((group for group in self.groups if group[0].key == task.key), None)
            if group is None:
                return None
            self._rows = self._computed(group)
        batches: list[pa.RecordBatch] = self._rows.pop(task.key).to_batches()
        return iter(batches)

    def _computed(self, group: Sequence[Task]) -> dict[str, pa.Table]:
        import numpy as np

        query = self.query(joined(group))
        with self.engine.run(query) as batches:
            table = pa.Table.from_batches(list(batches), query.view.schema)
        times = np.asarray(table.column(query.view.time).combine_chunks().cast(pa.int64()))
        begins, ends = (np.array([_micros(moment) for moment in bound]) for bound in zip(*map(_kept, group), strict=True))
        number = np.searchsorted(begins, times, side="right") - 1
        # what lies between two tasks is there for the windows of the second
        number[times >= ends[number]] = len(group)
        order = np.argsort(number, kind="stable")
        bounds = np.searchsorted(number[order], np.arange(len(group) + 1))
        whole = table.take(pa.array(order)).combine_chunks()
        return {
            task.key: whole.slice(low, high - low)
            for task, (low, high) in zip(group, pairwise(map(int, bounds)), strict=True)
        }


def joined(group: Sequence[Task]) -> Task:
    """A task over all that these read, in order of time, and that keeps all rows from the first to the last."""
    first, last = group[0], group[-1]
    partitions = {name: sorted({key for task in group for key in task.partitions[name]}) for name in first.partitions}
    return Task(first.key, first.since, last.until, partitions, (_kept(first)[0], _kept(last)[1]))


def side_by_side(view: FeatureView, engine: Engine, opened: Inputs, tasks: Sequence[Task]) -> list[list[Task]]:
    """The tasks, ascending, that one query may compute together, each group within MOST_ROWS; none for views where it may not."""
    if not isinstance(engine, DuckDbEngine) or not _reaches_back_in_time_alone(view):
        return []
    dataset, groups, rows = opened.datasets[view.first_table], list[list[Task]](), 0
    for task in tasks:
        group = groups[-1] if groups else []
        if not _follows(task, group):
            continue
        new = union(view, [task])[view.first_table].difference(group[-1].partitions[view.first_table] if group else ())
        added = sum(dataset.partitions[key].rows for key in new)
        if group and rows + added <= MOST_ROWS:
            group.append(task)
            rows += added
        else:
            groups.append([task])
            rows = sum(dataset.partitions[key].rows for key in task.partitions[view.first_table])
    return [group for group in groups if len(group) > 1]


def _follows(task: Task, group: Sequence[Task]) -> bool:
    """Whether a task may be put to a group: it has bounds, and keeps what lies behind all that the group keeps."""
    if task.keep is None or task.until is None or task.as_of is not None or None in task.since.values():
        return False
    before = group[-1].keep if group else None
    return before is None or before[1] <= task.keep[0]


def _reaches_back_in_time_alone(view: FeatureView) -> bool:
    every = view.spec.files_every if isinstance(view.spec, FeatureViewSpec) else None
    plan = one_sort.plan(view) if view.python is None and every is None else None
    back = view.lookback.time
    if plan is None or not plan.by_moment or back is None or view.lookback.rows or len(view.tables) != 1:
        return False
    frames = [window.frame for window in plan.stages[-1].windows]
    return all(frame.kind == "range" and frame.start <= back // _MICRO for frame in frames)


def _kept(task: Task) -> tuple[datetime, datetime]:
    assert task.keep is not None
    return task.keep


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICRO
