"""Which label rows have a horizon that lacks due partitions: what happened in it is not known, so they are no labels.

An as-of label reads [as_of, as_of + horizon), the label of a row-level view (its time, its time + horizon], of the tables that its SQL
names. A row is left out as soon as one lacking partition overlaps that, whatever the label would say: one that does say yes would
otherwise stand beside others that only seem to say no.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from sqlglot import exp

from orchestrai.core.canonical import JsonValue
from orchestrai.core.verdict import Verdict
from orchestrai.features.completeness.lacking import DatasetState, Lacks, Reason, Shortfall, lacking, merged
from orchestrai.features.views.view import FeatureView

HORIZONS_COMPLETE = "horizons_complete"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_tables(view: FeatureView) -> list[str]:
    """The inputs that a view's SQL names; all of them where it has none."""
    if view.tree is None:
        return list(view.tables)
    named = {table.name for table in view.tree.find_all(exp.Table)}
    return [name for name in view.tables if name in named]


@dataclass
class Horizons:
    """The horizons of labels over some datasets, and what was left out: rows, and the partitions that these lacked."""

    horizon: timedelta
    states: Sequence[DatasetState]
    left_out: int = 0
    _lacks: list[Mapping[str, Sequence[str]]] = field(default_factory=list)

    @property
    def lacks(self) -> Lacks:
        """The lacking partitions that the rows left out would have needed."""
        return merged(self._lacks)

    def lacking(self, as_of: datetime) -> bool:
        """True for a moment whose horizon lacks something."""
        lacks = self._within(as_of, as_of + self.horizon)
        self._lacks += [lacks] if lacks else []
        return bool(lacks)

    def complete(self, batches: Iterable[pa.RecordBatch], time: str) -> Iterator[pa.RecordBatch]:
        """The rows of a row-level label whose horizon is whole."""
        import numpy as np

        # both ends count here: a frame reaches the very moment `horizon` ahead
        absent = [
            (_micros(start - self.horizon), _micros(end), {state.asset: [key]})
            for state in self.states
            for key, (start, end) in state.absent.items()
        ]
        for batch in batches:
            times = np.asarray(batch.column(time).cast(pa.int64()).fill_null(0))
            order = np.argsort(times)
            keep = np.ones(len(times), dtype=np.bool_)
            for low, high, lacks in absent:
                first, last = np.searchsorted(times, (low, high), sorter=order)
                keep[order[first:last]] = False
                self._lacks += [lacks] if first < last else []
            whole = batch.filter(pa.array(keep)) if not keep.all() else batch
            self.left_out += batch.num_rows - whole.num_rows
            yield whole

    def _within(self, since: datetime, until: datetime) -> Lacks:
        found = {state.asset: lacking(state, since, until) for state in self.states}
        return {asset: keys for asset, keys in found.items() if keys}


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def horizons_verdict(rows: int, left_out: int, told: Mapping[str, Reason], most: float | None) -> Verdict:
    """`horizons_complete`: warns of labels left out for a lacking partition, and closes the gate above the share `most` of all."""
    details: dict[str, JsonValue] = {"rows": rows, "left_out_rows": left_out}
    that = "left out, whose horizon lacks"
    return Shortfall(HORIZONS_COMPLETE, "horizons", that, left_out, rows + left_out, details).verdict(told, most)
