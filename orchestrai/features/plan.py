"""The plan of a features run: which partitions are due, and from which part of which inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from orchestrai.core.canonical import JsonValue
from orchestrai.core.time.calendar import WHOLE
from orchestrai.core.time.partition_key import with_value
from orchestrai.core.tree.ordered_keys import keys_within
from orchestrai.errors import FeatureViewError, NotReceipted
from orchestrai.features.incremental.partition_spans import ALWAYS, PartitionSpans, back
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


@dataclass(frozen=True)
class Window:
    """What one partition may see of each table, before it is looked up which partitions hold that."""

    key: str
    since: Mapping[str, datetime | None]
    until: datetime | None
    keep: tuple[datetime, datetime] | None = None
    as_of: datetime | None = None


@dataclass
class Planner:
    """Says of a view and its inputs as they are now which partitions are due, and what each of them reads."""

    view: FeatureView
    opened: Inputs
    _came: dict[tuple[str, str], datetime] = field(default_factory=dict)

    def due(self, partitions: Sequence[str] | None, now: datetime = ALWAYS[1]) -> list[str]:
        """The partitions asked for, or those that are due by `now`, ascending; raises FeatureViewError, NotReceipted."""
        view, opened = self.view, self.opened
        if view.kind == "row":
            dataset = opened.datasets[view.first_table]
            for key in partitions or ():
                dataset.receipt(key)
            return sorted(opened.spans[view.first_table] if partitions is None else set(partitions))
        spec = view.spec
        assert isinstance(spec, FeatureViewSpec) and spec.as_of is not None
        if partitions is not None:
            return sorted(set(partitions))
        first, last = _data_span(opened, spec.spine_table, view)
        lowest = first + (spec.as_of.warmup or view.lookback.time or spec.as_of.every)
        due = moments(spec.as_of, lowest, min(last, now))
        return sorted(with_value(moment_key(moment, spec.as_of.every), opened.value) for moment in due)

    def window(self, key: str) -> Window | None:
        """What a partition may see; None where the input that it is cut like has no such partition. Raises FeatureViewError."""
        view = self.view
        if view.kind != "row":
            try:
                as_of = parse_moment(key)
            except ValueError as exc:
                raise FeatureViewError(f"{view.name}: expected as-of partitions such as 2026-01-05, found {key!r}") from exc
            moment_since = {name: None if t.whole else back(as_of, view.lookback.time) for name, t in view.tables.items()}
            return Window(key, moment_since, as_of, as_of=as_of)
        span = self.opened.spans[view.first_table].get(key)
        if span is None:
            return None
        start, end = span
        since = {
            name: None if table.whole else (start if span == ALWAYS else back(start, view.lookback.time) or start)
            for name, table in view.tables.items()
        }
        if view.lookback.time is None:
            since[view.first_table] = start
        return Window(key, since, None if span == ALWAYS else end, None if span == ALWAYS else span)

    def task(self, window: Window) -> Task:
        """The partitions that a window reads; of inputs known by arrival those of which something came before the moment."""
        partitions: dict[str, Sequence[str]] = {}
        for name, table in self.view.tables.items():
            keys = self.opened.needed(name, window.since[name], window.until)
            if table.by_arrival and window.as_of is not None:
                keys = [part for part in keys if self.came(name, part) < window.as_of]
            partitions[name] = keys
        return Task(window.key, window.since, window.until, partitions, window.keep, window.as_of)

    def tasks(self, keys: Sequence[str]) -> list[Task]:
        """One task per partition; raises NotReceipted for one that the input has not."""
        windows = ((key, self.window(key)) for key in keys)
        return [self.task(window) if window is not None else _absent(self.view, key) for key, window in windows]

    def came(self, table: str, key: str) -> datetime:
        """When the first rows of an input partition came."""
        if (table, key) not in self._came:
            self._came[table, key] = came_first(self.opened.datasets[table], key) or ALWAYS[1]
        return self._came[table, key]


def _absent(view: FeatureView, key: str) -> Task:
    raise NotReceipted(f"{view.name}: expected partition {key} of {view.first_table}, found none: restore it first")


def _data_span(opened: Inputs, table: str, view: FeatureView) -> tuple[datetime, datetime]:
    spans = opened.spans[table]
    if isinstance(spans, PartitionSpans) and spans.grain != WHOLE and (ends := spans.ends) is not None:
        return ends
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
        there, last = opened.spans[primary], max(needed[primary], default="")
        if reach and reach not in there:
            return None
        # a search reached every partition from there on
        needed[primary] = [*keys_within(there, reach, last)][::-1] if last else []
    return needed


def union(view: FeatureView, tasks: Sequence[Task]) -> dict[str, set[str]]:
    """Every partition that some task reads, by table."""
    used: dict[str, set[str]] = {name: set() for name in view.tables}
    for task in tasks:
        for name, keys in task.partitions.items():
            used[name].update(keys)
    return used
