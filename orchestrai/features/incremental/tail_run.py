"""A partition's new rows computed from the tail of a view: what is remembered of earlier rows, and the new ones alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from orchestrai.core.tree.ordered_keys import BEHIND, keys_before
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Query, Source
from orchestrai.features.incremental.slices import Mend
from orchestrai.features.incremental.sorted_rows import Unsuited
from orchestrai.features.incremental.tail import Tail, find_tail
from orchestrai.features.incremental.tail_slices import ROWS, Shape, Slice, cut_slices, shape_of, times_of
from orchestrai.features.incremental.tail_state import (
    Forgotten,
    InputFile,
    PartitionTail,
    TailState,
    load_state,
    save_state,
)
from orchestrai.features.incremental.tail_windows import NewRows
from orchestrai.features.plan import Task
from orchestrai.features.views.view import FeatureView
from orchestrai.features.views.view_inputs import Inputs, require_restored, time_bounds
from orchestrai.ledger.log import Log
from orchestrai.ledger.manifest import FileEntry

MOST_ROWS = 2_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)
_START = -(2**62)


@dataclass(frozen=True)
class Continuation:
    """One task that goes on from a tail: rows from `cut` (microseconds), after the `known` slices, which begin at `begin`.

    `files` are the digests of the task's own input files that may hold rows from `cut` on. With `whole`, they are all of them.
    `cold` says that nothing is remembered: the rows from `begin` on are read again.
    """

    cut: int
    begin: int
    known: Mapping[int, Slice]
    files: frozenset[str]
    whole: bool = False
    cold: bool = False


@dataclass(frozen=True)
class Continued:
    """The rows of a task in its order, and how far back they looked for earlier ones."""

    batches: Sequence[pa.RecordBatch]
    tail: Tail


class TailRuns:
    """Runs of one view that go on from its tail, in `folder`, and leave it for the next run."""

    def __init__(
        self, ledger: Log, view: FeatureView, shape: Shape, opened: Inputs, engine: DuckDbEngine, folder: Path, code: str
    ) -> None:
        self._ledger, self._view, self._shape, self._opened = ledger, view, shape, opened
        self._engine, self._folder = engine, folder
        self._table = next(iter(view.tables))
        self._key = f"{code} {shape.hash} {engine.name}"
        self._listed: dict[str, list[FileEntry]] = {}
        self._state = load_state(folder, self._key, ledger.keyring)

    def continuation(self, task: Task, mended: Mend | None, added: Counter[str]) -> Continuation | None:
        """How a task goes on from what is remembered; None where it is to be computed from all that it reads."""
        todo = task if mended is None else mended.task
        if todo.keep is None:
            return None
        cut = _micros(todo.keep[0])
        wanted = (cut - self._shape.reach) // self._shape.length * self._shape.length
        known, begin = self._known(task, cut, added if mended is not None else None)
        if begin <= wanted:
            files = self._files(task, cut, added if mended is not None else None)
            continuation = Continuation(cut, begin, known, files, whole=mended is None)
        elif mended is not None:
            continuation = Continuation(cut, wanted, {}, frozenset(), whole=True, cold=True)
        else:
            return None
        return continuation if self._rows(task, continuation) <= MOST_ROWS else None

    def _known(self, task: Task, cut: int, added: Counter[str] | None) -> tuple[dict[int, Slice], int]:
        """The slices before `cut` that still hold, and the moment from which on they are all there is."""
        known: dict[int, Slice] = {}
        begin = cut
        spans = self._opened.spans[self._table]
        for key in keys_before(spans, BEHIND):
            span = spans[key]
            if _micros(span[0]) >= cut:
                continue
            part = self._state.partitions.get(key)
            if part is None or not self._holds(key, part, added if key == task.key else None):
                return known, begin
            require_restored(self._opened.datasets[self._table], key)
            known |= {number: one for number, one in part.slices.items() if number * self._shape.length < cut}
            begin = max(part.begin, _micros(span[0]))
            if part.begin > _micros(span[0]):
                return known, begin
        return known, _START

    def _holds(self, key: str, part: PartitionTail, added: Counter[str] | None) -> bool:
        dataset = self._opened.datasets[self._table]
        if added is None:
            return part.root == dataset.partitions[key].root
        return part.digests + added == Counter(entry.sha256 for entry in self._entries(key))

    def _entries(self, key: str) -> list[FileEntry]:
        if key not in self._listed:
            entries = self._opened.datasets[self._table].files(key).files
            self._listed[key] = [entry for entry in entries if entry.role == "data"]
        return self._listed[key]

    def _files(self, task: Task, cut: int, added: Counter[str] | None) -> frozenset[str]:
        if added is None:
            return frozenset(entry.sha256 for entry in self._entries(task.key))
        before = self._state.partitions[task.key].files if task.key in self._state.partitions else {}
        return frozenset(
            {*added, *(digest for digest, file in before.items() if file.high is not None and file.high >= cut)}
        )

    def _rows(self, task: Task, continuation: Continuation) -> int:
        if not continuation.cold:
            return sum(entry.rows for entry in self._entries(task.key) if entry.sha256 in continuation.files)
        return sum(entry.rows for key in self._cold_keys(task, continuation) for entry in self._entries(key))

    def _cold_keys(self, task: Task, continuation: Continuation) -> list[str]:
        assert task.keep is not None
        return self._opened.needed(self._table, _moment(continuation.begin), task.keep[1])

    def run(self, todo: Task, continuation: Continuation, folder: Path) -> Continued | None:
        """Compute a task's rows and remember what the next run needs; None where only the engine's own windows will do."""
        try:
            with ExitStack() as stack:
                return self._run(todo, continuation, folder, stack)
        except (Unsuited, Forgotten):
            return None

    def _run(self, todo: Task, continuation: Continuation, folder: Path, stack: ExitStack) -> Continued:
        shape, files, known = self._shape, self._fetched(todo, continuation, stack), continuation.known
        paths = [path for part in files.values() for path, _ in part]
        table = self._prepared(paths, continuation.begin if continuation.cold else continuation.cut, todo)
        if continuation.cold and table.num_rows:
            times = times_of(table, shape.time)
            known = cut_slices(shape, table.filter(pa.array(times < continuation.cut)))
            table = table.filter(pa.array(times >= continuation.cut)).combine_chunks()
        fresh = cut_slices(shape, table)
        tail, batches = Tail(), list[pa.RecordBatch]()
        if table.num_rows:
            new = NewRows(shape, table)
            near, tail = self._near(new, todo, continuation, known, folder)
            query = Query(self._view, {}, None, todo.keep, self._every)
            batches = self._engine.finished(query, shape.plan, new.with_windows(known, near, continuation.cut))
        self._remember(todo, continuation, {**known, **fresh}, files)
        return Continued(batches, tail)

    @property
    def _every(self) -> timedelta:
        from orchestrai.features.incremental.slices import slices_of

        every = slices_of(self._view)
        assert every is not None
        return every

    def _fetched(self, todo: Task, continuation: Continuation, stack: ExitStack) -> dict[str, list[tuple[Path, str]]]:
        """Verified files and their digests by partition."""
        keys = self._cold_keys(todo, continuation) if continuation.cold else [todo.key]
        only = None if continuation.cold else continuation.files
        got = stack.enter_context(self._opened.fetched({self._table: keys}, only))[self._table]
        digests = {key: [e.sha256 for e in self._entries(key) if only is None or e.sha256 in only] for key in keys}
        return {key: list(zip(got[key], digests[key], strict=True)) for key in keys}

    def _prepared(self, paths: Sequence[Path], since: int, todo: Task) -> pa.Table:
        """The rows that the last windows see, from `since` on."""
        assert todo.keep is not None
        source = Source(self._view.tables[self._table], paths, _moment(since), todo.keep[1])
        return self._engine.prepared(self._view, self._shape.plan, source)

    def _near(
        self, new: NewRows, todo: Task, continuation: Continuation, known: Mapping[int, Slice], folder: Path
    ) -> tuple[list[Slice], Tail]:
        """Slices with the last rows of each entity, oldest first."""
        import numpy as np

        shape, near = self._shape, list[Slice]()
        have = np.zeros(len(new.entities), dtype=np.int64)
        number, begin = continuation.cut // shape.length, continuation.cut
        for number in sorted(known, reverse=True):
            if not shape.rows or int(have.min()) >= shape.rows:
                break
            one, begin = known[number], number * shape.length
            code = new.codes(one.groups.column(shape.entity))
            have[code[code >= 0]] += np.asarray(one.groups.column(ROWS))[code >= 0]
            near.append(one)
        short = have < shape.rows
        if not short.any():
            return near[::-1], self._looked(todo, begin)
        if continuation.begin == _START:
            return near[::-1], replace(self._looked(todo, _START), whole=True)
        wanted = pa.table({"entity": new.entities.filter(pa.array(short)), "held": pa.array(have[short])})
        since, keep = _moment(continuation.begin), (_moment(continuation.cut), _moment(continuation.cut))
        with find_tail(self._view, self._opened, since, keep, {}, folder, self._engine, wanted) as tail:
            if tail.files:
                source = Source(self._view.tables[self._table], tail.files)
                earlier = self._engine.prepared(self._view, shape.plan, source)
                slices = cut_slices(shape, earlier)
                near += [slices[number] for number in sorted(slices, reverse=True)]
        return near[::-1], replace(tail, files=[])

    def _looked(self, todo: Task, begin: int) -> Tail:
        """The partitions looked through beyond those that the task reads anyway."""
        since = todo.since[self._table]
        if since is None or begin >= _micros(since):
            return Tail()
        assert todo.keep is not None
        return Tail(scanned=self._opened.needed(self._table, _moment(begin) if begin > _START else None, todo.keep[1]))

    def _remember(
        self,
        todo: Task,
        continuation: Continuation,
        slices: Mapping[int, Slice],
        files: Mapping[str, Sequence[tuple[Path, str]]],
    ) -> None:
        shape, spans = self._shape, self._opened.spans[self._table]
        newest = max(slices, default=continuation.cut // shape.length)
        # as far again as frames reach, for late rows, and enough slices for frames of rows
        keep_from = min(newest * shape.length - 2 * shape.reach, (newest - 2 * max(8, shape.rows)) * shape.length)
        partitions = {}
        for key, part in self._parts(todo, continuation, files).items():
            low, high = (_micros(moment) for moment in spans[key])
            begin = max(part.begin, keep_from // shape.length * shape.length)
            if begin >= high:
                continue
            mine = {**part.slices, **{number: one for number, one in slices.items() if low <= number * shape.length < high}}
            mine = {number: one for number, one in mine.items() if number * shape.length >= begin}
            partitions[key] = replace(part, begin=begin, slices=mine)
        self._state = TailState(partitions)
        save_state(self._folder, self._key, self._ledger.signer, self._state)

    def _parts(
        self, todo: Task, continuation: Continuation, files: Mapping[str, Sequence[tuple[Path, str]]]
    ) -> dict[str, PartitionTail]:
        """The partitions as they are now: the task's own and, of the others, those that did not change."""
        dataset, spans = self._opened.datasets[self._table], self._opened.spans[self._table]
        parts = {
            key: part
            for key, part in self._state.partitions.items()
            if key in spans and key not in files and part.root == dataset.partitions[key].root
        }
        for key, paths in files.items():
            before = self._state.partitions.get(key)
            if continuation.whole or before is None:
                before = PartitionTail("", max(continuation.begin, _micros(spans[key][0])), {}, {})
            past = {number: one for number, one in before.slices.items() if number * self._shape.length < continuation.cut}
            root, described = dataset.partitions[key].root, self._described(key, paths, before.files)
            parts[key] = PartitionTail(root, before.begin, described, past)
        return parts

    def _described(
        self, key: str, paths: Sequence[tuple[Path, str]], known: Mapping[str, InputFile]
    ) -> dict[str, InputFile]:
        """The partition's files now, with their bounds in time."""
        column = self._view.tables[self._table].event_time
        assert column is not None
        now = Counter(entry.sha256 for entry in self._entries(key))
        by_digest = {digest: replace(file, count=now[digest]) for digest, file in known.items() if now[digest]}
        for path, digest in paths:
            if digest not in by_digest:
                bounds = time_bounds([path], column)
                low, high = (None, None) if bounds is None else (_micros(bounds[0]), _micros(bounds[1]))
                by_digest[digest] = InputFile(low, high, now[digest])
        return by_digest


def tail_runs(
    ledger: Log, view: FeatureView, opened: Inputs, engine: DuckDbEngine, folder: Path, code: str
) -> TailRuns | None:
    """Runs of a view from its tail in `folder`; None for a view whose windows do not go on from earlier rows."""
    shape = shape_of(view)
    return None if shape is None else TailRuns(ledger, view, shape, opened, engine, folder, code)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICRO


def _moment(micros: int) -> datetime:
    return _EPOCH + micros * _MICRO
