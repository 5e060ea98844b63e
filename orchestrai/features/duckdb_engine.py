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
from orchestrai.features.engine import BATCH_ROWS, SPINE, Query, Source, Spine, spine_sql
from orchestrai.features.portable import UTC_MICROS, canonical, duckdb_type
from orchestrai.features.view import FeatureView

if TYPE_CHECKING:
    import duckdb


class DuckDbEngine:
    """Runs views in this process within `memory_limit`, spilling to `temp_directory` beyond it."""

    def __init__(self, memory_limit: str = "1500MB", threads: int | None = None, temp_directory: Path | None = None) -> None:
        self.memory_limit = memory_limit
        self.threads = threads
        self.temp_directory = temp_directory
        self._database: duckdb.DuckDBPyConnection | None = None

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

    @contextmanager
    def run(self, query: Query) -> Iterator[Iterator[pa.RecordBatch]]:
        """As `Engine.run`."""
        import duckdb

        view = query.view
        with self.connect() as connection:
            try:
                for name, source in query.sources.items():
                    connection.execute(f'CREATE TEMP VIEW "{name}" AS {source_sql(source)}')
                if query.spine is not None:
                    _create_spine(connection, view, query.spine)
                reader = connection.sql(_final_sql(query)).to_arrow_reader(BATCH_ROWS)
                yield _translated(reader, view)
            except duckdb.Error as exc:
                raise translate(exc, view) from exc


def _translated(batches: Iterator[pa.RecordBatch], view: FeatureView) -> Iterator[pa.RecordBatch]:
    import duckdb

    try:
        for batch in batches:
            yield canonical(batch, view.schema)
    except (duckdb.Error, pa.ArrowException, OSError) as exc:
        raise translate(exc, view) from exc


def _final_sql(query: Query) -> str:
    view = query.view
    columns = ", ".join(f'CAST("{field.name}" AS {duckdb_type(field.type)}) AS "{field.name}"' for field in view.schema)
    keep = ""
    if query.keep is not None:
        low, high = (moment_sql(value) for value in query.keep)
        keep = f' WHERE "{view.time}" >= {low} AND "{view.time}" < {high}'
    order = ", ".join(f'"{name}" NULLS FIRST' for name in view.key)
    if query.slices is not None:
        micros = query.slices // timedelta(microseconds=1)
        order = f'epoch_us("{view.time}") - (epoch_us("{view.time}") % {micros} + {micros}) % {micros} NULLS FIRST, {order}'
    return f"SELECT {columns} FROM ({view.duckdb_sql}) AS result{keep} ORDER BY {order}"


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
