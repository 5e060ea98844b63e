"""The point-in-time join: to each row the features that were known at its moment, and never later ones.

The one join of the project, for training sets, predictions and batch transforms alike. The first view gives the rows. Another
view adds, by its own entity, which may be coarser:
- a view of moments (kind "entity"): its newest row at or before the moment, since it read what came strictly before its own;
- a view of events (kind "row"): its newest row strictly before the moment, since it read the event at its own;
- a view of the very events that the first one is of: its row at just that moment.
It knows files and clocks. Which partitions to read, and whether their bytes count, is for those who call it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.core.sql.quoting import quoted
from orchestrai.errors import FeatureViewError
from orchestrai.features.engines.closed_database import Workspace
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import BATCH_ROWS
from orchestrai.features.views.portable_types import UTC_MICROS

EVENT_TIME = "event_time"
LABEL = "label"
TAKEN, REACH = "orchestrai_taken_", "orchestrai_reach_"


class Clocked(Protocol):
    """What the join must know of a view; a feature view says it, and so does a model's record of one."""

    @property
    def name(self) -> str:
        """The view's name."""
        ...

    @property
    def kind(self) -> str:
        """`entity` for rows per entity and moment, `row` for rows per event."""
        ...

    @property
    def entity(self) -> tuple[str, ...]:
        """The columns that name whom a row describes."""
        ...

    @property
    def time(self) -> str:
        """The column with a row's moment."""
        ...

    @property
    def first_table(self) -> str:
        """The input whose rows a view of events has a row for."""
        ...

    @property
    def features(self) -> tuple[str, ...]:
        """The columns beside entity and time."""
        ...


@dataclass(frozen=True)
class ViewFiles:
    """Verified feature files of one view; no file means that nothing was known."""

    view: Clocked
    files: Sequence[Path]


@dataclass(frozen=True)
class LabelFiles:
    """Labels by entity and moment: only rows with a label take part."""

    entity: tuple[str, ...]
    time: str
    files: Sequence[Path]


def require_joinable(views: Sequence[Clocked]) -> None:
    """Raises FeatureViewError for a view with a foreign entity or with a column that another one has."""
    entity = views[0].entity
    owners = {EVENT_TIME: "the training set", LABEL: "the training set", **dict.fromkeys(entity, "the entity")}
    for view in views:
        if not set(view.entity) <= set(entity):
            raise FeatureViewError(
                f"{view.name}: expected an entity among {', '.join(entity)}, found {', '.join(view.entity)}"
            )
        for name in view.features:
            if name in owners:
                raise FeatureViewError(
                    f"{view.name}: expected a feature name of its own, found {name} of {owners[name]}: rename it"
                )
            owners[name] = view.name


def of_same_events(view: Clocked, first: Clocked) -> bool:
    """True for two views that have a row for each event of one table."""
    return view.kind == first.kind == "row" and view.first_table == first.first_table


@contextmanager
def joined(
    tables: Sequence[ViewFiles],
    labels: LabelFiles | None = None,
    engine: DuckDbEngine | None = None,
    back: Sequence[int] | None = None,
) -> Iterator[pa.RecordBatchReader]:
    """The rows of the first view with the features of all, sorted by entity and `event_time`, in bounded memory.

    Columns: the first view's entity, `event_time`, `label` where there are labels, then each view's features in order. With `back`, a
    number for each view, follow by view the time of the row that was taken and that of its entity's row so many before it; NULL where
    there is none.
    Raises FeatureViewError as `require_joinable`, and for a column that a file lacks.
    """
    first = tables[0].view
    require_joinable([table.view for table in tables])
    with _bound(tables, engine, back or ()) as workspace:
        db = workspace.connection
        columns = [f"f0.{quoted(name)}" for name in first.entity]
        columns.append(f"f0.{quoted(first.time)} AS {quoted(EVENT_TIME)}")
        joins = [_feature_join(number, table.view, first) for number, table in enumerate(tables) if number and table.files]
        if labels is not None:
            db.execute(f"CREATE TEMP VIEW labels AS SELECT * FROM read_parquet({workspace.paths(labels.files)})")
            columns.append(f"labels.{quoted(LABEL)}")
            moment = f"labels.{quoted(labels.time)} = f0.{quoted(first.time)}"
            joins.insert(0, _on("JOIN", "labels", labels.entity, moment))
        for number, table in enumerate(tables):
            source = f"f{number}." if table.files else "NULL AS "
            columns += [source + quoted(name) for name in table.view.features]
        for number, rows in enumerate(back or ()):
            columns += _times(number, tables[number], rows)
        order = ", ".join(f"f0.{quoted(name)}" for name in (*first.entity, first.time))
        rows = db.sql(f"SELECT {', '.join(columns)} FROM f0 {' '.join(joins)} ORDER BY {order}").to_arrow_reader(BATCH_ROWS)
        schema = rows.schema.set(len(first.entity), pa.field(EVENT_TIME, UTC_MICROS))
        yield pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in rows))


