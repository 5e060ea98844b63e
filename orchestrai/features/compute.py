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
from orchestrai.features.duckdb_engine import DuckDbEngine
from orchestrai.features.engine import Engine, Query, Source, Spine
from orchestrai.features.inputs import Files, Inputs, open_inputs
from orchestrai.features.plan import Task, fresh, plan, union
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.table import KeyWatch, rule_verdicts, summarize, write_files
from orchestrai.features.tail import Tail, find_tail
from orchestrai.features.view import FeatureView
from orchestrai.ledger.ledger import Dataset, Ledger
from orchestrai.ledger.report import Meter, PartitionOutcome, StageReport
from orchestrai.ledger.session import Session

STAGE = "features"
LAYOUT = "parquet-2"
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

    Idempotent: a partition whose input roots, view and code version are unchanged is reported and left as it is.
    Raises FeatureViewError, NotReceipted, IntegrityError; nothing is published then.
    """
    engine = engine or DuckDbEngine()
    local = engine if isinstance(engine, DuckDbEngine) else DuckDbEngine()
    with Meter() as meter:
        session = ledger.session(asset, STAGE)
        opened = open_inputs(ledger, view, inputs, grain)
        tasks = plan(view, opened, partitions)
        current = ledger.find(asset)
        code = f"{LAYOUT} {view.hash} {code_version}"
        stale = [task for task in tasks if not fresh(current, task, opened, code)]
        used = union(view, stale)
        verdicts: dict[str, list[Verdict]] = {}
        with opened.fetched(used) as files, tempfile.TemporaryDirectory(prefix="orchestrai-features-") as scratch:
            run = _Run(session, view, engine, local, opened, files, code, used)
            for number, task in enumerate(stale):
                if progress is not None:
                    progress(number / len(stale), f"{view.name} {task.key}")
                verdicts[task.key] = run.partition(task, Path(scratch) / f"{number:06d}")
            meter.read = sum(path.stat().st_size for part in files.values() for paths in part.values() for path in paths)
        facts: dict[str, JsonValue] = {"engine": engine.name, "computed": len(stale), "unchanged": len(tasks) - len(stale)}
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
    return _with_unchanged(report, current, [task.key for task in tasks if task not in stale], facts)


def _parameters(view: FeatureView, engine: Engine) -> dict[str, JsonValue]:
    return {"view": view.name, "view_hash": view.hash, "sql": view.sql, "engine": engine.name, "layout": LAYOUT}


@dataclass(frozen=True)
class _Run:
    """Computes partitions one by one and stages their files."""

    session: Session
    view: FeatureView
    engine: Engine
    local: DuckDbEngine
    opened: Inputs
    files: Files
    code: str
    used: dict[str, set[str]]

    def partition(self, task: Task, folder: Path) -> list[Verdict]:
        """Stage one partition; returns its verdicts."""
        view, spec = self.view, self.view.spec
        assert isinstance(spec, FeatureViewSpec)
        with ExitStack() as stack:
            tail, stats = self._tail(task, folder, stack)
            sources = {name: self._source(name, task, tail) for name in view.tables}
            spine = Spine(as_of=task.as_of, table=spec.spine_table) if task.as_of is not None else None
            watch = KeyWatch(view.key, view.entity)
            with self.engine.run(Query(view, sources, spine, task.keep)) as batches:
                written = write_files(watch.watch(batches), view.schema, folder / "out")
        for part in written:
            self.session.add_file(task.key, part.path.name, part.path, rows=part.rows)
        self.session.add_stats(task.key, **stats)
        summary = summarize(part.path for part in written)
        shutil.rmtree(folder)
        return [*watch.verdicts(view.name), *rule_verdicts(spec.checks, summary)]

    def _tail(self, task: Task, folder: Path, stack: ExitStack) -> tuple[Tail, dict[str, JsonValue]]:
        """The tail a task needs, and what to record of its inputs."""
        needed = {name: list(keys) for name, keys in task.partitions.items()}
        stats: dict[str, JsonValue] = {"code": self.code}
        tail = Tail()
        if self.view.kind == "row" and self.view.lookback.rows and task.keep is not None:
            primary = next(iter(self.view.tables))
            search = find_tail(
                self.view, self.opened, task.since[primary], task.keep, self.files[primary], folder, self.local
            )
            tail = stack.enter_context(search)
            needed[primary] = sorted({*needed[primary], *tail.scanned})
            self.used[primary].update(tail.scanned)
            if tail.whole or tail.scanned:
                stats["tail_from"] = "" if tail.whole else min(tail.scanned, key=lambda key: self.opened.spans[primary][key])
        stats["inputs"] = {asset: dict(roots) for asset, roots in self.opened.roots(needed).items()}
        return tail, stats

    def _source(self, name: str, task: Task, tail: Tail) -> Source:
        return Source(
            self.view.tables[name],
            [path for key in task.partitions[name] for path in self.files[name][key]],
            since=task.since[name],
            until=task.until,
            known_before=task.as_of,
            tail=tail.files if name == next(iter(self.view.tables)) else (),
        )


def _with_unchanged(
    report: StageReport, current: Dataset | None, keys: Sequence[str], facts: Mapping[str, JsonValue]
) -> StageReport:
    """The report with the partitions that needed no work, as published before."""
    if current is None or not keys:
        return report
    outcomes = list(report.outcomes)
    for key in keys:
        entry = current.partitions[key]
        verdicts = current.receipt(key).verdicts.get(key, ())
        outcomes.append(PartitionOutcome(key, True, entry.root, entry.rows, entry.size, verdicts))
    outcomes.sort(key=lambda outcome: outcome.partition)
    return replace(report, version=report.version or current.version, outcomes=tuple(outcomes), facts=dict(facts))
