"""One partition of a feature table: its rows computed, written, checked and staged."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.calendar import grain_stats
from orchestrai.core.verdict import Verdict
from orchestrai.features.checks import coverage, freshness
from orchestrai.features.completeness.entity_coverage import GrownCoverage
from orchestrai.features.completeness.incomplete_windows import (
    INCOMPLETE,
    IncompleteWindows,
    incomplete_rows,
    incomplete_windows,
    windows_verdict,
)
from orchestrai.features.completeness.lacking import DatasetState, Lacks, Reason
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Engine, Query, Source, Spine
from orchestrai.features.engines.neighbours import Neighbours, side_by_side
from orchestrai.features.feature_table import KeyWatch, rule_verdicts, summarize, write_files
from orchestrai.features.incremental.slices import Mend, digests, slices_of, write_slices
from orchestrai.features.incremental.tail import Tail, find_tail
from orchestrai.features.incremental.tail_run import Continuation, TailRuns
from orchestrai.features.plan import Task, reached, recorded, union
from orchestrai.features.spec import FeatureChecks, FeatureViewSpec
from orchestrai.features.views.known_time import known_files
from orchestrai.features.views.view import FeatureView
from orchestrai.features.views.view_inputs import Files, Inputs, within
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.manifest import FileEntry
from orchestrai.ledger.session import Session


@dataclass(frozen=True)
class PartitionRuns:
    """Computes partitions one by one and stages their files."""

    session: Session
    view: FeatureView
    engine: Engine
    local: DuckDbEngine
    current: Dataset | None
    opened: Inputs
    files: Files
    code: str
    used: dict[str, set[str]]
    newest: str
    tails: TailRuns | None = None
    going_on: Mapping[str, Continuation] = field(default_factory=dict)
    states: Mapping[str, DatasetState] = field(default_factory=dict)
    why: Callable[[Lacks], Mapping[str, Reason]] = lambda lacks: {}
    together: Neighbours | None = None

    def side_by_side(self, tasks: Sequence[Task], scratch: Path) -> "PartitionRuns":
        """The same, with those of these tasks in one query that have no rows at hand and give the same rows so."""
        alone = [task for task in tasks if task.key not in self.going_on]

        def query(task: Task) -> Query:
            return Query(
                self.view, {name: self._source(name, task, Tail(), scratch) for name in self.view.tables}, keep=task.keep
            )

        return replace(
            self, together=Neighbours(self.engine, query, side_by_side(self.view, self.engine, self.opened, alone))
        )

    def partition(self, task: Task, mended: Mend | None, folder: Path) -> list[Verdict]:
        """Stage one partition; returns its verdicts."""
        view, spec, todo = self.view, self.view.spec, task if mended is None else mended.task
        assert isinstance(spec, FeatureViewSpec)
        with ExitStack() as stack:
            spine = Spine(as_of=task.as_of, table=spec.spine_table) if task.as_of is not None else None
            going_on = self.going_on.get(task.key)
            rows: AbstractContextManager[Iterator[pa.RecordBatch]]
            if going_on is not None and self.tails is not None:
                continued = self.tails.run(todo, going_on, folder)
                if continued is None:
                    return replace(self._reading(todo, stack), going_on={}).partition(task, mended, folder)
                tail, rows = continued.tail, nullcontext(iter(continued.batches))
            else:
                tail = self._tail(todo, folder, stack)
                ahead = self.together.rows(todo) if self.together is not None and mended is None else None
                rows = nullcontext(ahead) if ahead is not None else self._queried(todo, tail, spine, folder)
            kept = mended.kept if mended is not None else ()
            watch = KeyWatch(view.key, view.entity, rows=sum(entry.rows for entry in kept))
            every = spec.files_every
            with rows as batches:
                watched, out = watch.watch(batches), folder / "out"
                written = (
                    write_files(watched, view.schema, out)
                    if every is None
                    else write_slices(watched, view.schema, out, time=view.time, every=every)
                )
            if kept:
                written = [part for part in written if part.rows]
            for part in written:
                self.session.add_file(task.key, part.path.name, part.path, rows=part.rows)
            for entry in kept:
                self.session.add_entry(task.key, entry)
            reach = self._reach(task, mended, tail)
            windows = incomplete_windows(view, task, self.opened, self.states, reach)
            self.session.add_stats(task.key, **self._stats(task, reach), **{INCOMPLETE: windows.as_stats()})
            grown = self._grown(task, spec) if mended is not None else None
            stay = self._kept(task.key, kept, windows, grown, stack)
            paths = [*stay.values(), *(part.path for part in written)]
            verdicts = [*watch.verdicts(view.name), *rule_verdicts(spec.checks, summarize(paths))]
            lacking = incomplete_rows(self.local, view, windows, paths)
            verdicts.append(windows_verdict(watch.rows, lacking, self.why(windows.lacks), spec.checks.incomplete))
            if grown is not None and spec.checks.coverage is not None:
                named = {**stay, **{part.path.name: part.path for part in written}}
                verdicts.append(grown.verdict(named, spec.checks.coverage))
                self.session.add_stats(task.key, **grown.noted)
            elif spec.checks.coverage is not None:
                whole = self if going_on is None else self._reading(task, stack)
                verdicts.append(whole._coverage(task, paths, spine, folder, spec.checks.coverage))
            if spec.checks.freshness is not None and task.key == self.newest:
                verdicts.append(freshness(view, paths, self.session.ledger.clock(), spec.checks.freshness))
            shutil.rmtree(folder)
        return verdicts

    def _queried(
        self, task: Task, tail: Tail, spine: Spine | None, folder: Path
    ) -> AbstractContextManager[Iterator[pa.RecordBatch]]:
        """The rows of a task by a query of its own."""
        view, spec = self.view, self.view.spec
        sources = {name: self._source(name, task, tail, folder) for name in view.tables}
        return self.engine.run(
            Query(view, sources, spine, task.keep, spec.files_every if isinstance(spec, FeatureViewSpec) else None)
        )

    def _reading(self, task: Task, stack: ExitStack) -> "PartitionRuns":
        """The same, with all files that a task reads at hand."""
        return replace(self, files=stack.enter_context(self.opened.fetched(union(self.view, [task]))))

    def _coverage(self, task: Task, paths: Sequence[Path], spine: Spine | None, folder: Path, least: float) -> Verdict:
        """`coverage` over all that a task reads and all that it gave."""
        spec = self.view.spec
        spined = spec.spine_table if isinstance(spec, FeatureViewSpec) and spine is not None else None
        name = spined or next(iter(self.view.tables))
        return coverage(self.local, self.view, self._source(name, task, Tail(), folder), paths, task.keep, least)

    def _grown(self, task: Task, spec: FeatureViewSpec) -> GrownCoverage | None:
        """Who counts the entities of a partition that grew, where the view declares `coverage`."""
        if spec.checks.coverage is None:
            return None
        return GrownCoverage(self.local, self.view, self.opened, task, recorded(self.current, task.key))

    def _kept(
        self,
        key: str,
        entries: Sequence[FileEntry],
        windows: IncompleteWindows,
        grown: GrownCoverage | None,
        stack: ExitStack,
    ) -> dict[str, Path]:
        """Verified files that stay, for the checks to see, by name; those alone that a check looks into."""
        checks = self.view.spec.checks if isinstance(self.view.spec, FeatureViewSpec) else None
        if self.current is None or not entries or checks is None:
            return {}
        asked = FeatureChecks(drift=checks.drift, incomplete=checks.incomplete, coverage=checks.coverage)
        whole = bool(windows.lacks) or checks != asked
        wanted = {entry.path: entry for entry in entries if whole or (grown is not None and grown.stays(entry.path))}
        if not wanted:
            return {}
        files = stack.enter_context(self.current.fetched([key], only={entry.sha256 for entry in wanted.values()}))[key]
        return {file.entry.path: file.path for file in files if file.entry == wanted.get(file.entry.path)}

    def _tail(self, task: Task, folder: Path, stack: ExitStack) -> Tail:
        """The rows before the look-back that a task needs."""
        if self.view.kind != "row" or not self.view.lookback.rows or task.keep is None:
            return Tail()
        primary = next(iter(self.view.tables))
        search = find_tail(self.view, self.opened, task.since[primary], task.keep, self.files[primary], folder, self.local)
        return stack.enter_context(search)

    def _reach(self, task: Task, mended: Mend | None, tail: Tail) -> str | None:
        """The first partition in which earlier rows were looked for, also for the files that stay; empty for the beginning."""
        reach: str | None = None
        if tail.whole or tail.scanned:
            reach = "" if tail.whole else self._first(tail.scanned)
        if mended is not None and (reach is not None or mended.reach is not None):
            known = [key for key in (reach, mended.reach) if key is not None]
            reach = "" if "" in known else self._first([*known, *task.partitions[next(iter(self.view.tables))]])
        return reach

    def _stats(self, task: Task, reach: str | None) -> dict[str, JsonValue]:
        """What to record of a partition's inputs: those of the files that stay, too."""
        primary = next(iter(self.view.tables))
        stats: dict[str, JsonValue] = {"code": self.code}
        if reach is not None:
            stats["tail_from"] = reach
        needed = reached(task, self.opened, reach) or {}
        self.used[primary].update(needed[primary])
        if self.view.kind == "row" and slices_of(self.view) is not None:
            stats["files"] = list(digests(self.opened, primary, task.key))
        if self.view.kind == "row" and (grain := self.opened.grains.get(primary)) is not None:
            stats.update(grain_stats(grain))
        stats["inputs"] = {asset: dict(roots) for asset, roots in self.opened.roots(needed).items()}
        return stats

    def _first(self, keys: Sequence[str]) -> str:
        return min(keys, key=lambda key: self.opened.spans[next(iter(self.view.tables))][key])

    def _source(self, name: str, task: Task, tail: Tail, folder: Path) -> Source:
        table = self.view.tables[name]
        files: list[Path] = []
        for key in task.partitions[name]:
            paths = self.files[name][key]
            if table.by_arrival and task.as_of is not None:
                paths = known_files(self.opened.datasets[name], key, paths, task.as_of, folder / "known" / name)
            files += paths
        return Source(
            table,
            within(files, table.event_time, task.since[name], task.until) if slices_of(self.view) is not None else files,
            since=task.since[name],
            until=task.until,
            known_before=task.as_of,
            tail=tail.files if name == next(iter(self.view.tables)) else (),
        )
