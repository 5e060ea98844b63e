"""The plan of a features run: which partitions, from which part of which inputs, and which are fresh."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.partition_key import with_value
from orchestrai.errors import FeatureViewError, NotReceipted
from orchestrai.features.incremental.partition_spans import ALWAYS, back
from orchestrai.features.spec import FeatureViewSpec, moment_key, moments, parse_moment
from orchestrai.features.views.known_time import came_first
from orchestrai.features.views.view import FeatureView
from orchestrai.features.views.view_inputs import Inputs, time_bounds
from orchestrai.ledger.dataset import Dataset


@dataclass(frozen=True)
class Task:
    """One partition to compute: what each table may show, and which rows to keep."""

    key: str
    since: Mapping[str, datetime | None]
    until: datetime | None
    partitions: Mapping[str, Sequence[str]]
    keep: tuple[datetime, datetime] | None = None
    as_of: datetime | None = None


def plan(view: FeatureView, opened: Inputs, partitions: Sequence[str] | None, now: datetime = ALWAYS[1]) -> list[Task]:
    """One task per partition asked for, or per one that is due by `now`; raises FeatureViewError, NotReceipted."""
    return _row_tasks(view, opened, partitions) if view.kind == "row" else _moment_tasks(view, opened, partitions, now)


def _row_tasks(view: FeatureView, opened: Inputs, partitions: Sequence[str] | None) -> list[Task]:
    primary = next(iter(view.tables))
    dataset, spans = opened.datasets[primary], opened.spans[primary]
    for key in partitions or ():
        dataset.receipt(key)
    tasks = []
    for key in sorted(spans) if partitions is None else sorted(set(partitions)):
        start, end = spans[key]
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


def _moment_tasks(view: FeatureView, opened: Inputs, partitions: Sequence[str] | None, now: datetime) -> list[Task]:
    spec = view.spec
    assert isinstance(spec, FeatureViewSpec) and spec.as_of is not None
    if partitions is None:
        first, last = _data_span(opened, spec.spine_table, view)
        lowest = first + (spec.as_of.warmup or view.lookback.time or spec.as_of.every)
        due = moments(spec.as_of, lowest, min(last, now))
        keys = [with_value(moment_key(moment, spec.as_of.every), opened.value) for moment in due]
    else:
        keys = sorted(set(partitions))
    tasks = []
    came = {name: _arrivals(opened, name) for name, table in view.tables.items() if table.by_arrival}
    for key in keys:
        try:
            as_of = parse_moment(key)
        except ValueError as exc:
            raise FeatureViewError(f"{view.name}: expected as-of partitions such as 2026-01-05, found {key!r}") from exc
        since = {name: None if table.whole else back(as_of, view.lookback.time) for name, table in view.tables.items()}
        needed = {
            # nothing of a partition counts that came at the moment or after it
            name: [part for part in opened.needed(name, since[name], as_of) if name not in came or came[name][part] < as_of]
            for name in view.tables
        }
        tasks.append(Task(key, since, as_of, needed, as_of=as_of))
    return tasks


def _arrivals(opened: Inputs, table: str) -> dict[str, datetime]:
    """When the first rows of each partition came."""
    return {key: came_first(opened.datasets[table], key) or ALWAYS[1] for key in opened.spans[table]}


def _data_span(opened: Inputs, table: str, view: FeatureView) -> tuple[datetime, datetime]:
    spans = opened.spans[table]
    if all(span != ALWAYS for span in spans.values()):
        return min(start for start, _ in spans.values()), max(end for _, end in spans.values())
    column = view.tables[table].event_time
    with opened.fetched({table: list(spans)}) as files:
        bounds = time_bounds([path for paths in files[table].values() for path in paths], column or "")
    if bounds is None:
        raise FeatureViewError(
            f"{view.name}: expected rows in {table}, found none: materialize {opened.datasets[table].asset}"
        )
    return bounds


def recorded(current: Dataset | None, key: str) -> Mapping[str, JsonValue]:
    """What was noted of a published partition; nothing where none counts, so that it is computed again."""
    if current is None or key not in current.partitions:
        return {}
    try:
        return current.files(key).stats
    except NotReceipted:
        return {}


def reached(task: Task, opened: Inputs, reach: JsonValue) -> dict[str, list[str]] | None:
    """A task's partitions with those its tail search reached (`""`: to the beginning); None when that one is no more."""
    needed = {name: list(keys) for name, keys in task.partitions.items()}
    if isinstance(reach, str):
        primary = next(iter(needed))
        ordered = list(opened.spans[primary])
        if reach and reach not in ordered:
            return None
        first = ordered.index(reach) if reach else 0
        last = max((ordered.index(key) for key in needed[primary]), default=-1)
        needed[primary] = ordered[first : last + 1]
    return needed


def fresh(current: Dataset | None, task: Task, opened: Inputs, code: str) -> bool:
    """True when the published partition came from the very inputs and code of today."""
    stats = recorded(current, task.key)
    if stats.get("code") != code:
        return False
    needed = reached(task, opened, stats.get("tail_from"))
    return needed is not None and stats.get("inputs") == opened.roots(needed)


def union(view: FeatureView, tasks: Sequence[Task]) -> dict[str, set[str]]:
    """Every partition that some task reads, by table."""
    used: dict[str, set[str]] = {name: set() for name in view.tables}
    for task in tasks:
        for name, keys in task.partitions.items():
            used[name].update(keys)
    return used
