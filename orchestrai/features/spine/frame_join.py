"""Features of somebody's own entities and moments: the point-in-time join over what is published, and what it lacks."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.errors import FeatureViewError
from orchestrai.features.completeness.lacking import Lacks
from orchestrai.features.completeness.row_marks import TrainingWindows, ViewMarks, marks_of, view_marks
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.point_in_time_join import EVENT_TIME, TAKEN, ViewFiles, joined, unknown_entities
from orchestrai.features.ports import DeclaredView
from orchestrai.features.spine.entity_frame import EVENT_TIMESTAMP, ROW, EntityFrame
from orchestrai.features.views.moment_partitions import at_or_before, require_definition
from orchestrai.features.views.view_inputs import time_bounds
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import InputRef
from orchestrai.stage.outcomes import Partitioned

COMPLETE = "windows_complete"
Clock = Literal["event", "arrival"]


@dataclass(frozen=True)
class FrameSpine:
    """The frame as the join sees it: rows per entity and moment, which have nothing but their place."""

    entity: tuple[str, ...]
    name: str = "entities"
    kind: str = "entity"
    time: str = EVENT_TIMESTAMP
    first_table: str = ""
    features: tuple[str, ...] = (ROW,)


@dataclass(frozen=True)
class ViewAnswer:
    """What one view knew: rows for which it knew nothing yet, those of an entity it does not know at all, and its clocks by table."""

    view: str
    ref: InputRef
    nothing_known: int
    unknown_entities: int
    clocks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FrameFeatures:
    """The frame with the features of each row; `incomplete` counts rows whose windows lacked partitions in which data was due."""

    table: pa.Table
    views: tuple[ViewAnswer, ...]
    incomplete: int
    lacks: Lacks


def clocks_of(node: DeclaredView) -> dict[str, str]:
    """By which clock each table of a view was read: `arrival`, a column that says since when a row was known, or `event`."""
    tables = node.view.tables.values()
    return {table.name: "arrival" if table.by_arrival else table.known_at or "event" for table in tables}


def require_clock(views: Sequence[DeclaredView], known_at: Clock) -> None:
    """Raises FeatureViewError where views are asked for by arrival that read a table by the time of its events alone."""
    if known_at == "event":
        return
    for node in views:
        late = sorted(name for name, clock in clocks_of(node).items() if clock == "event")
        if node.view.kind == "row":
            raise FeatureViewError(
                f"{node.view.name}: expected a view of moments (as_of) for --known-at arrival, found a row per event, known with its "
                "event: leave the view out, or ask --known-at event"
            )
        if late:
            raise FeatureViewError(
                f"{node.view.name}: expected tables.{late[0]}.known_at for --known-at arrival, found the time of events alone: "
                "declare known_at: arrival (or the column that says it) and compute the view again, or ask --known-at event"
            )


@dataclass(frozen=True)
class ReadView:
    """A view as rows of a spine meet it: its files, what its rows lack, how many partitions do not note that, and the input it is."""

    files: ViewFiles
    marks: ViewMarks
    not_noted: int
    ref: InputRef
    rows_back: int


def read_views(
    ledger: Ledger,
    views: Sequence[DeclaredView],
    like: Callable[[DeclaredView], Partitioned | None],
    first: ViewFiles,
    stack: ExitStack,
) -> list[ReadView]:
    """Open of each view the partitions that rows of the spine, the `first` table, may have known; raises FeatureViewError, NotReceipted.

    `like` says which dataset a view is cut like; the files stay open with the stack.
    """
    bounds, read = time_bounds(first.files, EVENT_TIMESTAMP), []
    for node in views:
        view, dataset = node.view, ledger.open(node.asset)
        keys = sorted(at_or_before(view, dataset, bounds, same_events=False)) if bounds is not None else []
        require_definition(dataset, keys, view.name, view.hash, "compute it again")
        fetched = stack.enter_context(dataset.fetched(keys))
        files = ViewFiles(view, [file.path for key in keys for file in fetched[key]])
        marks, not_noted = view_marks(view, dataset, like(node), first.view)
        ref = InputRef(dataset.asset, dataset.version, dataset.roots(keys))
        read.append(ReadView(files, marks, not_noted, ref, view.lookback.rows or 0 if view.kind == "row" else 0))
    return read


def frame_features(ledger: Ledger, frame: EntityFrame, views: Sequence[DeclaredView]) -> FrameFeatures:
    """Each row of the frame with what the views knew at its moment, in the frame's order; raises FeatureViewError, NotReceipted.

    A view of moments gives its newest row at or before the moment, a view of events its newest strictly before. Columns: the frame's, the
    features, `<view>_time` of the row that was taken, and `windows_complete`.
    """
    spine, engine = FrameSpine(frame.entity), DuckDbEngine()
    _require_own_names(frame, views)
    answers: list[ViewAnswer] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrai-entities-")))
        pq.write_table(frame.spine, folder / "spine.parquet")
        tables = [ViewFiles(spine, [folder / "spine.parquet"])]
        read = read_views(ledger, views, lambda node: node.partitioned_like, tables[0], stack)
        for node, one in zip(views, read, strict=True):
            absent = unknown_entities(tables[0], one.files, engine)
            answers.append(ViewAnswer(node.view.name, one.ref, 0, absent, clocks_of(node)))
        tables += [one.files for one in read]
        marks, back = [ViewMarks(()), *(one.marks for one in read)], [0, *(one.rows_back for one in read)]
        windows = TrainingWindows("keep", marks, back, sum(one.not_noted for one in read))
        with joined(tables, engine=engine, back=back) as batches:
            known = batches.read_all()
        complete = [pa.array(~marks_of(batch, marks)) for batch in known.to_batches()]
    known = known.append_column(COMPLETE, pa.chunked_array(complete, pa.bool_())).sort_by(ROW)
    result = frame.table
    for number, node in enumerate(views, start=1):
        for name in node.view.features:
            result = result.append_column(name, known.column(name).cast(node.view.schema.field(name).type))
        taken = known.column(f"{TAKEN}{number}")
        result = result.append_column(
            f"{node.view.name}_time", taken.cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
        )
        told = answers[number - 1]
        answers[number - 1] = ViewAnswer(told.view, told.ref, taken.null_count, told.unknown_entities, told.clocks)
    result = result.append_column(COMPLETE, known.column(COMPLETE))
    lacking = sum(1 for whole in known.column(COMPLETE).to_pylist() if not whole)
    return FrameFeatures(result, tuple(answers), lacking, windows.lacks)


def _require_own_names(frame: EntityFrame, views: Sequence[DeclaredView]) -> None:
    """Raises FeatureViewError for a column of the frame that a feature, or what is told beside them, would be written over."""
    added = [name for node in views for name in (*node.view.features, f"{node.view.name}_time")]
    taken = sorted({EVENT_TIME, COMPLETE, ROW, *added} & set(frame.table.column_names))
    if taken:
        raise FeatureViewError(
            f"expected columns of names of their own beside the features, found {', '.join(taken)}: rename or drop them"
        )
