"""The features stage: restored datasets in, a receipted feature table out.

A partition whose inputs (the partition roots inside its look-back) and code are unchanged is not computed again.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from orchestrai.contracts.calendar import Grain
from orchestrai.contracts.verdict import JsonValue, Verdict
from orchestrai.errors import FeatureViewError
from orchestrai.features.duckdb_engine import DuckDbEngine
from orchestrai.features.engine import Engine, Query, Source, Spine
from orchestrai.features.inputs import Files, Inputs, open_inputs, time_bounds
from orchestrai.features.spans import ALWAYS, back
from orchestrai.features.spec import FeatureViewSpec, moment_key, moments, parse_moment
from orchestrai.features.table import KeyWatch, rule_verdicts, summarize, write_files
from orchestrai.features.tail import find_tail
from orchestrai.features.view import FeatureView
from orchestrai.ledger.ledger import Dataset, Ledger
from orchestrai.ledger.report import Meter, PartitionOutcome, StageReport
from orchestrai.ledger.session import Session

STAGE = "features"
LAYOUT = "parquet-1"
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Task:
    """One partition to compute: what each table may show, and which rows to keep."""

    key: str
    since: Mapping[str, datetime | None]
    until: datetime | None
    partitions: Mapping[str, Sequence[str]]
    keep: tuple[datetime, datetime] | None = None
    as_of: datetime | None = None


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
    with Meter() as meter:
        session = ledger.session(asset, STAGE)
        opened = open_inputs(ledger, view, inputs, grain)
        tasks = _row_tasks(view, opened, partitions) if view.kind == "row" else _moment_tasks(view, opened, partitions)
        current = ledger.find(asset)
        code = f"{LAYOUT} {view.hash} {code_version}"
        stale = [task for task in tasks if not _fresh(current, task, opened, code)]
        used = _union(view, opened, stale)
        verdicts: dict[str, list[Verdict]] = {}
        with opened.fetched(used) as files, tempfile.TemporaryDirectory(prefix="orchestrai-features-") as scratch:
            for number, task in enumerate(stale):
                if progress is not None:
                    progress(number / len(stale), f"{view.name} {task.key}")
                folder = Path(scratch) / f"{number:06d}"
                verdicts[task.key] = _run(session, view, engine, opened, task, files, folder, code)
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


def _row_tasks(view: FeatureView, opened: Inputs, partitions: Sequence[str] | None) -> list[Task]:
    primary = next(iter(view.tables))
    dataset, found = opened.datasets[primary], opened.spans[primary]
    dataset.roots(()) if partitions is None else [dataset.receipt(key) for key in partitions]
    tasks = []
    for key in sorted(found) if partitions is None else sorted(set(partitions)):
        start, end = found[key]
        since = {
            name: None if table.whole else (start if (start, end) == ALWAYS else back(start, view.lookback.time) or start)
            for name, table in view.tables.items()
        }
        if view.lookback.time is None:
            since[primary] = start
        needed = {name: opened.needed(name, since[name], end) for name in view.tables}
        keep = None if (start, end) == ALWAYS else (start, end)
        tasks.append(Task(key, since, None if keep is None else end, needed, keep))
    return tasks


def _moment_tasks(view: FeatureView, opened: Inputs, partitions: Sequence[str] | None) -> list[Task]:
    spec = view.spec
    assert isinstance(spec, FeatureViewSpec) and spec.as_of is not None
    if partitions is None:
        first, last = _data_span(opened, spec.spine_table, view)
        lowest = first + (view.lookback.time or spec.as_of.every)
        keys = [moment_key(moment, spec.as_of.every) for moment in moments(spec.as_of, lowest, last)]
    else:
        keys = sorted(set(partitions))
    tasks = []
    for key in keys:
        try:
            as_of = parse_moment(key)
        except ValueError as exc:
            raise FeatureViewError(f"{view.name}: expected as-of partitions such as 2026-01-05, found {key!r}") from exc
        since = {name: None if table.whole else back(as_of, view.lookback.time) for name, table in view.tables.items()}
        needed = {name: opened.needed(name, since[name], as_of) for name in view.tables}
        tasks.append(Task(key, since, as_of, needed, as_of=as_of))
    return tasks


def _data_span(opened: Inputs, table: str, view: FeatureView) -> tuple[datetime, datetime]:
    found = opened.spans[table]
    if all(span != ALWAYS for span in found.values()):
        return min(start for start, _ in found.values()), max(end for _, end in found.values())
    column = view.tables[table].event_time
    with opened.fetched({table: list(found)}) as files:
        bounds = time_bounds([path for paths in files[table].values() for path in paths], column or "")
    if bounds is None:
        raise FeatureViewError(f"{view.name}: expected rows in {table}, found none: materialize {opened.datasets[table].asset}")
    return bounds


def _recorded(current: Dataset | None, key: str) -> Mapping[str, JsonValue]:
    if current is None or key not in current.partitions:
        return {}
    return current.files(key).stats


def _fresh(current: Dataset | None, task: Task, opened: Inputs, code: str) -> bool:
    """True when the published partition came from the very inputs and code of today."""
    stats = _recorded(current, task.key)
    if stats.get("code") != code:
        return False
    reach = stats.get("tail_from")
    needed = dict(task.partitions)
    if isinstance(reach, str):
        primary = next(iter(needed))
        ordered = list(opened.spans[primary])
        if reach and reach not in ordered:
            return False
        first = ordered.index(reach) if reach else 0
        last = max((ordered.index(key) for key in needed[primary]), default=-1)
        needed[primary] = ordered[first : last + 1]
    return stats.get("inputs") == opened.roots(needed)


def _union(view: FeatureView, opened: Inputs, tasks: Sequence[Task]) -> dict[str, set[str]]:
    used: dict[str, set[str]] = {name: set() for name in view.tables}
    for task in tasks:
        for name, keys in task.partitions.items():
            used[name].update(keys)
    return used


def _run(
    session: Session,
    view: FeatureView,
    engine: Engine,
    opened: Inputs,
    task: Task,
    files: Files,
    folder: Path,
    code: str,
) -> list[Verdict]:
    """Compute one partition and stage its files; returns the verdicts."""
    with ExitStack() as stack:
        needed = {name: list(keys) for name, keys in task.partitions.items()}
        stats: dict[str, JsonValue] = {"code": code}
        tails: dict[str, list[Path]] = {}
        if view.kind == "row" and view.lookback.rows and task.keep is not None:
            primary = next(iter(view.tables))
            tail = stack.enter_context(find_tail(view, opened, task.since[primary], task.keep[1], files[primary], folder))
            tails[primary] = tail.files
            needed[primary] = sorted({*needed[primary], *tail.scanned})
            if tail.whole or tail.scanned:
                stats["tail_from"] = "" if tail.whole else min(tail.scanned, key=lambda key: opened.spans[primary][key])
        sources = {
            name: Source(
                table,
                [path for key in task.partitions[name] for path in files[name][key]],
                since=task.since[name],
                until=task.until,
                known_before=task.as_of,
                tail=tails.get(name, ()),
            )
            for name, table in view.tables.items()
        }
        spine = None
        if task.as_of is not None:
            assert isinstance(view.spec, FeatureViewSpec)
            spine = Spine(as_of=task.as_of, table=view.spec.spine_table)
        watch = KeyWatch(view.key, view.entity)
        with engine.run(Query(view, sources, spine, task.keep)) as batches:
            written = write_files(watch.watch(batches), view.schema, folder / "out")
    for part in written:
        session.add_file(task.key, part.path.name, part.path, rows=part.rows)
    summary = summarize(part.path for part in written)
    stats["inputs"] = {asset: dict(roots) for asset, roots in opened.roots(needed).items()}
    session.add_stats(task.key, **stats)
    for part in written:
        part.path.unlink()
    checks = view.spec.checks if isinstance(view.spec, FeatureViewSpec) else None
    return [*watch.verdicts(view.name), *(rule_verdicts(checks, summary) if checks is not None else [])]


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