def unmatched(first: ViewFiles, other: ViewFiles, engine: DuckDbEngine | None = None) -> int:
    """How many rows of the first view find nothing known in these files of the other."""
    tables = (first, other)
    with _bound(tables, engine) as workspace:
        nothing = f"f1.{quoted(other.view.time)} IS NULL"
        sql = f"SELECT count(*) FROM f0 {_feature_join(1, other.view, first.view)} WHERE {nothing}"
        return int(workspace.connection.execute(sql).fetchall()[0][0])


def unknown_entities(first: ViewFiles, other: ViewFiles, engine: DuckDbEngine | None = None) -> int:
    """How many rows of the first view are of entities that these files of the other have no row of, whenever."""
    with _bound((first, other), engine) as workspace:
        there = _on("ANTI JOIN", "f1", other.view.entity, "true") if other.files else ""
        sql = f"SELECT count(*) FROM f0 {there}"
        return int(workspace.connection.execute(sql).fetchall()[0][0])


@contextmanager
def _bound(tables: Sequence[ViewFiles], engine: DuckDbEngine | None, back: Sequence[int] = ()) -> Iterator[Workspace]:
    with (engine or DuckDbEngine()).connect() as workspace:
        for number, table in enumerate(tables):
            if table.files:
                require_columns(table)
                columns = "*" + (f", {_reach(number, table.view, back[number])}" if back and back[number] else "")
                rows = f"SELECT {columns} FROM read_parquet({workspace.paths(table.files)})"
                workspace.connection.execute(f"CREATE OR REPLACE TEMP VIEW f{number} AS {rows}")
        yield workspace


def _reach(number: int, view: Clocked, rows: int) -> str:
    entity, time = ", ".join(map(quoted, view.entity)), quoted(view.time)
    return f"LAG({time}, {rows}) OVER (PARTITION BY {entity} ORDER BY {time}) AS {REACH}{number}"


def _times(number: int, table: ViewFiles, rows: int) -> list[str]:
    """The moments behind the features of one view."""
    if not table.files:
        return [f"CAST(NULL AS TIMESTAMP) AS {name}{number}" for name in (TAKEN, REACH)]
    taken = f"f{number}.{quoted(table.view.time)}"
    return [f"{taken} AS {TAKEN}{number}", f"{f'f{number}.{REACH}{number}' if rows else taken} AS {REACH}{number}"]


def require_columns(table: ViewFiles) -> None:
    """Raises FeatureViewError for a column that the view's files lack."""
    view, stored = table.view, pq.read_schema(table.files[0]).names
    missing = [name for name in (*view.entity, view.time, *view.features) if name not in stored]
    if missing:
        raise FeatureViewError(
            f"{view.name}: expected the columns {', '.join(missing)} in its features, found {', '.join(stored)}: compute them again"
        )


def _feature_join(number: int, view: Clocked, first: Clocked) -> str:
    table = f"f{number}"
    own, moment = f"{table}.{quoted(view.time)}", f"f0.{quoted(first.time)}"
    if of_same_events(view, first):
        return _on("LEFT JOIN", table, view.entity, f"{own} = {moment}")
    test = ">=" if view.kind == "entity" else ">"
    return _on("ASOF LEFT JOIN", table, view.entity, f"{moment} {test} {own}")


def _on(join: str, table: str, entity: Sequence[str], moment: str) -> str:
    same = [f"{table}.{quoted(name)} = f0.{quoted(name)}" for name in entity]
    return f"{join} {table} ON {' AND '.join([*same, moment])}"
