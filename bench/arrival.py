"""Arrival against plain libraries: one JSON object a line, exit code 1 if any is not ok.

python -m bench.arrival [--data FOLDER] [--rounds N]    FOLDER holds online_retail_by_day/ and nab/ (the volume scores need it)
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from bench.arrival_peers import (
    Landing,
    arrow_batches,
    is_missing,
    land_by_arrow,
    land_by_deltalake,
    land_by_dlt,
    land_by_duckdb,
    land_by_pandas,
    land_by_polars,
    read_by_duckdb,
    read_by_pandas,
    read_by_polars,
)
from bench.volume import run as bench_volume
from orchestrai.contracts.checks import check_partition
from orchestrai.contracts.contract import Column, Contract
from orchestrai.ingest.readers.object_reader import ObjectOutcome, Typing, large_part
from orchestrai.ingest.spec import SourceSpec
from orchestrai.storage.url import open_store

NOW = datetime(2026, 1, 3, tzinfo=UTC)
KEYS = 100_000
CONTRACT = Contract(
    "orders",
    "1.0.0",
    (
        Column("invoice_no", "STRING", "InvoiceNo", required=True),
        Column("stock_code", "STRING", "StockCode", required=True),
        Column("description", "STRING", "Description"),
        Column("quantity", "BIGINT", "Quantity", required=True),
        Column("invoice_date", "TIMESTAMP", "InvoiceDate", required=True),
        Column("unit_price", "DOUBLE", "UnitPrice", required=True),
        Column("customer_id", "STRING", "CustomerID"),
        Column("country", "STRING", "Country"),
    ),
    event_time="invoice_date",
    freshness=timedelta(hours=26),
)
failed = False

SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
KEYS, PAGE = int(sys.argv[1]), 1000
def page(number):
    rows = "".join(
        f"<Contents><Key>landing/{i // 700:05d}/2026-01-01-{i:08d}.jsonl</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{i:032x}&quot;</ETag><Size>1024</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for i in range(number * PAGE, min(KEYS, (number + 1) * PAGE)))
    more = (number + 1) * PAGE < KEYS
    token = f"<NextContinuationToken>{number + 1}</NextContinuationToken>" if more else ""
    return (f'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>'
            f"<Prefix></Prefix><KeyCount>{PAGE}</KeyCount><MaxKeys>{PAGE}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"
            f"{token}{rows}</ListBucketResult>").encode()
PAGES = [page(n) for n in range((KEYS + PAGE - 1) // PAGE)]
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = PAGES[int(parse_qs(urlsplit(self.path).query).get("continuation-token", ["0"])[0])]
        self.send_response(200); self.send_header("content-type", "application/xml")
        self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *_): pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


def line(case: str, metric: str, ours: float, peer: str, theirs: float, target: float | None) -> None:
    """Print one result; `target` bounds ours / theirs, from below where the metric's name ends in `_per_s` or `quality`."""
    global failed
    ratio = ours / theirs if theirs else float(ours > 0)
    if target is None:
        ok = True
    else:
        ok = ratio >= target if metric.endswith(("_per_s", "quality")) else ratio <= target
    failed |= not ok
    values = {"ours": round(ours, 4), "peer": peer, "theirs": round(theirs, 4), "ratio": round(ratio, 4), "target": target}
    print(json.dumps({"bench": "arrival", "case": case, "metric": metric, **values, "ok": ok}), flush=True)


