"""DuckDB, in this process: the default engine, bounded in memory, without any extension."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.core.sql.quoting import all_quoted, quoted
from orchestrai.errors import FeatureViewError
from orchestrai.features.engines.closed_database import ClosedDatabase, Setting, Workspace
from orchestrai.features.engines.duckdb_sql import final_sql, moment_sql, order_sql, source_sql, typed_sql
from orchestrai.features.engines.engine import BATCH_ROWS, SPINE, Query, Reads, Source, Spine, spine_sql
from orchestrai.features.engines.resident_rows import ResidentTable, memory_bytes, resident_tables
from orchestrai.features.incremental import one_sort
from orchestrai.features.incremental.prefix_sums import Unsuited
from orchestrai.features.views.portable_types import UTC_MICROS, canonical
from orchestrai.features.views.view import AS_OF, FeatureView
from orchestrai.storage.disk.sealed import sealed_numbers

if TYPE_CHECKING:
    import duckdb


__all__ = ["DuckDbEngine", "moment_sql", "source_sql", "translate"]
_SORTED_ROWS = 8_000_000


class DuckDbEngine:
    """Runs views in this process within `memory_limit`, spilling to `temp_directory` beyond it.

    `links` is a folder for the names of files that were made here of verified rows, while they are read.
    With `one_sort`, windows over rows in one order are done by prefix sums where the view's shape allows; the bits are the same.
    """

    def __init__(
        self,
        memory_limit: str = "1500MB",
        threads: int | None = None,
        temp_directory: Path | None = None,
        one_sort: bool = True,
        links: Path | None = None,
    ) -> None:
        self.memory_limit = memory_limit
        self.threads = threads
        self.temp_directory = temp_directory
        self.one_sort = one_sort
        self.links = links
        self._database: ClosedDatabase | None = None
        self._resident: tuple[ClosedDatabase, Mapping[str, ResidentTable]] | None = None
        self._in_order: ClosedDatabase | None = None

    @property
    def name(self) -> str:
        """`duckdb` and its version."""
        import duckdb

        return f"duckdb {duckdb.__version__}"

    @contextmanager
    def connect(self) -> Iterator[Workspace]:
        """A connection with temporary tables and views of its own; the database behind it opens once per engine.

        It reads the files that are let in by the workspace, and nothing else.
        """
        numbers = sealed_numbers()
        if self._database is None or self._database.numbers != numbers:
            # it lets in the numbers that it was opened for; a workspace still open keeps the one before
            self._database = self._open(numbers)
        with self._database.workspace() as workspace:
            yield workspace

    def _open(self, numbers: range) -> ClosedDatabase:
        settings: dict[str, Setting] = {"memory_limit": self.memory_limit, "preserve_insertion_order": "false"}
        if self.threads is not None:
            settings["threads"] = self.threads
        if self.temp_directory is not None:
            settings["temp_directory"] = str(self.temp_directory)
        return ClosedDatabase(settings, self.links, numbers)

    @contextmanager
    def resident(self, view: FeatureView, reads: Reads) -> Iterator[None]:
        """As `Engine.resident`, in a third of the memory at most."""
        with (
            self.connect() as workspace,
            resident_tables(workspace, view, reads, memory_bytes(self.memory_limit) // 3) as tables,
        ):
            before, database = self._resident, self._database
            self._resident = (database, tables) if database is not None else None
            try:
                yield
            finally:
                self._resident = before

    def tables(self, query: Query) -> dict[str, pa.Table]:
        """The tables a view sees, whole, in one order however the files lie."""
        with self._bound(query) as connection:
            names = [*query.sources, *([SPINE] if query.spine is not None else [])]
            tables = {name: connection.sql(f"SELECT * FROM {quoted(name)} ORDER BY ALL").to_arrow_table() for name in names}
        return {name: table.cast(_zoned(table.schema)) for name, table in tables.items()}

    def sorted(self, query: Query, rows: pa.Table) -> pa.Table:
        """A result in the order that the query asks for."""
        time = quoted(query.view.time)
        with self.connect() as workspace:
            connection = workspace.connection
            connection.register("result_rows", rows)
            plain = f"SELECT * REPLACE (make_timestamp(epoch_us({time})) AS {time}) FROM result_rows"
            ordered = connection.sql(f"SELECT * FROM ({plain}) ORDER BY {order_sql(query)}").to_arrow_table()
            connection.unregister("result_rows")
        return ordered

    @contextmanager
    def _bound(self, query: Query) -> Iterator["duckdb.DuckDBPyConnection"]:
        """A connection with the query's tables; DuckDB's errors come out as FeatureViewError."""
        import duckdb

        with self.connect() as workspace:
            try:
                at_hand = self._at_hand()
                for name, source in query.sources.items():
                    table = at_hand.get(name)
                    rows = table.select(source, workspace.paths) if table else source_sql(source, workspace.paths)
                    workspace.connection.execute(f"CREATE TEMP VIEW {quoted(name)} AS {rows}")
                if query.spine is not None:
                    _create_spine(workspace, query.view, query.spine)
                yield workspace.connection
            except duckdb.Error as exc:
                raise translate(exc, query.view) from exc

    def _at_hand(self) -> "Mapping[str, ResidentTable]":
        """The resident tables of the database that is open now."""
        return self._resident[1] if self._resident is not None and self._resident[0] is self._database else {}

    @contextmanager
    def run(self, query: Query) -> Iterator[Iterator[pa.RecordBatch]]:
        """As `Engine.run`."""
        view = query.view
        with self._bound(query) as connection:
            plan = one_sort.plan(view) if self.one_sort and _holds(query) else None
            if plan is None:
                yield _translated(connection.sql(final_sql(query)).to_arrow_reader(BATCH_ROWS), view)
            else:
                yield _translated(self._over_one_sort(plan, query, connection), view)

    def prepared(self, view: FeatureView, plan: one_sort.Plan, source: Source) -> pa.Table:
        """The rows that the last windows of a one-table view see, in order; raises Unsuited."""
        with self._bound(Query(view, {source.table.name: source})) as connection:
            batches = connection.sql(plan.source).to_arrow_reader(BATCH_ROWS)
            tables = list(one_sort.before_last(plan, iter(batches), self._evaluator()))
            return pa.concat_tables(tables).combine_chunks() if tables else pa.table({})

    def finished(self, query: Query, plan: one_sort.Plan, rows: pa.Table) -> list[pa.RecordBatch]:
        """The view's rows from those that hold the values of its last windows."""
        tables = one_sort.evaluated(typed_sql(query, plan.stages[-1].sql), rows, self._evaluator())
        if query.slices is not None:
            tables = _by_slice(tables, query.view.time, query.slices)
        return list(_translated((batch for table in tables for batch in table.to_batches()), query.view))

    def _over_one_sort(
        self, plan: one_sort.Plan, query: Query, connection: "duckdb.DuckDBPyConnection"
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a view by its one sort, or, from where that stops, by DuckDB's windows."""
        last = plan.stages[-1]
        stages = (*plan.stages[:-1], replace(last, sql=typed_sql(query, last.sql)))
        source = connection.sql(plan.source).to_arrow_reader(BATCH_ROWS // 2)
        done = 0
        try:
            tables = one_sort.run(replace(plan, stages=stages), iter(source), self._evaluator())
            if query.slices is not None:
                tables = _by_slice(tables, query.view.time, query.slices)
            for table in tables:
                done += table.num_rows
                yield from table.to_batches()
            return
        except Unsuited:
            source.close()
        for batch in connection.sql(final_sql(query)).to_arrow_reader(BATCH_ROWS):
            known, done = min(done, batch.num_rows), max(0, done - batch.num_rows)
            yield batch.slice(known)

    def _evaluator(self) -> "duckdb.DuckDBPyConnection":
        """A database that keeps the order of the rows it is given."""
        if self._in_order is None:
            self._in_order = ClosedDatabase({"threads": 1, "preserve_insertion_order": "true"})
        return self._in_order.connection


def _holds(query: Query) -> bool:
    """True where rows need no order but the view's, or are few enough to be put in another one in memory."""
    if query.spine is not None:
        return False
    if query.slices is None:
        return True
    files = [path for source in query.sources.values() for path in (*source.files, *source.tail)]
    return bool(sum(pq.read_metadata(path).num_rows for path in files) <= _SORTED_ROWS)


def _by_slice(tables: Iterator[pa.Table], time: str, length: timedelta) -> Iterator[pa.Table]:
    """Rows in the order of their slice, and within it in the order they came."""
    import numpy as np

    parts = list(tables)
    if parts:
        whole = pa.concat_tables(parts)
        numbers = np.asarray(whole.column(time).combine_chunks().cast(pa.int64())) // (length // timedelta(microseconds=1))
        in_order = bool((numbers[1:] >= numbers[:-1]).all())
        yield whole if in_order else whole.take(pa.array(np.argsort(numbers, kind="stable")))


def _translated(batches: Iterator[pa.RecordBatch], view: FeatureView) -> Iterator[pa.RecordBatch]:
    import duckdb

    try:
        for batch in batches:
            yield canonical(batch, view.schema)
    except (duckdb.Error, pa.ArrowException, OSError) as exc:
        raise translate(exc, view) from exc


def translate(error: Exception, view: FeatureView) -> FeatureViewError:
    """An engine's error as ours."""
    message = " ".join(str(error).split())
    lowered = message.lower()
    if "overflow" in lowered or "out of range" in lowered or "can't be cast" in lowered or "cast_overflow" in lowered:
        return FeatureViewError(
            f"{view.name}: expected values that fit the fixed-point scale, found an overflow ({message[:160]}): "
            "use a smaller scale in fixed(x, scale), or bound the column in the contract"
        )
    return FeatureViewError(f"{view.name}: expected the view to run, found: {message[:300]}")


def _zoned(schema: pa.Schema) -> pa.Schema:
    """The schema with timestamps in UTC, as people expect them."""
    return pa.schema([field.with_type(UTC_MICROS) if pa.types.is_timestamp(field.type) else field for field in schema])


def _create_spine(workspace: Workspace, view: FeatureView, spine: Spine) -> None:
    if spine.files:
        as_of = quoted(AS_OF)
        workspace.connection.execute(
            f"CREATE TEMP VIEW {quoted(SPINE)} AS SELECT {all_quoted(view.entity)}, make_timestamp(epoch_us({as_of})) AS {as_of} "
            f"FROM read_parquet({workspace.paths(spine.files)})"
        )
    else:
        workspace.connection.execute(f"CREATE TEMP TABLE {quoted(SPINE)} AS {spine_sql(view, spine, chr(34))}")
