"""What the vault's bench stores of data as people have it, beside what the peers store of the same."""

import csv
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from bench.vault_engines import Borg, Ours, Restic, line, size_of

ROUNDS = 5
# how often the rows of the files go into the database: some 60 MB at the end
COPIES = 4
BLOB = 120_000_000
BYTE_MOST = 2_000_000


def real(folder: Path, data: Path) -> Iterator[dict[str, object]]:
    """Bytes stored of CSV files, of a database that grows, of Parquet and model files, and of one byte more in a large file."""
    source = folder / "real"
    for case, states in (
        ("CSV files", csv_files(source, data)),
        ("growing SQLite database, 5 snapshots", database(source, data)),
        ("Parquet and a model", tables(source, data)),
    ):
        yield from stored(folder, source, case, states)
    yield from one_byte(folder, source)
    shutil.rmtree(source, ignore_errors=True)


def stored(folder: Path, source: Path, case: str, states: Iterator[None]) -> Iterator[dict[str, object]]:
    """A snapshot of each state by each; then what each keeps."""
    engines: list[Ours | Borg | Restic] = [Ours(folder, False), Ours(folder, True), Borg(folder), Restic(folder)]
    for engine in engines:
        engine.init()
    cpu = dict.fromkeys((engine.name for engine in engines), 0.0)
    for _ in states:
        for engine in engines:
            cpu[engine.name] += engine.snapshot(source).cpu_s
    size = {engine.name: size_of(engine.repo) for engine in engines}
    for ours, theirs in (("plain", "borg"), ("sealed", "restic"), ("plain", "restic"), ("sealed", "borg")):
        yield line(f"{case} ({ours})", "stored_bytes", size[ours], theirs, size[theirs], 1.0)
    for ours, theirs in (("plain", "borg"), ("sealed", "restic")):
        yield line(f"{case} ({ours})", "cpu_s", cpu[ours], theirs, cpu[theirs], 0.5)


def one_byte(folder: Path, source: Path) -> Iterator[dict[str, object]]:
    """One byte changed, then one put in, in 120 MB that do not compress."""
    blob = bytearray(random.Random(1).randbytes(BLOB))
    engines: list[Ours | Borg | Restic] = [Ours(folder, False), Ours(folder, True), Borg(folder), Restic(folder)]
    fresh(source)
    for engine in engines:
        engine.init()
    before: dict[str, int] = {}
    for step in ("first", "one byte changed in 120 MB", "one byte put into 120 MB"):
        if step == "one byte changed in 120 MB":
            blob[BLOB // 2] ^= 1
        elif step != "first":
            blob[BLOB // 3 : BLOB // 3] = b"x"
        (source / "blob").write_bytes(blob)
        for engine in engines:
            engine.snapshot(source)
            size = size_of(engine.repo)
            if step != "first":
                yield line(f"{step} ({engine.name})", "stored_bytes", size - before[engine.name], "target", BYTE_MOST, None
                           if engine.name in ("borg", "restic") else 1.0)  # fmt: skip
            before[engine.name] = size


def fresh(source: Path) -> None:
    """An empty folder."""
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir()


def csv_files(source: Path, data: Path) -> Iterator[None]:
    """The files as they are."""
    fresh(source)
    for path in sorted(data.glob("*.csv")):
        shutil.copy(path, source)
    yield


def rows(data: Path) -> list[list[str]]:
    """The rows of all files."""
    found = []
    for path in sorted(data.glob("*.csv")):
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            found += list(csv.reader(file))[1:]
    return found


def database(source: Path, data: Path) -> Iterator[None]:
    """A database with an index, into which a part of the rows comes before each snapshot."""
    fresh(source)
    lines = rows(data) * COPIES
    width = min(map(len, lines))
    with sqlite3.connect(source / "shop.sqlite") as connection:
        columns = [f"c{number}" for number in range(width)]
        connection.execute(f"create table sales ({', '.join(columns)})")
        connection.execute(f"create index by_first on sales ({columns[0]})")
        part = -(-len(lines) // (ROUNDS * 2))
        marks = ", ".join("?" * width)
        starts = [0, *range(part * (ROUNDS + 1), len(lines), part)]
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            connection.executemany(f"insert into sales values ({marks})", (one[:width] for one in lines[start:end]))
            connection.commit()
            yield
    connection.close()


def tables(source: Path, data: Path) -> Iterator[None]:
    """The rows as Parquet in two codecs, and a model as JSON."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import xgboost

    fresh(source)
    lines = rows(data)
    width = min(map(len, lines))
    table = pa.table({f"c{number}": [one[number] for one in lines] for number in range(width)})
    pq.write_table(table, source / "zstd.parquet", compression="zstd")
    pq.write_table(table, source / "snappy.parquet", compression="snappy")
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(5000, 12))
    model = xgboost.XGBRegressor(n_estimators=300, max_depth=6).fit(inputs, inputs[:, 0] * inputs[:, 1])
    model.save_model(source / "model.json")
    model.save_model(source / "model.ubj")
    yield
