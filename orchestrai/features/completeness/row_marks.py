"""Marks on the rows of a training set: whether the features that were taken had windows that lack due partitions.

What each feature partition lacked is read off its manifest, where the run that computed it noted it; nothing is judged again. Of a view
beside the first one, a row's features also lack what might have held a newer row of its entity: a moment after the one that was taken
whose windows lack something, or a partition that the view itself lacks between its row and the moment.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orchestrai.features.completeness.incomplete_windows import IncompleteWindows, noted
from orchestrai.features.completeness.lacking import Lacks, Span, dataset_state, merged
from orchestrai.features.point_in_time_join import EVENT_TIME, REACH, TAKEN, Clocked, of_same_events
from orchestrai.features.views.moment_partitions import feature_spans
from orchestrai.features.views.view import FeatureView
from orchestrai.ledger.dataset import Dataset
from orchestrai.stage.outcomes import Partitioned

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
NEVER = np.iinfo(np.int64).min
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


@dataclass
class ViewMarks:
    """One view's partitions by span, ascending, with what their windows lack; `gaps` are spans in which the view itself lacks rows.

    `moments` says that a partition is one moment, and `same_events` that the view's rows are of the first view's own events.
    """

    partitions: Sequence[tuple[Span, IncompleteWindows]]
    moments: bool = False
    gaps: Sequence[Span] = ()
    same_events: bool = False
    _seen: set[int] = field(default_factory=set)

    @property
    def clean(self) -> bool:
        """True when no row can be marked."""
        return not self.gaps and not any(windows.lacks for _, windows in self.partitions)

    @property
    def lacks(self) -> Lacks:
        """What the windows of rows that were marked lack."""
        return merged(self.partitions[number][1].lacks for number in sorted(self._seen))

    @cached_property
    def _starts(self) -> Ints:
        return _micros([span[0] for span, _ in self.partitions])

    @cached_property
    def _spans(self) -> tuple[Ints, Ints]:
        spans = sorted(span for _, windows in self.partitions for span in windows.spans)
        return _micros([start for start, _ in spans]), _micros([end for _, end in spans])

    @cached_property
    def _behind(self) -> Ints:
        return np.array(
            [NEVER if w.behind is None else (w.behind - _EPOCH) // _MICRO for _, w in self.partitions], dtype=np.int64
        )

    @cached_property
    def _lacking_before(self) -> Ints:
        """How many of the partitions before each lack something."""
        return np.concatenate(([0], np.cumsum([bool(windows.lacks) for _, windows in self.partitions]))).astype(np.int64)

    def own(self, taken: Ints, reach: Ints) -> Mask:
        """Marks of rows by their own time and that of the row their frames reach; NEVER where there is none."""
        if not len(self.partitions):
            return np.zeros(len(taken), dtype=np.bool_)
        place = np.searchsorted(self._starts, taken, side="right") - 1
        behind = np.where(place >= 0, self._behind[place], NEVER)
        marked = _within(taken, *self._spans) | ((behind > NEVER) & (reach < behind))
        self._seen.update(np.unique(place[marked & (place >= 0)]).tolist())
        return marked

    def beside(self, moment: Ints, taken: Ints, reach: Ints) -> Mask:
        """Marks of rows of the first view at `moment` that were given this view's row of `taken`."""
        known = taken > NEVER
        if self.moments:
            newest = np.searchsorted(self._starts, moment, side="right") - 1
            first = np.where(known, np.searchsorted(self._starts, taken, side="left"), 0)
            marked = (newest >= 0) & (self._lacking_before[newest + 1] > self._lacking_before[np.minimum(first, newest + 1)])
            if marked.any():
                lacking = range(int(first[marked].min()), int(newest[marked].max()) + 1)
                self._seen.update(number for number in lacking if self.partitions[number][1].lacks)
            return marked
        marked = known & self.own(taken, reach)
        starts, ends = _micros([start for start, _ in self.gaps]), _micros([end for _, end in self.gaps])
        if not len(starts):
            return marked
        if self.same_events:
            return marked | (~known & _within(moment, starts, ends))
        newest = np.searchsorted(starts, moment, side="left") - 1
        return marked | ((newest >= 0) & (ends[newest] > taken))


