"""Feature views against the same SQL straight in DuckDB, against pandas and Spark: one JSON object a line.

    python bench/features.py                 1 M readings, one minute of 10,000 devices
    python bench/features.py --rows 100000   a quick look
    python bench/features.py --spark         Spark local beside it (starts a JVM)
    python bench/features.py --large         10 M readings in 1 GiB, churn over 10 M, click-purchase join 10 M x 1 M
    python bench/features.py --huge          50 M readings in 2 GiB
    python bench/features.py --sealing 11    private copies against plain opens, so many pairs, and nothing else

Both sides alternate in one process (memory cases: one process each); figures are medians. Exit code 1 if a line is not ok.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrai.core.code_identity import Producer
from orchestrai.features.by_key.online import OnlineStore, update_online
from orchestrai.features.engines.duckdb_engine import DuckDbEngine
from orchestrai.features.engines.engine import Engine, Query, Source, Spine
from orchestrai.features.engines.spark_engine import SparkEngine
from orchestrai.features.feature_table import KeyWatch, write_files
from orchestrai.features.run import FeatureTask
from orchestrai.features.run import compute as compute_task
from orchestrai.features.spec import FeatureViewSpec
from orchestrai.features.views.view import FeatureView, load_view
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.ledger.signing import load_or_create_signer
from orchestrai.stage.context import RunContext
from orchestrai.storage.base import Store
from orchestrai.storage.disk.sealed import Sealed, SealedFiles
from orchestrai.storage.local import LocalStore

PIPELINES = Path(__file__).resolve().parents[1] / "orchestrai" / "pipelines"
MICROS = pa.timestamp("us", tz="UTC")
START = datetime(2026, 1, 1, tzinfo=UTC)
READINGS = pa.schema(
    [
        ("device_id", pa.string()), ("ts", MICROS), ("seq", pa.int64()), ("temperature", pa.float64()), ("vibration", pa.float64()),
        ("failed", pa.bool_()),
    ]
)  # fmt: skip
ORDERS = pa.schema(
    [
        ("invoice_no", pa.string()), ("stock_code", pa.string()), ("description", pa.string()), ("quantity", pa.int64()),
        ("invoice_date", MICROS), ("unit_price", pa.decimal128(12, 3)), ("customer_id", pa.string()), ("country", pa.string()),
    ]
)  # fmt: skip
CLICKS = pa.schema(
    [(name, MICROS if name == "ts" else pa.string()) for name in ("event_id", "user_id", "item_id", "ts", "channel")]
)
ITEMS = pa.schema([("item_id", pa.string()), ("category", pa.string()), ("price", pa.decimal128(12, 2)), ("ts", MICROS)])
# readings about every 6 s per device, 2 % NULLs, 1 % outliers, 1 % delivered twice, out of order by up to 20 s
READINGS_SQL = """
SELECT device_id, make_timestamptz(us) AS ts, seq, temperature, vibration, false AS failed FROM (
  SELECT 'd' || lpad((i % {devices})::VARCHAR, 6, '0') AS device_id, i AS seq,
    {start} + (i // {devices}) * 6000000 + (hash(i) % 4000000)::BIGINT AS us,
    CASE WHEN hash(i + 1) % 50 > 0 THEN 20 + (hash(i + 2) % 10000)::BIGINT / 1000.0 END::DOUBLE AS temperature,
    CASE WHEN hash(i + 3) % 50 > 0
      THEN 1 + (hash(i + 4) % 1000)::BIGINT / 10000.0 + (hash(i + 5) % 100 = 0)::INT * 3 END::DOUBLE AS vibration
  FROM (SELECT range AS i FROM range({rows}) UNION ALL SELECT range * 100 AS i FROM range({rows} // 100)))
ORDER BY us + (hash(seq + 6) % 20000000)::BIGINT
"""
ok = True


def emit(case: str, metric: str, ours: float, peer: str, theirs: float, target: float) -> None:
    """Print one line; a ratio above its target makes the run fail."""
    global ok
    ratio = ours / theirs if theirs else 0.0
    good = ratio <= target
    ok = ok and good
    line = {
        "bench": "features", "case": case, "metric": metric, "ours": round(ours, 3), "peer": peer, "theirs": round(theirs, 3),
        "ratio": round(ratio, 3), "target": target, "ok": good,
    }  # fmt: skip
    print(json.dumps(line), flush=True)


def make(path: Path, sql: str) -> Path:
    """Write the result of a DuckDB query as Parquet."""
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.execute("SET memory_limit = '4GB'")
        # one thread and no batches held back: 50 M rows are sorted within the limit
        db.execute("SET threads = 1")
        db.execute("SET preserve_insertion_order = false")
        db.execute(f"SET temp_directory = '{path.parent / 'spill'}'")
        db.execute(f"COPY ({sql}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
    return path


def make_readings(path: Path, rows: int, devices: int, start: datetime = START) -> Path:
    """Seeded readings."""
    return make(path, READINGS_SQL.format(rows=rows, devices=devices, start=int(start.timestamp() * 1e6)))


def cpu(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds of a call, all threads of this process."""
    began, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - began, time.perf_counter() - wall


ROLLING_SQL = """
WITH dedup AS (
  SELECT device_id, ts, {{ fixed(temperature, 1000) }} AS t, {{ fixed(vibration, 10000) }} AS v
  FROM (SELECT device_id, ts, temperature, vibration, ROW_NUMBER() OVER (PARTITION BY device_id, ts ORDER BY seq) AS rn
        FROM readings) AS numbered
  WHERE rn = 1)
SELECT device_id, ts, {{ rolling_avg(t, 1000, rows10) }} AS temp_avg_10, {{ rolling_std(t, 1000, rows10) }} AS temp_std_10,
  {{ spike(v, rows10) }} AS vib_spike, {{ rolling_avg(t, 1000, min10) }} AS temp_avg_10m, COUNT(t) OVER min10 AS temp_n_10m
FROM dedup
WINDOW rows10 AS (PARTITION BY device_id ORDER BY ts ROWS BETWEEN 9 PRECEDING AND CURRENT ROW),
  min10 AS (PARTITION BY device_id ORDER BY ts RANGE BETWEEN INTERVAL 10 MINUTES PRECEDING AND CURRENT ROW)
"""


def rolling_view() -> FeatureView:
    """Average, deviation and spike over 10 rows, average and count over 10 minutes."""
    spec = {"name": "rolling", "from": "readings", "entity": "device_id", "event_time": "ts", "sql": ROLLING_SQL}
    return load_view(FeatureViewSpec.model_validate(spec), PIPELINES, {"readings": READINGS})


def run_ours(view: FeatureView, sources: dict[str, Source], folder: Path, engine: Any, spine: Spine | None = None) -> int:
    """The engine, the key watch and the writer: what the stage adds to SQL."""
    watch = KeyWatch(view.key, view.entity)
    with engine.run(Query(view, sources, spine)) as batches:
        write_files(watch.watch(batches), view.schema, folder)
    assert not watch.repeats and not watch.nulls
    return watch.rows


def run_raw(view: FeatureView, files: dict[str, Path], out: Path, limit: str, spine: str = "") -> None:
    """The same SQL straight in DuckDB, to sorted zstd Parquet."""
    with duckdb.connect(config={"memory_limit": limit}) as db:
        db.execute("SET TimeZone = 'UTC'")
        for name, path in files.items():
            first = next(iter(sorted(path.parents[1].glob(f"{path.parent.name}/{path.name}"))))
            stamps = [field.name for field in pq.read_schema(first) if pa.types.is_timestamp(field.type)]
            plain = ", ".join(f"make_timestamp(epoch_us({stamp})) AS {stamp}" for stamp in stamps)
            db.execute(f"CREATE VIEW {name} AS SELECT * REPLACE ({plain}) FROM read_parquet('{path}')")
        if spine:
            db.execute(f"CREATE TABLE spine AS {spine}")
        order = ", ".join(view.key)
        db.execute(
            f"COPY (SELECT * FROM ({view.duckdb_sql}) ORDER BY {order}) TO '{out}' (FORMAT parquet, COMPRESSION zstd)"
        )


def run_pandas(path: Path, out: Path) -> None:
    """The same features by hand in pandas."""
    import numpy as np
    import pandas as pd

    frame = pd.read_parquet(path).sort_values(["device_id", "ts", "seq"], kind="stable").drop_duplicates(["device_id", "ts"])
    frame["t"] = np.floor(frame.temperature * 1000 + 0.5)
    frame["v"] = np.floor(frame.vibration * 10000 + 0.5)
    result = frame[["device_id", "ts"]].reset_index(drop=True)
    groups = frame.groupby("device_id", sort=False)
    temperature, vibration = groups["t"].rolling(10, min_periods=1), groups["v"].rolling(10, min_periods=1)
    result["temp_avg_10"] = temperature.mean().to_numpy() / 1000
    result["temp_std_10"] = temperature.std().to_numpy() / 1000
    bound = vibration.mean().to_numpy() + 2 * vibration.std().to_numpy()
    result["vib_spike"] = (frame.v.to_numpy() > bound).astype("int32")
    minutes = frame.set_index("ts").groupby("device_id", sort=False)["t"].rolling("10min", closed="both")
    result["temp_avg_10m"] = minutes.mean().to_numpy() / 1000
    result["temp_n_10m"] = minutes.count().to_numpy()
    result.to_parquet(out, compression="zstd")


def rolling(rows: int, repeats: int, spark: bool, scratch: Path) -> None:
    """Ours, raw DuckDB, pandas and Spark over the same readings, alternating."""
    view, path = rolling_view(), make_readings(scratch / "readings.parquet", rows, max(1, rows // 1000))
    sources = {"readings": Source(view.tables["readings"], [path])}
    engine = DuckDbEngine()
    sides: dict[str, Callable[[], object]] = {
        "ours": lambda: run_ours(view, sources, scratch / "ours", engine),
        "duckdb": lambda: run_raw(view, {"readings": path}, scratch / "raw.parquet", "1500MB"),
        "pandas": lambda: run_pandas(path, scratch / "pandas.parquet"),
    }
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats + 1):
        for name, work in sides.items():
            found[name].append(cpu(work)[0])
    # the first round pays for imports
    middle = {name: statistics.median(values[1:]) for name, values in found.items()}
    case = f"rolling features, {rows:,} readings"
    emit(case, "cpu_s", middle["ours"], "the same SQL straight in DuckDB", middle["duckdb"], 1.25)
    emit(case, "cpu_s", middle["ours"], "pandas", middle["pandas"], 0.5)
    if spark:
        emit(case, "cpu_s", middle["ours"], "Spark local, warm", _spark(view, sources, scratch), 0.125)
    stage = [cpu(lambda: _stage(view, path, scratch))[0] for _ in range(max(1, repeats - 1))]
    emit(
        f"{case}, with verification, receipts and hashing",
        "cpu_s",
        statistics.median(stage),
        "the same SQL straight in DuckDB",
        middle["duckdb"],
        1.25,
    )


def compute(ledger: Ledger, view: FeatureView, *, engine: Engine | None = None, **task: Any) -> StageReport:
    """One run of the features stage."""
    return compute_task(RunContext(ledger), view, FeatureTask(**task), engine)


def _stage(view: FeatureView, path: Path, scratch: Path) -> None:
    ledger = _ledger(scratch)
    publish(ledger, {"all": [path]})
    _features(view, ledger)


def _ledger(scratch: Path, sealed: SealedFiles | None = None) -> Ledger:
    home = Path(tempfile.mkdtemp(dir=scratch))
    return Ledger(LocalStore(home / "lake"), load_or_create_signer(home / "keys"), sealed=sealed)


def _features(view: FeatureView, ledger: Ledger) -> None:
    report = compute(
        ledger, view, asset="b/f/features", inputs={"readings": "b/readings/restored"}, grain="all", partitions=None
    )
    assert not report.refused


def publish(ledger: Ledger, partitions: dict[str, Sequence[Path]]) -> None:
    """Publish files as a restored dataset."""
    session = ledger.session("b/readings/restored", Producer("restored", "orchestrai.restore.run"))
    for key, files in partitions.items():
        for number, path in enumerate(files):
            session.add_file(key, f"part-{number:05d}.parquet", path, rows=pq.read_metadata(path).num_rows)
    session.commit()


class PlainOpens(SealedFiles):
    """What sealing took the place of: a file is hashed, closed, and opened again where it lies, by whoever put what there meanwhile."""

    @contextmanager
    def of(self, store: Store, key: str, size: int) -> Iterator[Sealed]:
        """The object itself, after it was hashed."""
        path = store.local_path(key)
        assert path is not None
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        yield Sealed(path, path.stat().st_size, digest)


def _opened(files: SealedFiles, store: Store, path: Path) -> None:
    with files.of(store, path.name, path.stat().st_size):
        pass


def sealing(rows: int, pairs: int, scratch: Path) -> None:
    """The whole stage on sealed copies (in memory, and on disk) and on plain opens, one after another, in an order that turns round.

    User and system CPU of all threads. The least of each side is what the work costs; what is more is the machine's.
    """
    view, path = rolling_view(), make_readings(scratch / "readings.parquet", rows, max(1, rows // 1000))
    sides = {"plain": PlainOpens(), "memory": SealedFiles(), "disk": SealedFiles(0)}
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(pairs + 1):
        for name in sorted(sides, reverse=bool(number % 2)):
            ledger = _ledger(scratch, sides[name])
            publish(ledger, {"all": [path]})
            used = cpu(lambda ledger=ledger: _features(view, ledger))[0]  # type: ignore[misc]
            found[name] += [used] if number else []
    for name in ("memory", "disk"):
        for what, of in (("least", min), ("median", statistics.median)):
            case = f"rolling features, {rows:,} readings, sealed copies in {name}, {what} of {pairs}"
            emit(case, "cpu_s", of(found[name]), "the same files opened as they lie", of(found["plain"]), 1.1)
    store, alone = LocalStore(scratch), {}
    for name, files in sides.items():
        alone[name] = min(cpu(lambda files=files: _opened(files, store, path))[0] for _ in range(5 * pairs))  # type: ignore[misc]
    for name in ("memory", "disk"):
        whole = min(found["plain"])
        case = f"the input of {rows:,} readings, {path.stat().st_size:,} bytes, sealed in {name}, in all of the stage"
        emit(case, "cpu_s", whole + alone[name] - alone["plain"], "hashed and opened as it lies", whole, 1.1)
    print(json.dumps({"bench": "features", "case": "load", "average": [round(n, 1) for n in os.getloadavg()]}), flush=True)


def _spark(view: FeatureView, sources: dict[str, Source], scratch: Path) -> float:
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]")
    for name, value in {
        "spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "2g", "spark.sql.shuffle.partitions": "4",
    }.items():  # fmt: skip
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    gateway = session.sparkContext._gateway
    assert gateway is not None
    process = gateway.proc.pid
    engine, used = SparkEngine(lambda: session), []
    for _ in range(3):
        before = _tree_cpu(process)
        own, _ = cpu(lambda: run_ours(view, sources, scratch / "spark", engine))
        used.append(own + _tree_cpu(process) - before)
    session.stop()
    return statistics.median(used[1:])


def _tree_cpu(process: int) -> float:
    """CPU seconds of a process and its descendants."""
    ticks, parents = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(folder.name)] = int(fields[1])
        ticks[int(folder.name)] = int(fields[11]) + int(fields[12])
    family = {process}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(ticks[member] for member in family if member in ticks) / os.sysconf("SC_CLK_TCK")


def minute(devices: int, scratch: Path) -> None:
    """A new minute of readings after an hour of them: until its features are published, and a full recompute beside it."""
    view, home = rolling_view(), scratch / "minute"
    ledger = Ledger(LocalStore(home / "lake"), load_or_create_signer(home / "keys"))
    hour = make_readings(scratch / "hour.parquet", devices * 600, devices)
    publish(ledger, {"2026-01-01-00:00": [hour]})
    options: dict[str, Any] = {"inputs": {"readings": "b/readings/restored"}, "grain": "hour"}
    engine = DuckDbEngine()
    compute(ledger, view, asset="b/f/features", partitions=None, engine=engine, **options)
    fresh = make_readings(scratch / "fresh.parquet", devices * 10, devices, START + timedelta(hours=1))
    publish(ledger, {"2026-01-01-01:00": [fresh]})
    used, waited = cpu(
        lambda: compute(ledger, view, asset="b/f/features", partitions=["2026-01-01-01:00"], engine=engine, **options)
    )
    both = {"readings": Source(view.tables["readings"], [hour, fresh])}
    full, _ = cpu(lambda: run_ours(view, both, scratch / "full", engine))
    case = f"one new minute of {devices:,} devices ({devices * 10:,} rows)"
    emit(case, "cpu_s", used, "full recompute of the hour", full, 0.5)
    emit(case, "wall_s", waited, "the limit of one minute", 60.0, 1.0)


TEN_ROWS_SQL = """
WITH t AS (SELECT device_id, ts, {{ fixed(temperature, 1000) }} AS t, {{ fixed(vibration, 10000) }} AS v
  FROM (SELECT device_id, ts, temperature, vibration, ROW_NUMBER() OVER (PARTITION BY device_id, ts ORDER BY seq) AS rn
        FROM readings) AS numbered
  WHERE rn = 1)
SELECT device_id, ts, {{ rolling_avg(t, 1000, rows10) }} AS temp_avg_10, {{ rolling_std(t, 1000, rows10) }} AS temp_std_10,
  {{ spike(v, rows10) }} AS vib_spike
FROM t WINDOW rows10 AS (PARTITION BY device_id ORDER BY ts ROWS BETWEEN 9 PRECEDING AND CURRENT ROW)
"""


def growing(devices: int, scratch: Path, name: str, sql: str, target: float, limit: float) -> None:
    """A micro-batch of one minute appended to an hour that holds 19 of them, against the whole hour computed again."""
    home, case_sql = scratch / f"growing-{name}", sql
    ledger = Ledger(LocalStore(home / "lake"), load_or_create_signer(home / "keys"))
    spec = {
        "name": name,
        "from": "readings",
        "entity": "device_id",
        "event_time": "ts",
        "sql": case_sql,
        "files_every": "1m",
    }
    view = load_view(FeatureViewSpec.model_validate(spec), PIPELINES, {"readings": READINGS})
    files = []
    for number in range(21):
        path = scratch / f"{name}-minute-{number:02d}.parquet"
        # the rows of a minute stay inside it
        sql = READINGS_SQL.format(
            rows=devices * 9, devices=devices, start=int((START + timedelta(minutes=number)).timestamp() * 1e6)
        )
        files.append(make(path, sql))
    engine = DuckDbEngine()
    options: dict[str, Any] = {"inputs": {"readings": "b/readings/restored"}, "grain": "hour", "partitions": None}
    publish(ledger, {"2026-01-01-00:00": files[:16]})
    compute(ledger, view, asset="b/f/features", engine=engine, tails=home / "tails", **options)
    update_online(ledger, view, asset="b/f/features", path=home / "online.sqlite")
    used: list[tuple[float, float]] = []
    read: list[tuple[float, float]] = []
    for count in range(17, 22):
        publish(ledger, {"2026-01-01-00:00": files[:count]})
        used.append(cpu(lambda: compute(ledger, view, asset="b/f/features", engine=engine, tails=home / "tails", **options)))
        read.append(cpu(lambda: _readable(ledger, view, home / "online.sqlite")))
    full, _ = cpu(lambda: compute(ledger, view, asset="b/full/features", engine=engine, **options))
    assert ledger.open("b/f/features").version == ledger.open("b/full/features").version
    case = f"{name}: one minute of {devices:,} devices ({devices * 9:,} rows) appended to an hour"
    # the first one still warms up
    work, wait = (statistics.median(values) for values in zip(*used[1:], strict=True))
    emit(case, "cpu_s", work, "the hour so far computed again", full, target)
    emit(case, "cpu_s", work, f"the limit of {limit} s", limit, 1.0)
    emit(case, "wall_s", wait, "the limit of one minute", 60.0, 1.0)
    waits = [first[1] + second[1] for first, second in zip(used[1:], read[1:], strict=True)]
    emit(f"{case}, until a client reads it by key", "wall_s", statistics.median(waits), "the limit of one minute", 60.0, 1.0)


def _readable(ledger: Ledger, view: FeatureView, path: Path) -> None:
    """Bring the online store up to date and read an entity, as an inference client does."""
    update_online(ledger, view, asset="b/f/features", path=path)
    with OnlineStore(path) as store:
        row = store.get("d000000")
    assert row is not None and row.version == ledger.open("b/f/features").version


CHURN_SQL = """
SELECT 'i' || (i // 3) AS invoice_no, 's' || (hash(i + 1) % 4000)::VARCHAR AS stock_code, NULL::VARCHAR AS description,
  (1 + hash(i + 2) % 9)::BIGINT AS quantity, make_timestamptz({start} + (hash(i + 3) % 31536000)::BIGINT * 1000000) AS invoice_date,
  ((hash(i + 4) % 20000)::BIGINT / 1000.0)::DECIMAL(12,3) AS unit_price, 'c' || (hash(i // 3) % {customers})::VARCHAR AS customer_id,
  'United Kingdom' AS country FROM range({rows}) t(i)
"""
CLICKS_SQL = """
SELECT 'e' || i AS event_id, 'c' || (hash(i) % {customers})::VARCHAR AS user_id, 's' || (hash(i + 1) % 4000)::VARCHAR AS item_id,
  make_timestamptz({start} + (hash(i + 3) % 31536000)::BIGINT * 1000000) AS ts, 'mail' AS channel FROM range({rows}) t(i)
"""
ITEMS_SQL = """
SELECT 's' || i AS item_id, 'k' || (i % 9) AS category, (i / 100.0)::DECIMAL(12,2) AS price, make_timestamptz({start}) AS ts
FROM range(4000) t(i)
"""


def churn_view() -> FeatureView:
    """The shipped churn view."""
    spec = {
        "name": "customer_rfm",
        "from": "orders",
        "entity": "customer_id",
        "as_of": {"every": "7d"},
        "sql": "customer_rfm.sql",
    }
    return load_view(FeatureViewSpec.model_validate(spec), PIPELINES / "churn", {"orders": ORDERS})


def moments_of_a_year(rows: int, scratch: Path) -> None:
    """The shipped churn view at each week of a year of daily partitions, against one query over all moments in DuckDB."""
    home, folder = scratch / "moments", scratch / "days"
    scratch.mkdir(parents=True, exist_ok=True)
    lines = CHURN_SQL.format(start=int(START.timestamp() * 1e6), rows=rows, customers=max(1, rows // 50))
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        of_day = f"SELECT *, strftime(invoice_date, '%Y-%m-%d') AS day FROM ({lines})"
        db.execute(f"COPY ({of_day}) TO '{folder}' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (day))")
    ledger = Ledger(LocalStore(home / "lake"), load_or_create_signer(home / "keys"))
    publish(ledger, {part.name[4:]: sorted(part.glob("*.parquet")) for part in sorted(folder.iterdir())})
    view, runs = churn_view(), iter(range(1000))

    def ours() -> StageReport:
        return compute(
            ledger,
            view,
            asset=f"b/run{next(runs)}/features",
            inputs={"orders": "b/readings/restored"},
            grain="day",
            partitions=None,
        )

    report = ours()
    moments = [outcome.partition for outcome in report.outcomes]
    values = ", ".join(f"(TIMESTAMP '{moment}')" for moment in moments)
    first = "SELECT customer_id, min(invoice_date) AS first FROM orders GROUP BY customer_id"
    spine = f"SELECT customer_id, as_of FROM ({first}) JOIN (VALUES {values}) m(as_of) ON first < as_of"
    everything = scratch / "everything.parquet"

    def raw() -> None:
        run_raw(view, {"orders": folder / "day=*" / "*.parquet"}, everything, "1500MB", spine)

    used: list[tuple[float, float]] = [(cpu(ours)[0], cpu(raw)[0]) for _ in range(4)][1:]
    assert sum(outcome.rows for outcome in report.outcomes) == pq.read_metadata(everything).num_rows
    mine, theirs = (statistics.median(values) for values in zip(*used, strict=True))
    emit(f"churn at {len(moments)} moments, {rows:,} order lines", "cpu_s", mine, "one query over all moments", theirs, 1.3)


def affinity_view() -> FeatureView:
    """The shipped recommendations view."""
    spec = {
        "name": "user_item_affinity", "from": ["clicks", "purchases", "items"], "entity": ["user_id", "item_id"],
        "as_of": {"every": "7d"}, "sql": "user_item_affinity.sql",
    }  # fmt: skip
    schemas = {"clicks": CLICKS, "purchases": ORDERS, "items": ITEMS}
    return load_view(FeatureViewSpec.model_validate(spec), PIPELINES / "recommendations", schemas)


def in_process(side: str, kind: str, folder: Path, limit: str) -> dict[str, float]:
    """One side of a memory case in a process of its own: CPU seconds and peak RSS."""
    command = [sys.executable, __file__, "--child", json.dumps([side, kind, str(folder), limit])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def child(side: str, kind: str, folder: Path, limit: str) -> None:
    """What `in_process` runs."""
    view = {"rolling": rolling_view, "churn": churn_view, "affinity": affinity_view}[kind]()
    files = {name: folder / f"{name}.parquet" for name in view.tables}
    moment = START + timedelta(days=366)
    entity = ", ".join(view.entity)
    sql = f"SELECT {entity}, TIMESTAMP '{moment:%Y-%m-%d}' AS as_of FROM {next(iter(view.tables))} GROUP BY {entity}"
    began = time.process_time()
    if side == "ours":
        spine = None if kind == "rolling" else Spine(as_of=moment, table=next(iter(view.tables)))
        sources = {name: Source(table, [files[name]]) for name, table in view.tables.items()}
        run_ours(view, sources, folder / "ours", DuckDbEngine(limit, temp_directory=folder / "spill"), spine)
    else:
        run_raw(view, files, folder / "raw.parquet", limit, "" if kind == "rolling" else sql)
    # not ru_maxrss, which begins with that of the parent
    peak = (
        next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line[:6] == "VmHWM:")
        / 1024
    )
    print(json.dumps({"cpu_s": time.process_time() - began, "rss_mib": peak}))


def memory_case(case: str, kind: str, folder: Path, limit: str, mib: int) -> None:
    """CPU against raw DuckDB under the same limit, and peak memory against the bound."""
    ours, raw = (in_process(side, kind, folder, limit) for side in ("ours", "raw"))
    emit(case, "cpu_s", ours["cpu_s"], "the same SQL straight in DuckDB", raw["cpu_s"], 1.25)
    emit(case, "rss_mib", ours["rss_mib"], "the bound", float(mib), 1.0)


def large(scratch: Path, scale: int) -> None:
    """10 M rows and more, one process a side."""
    start = int(START.timestamp() * 1e6)
    make_readings(scratch / "readings.parquet", scale, max(1, scale // 1000))
    memory_case(f"rolling features, {scale:,} readings in 1 GiB", "rolling", scratch, "600MB", 1024)
    make(scratch / "orders.parquet", CHURN_SQL.format(start=start, rows=scale, customers=max(1, scale // 50)))
    memory_case(f"churn aggregates, {scale:,} order lines", "churn", scratch, "1000MB", 1536)
    make(scratch / "purchases.parquet", CHURN_SQL.format(start=start, rows=scale // 10, customers=max(1, scale // 50)))
    make(scratch / "clicks.parquet", CLICKS_SQL.format(start=start, rows=scale, customers=max(1, scale // 50)))
    make(scratch / "items.parquet", ITEMS_SQL.format(start=start))
    memory_case(f"click-purchase join, {scale:,} x {scale // 10:,}", "affinity", scratch, "1000MB", 1536)


def main() -> int:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--spark", action="store_true")
    parser.add_argument("--large", nargs="?", type=int, const=10_000_000)
    parser.add_argument("--huge", action="store_true")
    parser.add_argument("--sealing", type=int, metavar="PAIRS")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        side, kind, folder, limit = json.loads(options.child)
        child(side, kind, Path(folder), limit)
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-features-") as folder:
        scratch = Path(folder)
        if options.sealing:
            sealing(options.rows, options.sealing, scratch)
            return 0 if ok else 1
        rolling(options.rows, options.repeats, options.spark, scratch)
        minute(max(10, options.rows // 100), scratch)
        growing(max(10, options.rows // 100), scratch, "rows", TEN_ROWS_SQL, 0.25, 0.25)
        shipped = (PIPELINES / "telemetry" / "device_rolling.sql").read_text(encoding="utf-8")
        growing(max(10, options.rows // 100), scratch, "rows_and_minutes", shipped, 0.25, 0.25)
        moments_of_a_year(options.rows // 5, scratch)
        if options.large:
            moments_of_a_year(2_000_000, scratch / "large")
            large(scratch, options.large)
        if options.huge:
            make_readings(scratch / "readings.parquet", 50_000_000, 10_000)
            memory_case("rolling features, 50,000,000 readings in 2 GiB", "rolling", scratch, "1500MB", 2048)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
