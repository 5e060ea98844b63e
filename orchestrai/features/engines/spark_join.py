"""The point-in-time join on Spark: the rows of `joined`, in its order, for what does not fit the memory of one machine.

Spark has no join by the newest earlier row. Here rows and features of an entity are put below one another in order of time, and each row
takes the last features above it: one shuffle a view, and memory for what one executor sorts at a time.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.core.sql.quoting import quoted
from orchestrai.errors import FeatureViewError
from orchestrai.features.engines.engine import BATCH_ROWS
from orchestrai.features.engines.spark_engine import SparkEngine, linked
from orchestrai.features.point_in_time_join import (
    EVENT_TIME,
    LABEL,
    REACH,
    TAKEN,
    Clocked,
    LabelFiles,
    ViewFiles,
    of_same_events,
    require_columns,
    require_joinable,
)
from orchestrai.features.views.portable_types import UTC_MICROS

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

_MOMENT, _SIDE, _ROW, _GIVEN = "orchestrai_moment", "orchestrai_side", "orchestrai_row", "orchestrai_given"


@contextmanager
def joined_on_spark(
    engine: SparkEngine, tables: Sequence[ViewFiles], labels: LabelFiles, back: Sequence[int] | None = None
) -> Iterator[pa.RecordBatchReader]:
    """As `joined`, in the engine's session, which must see this machine's files; raises FeatureViewError as that does."""
    from pyspark.errors import PySparkException

    first = tables[0].view
    require_joinable([table.view for table in tables])
    with tempfile.TemporaryDirectory(prefix="orchestrai-spark-") as folder:
        scratch = Path(folder)
        try:
            frame = _joined(engine.session, tables, labels, back or (), linked(scratch))
            frame.write.mode("overwrite").parquet(str(scratch / "out"))
        except PySparkException as exc:
            raise FeatureViewError(
                f"{first.name}: expected {engine.name} to join the training set, found: {str(exc).splitlines()[0][:300]}"
            ) from exc
        written = sorted((scratch / "out").glob("*.parquet"))
        if not written:
            raise FeatureViewError(
                f"{first.name}: expected files written by {engine.name} on this machine, found none: let it see this machine's files, or "
                "join in one process (ORCHESTRAI_ENGINE=duckdb)"
            )
        stored = pq.read_schema(written[0]).remove_metadata()
        schema = stored.set(len(first.entity), pa.field(EVENT_TIME, UTC_MICROS))
        batches = (batch.cast(schema) for path in written for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS))
        yield pa.RecordBatchReader.from_batches(schema, batches)


def _joined(session: Any, tables: Sequence[ViewFiles], labels: LabelFiles, back: Sequence[int], locate: Any) -> "DataFrame":
    from pyspark.sql.functions import col

    first = tables[0].view
    rows = _labelled(session, tables[0], labels, back[0] if back else 0, locate)
    for number, table in enumerate(tables[1:], 1):
        rows = _with(session, rows, number, table, first, back[number] if back else 0, locate)
    names = [*first.entity, EVENT_TIME, LABEL, *(name for table in tables for name in table.view.features)]
    times = [f"{kind}{number}" for number in range(len(back)) for kind in (TAKEN, REACH)]
    order = [col(quoted(name, "`")).asc_nulls_last() for name in (*first.entity, EVENT_TIME)]
    return rows.select(*(col(quoted(name, "`")) for name in [*names, *times])).orderBy(*order)


def _read(session: Any, table: ViewFiles, number: int, back: int, locate: Any) -> "DataFrame":
    """A view's rows: its entity, its time as the moment, its features, and the times behind them."""
    from pyspark.sql import Window
    from pyspark.sql.functions import col, lag

    view = table.view
    require_columns(table)
    moment = col(quoted(view.time, "`"))
    entity = [col(quoted(name, "`")) for name in view.entity]
    reach = lag(moment, back).over(Window.partitionBy(*entity).orderBy(moment)) if back else moment
    frame: DataFrame = session.read.parquet(*(locate(path) for path in table.files))
    return frame.select(
        *entity,
        moment.alias(_MOMENT),
        *(col(quoted(name, "`")) for name in view.features),
        moment.alias(f"{TAKEN}{number}"),
        reach.alias(f"{REACH}{number}"),
    )


def _labelled(session: Any, table: ViewFiles, labels: LabelFiles, back: int, locate: Any) -> "DataFrame":
    """The rows of the first view that have a label."""
    from pyspark.sql.functions import col

    rows = _read(session, table, 0, back, locate)
    known = session.read.parquet(*(locate(path) for path in labels.files))
    names = {name: f"orchestrai_label_{place}" for place, name in enumerate([*labels.entity, labels.time])}
    known = known.select(*(col(quoted(name, "`")).alias(own) for name, own in names.items()), col(quoted(LABEL, "`")))
    same = [known[names[name]] == rows[quoted(name, "`")] for name in labels.entity] + [
        known[names[labels.time]] == rows[_MOMENT]
    ]
    found: DataFrame = rows.join(known, reduce(lambda one, two: one & two, same), "inner").drop(*names.values())
    return found.withColumnRenamed(_MOMENT, EVENT_TIME)


def _with(
    session: Any, rows: "DataFrame", number: int, table: ViewFiles, first: Clocked, back: int, locate: Any
) -> "DataFrame":
    """Rows with the features of one more view."""
    from pyspark.sql import Window
    from pyspark.sql.functions import col, last, lit, struct

    view = table.view
    if not table.files:
        # nothing was known: nulls of no type, which take that of the training set later
        nothing = [lit(None).cast("string").alias(name) for name in view.features]
        times = [lit(None).cast("timestamp").alias(f"{kind}{number}") for kind in (TAKEN, REACH)]
        return rows.select("*", *nothing, *times)
    given = [*view.features, f"{TAKEN}{number}", f"{REACH}{number}"]
    entity = [quoted(name, "`") for name in view.entity]
    there = [col(name).isNotNull() for name in (_MOMENT, *entity)]
    known = _read(session, table, number, back, locate).where(reduce(lambda one, two: one & two, there))
    # at the same moment a view of moments counts, one of events does not, unless its events are the very ones
    features_side = 0 if view.kind == "entity" or of_same_events(view, first) else 2
    below = known.select(
        *(col(name) for name in entity),
        col(_MOMENT),
        lit(features_side).alias(_SIDE),
        struct(*(col(quoted(name, "`")) for name in given)).alias(_GIVEN),
    )
    above = rows.select(
        *(col(name) for name in entity),
        col(EVENT_TIME).alias(_MOMENT),
        lit(1).alias(_SIDE),
        struct("*").alias(_ROW),
    )
    by_time = Window.partitionBy(*(col(name) for name in entity)).orderBy(_MOMENT, _SIDE)
    newest = last(_GIVEN, ignorenulls=True).over(by_time.rowsBetween(Window.unboundedPreceding, Window.currentRow))
    both = above.unionByName(below, allowMissingColumns=True).withColumn(_GIVEN, newest).where(col(_ROW).isNotNull())
    return both.select(f"{_ROW}.*", *(_taken(name, of_same_events(view, first), number) for name in given))


def _taken(name: str, same_events: bool, number: int) -> "Column":
    """A feature of the newest row; of the very events only where it is that of the moment."""
    from pyspark.sql.functions import col, when

    value = col(f"{_GIVEN}.{quoted(name, '`')}")
    if same_events:
        value = when(col(f"{_GIVEN}.`{TAKEN}{number}`") == col(_MOMENT), value)
    return value.alias(name)