def marks_of(batch: pa.RecordBatch, views: Sequence[ViewMarks]) -> Mask:
    """The incomplete rows of a batch that `joined` gave with its times; the first view gives the rows."""
    moment = _column(batch, EVENT_TIME)
    marked = np.zeros(batch.num_rows, dtype=np.bool_)
    for number, view in enumerate(views):
        if not view.clean:
            taken, reach = _column(batch, f"{TAKEN}{number}"), _column(batch, f"{REACH}{number}")
            marked |= view.beside(moment, taken, reach) if number else view.own(taken, reach)
    return marked


@dataclass
class TrainingWindows:
    """The windows of a training set's rows: rows that came by, those of them that lack something, and whether these stay.

    `unknown` counts feature partitions of an earlier release, which did not note what their windows lacked.
    """

    choice: Literal["keep", "drop"]
    views: Sequence[ViewMarks]
    rows_back: Sequence[int]
    unknown: int = 0
    rows: int = 0
    marked: int = 0

    @property
    def clean(self) -> bool:
        """True when no row can lack anything."""
        return all(view.clean for view in self.views)

    @property
    def back(self) -> Sequence[int] | None:
        """How many rows back each view's frames reach, for the join to tell when that was; None where it need not."""
        return None if self.clean else self.rows_back

    @property
    def lacks(self) -> Lacks:
        """What the rows lack."""
        return merged(view.lacks for view in self.views)

    def chosen(self, batches: Iterable[pa.RecordBatch], width: int) -> Iterator[pa.RecordBatch]:
        """The rows that stay, in their first `width` columns."""
        for batch in batches:
            self.rows += batch.num_rows
            marks = None if self.clean else pa.array(marks_of(batch, self.views))
            kept = batch.select(range(width))
            if marks is not None:
                self.marked += marks.true_count
                kept = kept.filter(pc.invert(marks)) if self.choice == "drop" else kept
            yield kept


def training_windows(
    features: Sequence[tuple[FeatureView, str]],
    datasets: Sequence[Dataset],
    declared: Mapping[str, Partitioned],
    choice: Literal["keep", "drop"],
) -> TrainingWindows:
    """What the rows of these feature tables lack, as was noted when they were computed."""
    first, marks, unknown = features[0][0], list[ViewMarks](), 0
    for (view, asset), dataset in zip(features, datasets, strict=True):
        own, without = view_marks(view, dataset, declared.get(asset), first)
        marks.append(own)
        unknown += without
    rows_back = [view.lookback.rows or 0 if view.kind == "row" else 0 for view, _ in features]
    return TrainingWindows(choice, marks, rows_back, unknown)


def view_marks(view: FeatureView, dataset: Dataset, like: Partitioned | None, first: Clocked) -> tuple[ViewMarks, int]:
    """What the rows of one view lack beside the first one, and how many of its partitions do not note it."""
    times = feature_spans(view, dataset, like)
    newest = max((end for _, end in times.values()), default=None)
    gaps = dataset_state(dataset, like, newest).absent.values() if view.kind == "row" and view is not first else ()
    windows = {key: noted(dataset.files(key).stats) for key in times}
    partitions = [(span, windows[key] or IncompleteWindows()) for key, span in sorted(times.items(), key=_start)]
    marks = ViewMarks(partitions, view.kind == "entity", sorted(gaps), of_same_events(view, first))
    return marks, list(windows.values()).count(None)


def _start(item: tuple[str, Span]) -> Span:
    return item[1]


def _within(times: Ints, starts: Ints, ends: Ints) -> Mask:
    if not len(starts):
        return np.zeros(len(times), dtype=np.bool_)
    place = np.searchsorted(starts, times, side="right") - 1
    return np.asarray((place >= 0) & (times < ends[place]))


def _micros(moments: Sequence[datetime]) -> Ints:
    return np.array([(moment - _EPOCH) // _MICRO for moment in moments], dtype=np.int64)


def _column(batch: pa.RecordBatch, name: str) -> Ints:
    micros = batch.column(name).cast(pa.timestamp("us")).cast(pa.int64()).fill_null(NEVER)
    return np.asarray(micros.to_numpy(zero_copy_only=False), dtype=np.int64)
