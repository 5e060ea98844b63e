"""Spark, wherever a session comes from: local, Connect, or a cluster; the view's text goes to it unchanged."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.errors import FeatureViewError
from orchestrai.features.duckdb_engine import translate
from orchestrai.features.engine import BATCH_ROWS, SPINE, Query, Source, Spine, spine_sql
from orchestrai.features.portable import canonical, spark_type
from orchestrai.features.view import FeatureView

# what makes Spark 3.5 and 4 read and write as DuckDB does
SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.int96RebaseModeInRead": "CORRECTED",
}


class SparkEngine:
    """Runs views on the Spark session that `session_factory` gives, which must see this machine's files."""

    def __init__(self, session_factory: Callable[[], Any]) -> None:
        self._factory = session_factory
        self._session: Any = None

    @property
    def session(self) -> Any:
        """The session, set to UTC, ANSI and microsecond timestamps."""
        if self._session is None:
            self._session = self._factory()
            for name, value in SETTINGS.items():
                self._session.conf.set(name, value)
        return self._session

    @property
    def name(self) -> str:
        """`spark` and its version."""
        return f"spark {self.session.version}"

    @contextmanager
    def run(self, query: Query) -> Iterator[Iterator[pa.RecordBatch]]:
        """As `Engine.run`."""
        from pyspark.errors import PySparkException

        view, session = query.view, self.session
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orchestrai-spark-")))
            try:
                for number, (name, source) in enumerate(query.sources.items()):
                    frame = _frame(session, source, scratch / f"in-{number}")
                    frame.createOrReplaceTempView(name)
                    stack.callback(session.catalog.dropTempView, name)
                if query.spine is not None:
                    _spine(session, view, query.spine, scratch / "in-spine").createOrReplaceTempView(SPINE)
                    stack.callback(session.catalog.dropTempView, SPINE)
                result = session.sql(view.sql)
                if query.keep is not None:
                    low, high = (_moment(value) for value in query.keep)
                    result = result.where(f"`{view.time}` >= {low} AND `{view.time}` < {high}")
                columns = [f"CAST(`{field.name}` AS {spark_type(field.type)}) AS `{field.name}`" for field in view.schema]
                result.selectExpr(*columns).orderBy(*_order(query)).write.parquet(str(scratch / "out"))
            except PySparkException as exc:
                raise translate(exc, view) from exc
            yield _batches(scratch / "out", view.schema)


def _order(query: Query) -> list[Any]:
    from pyspark.sql.functions import col, expr

    order = [col(name) for name in query.view.key]
    if query.slices is None:
        return order
    micros = query.slices // timedelta(microseconds=1)
    moment = f"UNIX_MICROS(`{query.view.time}`)"
    return [expr(f"{moment} - PMOD({moment}, {micros})"), *order]


def _batches(folder: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for path in sorted(folder.glob("part-*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS):
            yield canonical(batch, schema)


def _linked(files: Sequence[Path], folder: Path) -> list[str]:
    """Plain names for the files: Spark reads a colon or a brace in a path as something else."""
    folder.mkdir()
    links = [folder / f"{number:06d}.parquet" for number in range(len(files))]
    for link, path in zip(links, files, strict=True):
        link.symlink_to(path.resolve())
    return [link.as_uri() for link in links]


def _frame(session: Any, source: Source, folder: Path) -> Any:
    table = source.table
    if not source.files:
        empty = session.sql(
            "SELECT " + ", ".join(f"CAST(NULL AS {spark_type(field.type)}) AS `{field.name}`" for field in table.schema)
        ).where("false")
        return empty if not source.tail else empty.unionAll(_typed_frame(session, table, source.tail, folder))
    frame = _typed_frame(session, table, source.files, folder)
    for column, test, moment in (
        (table.event_time, ">=", source.since),
        (table.event_time, "<", source.until),
        (table.known_at, "<", source.known_before),
    ):
        if column is not None and moment is not None:
            frame = frame.where(f"`{column}` {test} {_moment(moment)}")
    if source.tail:
        frame = frame.unionAll(_typed_frame(session, table, source.tail, folder.with_name(folder.name + "-tail")))
    return frame


def _typed_frame(session: Any, table: Any, files: Sequence[Path], folder: Path) -> Any:
    stored = pq.read_schema(files[0])
    frame = session.read.parquet(*_linked(files, folder))
    return frame.selectExpr(*(f"{_typed(field, stored, table.name)} AS `{field.name}`" for field in table.schema))


def _typed(field: pa.Field, stored: pa.Schema, table: str) -> str:
    if field.name not in stored.names:
        raise FeatureViewError(f"expected the column {field.name} in {table}, found {', '.join(stored.names)}")
    name = f"CAST(`{field.name}` AS {spark_type(field.type)})"
    if pa.types.is_floating(stored.field(field.name).type):
        # NaN and the infinities are missing values: no engine orders or quantises them alike
        return f"CASE WHEN ABS({name}) < CAST('Infinity' AS DOUBLE) THEN {name} END"
    return name


def _spine(session: Any, view: FeatureView, spine: Spine, folder: Path) -> Any:
    if not spine.files:
        return session.sql(spine_sql(view, spine, "`"))
    frame = session.read.parquet(*_linked(spine.files, folder))
    return frame.selectExpr(*(f"`{name}`" for name in view.entity), "as_of")


def _moment(value: datetime) -> str:
    return f"TIMESTAMP '{value:%Y-%m-%d %H:%M:%S.%f}'"
