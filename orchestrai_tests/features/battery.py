"""Views on data that no float sum survives, for any Spark to be compared with DuckDB.

    python -m orchestrai_tests.features.battery --url sc://127.0.0.1:15002 --views 50

Prints one JSON object: the views compared, those that differ in some bit, those that failed, and why this server may not make features.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from orchestrai.conformance.generated_views import (
    battery,
    differing_bits,
    nasty_files,
    query_of,
    table_of,
)
from orchestrai.errors import FeatureViewError
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Query
from orchestrai.features.engines.spark_engine import SparkEngine, require_overflow_errors
from orchestrai.pipeline.engines import session_settings
from orchestrai_tests.servers.spark import SMALL

DUCKDB = DuckDbEngine(threads=1)
AGAIN = DuckDbEngine(threads=2, one_sort=False)


def differences(query: Query, spark: SparkEngine, *, unordered: bool = False) -> list[str]:
    """The columns in which Spark differs from DuckDB; DuckDB must agree with itself over threads and kinds of windows."""
    return compared(query, table_of(spark, query), unordered=unordered)


def compared(query: Query, found: pa.Table, *, unordered: bool = False) -> list[str]:
    """As `differences`, of what Spark has found."""
    expected = table_of(DUCKDB, query)
    assert expected.num_rows
    assert differing_bits(expected, table_of(AGAIN, query)) == []
    if unordered:
        keys = [(name, "ascending") for name in query.view.key]
        expected, found = expected.sort_by(keys).combine_chunks(), found.sort_by(keys).combine_chunks()
    return differing_bits(expected, found)


# no code generated for expressions that run once
INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}


def main() -> int:
    """Compare, print, and return 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="local[1]")
    parser.add_argument("--views", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--interpreted", action="store_true")
    parser.add_argument("--unordered", action="store_true", help="compare rows whatever their order")
    options = parser.parse_args()
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    from pyspark.sql import SparkSession

    from orchestrai_tests.features.batch import tables_of

    builder = SparkSession.builder
    given = {} if options.url.startswith("sc://") else {**SMALL, **(INTERPRETED if options.interpreted else {})}
    for name, value in {**given, **session_settings(options.url)}.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    engine, refusal = SparkEngine(lambda: session, checking=True), ""
    try:
        require_overflow_errors(engine.session)
    except FeatureViewError as exc:
        refusal = exc.message
    different, failed, began = [], [], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        files = nasty_files(Path(folder))
        queries = [query_of(view, files, as_of) for view, as_of in battery(options.seed, options.views)]
        for query, rows in zip(queries, tables_of(engine, queries), strict=True):
            if isinstance(rows, FeatureViewError):
                failed.append({"view": query.view.name, "error": rows.message[:200], "sql": query.view.sql})
            elif columns := compared(query, rows, unordered=options.unordered):
                different.append({"view": query.view.name, "columns": columns, "sql": query.view.sql})
    found = {
        "engine": engine.name, "views": options.views, "different": different, "failed": failed,
        "refusal": refusal, "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip
    sys.stdout.write(json.dumps(found) + "\n")
    return 1 if different or failed else 0


if __name__ == "__main__":
    sys.exit(main())
