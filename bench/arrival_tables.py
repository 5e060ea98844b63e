"""Rows of a PostgreSQL table into partitioned Parquet, against plain libraries: CPU seconds of this side, one JSON object a line.

python -m bench.arrival_tables [--rows N] [--rounds N]    each way runs in a process of its own, the server in another
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from orchestrai.contracts.contract import Column, Contract

NOW = datetime(2026, 12, 1, tzinfo=UTC)
CONTRACT = Contract(
    "orders",
    "1.0.0",
    (
        Column("order_id", "BIGINT", "id", required=True, key=1),
        Column("customer", "STRING", "customer"),
        Column("amount", "DECIMAL(12,2)", "amount"),
        Column("paid", "BOOLEAN", "paid"),
        Column("score", "DOUBLE", "score"),
        Column("at", "TIMESTAMP", "at", required=True),
    ),
    event_time="at",
)
# thirty days
TABLE = """CREATE TABLE orders AS SELECT n::bigint AS id, 'customer ' || n % 5000 AS customer,
(n % 100000) / 100.0::numeric(12,2) AS amount, n % 3 = 0 AS paid, n / 7.0::float8 AS score,
timestamptz '2026-11-01Z' + n * interval '{step} seconds' AS at FROM generate_series(1, {rows}) AS n"""


def ours(folder: Path, rows: int, *, reconcile: bool) -> int:
    """The whole stage: one snapshot, typed, a partition a day, hashed, signed and published."""
    from orchestrai.ingest.sources.table_batch import ingest_table
    from orchestrai.ingest.sources.table_source import SqlSource
    from orchestrai.ingest.spec import DatasetTask, SourceSpec, SqlOptions
    from orchestrai.ledger.ledger import Ledger
    from orchestrai.ledger.signing import load_or_create_signer
    from orchestrai.stage.context import RunContext
    from orchestrai.storage.local import LocalStore

    store = LocalStore(folder / "lake")
    ledger = Ledger(store, load_or_create_signer(folder / "keys"), vault=LocalStore(folder / "vault"))
    spec = SourceSpec(url="env://BENCH_URL", format="sql", sql=SqlOptions(table="orders"))
    source = SqlSource("env://BENCH_URL", "orders", "at", timedelta(minutes=5), limit_rows=rows + 1, reconcile=reconcile)
    context = RunContext(ledger, clock=lambda: NOW)
    report = ingest_table(context, DatasetTask("bench/orders/raw_events", spec, CONTRACT, "day"), source)
    return sum(outcome.rows for outcome in report.outcomes)


def by_pandas(folder: Path, rows: int) -> int:
    """pandas.read_sql in chunks by SQLAlchemy and psycopg, appended to Parquet: no types but its own, no days, no hashes."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq
    import sqlalchemy as sa

    engine = sa.create_engine(os.environ["BENCH_URL"].replace("postgresql://", "postgresql+psycopg://", 1))
    count = 0
    writer: pq.ParquetWriter | None = None
    with engine.connect().execution_options(stream_results=True) as opened:
        for chunk in pd.read_sql("SELECT * FROM orders", opened, chunksize=50_000):
            table = pa.Table.from_pandas(chunk, preserve_index=False)
            writer = writer or pq.ParquetWriter(folder / "orders.parquet", table.schema)
            writer.write_table(table.cast(writer.schema))
            count += table.num_rows
    if writer is not None:
        writer.close()
    return count


def by_dlt(folder: Path, rows: int) -> int:
    """dlt's sql_database with its Arrow backend into Parquet files."""
    import dlt
    from dlt.sources.sql_database import sql_table

    url = os.environ["BENCH_URL"].replace("postgresql://", "postgresql+psycopg://", 1)
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=str(folder / "work"),
        destination=dlt.destinations.filesystem(str(folder / "out")),
        dataset_name="d",
    )
    pipeline.run(sql_table(url, "orders", backend="pyarrow", chunk_size=50_000), loader_file_format="parquet")
    trace = pipeline.last_trace.last_normalize_info
    return int(trace.row_counts["orders"]) if trace is not None else 0


WAYS: dict[str, Callable[[Path, int], int]] = {
    "orchestrai": lambda folder, rows: ours(folder, rows, reconcile=False),
    "orchestrai, counted again": lambda folder, rows: ours(folder, rows, reconcile=True),
    "pandas.read_sql": by_pandas,
    "dlt, pyarrow backend": by_dlt,
}


def one(way: str, rows: int) -> None:
    """Run one way; what it cost on the last line."""
    with tempfile.TemporaryDirectory() as folder:
        done = WAYS[way](Path(folder), rows)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"rows": done, "cpu": used.ru_utime + used.ru_stime, "mib": used.ru_maxrss / 1024}))


def main() -> int:
    """All ways, each so often; the middle of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", default="")
    given = parser.parse_args()
    if given.one:
        one(given.one, given.rows)
        return 0
    import psycopg

    from orchestrai_tests.servers.postgres import postgres_server

    good = True
    with postgres_server() as server:
        url = server.database()
        with psycopg.connect(url, autocommit=True) as opened:
            opened.execute(TABLE.format(rows=given.rows, step=30 * 86_400 / given.rows))  # type: ignore[arg-type]
        for way in WAYS:
            runs = []
            for _ in range(given.rounds):
                command = [sys.executable, "-m", "bench.arrival_tables", "--one", way, "--rows", str(given.rows)]
                ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "BENCH_URL": url})
                if ended.returncode:
                    print(json.dumps({"way": way, "not run": ended.stderr.strip().split("\n")[-1][:200]}))
                    break
                runs.append(json.loads(ended.stdout.strip().split("\n")[-1]))
            if runs:
                good = good and all(run["rows"] == given.rows for run in runs)
                figures = {name: round(statistics.median(run[name] for run in runs), 1) for name in ("cpu", "mib")}
                print(
                    json.dumps({"way": way, "rows": runs[0]["rows"], **figures, "load": round(os.getloadavg()[0], 1)}),
                    flush=True,
                )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
