"""The peers of bench.arrival: order lines read and landed by the fastest readers there are, each told the types it must be told."""

import importlib.util
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.contracts.contract import Contract

Landing = Callable[[pathlib.Path, pathlib.Path], object]
TEXTS = ("InvoiceNo", "StockCode", "Description", "CustomerID", "Country")


def arrow_schema(contract: Contract) -> pa.Schema:
    """The kinds that pyarrow is told, by the names in the objects."""
    kinds = {column.source: contract.arrow_schema().field(column.name).type for column in contract.columns}
    return pa.schema(kinds | {"InvoiceDate": pa.timestamp("us")})


def arrow_batches(path: pathlib.Path, contract: Contract) -> Iterator[pa.RecordBatch]:
    """pyarrow's own reader, streaming."""
    import pyarrow.csv as arrow_csv
    import pyarrow.json as arrow_json

    schema = arrow_schema(contract)
    if path.suffix == ".csv":
        convert = arrow_csv.ConvertOptions(column_types=schema, strings_can_be_null=True)
        yield from arrow_csv.open_csv(path, arrow_csv.ReadOptions(use_threads=False), convert_options=convert)
    else:
        parse = arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
        yield from arrow_json.open_json(path, arrow_json.ReadOptions(use_threads=False), parse)


def land_by_arrow(contract: Contract) -> Landing:
    """pyarrow to Parquet, batch by batch."""

    def land(path: pathlib.Path, target: pathlib.Path) -> None:
        with pq.ParquetWriter(target, arrow_schema(contract), compression="zstd") as writer:
            for batch in arrow_batches(path, contract):
                writer.write_batch(batch)

    return land


def read_by_pandas(path: pathlib.Path) -> Any:
    """pandas' own reader."""
    import pandas as pd  # here, as it would count into the peak of our own process

    text = {name: str for name in ("InvoiceNo", "StockCode", "CustomerID")}
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype=text, parse_dates=["InvoiceDate"])
    return pd.read_json(path, lines=True, dtype=text, convert_dates=["InvoiceDate"])


def land_by_pandas(path: pathlib.Path, target: pathlib.Path) -> None:
    """pandas to Parquet."""
    read_by_pandas(path).to_parquet(target, compression="zstd")


def read_by_polars(path: pathlib.Path) -> Any:
    """Polars' own reader; of JSON it reads times as text."""
    import polars as pl

    kinds: dict[str, Any] = {name: pl.String for name in TEXTS} | {"Quantity": pl.Int64, "UnitPrice": pl.Float64}
    order = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
    if path.suffix == ".csv":
        kinds["InvoiceDate"] = pl.Datetime("us")
        return pl.read_csv(path, schema={name: kinds[name] for name in order})
    kinds["InvoiceDate"] = pl.String
    moments = pl.col("InvoiceDate").str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us")
    return pl.read_ndjson(path, schema={name: kinds[name] for name in order}).with_columns(moments)


def land_by_polars(path: pathlib.Path, target: pathlib.Path) -> None:
    """Polars to Parquet."""
    read_by_polars(path).write_parquet(target, compression="zstd")


def _duckdb_reader(path: pathlib.Path) -> str:
    kinds = dict.fromkeys(TEXTS, "VARCHAR") | {"Quantity": "BIGINT", "UnitPrice": "DOUBLE", "InvoiceDate": "TIMESTAMP"}
    order = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
    columns = {name: kinds[name] for name in order}
    if path.suffix == ".csv":
        return f"read_csv('{path}', header=true, auto_detect=false, delim=',', quote='\"', columns={columns})"
    return f"read_json('{path}', format='newline_delimited', columns={columns})"


def read_by_duckdb(path: pathlib.Path) -> None:
    """DuckDB's own reader, into a table of Arrow."""
    import duckdb

    with duckdb.connect() as db:
        db.sql(f"SELECT * FROM {_duckdb_reader(path)}").to_arrow_table()


def land_by_duckdb(path: pathlib.Path, target: pathlib.Path) -> None:
    """DuckDB to Parquet, in the order of the file as the others are."""
    import duckdb

    with duckdb.connect() as db:
        db.execute(f"COPY (SELECT * FROM {_duckdb_reader(path)}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")


def land_by_dlt(path: pathlib.Path, target: pathlib.Path) -> None:
    """dlt to Parquet by its filesystem source and destination."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    import dlt
    from dlt.sources.filesystem import filesystem, read_csv, read_jsonl

    with tempfile.TemporaryDirectory(prefix="orchestrai-dlt-", dir=target.parent) as folder:
        destination = dlt.destinations.filesystem(bucket_url=f"file://{folder}/out")
        pipeline = dlt.pipeline("bench", destination=destination, dataset_name="orders", pipelines_dir=f"{folder}/work")
        reader = read_csv() if path.suffix == ".csv" else read_jsonl()
        rows = filesystem(bucket_url=f"file://{path.parent}", file_glob=path.name) | reader
        pipeline.run(rows.with_name("orders"), loader_file_format="parquet")


def land_by_deltalake(contract: Contract) -> Landing:
    """pyarrow's reader into a Delta table, by delta-rs: a log that names the file, and statistics of its columns."""

    def land(path: pathlib.Path, target: pathlib.Path) -> None:
        import deltalake

        schema = arrow_schema(contract)
        rows = pa.RecordBatchReader.from_batches(
            schema, (batch.select(schema.names) for batch in arrow_batches(path, contract))
        )
        with tempfile.TemporaryDirectory(prefix="orchestrai-delta-", dir=target.parent) as folder:
            deltalake.write_deltalake(folder, rows)

    return land


def is_missing(peer: str) -> bool:
    """Whether a peer is not installed: `make bench-setup` does so."""
    return importlib.util.find_spec(peer) is None
