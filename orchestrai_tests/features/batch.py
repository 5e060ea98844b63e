"""Many views in one Spark job, a few rows each: a job of its own costs a view more than its computation.

The tables are read once, the views' rows come below each other in columns of their exact types, and go to one Parquet file.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrai.conformance.generated_views import table_of
from orchestrai.errors import FeatureViewError
from orchestrai.features.engines.engine import Query
from orchestrai.features.engines.spark_engine import SparkEngine, job_of
from orchestrai.features.engines.spark_job import _frame
from orchestrai.features.views.portable_types import canonical, spark_type
from orchestrai.features.views.view import FeatureView

# the optimizer takes longer for each view the more of them stand in one plan
TOGETHER = 20


def tables_of(spark: SparkEngine, queries: Sequence[Query]) -> Iterator[pa.Table | FeatureViewError]:
    """Each query's rows as Spark computes them, or why it does not. Queries that share a table's name share its rows."""
    from pyspark.errors import PySparkException

    for start in range(0, len(queries), TOGETHER):
        some = queries[start : start + TOGETHER]
        try:
            yield from _together(spark.session, some)
        except PySparkException:
            yield from (_alone(spark, query) for query in some)


def _alone(spark: SparkEngine, query: Query) -> pa.Table | FeatureViewError:
    try:
        return table_of(spark, query)
    except FeatureViewError as exc:
        return exc


def _together(session: Any, queries: Sequence[Query]) -> list[pa.Table]:
    slots = Counter[pa.DataType]()
    for query in queries:
        slots |= Counter(query.view.schema.field(name).type for name in query.view.features)
    with tempfile.TemporaryDirectory(prefix="orchestrai-batch-") as folder:
        named: set[str] = set()
        whole = None
        for number, query in enumerate(queries):
            job = job_of(query, Path.as_uri, "")
            for name in set(job["tables"]) - named:
                (part,) = job["tables"][name]
                _frame(session, part).createOrReplaceTempView(name)
                named.add(name)
            frame = session.sql(job["sql"]).selectExpr(*_columns(query.view, slots, number))
            whole = frame if whole is None else whole.unionAll(frame)
        assert whole is not None
        whole.orderBy("view", *(f"key{at}" for at in range(len(queries[0].view.key)))).write.parquet(f"{folder}/out")
        for name in named:
            session.catalog.dropTempView(name)
        found = pa.concat_tables(pq.read_table(path) for path in sorted(Path(folder, "out").glob("*.parquet")))
    return [_own(found, query.view, slots, number) for number, query in enumerate(queries)]


def _places(view: FeatureView, slots: Counter[pa.DataType]) -> dict[str, str]:
    """Where each column of a view stands: keys by their place, features by their type."""
    taken = Counter[pa.DataType]()
    found = {name: f"key{at}" for at, name in enumerate(view.key)}
    kinds = list(slots)
    for name in view.features:
        kind = view.schema.field(name).type
        found[name] = f"c{kinds.index(kind)}_{taken[kind]}"
        taken[kind] += 1
    return found


def _columns(view: FeatureView, slots: Counter[pa.DataType], number: int) -> list[str]:
    filled = {place: name for name, place in _places(view, slots).items()}
    columns = [f"{number} AS view"]
    columns += [
        f"CAST(`{name}` AS {spark_type(view.schema.field(name).type)}) AS key{at}" for at, name in enumerate(view.key)
    ]
    for kind_number, (kind, count) in enumerate(slots.items()):
        for at in range(count):
            name = filled.get(f"c{kind_number}_{at}")
            columns.append(f"CAST({f'`{name}`' if name else 'NULL'} AS {spark_type(kind)}) AS c{kind_number}_{at}")
    return columns


def _own(found: pa.Table, view: FeatureView, slots: Counter[pa.DataType], number: int) -> pa.Table:
    places = _places(view, slots)
    rows = found.filter(pc.equal(found["view"], number)).combine_chunks()
    plain = pa.table({name: rows[places[name]] for name in view.schema.names})
    batches = [canonical(batch, view.schema) for batch in plain.to_batches()]
    return pa.Table.from_batches(batches, view.schema).combine_chunks()
