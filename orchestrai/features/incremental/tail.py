"""The tail of a row-level run: each entity's last rows before the time look-back, however long it was silent.

A look-back in time cannot promise a window of rows: a device that was silent for an hour has its earlier rows an hour back.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.core.sql.quoting import all_quoted, quoted
from orchestrai.core.tree.ordered_keys import BEHIND, keys_before
from orchestrai.features.engines.closed_database import Workspace
from orchestrai.features.engines.duckdb_engine import DuckDbEngine, moment_sql, source_sql
from orchestrai.features.engines.engine import BATCH_ROWS, Source
from orchestrai.features.incremental import one_sort
from orchestrai.features.incremental.sorted_rows import Unsuited
from orchestrai.features.views.view import FeatureView
from orchestrai.features.views.view_inputs import Inputs, Span, within

_STEPS = 60


@dataclass(frozen=True)
class Tail:
    """Rows before the look-back, as Parquet, and the partitions that were looked through for them.

    `whole` says that the search ended at the beginning of the data: earlier data, should it arrive, would matter.
    """

    files: list[Path] = field(default_factory=list)
    scanned: list[str] = field(default_factory=list)
    whole: bool = False


@contextmanager
def find_tail(
    view: FeatureView,
    opened: Inputs,
    since: datetime | None,
    keep: tuple[datetime, datetime],
    files: Mapping[str, Sequence[Path]],
    folder: Path,
    engine: DuckDbEngine,
    given: pa.Table | None = None,
) -> Iterator[Tail]:
    """The last `lookback.rows` moments before `keep` of every entity that has rows in it, as far as they lie before `since`.

    `given` names the entities instead, with how many rows of theirs since then are `held`.
    Walks back partition by partition, and stops when every entity has enough or the data begins.
    """
    primary = next(iter(view.tables))
    table, rows = view.tables[primary], view.lookback.rows or 0
    earlier = _earlier(opened.spans[primary], since)
    if next(earlier, None) is None:
        yield Tail(whole=True)
        return
    entity, time = all_quoted(view.entity), quoted(view.time)
    joined = " AND ".join(f"t.{quoted(name)} = e.{quoted(name)}" for name in view.entity)
    scanned: list[str] = []
    folder.mkdir(parents=True, exist_ok=True)
    with engine.connect() as workspace, ExitStack() as stack:
        db = workspace.connection
        present = [path for key in opened.needed(primary, since, keep[1]) for path in files[key]] if given is None else []
        recent = Source(table, within(present, table.event_time, since, keep[1]), since=since, until=keep[1])
        now = source_sql(recent, workspace.paths)
        # rows inside the look-back count, unless a window reads another's result: then each of them needs its own rows
        seen = _seen(workspace, view, engine, Source(table, present, since, keep[1]), now) if given is None else now
        held = (
            "0"
            if view.chained or (since is not None and since >= keep[0])
            else f"count(DISTINCT CASE WHEN {time} < {moment_sql(keep[0])} THEN {time} END)"
        )
        if given is not None:
            db.register("given", given)
            db.execute(f"CREATE TEMP TABLE wanted AS SELECT entity AS {entity}, held, held AS n FROM given")
            db.unregister("given")
        else:
            db.execute(
                f"CREATE TEMP TABLE wanted AS SELECT {entity}, {held} AS held, {held} AS n FROM ({seen}) "
                f"GROUP BY {entity} HAVING max({time}) >= {moment_sql(keep[0])}"
            )
        db.execute(f"CREATE TEMP TABLE tail AS SELECT * FROM ({now}) LIMIT 0")
        for key, low, high in _steps(_earlier(opened.spans[primary], since), opened.spans[primary], since):
            if not db.execute(f"SELECT count(*) FROM wanted WHERE n < {rows}").fetchall()[0][0]:
                break
            if key not in scanned:
                scanned.append(key)
                stack.close()  # one partition more is open at a time, however far back it goes
                paths = files if key in files else stack.enter_context(opened.fetched({primary: [key]}))[primary]
            source = Source(table, within(paths[key], table.event_time, low, high), since=low, until=high)
            past = _seen(workspace, view, engine, source, source_sql(source, workspace.paths))
            db.execute(
                f"INSERT INTO tail SELECT t.* FROM ({past}) AS t JOIN wanted AS e ON {joined} WHERE e.n < {rows} "
                f"QUALIFY e.n + DENSE_RANK() OVER (PARTITION BY {all_quoted(view.entity, table='t')} "
                f"ORDER BY t.{time} DESC) <= {rows}"
            )
            db.execute(
                f"CREATE OR REPLACE TEMP TABLE wanted AS SELECT e.* EXCLUDE n, any_value(e.held) + count(DISTINCT t.{time}) AS n "
                f"FROM wanted AS e LEFT JOIN tail AS t ON {joined} GROUP BY ALL"
            )
        path = folder / "tail.parquet"
        rows_of_tail = db.sql("SELECT * FROM tail").to_arrow_reader(BATCH_ROWS)
        with pq.ParquetWriter(path, rows_of_tail.schema, compression="none") as writer:
            for batch in rows_of_tail:
                writer.write_batch(batch)
        short = bool(db.execute(f"SELECT count(*) FROM wanted WHERE n < {rows}").fetchall()[0][0])
        held = db.execute("SELECT count(*) FROM tail").fetchall()[0][0]
    yield Tail([path] if held else [], scanned, short)


def _seen(workspace: Workspace, view: FeatureView, engine: DuckDbEngine, source: Source, rows: str) -> str:
    """The rows of a source at moments that the view's windows see: what a WHERE leaves out is no row of a frame."""
    plan = one_sort.plan(view)
    if plan is None or not plan.by_moment or not plan.filtered:
        return rows
    try:
        left = engine.prepared(view, plan, source)
    except Unsuited:
        return rows
    if not left.num_rows:
        return f"SELECT * FROM ({rows}) LIMIT 0"
    db, names = workspace.connection, [*plan.entity, plan.time]
    db.register("seen", left.select(names).rename_columns(list(view.key)))
    db.execute("CREATE OR REPLACE TEMP TABLE seen_rows AS SELECT DISTINCT * FROM seen")
    db.unregister("seen")
    joined = " AND ".join(f"r.{quoted(name)} = s.{quoted(name)}" for name in view.key)
    return f"SELECT r.* FROM ({rows}) AS r SEMI JOIN seen_rows AS s ON {joined}"


def _earlier(spans: Mapping[str, Span], since: datetime | None) -> Iterator[str]:
    """The partitions that begin before `since`, the newest first; none where there is no such moment."""
    return (key for key in keys_before(spans, BEHIND) if since is not None and spans[key][0] < since)


def _steps(
    earlier: Iterable[str], spans: Mapping[str, Span], since: datetime | None
) -> Iterator[tuple[str, datetime | None, datetime | None]]:
    """Spans to look through, newest first: the nearest partition in growing steps, as most entities need only its end."""
    for number, key in enumerate(earlier):
        high = since
        if number == 0 and since is not None:
            start, end = spans[key]
            step, high = (end - start) / _STEPS, min(since, end)
            if high < since:
                yield key, high, since
            while high - step > start:
                yield key, high - step, high
                high, step = high - step, 2 * step
        yield key, None, high
