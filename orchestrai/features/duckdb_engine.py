"""DuckDB, in this process: the default engine, bounded in memory, without any extension."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.errors import FeatureViewError
from orchestrai.features import one_sort
from orchestrai.features.engine import BATCH_ROWS, SPINE, Query, Source, Spine, spine_sql
from orchestrai.features.portable import UTC_MICROS, canonical, duckdb_type
from orchestrai.features.sliding import Unsuited
from orchestrai.features.view import FeatureView

if TYPE_CHECKING:
    import duckdb


_SORTED_ROWS = 8_000_000


class DuckDbEngine:
    """Runs views in this process within `memory_limit`, spilling to `temp_directory` beyond it.

    With `one_sort`, windows over rows in one order are done by prefix sums where the view's shape allows; the bits are the same.
    """

    def __init__(
        self,
        memory_limit: str = "1500MB",
        threads: int | None = None,
        temp_directory: Path | None = None,
        one_sort: bool = True,
    ) -> None:
        self.memory_limit = memory_limit
        self.threads = threads
        self.temp_directory = temp_directory
        self.one_sort = one_sort
        self._database: duckdb.DuckDBPyConnection | None = None
        self._in_order: duckdb.DuckDBPyConnection | None = None

    @property
    def name(self) -> str:
        """`duckdb` and its version."""
        import duckdb

        return f"duckdb {duckdb.__version__}"

    @contextmanager
    def connect(self) -> Iterator["duckdb.DuckDBPyConnection"]:
        """A connection with temporary tables and views of its own; the database behind it opens once per engine."""
        if self._database is None:
            self._database = self._open()
        with self._database.cursor() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            yield connection

    def _open(self) -> "duckdb.DuckDBPyConnection":
        import duckdb

        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": self.memory_limit,
            "preserve_insertion_order": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        if self.threads is not None:
            config["threads"] = self.threads
        if self.temp_directory is not None:
            config["temp_directory"] = str(self.temp_directory)
        return duckdb.connect(config=config)

    def tables(self, query: Query) -> dict[str, pa.Table]:
        """The tables a view sees, whole, in one order however the files lie."""
        with self._bound(query) as connection:
            names = [*query.sources, *([SPINE] if query.spine is not None else [])]
            found = {name: connection.sql(f'SELECT * FROM "{name}" ORDER BY ALL').to_arrow_table() for name in names}
        return {name: table.cast(_zoned(table.schema)) for name, table in found.items()}

    def sorted(self, query: Query, rows: pa.Table) -> pa.Table:
        """A result in the order that the query asks for."""
        with self.connect() as connection:
            connection.register("result_rows", rows)
            plain = (
                f'SELECT * REPLACE (make_timestamp(epoch_us("{query.view.time}")) AS "{query.view.time}") FROM result_rows'
            )
            ordered = connection.sql(f"SELECT * FROM ({plain}) ORDER BY {_order(query)}").to_arrow_table()
            connection.unregister("result_rows")
        return ordered

    @contextmanager
    def _bound(self, query: Query) -> Iterator["duckdb.DuckDBPyConnection"]:
        """A connection with the query's tables; DuckDB's errors come out as FeatureViewError."""
        import duckdb

        with self.connect() as connection:
            try:
                for name, source in query.sources.items():
                    connection.execute(f'CREATE TEMP VIEW "{name}" AS {source_sql(source)}')
                if query.spine is not None:
                    _create_spine(connection, query.view, query.spine)
                yield connection
            except duckdb.Error as exc:
                raise translate(exc, query.view) from exc

    @contextmanager
    def run(self, query: Query) -> Iterator[Iterator[pa.RecordBatch]]:
        """As `Engine.run`."""
        view = query.view
        with self._bound(query) as connection:
            found = one_sort.plan(view) if self.one_sort and _holds(query) else None
            if found is None:
                yield _translated(connection.sql(_final_sql(query)).to_arrow_reader(BATCH_ROWS), view)
            else:
                yield _translated(self._over_one_sort(found, query, connection), view)

    def _over_one_sort(
        self, found: one_sort.Plan, query: Query, connection: "duckdb.DuckDBPyConnection"
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a view by its one sort, or, from where that stops, by DuckDB's windows."""
        last = found.stages[-1]
        stages = (*found.stages[:-1], replace(last, sql=_typed_sql(query, last.sql)))
        source = connection.sql(found.source).to_arrow_reader(BATCH_ROWS // 2)
        done = 0
        try:
            tables = one_sort.run(replace(found, stages=stages), iter(source), self._evaluator())
            if query.slices is not None:
                tables = _by_slice(tables, query.view.time, query.slices)
            for table in tables:
                done += table.num_rows
                yield from table.to_batches()
            return
        except Unsuited:
            source.close()
        for batch in connection.sql(_final_sql(query)).to_arrow_reader(BATCH_ROWS):
            known, done = min(done, batch.num_rows), max(0, done - batch.num_rows)
            yield batch.slice(known)

    def _evaluator(self) -> "duckdb.DuckDBPyConnection":
        """A database that keeps the order of the rows it is given."""
        if self._in_order is None:
            import duckdb

            self._in_order = duckdb.connect(config={"threads": 1, "preserve_insertion_order": "true"})
            self._in_order.execute("SET TimeZone = 'UTC'")
        return self._in_order


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

    found = list(tables)
    if found:
        whole = pa.concat_tables(found)
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


def _typed_sql(query: Query, sql: str) -> str:
    """The result of `sql` in the view's exact types, and only the rows to keep."""
    view = query.view
    columns = ", ".join(f'CAST("{field.name}" AS {duckdb_type(field.type)}) AS "{field.name}"' for field in view.schema)
    keep = ""
    if query.keep is not None:
        low, high = (moment_sql(value) for value in query.keep)
        keep = f' WHERE "{view.time}" >= {low} AND "{view.time}" < {high}'
    return f"SELECT {columns} FROM ({sql}) AS result{keep}"


def _final_sql(query: Query) -> str:
    return f"{_typed_sql(query, query.view.duckdb_sql)} ORDER BY {_order(query)}"


def _order(query: Query) -> str:
    view = query.view
    order = ", ".join(f'"{name}" NULLS FIRST' for name in view.key)
    if query.slices is not None:
        micros = query.slices // timedelta(microseconds=1)
        order = f'epoch_us("{view.time}") - (epoch_us("{view.time}") % {micros} + {micros}) % {micros} NULLS FIRST, {order}'
    return order


def _zoned(schema: pa.Schema) -> pa.Schema:
    """The schema with timestamps in UTC, as people expect them."""
    return pa.schema([field.with_type(UTC_MICROS) if pa.types.is_timestamp(field.type) else field for field in schema])


def _create_spine(connection: "duckdb.DuckDBPyConnection", view: FeatureView, spine: Spine) -> None:
    if spine.files:
        columns = ", ".join(f'"{name}"' for name in view.entity)
        connection.execute(
            f'CREATE TEMP VIEW "{SPINE}" AS SELECT {columns}, make_timestamp(epoch_us("as_of")) AS "as_of" '
            f"FROM read_parquet({paths_sql(spine.files)})"
        )
    else:
        connection.execute(f'CREATE TEMP TABLE "{SPINE}" AS {spine_sql(view, spine, chr(34))}')


def source_sql(source: Source) -> str:
    """The SELECT that types a source: UTC micros, portable types, non-finite numbers as NULL, the allowed span only."""
    if source.tail:
        recent, earlier = replace(source, tail=()), Source(source.table, source.tail)
        return f"{source_sql(recent)} UNION ALL {source_sql(earlier)}"
    table = source.table
    if not source.files:
        columns = ", ".join(f'CAST(NULL AS {duckdb_type(field.type)}) AS "{field.name}"' for field in table.schema)
        return f"SELECT {columns} WHERE false"
    stored = pq.read_schema(source.files[0])
    columns = ", ".join(f'{_typed(field, stored, table.name)} AS "{field.name}"' for field in table.schema)
    tests = []
    for column, test, moment in (
        (table.event_time, ">=", source.since),
        (table.event_time, "<", source.until),
        (table.known_at, "<", source.known_before),
    ):
        if column is not None and moment is not None:
            zoned = pa.types.is_timestamp(stored.field(column).type) and stored.field(column).type.tz
            tests.append(f'"{column}" {test} {moment_sql(moment, zoned=bool(zoned))}')
    where = f" WHERE {' AND '.join(tests)}" if tests else ""
    return f"SELECT {columns} FROM read_parquet({paths_sql(source.files)}){where}"


def _typed(field: pa.Field, stored: pa.Schema, table: str) -> str:
    if field.name not in stored.names:
        raise FeatureViewError(f"expected the column {field.name} in {table}, found {', '.join(stored.names)}")
    name, kind = f'"{field.name}"', stored.field(field.name).type
    if field.type == UTC_MICROS and pa.types.is_timestamp(kind):
        return f"make_timestamp(epoch_us({name}))" if kind.tz or kind.unit != "us" else name
    if pa.types.is_floating(kind):
        return f"CASE WHEN isfinite({name}) THEN CAST({name} AS DOUBLE) END"
    return name if kind == field.type else f"CAST({name} AS {duckdb_type(field.type)})"


def moment_sql(value: datetime, *, zoned: bool = False) -> str:
    """A timestamp literal."""
    return f"{'TIMESTAMPTZ' if zoned else 'TIMESTAMP'} '{value:%Y-%m-%d %H:%M:%S.%f}{'+00' if zoned else ''}'"


def paths_sql(files: Sequence[Path]) -> str:
    """A list of files for read_parquet."""
    return "[" + ", ".join("'" + str(path).replace("'", "''") + "'" for path in files) + "]"


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
