"""Spark, wherever it runs: a session of this process or of a Connect server, or a job on a cluster; the view's text goes unchanged."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.core.sql.quoting import literal, quoted
from orchestrai.errors import FeatureViewError
from orchestrai.features.engines.duckdb_engine import translate
from orchestrai.features.engines.engine import BATCH_ROWS, SPINE, Query, Reads, Source, Spine, spine_sql
from orchestrai.features.engines.spark_job import configure, run_job
from orchestrai.features.engines.stored_schemas import alike
from orchestrai.features.views.portable_types import canonical, spark_type
from orchestrai.features.views.view import FeatureView, Table
from orchestrai.storage.disk.sealed import for_other_processes, number_of

Locate = Callable[[Path], str]
Job = dict[str, Any]


class SparkEngine:
    """Runs views on the Spark session that `session_factory` gives, which must see this machine's files.

    Raises FeatureViewError for a server that computes within other rules than Spark's, such as Sail, whose whole numbers wrap
    where Spark and DuckDB say that they overflow; `checking` takes one all the same, to compare results.
    """

    def __init__(self, session_factory: Callable[[], Any], *, checking: bool = False) -> None:
        self._factory = session_factory
        self._checking = checking
        self._session: Any = None

    @property
    def session(self) -> Any:
        """The session, set to UTC, ANSI and microsecond timestamps."""
        if self._session is None:
            session = configure(self._factory())
            if not self._checking:
                require_overflow_errors(session)
            self._session = session
        return self._session

    @property
    def name(self) -> str:
        """`spark` and its version."""
        return f"spark {self.session.version}"

    def resident(self, view: FeatureView, reads: Reads) -> AbstractContextManager[None]:
        """As `Engine.resident`: the cluster keeps what it likes."""
        return nullcontext()

    @contextmanager
    def run(self, query: Query) -> Iterator[Iterator[pa.RecordBatch]]:
        """As `Engine.run`."""
        from pyspark.errors import PySparkException

        session = self.session
        with tempfile.TemporaryDirectory(prefix="orchestrai-spark-") as folder:
            scratch = Path(folder)
            try:
                run_job(session, job_of(query, linked(scratch), str(scratch / "out")))
            except PySparkException as exc:
                raise translate(exc, query.view) from exc
            written = sorted((scratch / "out").glob("*.parquet"))
            if not written:
                raise FeatureViewError(
                    f"{query.view.name}: expected files written by {self.name} on this machine, found none: "
                    "a server elsewhere needs jobs and an exchange (docs/features.md)"
                )
            yield batches_of(written, query.view.schema)


def require_overflow_errors(session: Any) -> None:
    """Raises FeatureViewError for a server on which whole numbers wrap without a word."""
    from pyspark.errors import PySparkException

    try:
        rows = session.sql("SELECT CAST(9223372036854775807 AS BIGINT) + CAST(id AS BIGINT) AS v FROM range(1, 2)").collect()
    except PySparkException:
        return
    raise FeatureViewError(
        f"expected Spark, where an overflow is an error, found a server that answers {rows[0][0]}: "
        "use it to check results, not to make them"
    )


def job_of(query: Query, locate: Locate, out: str) -> Job:
    """What `run_job` needs of a query; `locate` gives the URL of a file for Spark."""
    view = query.view
    tables = {name: _parts(source, locate) for name, source in query.sources.items()}
    if query.spine is not None:
        tables[SPINE] = [_spine(view, query.spine, locate)]
    where = []
    if query.keep is not None:
        low, high = (_moment(value) for value in query.keep)
        where.append(f"{_quoted(view.time)} >= {low} AND {_quoted(view.time)} < {high}")
    columns = [_cast(_quoted(field.name), field) for field in view.schema]
    return {"tables": tables, "sql": view.sql, "where": where, "select": columns, "order": _order(query), "out": out}


def batches_of(files: Sequence[Path], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows that Spark wrote, in order."""
    for path in files:
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS):
            yield canonical(batch, schema)


def _order(query: Query) -> list[str]:
    order = [_quoted(name) for name in query.view.key]
    if query.slices is None:
        return order
    micros = query.slices // timedelta(microseconds=1)
    moment = f"UNIX_MICROS({_quoted(query.view.time)})"
    return [f"{moment} - PMOD({moment}, {micros})", *order]


def linked(folder: Path) -> Locate:
    """Plain names for files: Spark reads a colon or a brace in a path as something else."""
    (folder / "in").mkdir()
    number = iter(range(10**9))

    def locate(path: Path) -> str:
        if number_of(path) is not None:
            # the sealed bytes themselves, as long as this process holds them
            return for_other_processes(path).as_uri()
        link = folder / "in" / f"{next(number):06d}.parquet"
        link.symlink_to(path.resolve())
        return link.as_uri()

    return locate


def _parts(source: Source, locate: Locate) -> list[Job]:
    table = source.table
    parts: list[Job] = []
    if source.files:
        tests = [
            f"{_quoted(column)} {test} {_moment(moment)}"
            for column, test, moment in (
                (table.event_time, ">=", source.since),
                (table.event_time, "<", source.until),
                (table.known_at, "<", source.known_before),
            )
            if column is not None and moment is not None
        ]
        parts += [{**part, "where": tests} for part in _typed_files(table, source.files, locate)]
    if source.tail:
        parts += _typed_files(table, source.tail, locate)
    if not parts:
        columns = ", ".join(_cast("NULL", field) for field in table.schema)
        parts.append({"sql": f"SELECT {columns}", "where": ["false"]})
    return parts


def _typed_files(table: Table, files: Sequence[Path], locate: Locate) -> list[Job]:
    """Files of one schema each."""
    return [
        {
            "files": [locate(path) for path in part],
            "select": [f"{_typed(field, stored)} AS {_quoted(field.name)}" for field in table.schema],
        }
        for stored, part in alike(table, files)
    ]


def _typed(field: pa.Field, stored: pa.Schema) -> str:
    if field.name not in stored.names:
        return f"CAST(NULL AS {spark_type(field.type)})"
    name = f"CAST({_quoted(field.name)} AS {spark_type(field.type)})"
    if pa.types.is_floating(stored.field(field.name).type):
        # NaN and the infinities are missing values: no engine orders or quantises them alike
        return f"CASE WHEN ABS({name}) < CAST('Infinity' AS DOUBLE) THEN {name} END"
    return name


def _spine(view: FeatureView, spine: Spine, locate: Locate) -> Job:
    if not spine.files:
        return {"sql": spine_sql(view, spine, "`")}
    return {"files": [locate(path) for path in spine.files], "select": [*map(_quoted, view.entity), "as_of"]}


def _moment(value: datetime) -> str:
    # not by strftime, which writes the year 1 of what has no beginning as 1: Spark wants four digits
    return f"TIMESTAMP {literal(value.replace(tzinfo=None).isoformat(' ', 'microseconds'))}"


def _quoted(name: str) -> str:
    return quoted(name, "`")


def _cast(value: str, field: pa.Field) -> str:
    return f"CAST({value} AS {spark_type(field.type)}) AS {_quoted(field.name)}"
