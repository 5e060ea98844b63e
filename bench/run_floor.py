"""The floor of `bench.run`: the same work on the same days by DuckDB, copies, sha256 and xgboost in one process, and nothing else."""

import hashlib
import pathlib
import shutil
import sys

import duckdb
import numpy as np
import xgboost

MOMENTS = 26
ROUNDS = 120


def digest(path: pathlib.Path) -> str:
    """The hash of a file, as every stage needs it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copied(path: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """A copy in another folder, hashed as it was read and as it lies there."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / path.name
    if digest(path) != digest(pathlib.Path(shutil.copyfile(path, target))):
        raise SystemExit(f"{target} is not {path}")
    return target


def main(landing: pathlib.Path, work: pathlib.Path) -> None:
    """Original kept and typed, both stored and restored, days at once; then features at moments, labels and a model."""
    database = duckdb.connect()
    for day in sorted(landing.glob("*.csv")):
        original = copied(day, work / "lake")
        typed = work / "lake" / f"{day.stem}.parquet"
        database.execute(
            f"COPY (SELECT InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID, Country FROM read_csv("
            f"'{original}', types = {{'InvoiceNo': 'VARCHAR', 'StockCode': 'VARCHAR'}})) TO '{typed}' (FORMAT parquet)"
        )
        for path in (original, typed):
            copied(copied(path, work / "vault"), work / "restored")
    lines = f"read_parquet('{work}/restored/*.parquet')"
    table = database.execute(
        f"""
        WITH lines AS (SELECT CustomerID AS who, InvoiceDate AS ts, InvoiceNo AS invoice, StockCode AS item,
                              Quantity * UnitPrice AS money FROM {lines} WHERE CustomerID IS NOT NULL),
             moments AS (SELECT (SELECT min(ts) FROM lines) + INTERVAL 7 DAY * n AS as_of FROM range(1, {MOMENTS}) AS t(n))
        SELECT who, as_of, date_diff('day', max(ts), as_of), date_diff('day', min(ts), as_of), count(DISTINCT invoice),
               count(DISTINCT item), sum(money), count(DISTINCT CASE WHEN ts >= as_of - INTERVAL 30 DAY THEN invoice END),
               sum(CASE WHEN ts >= as_of - INTERVAL 30 DAY THEN money END)
        FROM moments JOIN lines ON ts < as_of GROUP BY who, as_of"""
    ).fetchnumpy()
    columns = [np.ma.filled(np.ma.asarray(values).astype("float64"), np.nan) for values in list(table.values())[2:]]
    rows, label = np.column_stack(columns), (columns[0] > 60).astype("int8")
    model = xgboost.train(
        {"objective": "binary:logistic", "max_depth": 4, "nthread": 1, "seed": 1},
        xgboost.DMatrix(rows[:, 1:], label),
        num_boost_round=ROUNDS,
    )
    model.save_model(work / "model.ubj")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
