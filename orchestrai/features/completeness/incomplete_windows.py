"""Which rows of a feature partition have windows that lack due partitions: worked out when it is computed, kept in its manifest.

A row of an as-of view reads [as_of - look-back, as_of), so that the rows of a moment are alike. A row of a row-level view reads
[its time - look-back, its time], both ends included, and by frames of rows back to its entity's n-th moment before it: whether a row
is incomplete follows from its own time, and from the time of that earlier moment, by what is noted here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from orchestrai.core.canonical import JsonValue
from orchestrai.core.sql.quoting import all_quoted, quoted
from orchestrai.core.verdict import Verdict
from orchestrai.features.completeness.lacking import DatasetState, Lacks, Reason, Shortfall, Span, lacking
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.duckdb_sql import moment_sql
from orchestrai.features.plan import Task
from orchestrai.features.views.view import FeatureView
from orchestrai.features.views.view_inputs import Inputs

INCOMPLETE = "incomplete"
WINDOWS_COMPLETE = "windows_complete"
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class IncompleteWindows:
    """Rows whose own time lies in one of `spans` lack partitions, and those whose frame of rows reaches back beyond `behind`."""

    lacks: Lacks = field(default_factory=dict)
    spans: tuple[Span, ...] = ()
    behind: datetime | None = None

    def as_stats(self) -> dict[str, JsonValue]:
        """The form in a manifest: empty where nothing lacks."""
        if not self.lacks:
            return {}
        noted: dict[str, JsonValue] = {
            "lacks": {asset: list(keys) for asset, keys in self.lacks.items()},
            "spans": [[start.isoformat(), end.isoformat()] for start, end in self.spans],
        }
        return noted | ({"behind": self.behind.isoformat()} if self.behind is not None else {})


def noted(stats: Mapping[str, JsonValue]) -> IncompleteWindows | None:
    """What the manifest of a feature partition says; None where an earlier release did not note it."""
    told = stats.get(INCOMPLETE)
    if not isinstance(told, dict):
        return None
    lacks, spans, behind = told.get("lacks"), told.get("spans"), told.get("behind")
    return IncompleteWindows(
        {asset: [str(key) for key in keys] for asset, keys in lacks.items() if isinstance(keys, list)}
        if isinstance(lacks, dict)
        else {},
        tuple((_moment(span[0]), _moment(span[1])) for span in spans if isinstance(span, list))
        if isinstance(spans, list)
        else (),
        _moment(behind) if isinstance(behind, str) else None,
    )


def _moment(text: JsonValue) -> datetime:
    return datetime.fromisoformat(str(text))


def incomplete_windows(
    view: FeatureView, task: Task, opened: Inputs, states: Mapping[str, DatasetState], reach: str | None
) -> IncompleteWindows:
    """What the windows of one partition lack, by the states of the inputs by table.

    `reach` is the first partition in which earlier rows were looked for, empty where the search came to the beginning.
    """
    lacks: dict[str, Sequence[str]] = {}
    spans: list[Span] = []
    behind: datetime | None = None
    for name, state in states.items():
        keys = lacking(state, task.since[name], task.until)
        flawed = {key: span for key in keys if (span := _own_times(view, name, task, state.absent[key])) is not None}
        spans += flawed.values()
        reached = _reached(task, opened, state, reach) if name == view.first_table and task.keep is not None else ()
        behind = max((state.absent[key][1] for key in reached), default=behind)
        if together := sorted({*flawed, *reached}):
            lacks[state.asset] = together
    return IncompleteWindows(lacks, _joined(spans), behind)


def _own_times(view: FeatureView, table: str, task: Task, absent: Span) -> Span | None:
    """The times of rows whose window in time overlaps a lacking partition of one table."""
    if task.as_of is not None:
        return task.as_of, task.as_of + _INSTANT
    if task.keep is None:
        return None
    (start, end), (low, high) = task.keep, absent
    last = end if view.tables[table].whole else min(end, high + (view.lookback.time or timedelta(0)))
    return (max(start, low), last) if max(start, low) < last else None


def _reached(task: Task, opened: Inputs, state: DatasetState, reach: str | None) -> tuple[str, ...]:
    """The lacking partitions that a search for earlier rows passed."""
    if reach is None or task.keep is None:
        return ()
    table = next(iter(task.partitions))
    return lacking(state, opened.spans[table][reach][0] if reach else None, task.keep[0])


def _joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)


def incomplete_rows(engine: DuckDbEngine, view: FeatureView, windows: IncompleteWindows, files: Sequence[Path]) -> int:
    """How many rows of a partition lack something, from its files; by frames of rows at most so many.

    How far an entity's frame reaches before the partition is not looked up: its first rows count as reaching beyond.
    """
    if not windows.lacks or not files:
        return 0
    time = quoted(view.time)
    tests = [f"({time} >= {moment_sql(start)} AND {time} < {moment_sql(end)})" for start, end in windows.spans]
    if windows.behind is not None:
        tests.append(f"place <= {view.lookback.rows or 0}")
    place = f"ROW_NUMBER() OVER (PARTITION BY {all_quoted(view.entity)} ORDER BY {time}) AS place"
    with engine.connect() as workspace:
        rows = f"SELECT {time}, {place} FROM read_parquet({workspace.paths(files)})"
        counted = workspace.connection.execute(f"SELECT count(*) FROM ({rows}) WHERE {' OR '.join(tests)}")
        return int(counted.fetchall()[0][0])


def windows_verdict(rows: int, incomplete: int, told: Mapping[str, Reason], most: float | None) -> Verdict:
    """`windows_complete`: warns of rows whose windows lack due partitions, and closes the gate above the share `most`."""
    details: dict[str, JsonValue] = {"rows": rows, "incomplete_rows": incomplete}
    return Shortfall(WINDOWS_COMPLETE, "windows", "that lack", incomplete, rows, details).verdict(told, most)
