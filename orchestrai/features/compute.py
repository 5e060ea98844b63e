"""The features stage: restored datasets in, a receipted feature table out.

A partition whose inputs (the partition roots inside its look-back) and code are unchanged is not computed again.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrai.contracts.calendar import Grain
from orchestrai.contracts.verdict import JsonValue, Verdict
from orchestrai.errors import FeatureViewError
from orchestrai.features.duckdb_engine import DuckDbEngine
from orchestrai.features.engine import Engine, Query, Source, Spine
from orchestrai.features.exports import require_delta, write_delta
from orchestrai.features.inputs import Files, Inputs, open_inputs, within
from orchestrai.features.plan import Task, fresh, plan, reached, union
from orchestrai.features.python_engine import PythonEngine
from orchestrai.features.reach import aged, coverage, freshness
from orchestrai.features.slices import Mend, digests, growth, mend, slices_of, write_slices
from orchestrai.features.spec import FeatureChecks, FeatureViewSpec
from orchestrai.features.table import KeyWatch, rule_verdicts, summarize, write_files
from orchestrai.features.tail import Tail, find_tail
from orchestrai.features.view import FeatureView
from orchestrai.ledger.dataset import Dataset
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.manifest import FileEntry
from orchestrai.ledger.report import Meter, PartitionOutcome, StageReport
from orchestrai.ledger.session import Session

STAGE = "features"
LAYOUT = "parquet-3"
Progress = Callable[[float, str], None]


def compute(
    ledger: Ledger,
    view: FeatureView,
    *,
    asset: str,
    inputs: Mapping[str, str],
    grain: Grain,
    partitions: Sequence[str] | None,
    engine: Engine | None = None,
    progress: Progress | None = None,
    code_version: str = "",
) -> StageReport:
    """Compute partitions of a view (`None`: all that are due) and publish them; `inputs` maps table to restored asset.

    Idempotent: a partition whose input roots, view and code version are unchanged is reported and left as it is. A declared
    Delta table is brought to what is then published, also after a run that ended between the two.
    Raises FeatureViewError, NotReceipted, IntegrityError; nothing is published then.
    """
    if _delta(view):
        require_delta()
    engine = engine or DuckDbEngine()
    local = engine if isinstance(engine, DuckDbEngine) else DuckDbEngine()
    if view.python is not None:
        if engine is not local:
            raise FeatureViewError(
                f"{view.name}: expected an engine on this machine for a view in Python, found {type(engine).__name__}: "
                "declare engine: duckdb, or write the view as sql"
            )
        engine = PythonEngine(local)
    with Meter() as meter:
        session = ledger.session(asset, STAGE)
        opened = open_inputs(ledger, view, inputs, grain)
        tasks = plan(view, opened, partitions)
        current = ledger.find(asset)
        code = f"{LAYOUT} {view.hash} {code_version}"
        stale = [task for task in tasks if not fresh(current, task, opened, code)]
        used = union(view, stale)
        verdicts: dict[str, list[Verdict]] = {}
        with ExitStack() as stack:
            mends, files = _fetched(view, stale, current, opened, code, stack)
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrai-features-"))
            run = _Run(
                session,
                view,
                engine,
                local,
                current,
                opened,
                files,
                code,
                used,
                max((task.key for task in tasks), default=""),
            )
            for number, task in enumerate(stale):
                if progress is not None:
                    progress(number / len(stale), f"{view.name} {task.key}")
                verdicts[task.key] = run.partition(task, mends.get(task.key), Path(scratch) / f"{number:06d}")
            meter.read = sum(path.stat().st_size for part in files.values() for paths in part.values() for path in paths)
        facts: dict[str, JsonValue] = {"engine": engine.name, "computed": len(stale), "unchanged": len(tasks) - len(stale)}
        if mends:
            facts["mended"] = len(mends)
        report = session.commit(
            verdicts,
            inputs=opened.refs(used),
            code_version=code_version,
            parameters=_parameters(view, engine),
            cost=meter.cost(),
            facts=facts,
        )
    if progress is not None:
        progress(1.0, f"{view.name} done")
    most = view.spec.checks.freshness if isinstance(view.spec, FeatureViewSpec) else None
    now = ledger.clock()
    report = _with_unchanged(
        report,
        current,
        [task.key for task in tasks if task not in stale],
        facts,
        lambda verdict: verdict if most is None else aged(verdict, now, most),
    )
    if _delta(view) and report.version is not None:
        version = write_delta(ledger, view, asset=asset, table=_delta(view))
        report = replace(report, facts={**report.facts, "delta_version": version})
    return report


def _delta(view: FeatureView) -> str:
    return view.spec.delta if isinstance(view.spec, FeatureViewSpec) else ""


def _fetched(
    view: FeatureView, stale: Sequence[Task], current: Dataset | None, opened: Inputs, code: str, stack: ExitStack
) -> tuple[dict[str, Mend], Files]:
    """Which partitions need only their end computed, and the verified files that all of them read."""
    primary = next(iter(view.tables))
    grown = {task.key: found for task in stale if (found := growth(view, task, current, opened, code)) is not None}
    first = stack.enter_context(opened.fetched({primary: grown}))[primary] if grown else {}
    mends: dict[str, Mend] = {}
    for task in stale:
        if current is not None and task.key in grown:
            rest = mend(view, task, grown[task.key], current, opened, first[task.key])
            mends |= {task.key: rest} if rest is not None else {}
    needed = union(view, [mends[task.key].task if task.key in mends else task for task in stale])
    needed[primary] -= set(first)
    files = stack.enter_context(opened.fetched(needed))
    return mends, {**files, primary: {**files[primary], **first}}


def _parameters(view: FeatureView, engine: Engine) -> dict[str, JsonValue]:
    return {"view": view.name, "view_hash": view.hash, "sql": view.sql, "engine": engine.name, "layout": LAYOUT}


@dataclass(frozen=True)
class _Run:
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

    def partition(self, task: Task, mended: Mend | None, folder: Path) -> list[Verdict]:
        """Stage one partition; returns its verdicts."""
        view, spec, todo = self.view, self.view.spec, task if mended is None else mended.task
        assert isinstance(spec, FeatureViewSpec)
        with ExitStack() as stack:
            tail = self._tail(todo, folder, stack)
            sources = {name: self._source(name, todo, tail) for name in view.tables}
            spine = Spine(as_of=task.as_of, table=spec.spine_table) if task.as_of is not None else None
            kept = mended.kept if mended is not None else ()
            watch = KeyWatch(view.key, view.entity, rows=sum(entry.rows for entry in kept))
            every = spec.files_every
            with self.engine.run(Query(view, sources, spine, todo.keep, every)) as batches:
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
            self.session.add_stats(task.key, **self._stats(task, mended, tail))
            paths = [*self._kept(task.key, kept, stack), *(part.path for part in written)]
            verdicts = [*watch.verdicts(view.name), *rule_verdicts(spec.checks, summarize(paths))]
            verdicts += self._warnings(task, spec, paths, spine)
            shutil.rmtree(folder)
        return verdicts

    def _warnings(self, task: Task, spec: FeatureViewSpec, paths: Sequence[Path], spine: Spine | None) -> list[Verdict]:
        """`coverage` and `freshness`, where the view declares them."""
        found = []
        if spec.checks.coverage is not None:
            name = spec.spine_table if spine is not None else next(iter(self.view.tables))
            source = self._source(name, task, Tail())
            found.append(coverage(self.local, self.view, source, paths, task.keep, spec.checks.coverage))
        if spec.checks.freshness is not None and task.key == self.newest:
            found.append(freshness(self.view, paths, self.session.ledger.clock(), spec.checks.freshness))
        return found

    def _kept(self, key: str, kept: Sequence[FileEntry], stack: ExitStack) -> list[Path]:
        """Verified files that stay, for the declared checks to see; none where nothing is declared."""
        checks = self.view.spec.checks if isinstance(self.view.spec, FeatureViewSpec) else None
        if self.current is None or not kept or checks is None or checks == FeatureChecks(drift=checks.drift):
            return []
        files = stack.enter_context(self.current.fetched([key]))[key]
        return [file.path for file in files if file.entry in kept]

    def _tail(self, task: Task, folder: Path, stack: ExitStack) -> Tail:
        """The rows before the look-back that a task needs."""
        if self.view.kind != "row" or not self.view.lookback.rows or task.keep is None:
            return Tail()
        primary = next(iter(self.view.tables))
        search = find_tail(self.view, self.opened, task.since[primary], task.keep, self.files[primary], folder, self.local)
        return stack.enter_context(search)

    def _stats(self, task: Task, mended: Mend | None, tail: Tail) -> dict[str, JsonValue]:
        """What to record of a partition's inputs: those of the files that stay, too."""
        primary = next(iter(self.view.tables))
        stats: dict[str, JsonValue] = {"code": self.code}
        reach: str | None = None
        if tail.whole or tail.scanned:
            reach = "" if tail.whole else self._first(tail.scanned)
        if mended is not None and (reach is not None or mended.reach is not None):
            known = [key for key in (reach, mended.reach) if key is not None]
            reach = "" if "" in known else self._first([*known, *task.partitions[primary]])
        if reach is not None:
            stats["tail_from"] = reach
        needed = reached(task, self.opened, reach) or {}
        self.used[primary].update(needed[primary])
        if self.view.kind == "row" and slices_of(self.view) is not None:
            stats["files"] = list(digests(self.opened, primary, task.key))
        stats["inputs"] = {asset: dict(roots) for asset, roots in self.opened.roots(needed).items()}
        return stats

    def _first(self, keys: Sequence[str]) -> str:
        return min(keys, key=lambda key: self.opened.spans[next(iter(self.view.tables))][key])

    def _source(self, name: str, task: Task, tail: Tail) -> Source:
        files = [path for key in task.partitions[name] for path in self.files[name][key]]
        table = self.view.tables[name]
        return Source(
            table,
            within(files, table.event_time, task.since[name], task.until) if slices_of(self.view) is not None else files,
            since=task.since[name],
            until=task.until,
            known_before=task.as_of,
            tail=tail.files if name == next(iter(self.view.tables)) else (),
        )


def _with_unchanged(
    report: StageReport,
    current: Dataset | None,
    keys: Sequence[str],
    facts: Mapping[str, JsonValue],
    today: Callable[[Verdict], Verdict],
) -> StageReport:
    """The report with the partitions that needed no work, as published before."""
    if current is None or not keys:
        return report
    outcomes = list(report.outcomes)
    for key in keys:
        entry = current.partitions[key]
        verdicts = tuple(today(verdict) for verdict in current.receipt(key).verdicts.get(key, ()))
        outcomes.append(PartitionOutcome(key, True, entry.root, entry.rows, entry.size, verdicts))
    outcomes.sort(key=lambda outcome: outcome.partition)
    return replace(report, version=report.version or current.version, outcomes=tuple(outcomes), facts=dict(facts))
