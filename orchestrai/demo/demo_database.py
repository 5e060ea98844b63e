"""The demo's database: the shop's purchases, line by line, in an SQLite file that stands for its warehouse."""

import csv
import io
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

_TABLE = """CREATE TABLE IF NOT EXISTS purchases (
  line_id INTEGER PRIMARY KEY, invoice_no TEXT NOT NULL, stock_code TEXT NOT NULL, quantity INTEGER NOT NULL,
  unit_price TEXT NOT NULL, customer_id TEXT, invoice_date TEXT NOT NULL, recorded_at TEXT NOT NULL)"""
_INDEX = "CREATE INDEX IF NOT EXISTS purchases_recorded ON purchases (recorded_at, line_id)"
_INSERT = "INSERT OR IGNORE INTO purchases VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


class Purchases:
    """The table, filled a day at a time; a line that is there already is left as it is."""

    def __init__(self, opened: sqlite3.Connection) -> None:
        self._opened, self._lines = opened, 0
        opened.execute(_TABLE)
        opened.execute(_INDEX)

    def add(self, day: date, orders: str) -> None:
        """Write a day's lines, recorded together when the tills close."""
        rows = []
        for row in csv.DictReader(io.StringIO(orders)):
            self._lines += 1
            customer = row["CustomerID"].removesuffix(".0") or None
            moment = row["InvoiceDate"], f"{day} 19:00:00"
            sold = row["InvoiceNo"], row["StockCode"], int(row["Quantity"]), row["UnitPrice"]
            rows.append((self._lines, *sold, customer, *moment))
        with self._opened:
            self._opened.executemany(_INSERT, rows)


@contextmanager
def purchases(path: Path) -> Iterator[Purchases]:
    """Open the database at `path`, made with its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = sqlite3.connect(path)
    try:
        yield Purchases(opened)
    finally:
        opened.close()