def missing(case: str, peer: str) -> None:
    """Fail the line of a peer that is not installed."""
    global failed
    failed = True
    print(json.dumps({"bench": "arrival", "case": case, "peer": peer, "missing": True, "ok": False}), flush=True)


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of this process for one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def interleaved(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median CPU seconds of both, run in turns after one warm-up each."""
    ours(), theirs()
    pairs = [(cpu(ours), cpu(theirs)) for _ in range(rounds)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


@contextlib.contextmanager
def listing_server() -> Iterator[str]:
    """An S3 listing of KEYS objects, served by another process."""
    child = subprocess.Popen([sys.executable, "-c", SERVER, str(KEYS)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        yield f"http://127.0.0.1:{child.stdout.readline().strip()}"
    finally:
        child.terminate()
        child.wait()


def bench_listing(rounds: int) -> None:
    """Listing 100,000 keys."""
    import boto3

    with listing_server() as url:
        os.environ |= {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",  # the server asks for none
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }
        store = open_store("s3://bench")
        client = boto3.client("s3", endpoint_url=url)

        def ours() -> None:
            assert sum(1 for _ in store.list("landing/")) == KEYS

        def theirs() -> None:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket="bench", Prefix="landing/")
            assert sum(len(page["Contents"]) for page in pages) == KEYS

        line("100000 keys listed", "cpu_s", *_with("boto3 paginator", interleaved(ours, theirs, rounds)), target=0.1)


def _with(peer: str, pair: tuple[float, float]) -> tuple[float, str, float]:
    return pair[0], peer, pair[1]


def make_orders(path: pathlib.Path, rows: int, form: str) -> None:
    """Order lines of one day."""
    with path.open("w") as sink:
        if form == "csv":
            sink.write("InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n")
        for i in range(rows):
            at = f"2026-01-01 {i * 24 // rows:02d}:{i % 60:02d}:00"
            values = (f"{536000 + i // 20}", f"{20000 + i * 7 % 3500}", f"LAMP NO {i % 3000}", i % 40 - 3, at, i % 999 / 100)
            if form == "csv":
                sink.write(",".join(str(v) for v in values) + f",{12000 + i % 4000}.0,United Kingdom\n")
            else:
                names = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice")
                record = dict(zip(names, values, strict=True)) | {
                    "CustomerID": str(12000 + i % 4000),
                    "Country": "United Kingdom",
                }
                sink.write(json.dumps(record) + "\n")


def land(path: pathlib.Path, target: pathlib.Path, form: str) -> int:
    """Our way: typed, audited Parquet."""
    outcome = ObjectOutcome()
    writer = large_part(Typing(SourceSpec(url="x", format=form), CONTRACT), path, outcome, target)  # type: ignore[arg-type]
    writer.close()
    verdicts = check_partition(CONTRACT, [target], partition="2026-01-01", grain="day", history={}, now=NOW)
    assert all(verdict.passed for verdict in verdicts), verdicts
    return writer.rows


# how many times the peer's CPU ours may be: the checks, the audit and the receipts' statistics are ours alone
PEERS: dict[str, tuple[Landing, float]] = {
    "pyarrow": (land_by_arrow(CONTRACT), 1.2),
    "polars": (land_by_polars, 1.0),
    "duckdb": (land_by_duckdb, 1.0),
    "deltalake": (land_by_deltalake(CONTRACT), 1.2),
    "dlt": (land_by_dlt, 0.5),
}
# readers of JSON, and how many times as many rows a CPU second ours must read; None where it is only told
JSON_READERS: dict[str, tuple[Callable[[pathlib.Path], object], float | None]] = {
    "pandas": (read_by_pandas, 4.0),
    "pyarrow": (lambda path: list(arrow_batches(path, CONTRACT)), None),
    "polars": (read_by_polars, None),
    "duckdb": (read_by_duckdb, None),
}


def typed(path: pathlib.Path) -> None:
    """Our reader alone: each row proven to be in order and typed, none refused."""
    outcome = ObjectOutcome()
    source = SourceSpec(url="x", format=path.suffix[1:])  # type: ignore[arg-type]
    for _ in Typing(source, CONTRACT).large(path, outcome, careful=False):
        pass
    assert outcome.rows and not outcome.unreadable


def bench_readers(folder: pathlib.Path, rounds: int, rows: int) -> None:
    """CSV against the fastest readers there are; a peer that is not installed fails its line by name."""
    path, target = folder / "2026-01-01.csv", folder / "out.parquet"
    make_orders(path, rows, "csv")
    quoted = folder / "quoted.csv"
    with path.open() as plain, quoted.open("w") as sink:
        for number, text in enumerate(plain):
            fields = text.split(",")
            if number % 3 == 1:
                fields[2] = f'"{fields[2]}, 7"" WIDE"'
            sink.write(",".join(fields))
    for case, made in (("plain", path), ("a third of the rows with quotes", quoted)):
        pair = interleaved(partial(typed, made), lambda made=made: list(arrow_batches(made, CONTRACT)), 3 * rounds)  # type: ignore[misc]
        line(f"csv read and typed, {rows} rows, {case}", "cpu_s", *_with("pyarrow", pair), target=1.2)
    for peer, (work, most) in PEERS.items():
        case = f"csv landing to checked parquet, {rows} rows"
        if is_missing(peer):
            missing(case, peer)
            continue
        # dlt goes row by row and takes as long as all others together
        turns = 1 if peer == "dlt" else rounds
        pair = interleaved(partial(land, path, target, "csv"), partial(work, path, folder / "peer.parquet"), turns)
        line(case, "cpu_s", *_with(peer, pair), target=most)


def bench_json_readers(folder: pathlib.Path, rounds: int, rows: int) -> None:
    """JSON lines read and typed, each line proven to be one record, against readers that prove nothing."""
    path = folder / "2026-01-01.jsonl"
    make_orders(path, rows, "jsonl")
    for peer, (work, least) in JSON_READERS.items():
        case = f"jsonl read and typed, {rows} rows"
        if is_missing(peer):
            missing(case, peer)
            continue
        ours, theirs = interleaved(partial(typed, path), partial(work, path), rounds)
        line(case, "rows_cpu_per_s", rows / ours, peer, rows / theirs, target=least)


def bench_typing(folder: pathlib.Path, rounds: int, rows: int) -> None:
    """Landing to contract-checked Parquet, rows per CPU second."""
    for form in ("csv", "jsonl"):
        path, target = folder / f"2026-01-01.{form}", folder / "out.parquet"
        make_orders(path, rows, form)
        ours, theirs = interleaved(partial(land, path, target, form), partial(land_by_pandas, path, target), rounds)
        line(f"{form} landing to checked parquet, {rows} rows", "rows_cpu_per_s", rows / ours, "pandas", rows / theirs, 3.0)


WORKER = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
from bench.arrival import land
from bench.arrival_peers import land_by_pandas
path, target = pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4])
land(path, target, "csv") if sys.argv[2] == "ours" else land_by_pandas(path, target)
status = pathlib.Path("/proc/self/status").read_text().splitlines()
print(next(l for l in status if l.startswith("VmHWM")).split()[1])
"""


def peak(side: str, path: pathlib.Path, target: pathlib.Path) -> float:
    """Peak memory of one landing in a process of its own, MiB."""
    root = str(pathlib.Path(__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", WORKER, root, side, str(path), str(target)], capture_output=True, text=True, check=True
    )
    return int(done.stdout.splitlines()[-1]) / 1024


def bench_memory(folder: pathlib.Path, rows: int) -> None:
    """Peak memory of a file and of ones four and ten times its size: bounded by the batch, not by the file."""
    target, ours = folder / "out.parquet", {}
    for times in (1, 4, 10):
        made = folder / f"{times}.csv"
        make_orders(made, rows * times, "csv")
        ours[times] = peak("ours", made, target)
        if times > 1:
            line(f"csv of {rows * times} rows", "peak_mib", ours[times], "pandas", peak("theirs", made, target), 0.75)
            line(f"csv of {rows * times} rows", "peak_mib", ours[times], f"orchestrai, 1/{times} of the rows", ours[1], 1.25)
        made.unlink()


def bench_checks(folder: pathlib.Path, rounds: int) -> None:
    """The audit of a partition of 10,000 files."""
    table = pa.Table.from_pylist(
        [
            {
                "invoice_no": str(i),
                "stock_code": "S",
                "quantity": i,
                "invoice_date": NOW - timedelta(days=1, minutes=i + 1),
                "unit_price": 1.0,
            }
            for i in range(100)
        ],
        schema=CONTRACT.arrow_schema(),
    )
    first = folder / "many" / "part-00000.parquet"
    first.parent.mkdir()
    pq.write_table(table, first, compression="zstd")
    files = [first]
    for number in range(1, 10_000):
        files.append(pathlib.Path(shutil.copyfile(first, first.parent / f"part-{number:05d}.parquet")))

    def audit() -> None:
        found = check_partition(CONTRACT, files, partition="2026-01-01", grain="day", history={}, now=NOW)
        assert all(verdict.passed for verdict in found), found

    audit()
    line(
        "10000 files audited from footers",
        "cpu_s",
        statistics.median(cpu(audit) for _ in range(rounds)),
        "the promise",
        2.0,
        1.0,
    )


def main() -> int:
    """Run all cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    default = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=pathlib.Path, default=default)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orchestrai-bench-") as name:
        folder = pathlib.Path(name)
        bench_typing(folder, options.rounds, options.rows)
        bench_readers(folder, options.rounds, options.rows)
        bench_json_readers(folder, options.rounds, options.rows)
        bench_checks(folder, options.rounds)
        bench_memory(folder, options.rows)
    bench_listing(options.rounds)
    volume = bench_volume(options.data) if options.data.is_dir() else 0
    return 1 if failed or volume else 0


if __name__ == "__main__":
    sys.exit(main())
