"""Tables of each database read on behind a watermark: the same rows, the same positions, and a count that is held against them."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestrai.contracts.contract import Column, Contract
from orchestrai.errors import ConfigError, IntegrityError, StorageError, TransientStorageError
from orchestrai.ingest.sources import table_reader
from orchestrai.ingest.sources.table_source import SqlSource
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.storage.databases.table_port import Paging, TableSnapshot, Wanted, Window
from orchestrai_tests.running import ingest_table

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ASSET = "shop/orders/raw_events"
CONTRACT = Contract(
    "orders",
    "1.0.0",
    (
        Column("order_id", "BIGINT", "id", required=True, key=1),
        Column("customer", "STRING", "customer"),
        Column("amount", "DECIMAL(12,2)", "amount"),
        Column("paid", "BOOLEAN", "paid"),
        Column("at", "TIMESTAMP", "seen_at", required=True),
    ),
    event_time="at",
)
AT = datetime(2026, 11, 20, 10, tzinfo=UTC)


@dataclass
class Database:
    """An orders table in one of the databases, and how a statement is run there."""

    source: SqlSource
    run: Callable[[str], Any]

    def add(self, *numbers: int, at: datetime = AT) -> None:
        for number in numbers:
            moment = (at + timedelta(seconds=number)).strftime("%Y-%m-%d %H:%M:%S")
            self.run(f"INSERT INTO orders VALUES ({number}, 'c{number}', {number}.50, {number % 2}, '{moment}')")


def _source(url: str) -> SqlSource:
    return SqlSource(url, "orders", "at", overlap=timedelta(minutes=5), page_rows=7, retries=0, reconcile=True)


def _sqlite(path: Path) -> Database:
    def run(statement: str) -> None:
        with sqlite3.connect(path) as opened:
            opened.execute(statement)
        opened.close()

    return Database(_source(f"sqlite:///{path}"), run)


def _duckdb(path: Path) -> Database:
    import duckdb

    def run(statement: str) -> None:
        with duckdb.connect(str(path)) as opened:
            opened.execute(statement)

    return Database(_source(f"duckdb:///{path}"), run)


@pytest.fixture(
    params=[
        "sqlite",
        "duckdb",
        pytest.param("postgres", marks=pytest.mark.emulator),
        pytest.param("mariadb", marks=pytest.mark.emulator),
    ]
)
def database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    if request.param == "sqlite":
        found = _sqlite(tmp_path / "shop.sqlite")
    elif request.param == "duckdb":
        found = _duckdb(tmp_path / "shop.duckdb")
    else:
        server = request.getfixturevalue(request.param)
        url = server.database()
        monkeypatch.setenv("SHOP_URL", url)

        def run(statement: str) -> Any:
            if request.param == "mariadb":
                return server.run(url.rpartition("/")[2], statement)
            import psycopg

            with psycopg.connect(url, autocommit=True) as opened:
                opened.execute(statement)  # type: ignore[arg-type]

        found = Database(_source("env://SHOP_URL"), run)
    kinds = {
        "postgres": "integer, seen_at timestamptz",
        "mariadb": "boolean, seen_at datetime",
        "duckdb": "boolean, seen_at timestamp",
    }
    kind = kinds.get(request.param, "boolean, seen_at text")
    found.run(
        f"CREATE TABLE orders (id bigint PRIMARY KEY, customer varchar(20), amount decimal(12,2), paid {kind} NOT NULL)"
    )
    return found


def step(ledger: Ledger, source: SqlSource, **options: Any) -> StageReport:
    return ingest_table(ledger, asset=ASSET, source=source, contract=CONTRACT, grain="day", now=NOW, **options)


def ids(ledger: Ledger) -> list[int]:
    return sorted(row["order_id"] for row in rows(ledger))


def rows(ledger: Ledger) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    dataset = ledger.open(ASSET)
    with dataset.fetched(sorted(dataset.partitions)) as files:
        return [row for part in files.values() for f in part for row in pq.read_table(f.path).to_pylist()]


def test_rows_arrive_once_typed_as_declared_and_counted_by_the_source(ledger: Ledger, database: Database) -> None:
    database.add(*range(20))
    database.add(20, 21, at=AT + timedelta(days=1))
    report = step(ledger, database.source)
    assert {o.partition: o.rows for o in report.outcomes} == {"2026-11-20": 20, "2026-11-21": 2}
    assert report.facts["counted"] == report.facts["read"] == 22
    (verdict, *_) = [v for o in report.outcomes for v in o.verdicts if v.check == "reconciled"]
    assert verdict.passed
    first = min(rows(ledger), key=lambda row: row["order_id"])
    assert first == {"order_id": 0, "customer": "c0", "amount": Decimal("0.50"), "paid": False, "at": AT}
    again = step(ledger, database.source)
    assert again.version == report.version and again.facts["rows"] == 0


@pytest.mark.parametrize("total", [10, 25])
def test_slices_end_and_begin_between_rows_of_one_moment(ledger: Ledger, database: Database, total: int) -> None:
    for number in range(total):
        database.run(f"INSERT INTO orders VALUES ({number}, 'c', 1, 0, '2026-11-20 10:00:{number // 4:02d}')")
    source = replace(database.source, limit_rows=10)
    for _ in range(total // 10 + 1):
        report = step(ledger, source)
        assert report.facts["counted"] == report.facts["read"]
    assert ids(ledger) == list(range(total))
    # a row whose transaction was late by a second, after the last slice ended
    database.run("INSERT INTO orders VALUES (999, 'late', 1, 0, '2026-11-20 10:00:01')")
    step(ledger, source)
    assert ids(ledger) == [*range(total), 999]


@dataclass
class Losing:
    """A snapshot whose way here loses the last page."""

    snapshot: TableSnapshot

    def facts(self, watermark: str) -> Any:
        return self.snapshot.facts(watermark)

    def count(self, wanted: Wanted, window: Window) -> int:
        return self.snapshot.count(wanted, window)

    def batches(self, wanted: Wanted, window: Window, paging: Paging) -> Iterator[Any]:
        found = list(self.snapshot.batches(wanted, window, paging))
        yield from found[:-1]


def test_rows_that_were_lost_on_the_way_are_counted_and_nothing_is_published(
    ledger: Ledger, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = table_reader.table_snapshot

    @contextmanager
    def losing(*arguments: Any, **options: Any) -> Iterator[TableSnapshot]:
        with whole(*arguments, **options) as found:
            yield Losing(found)

    database.add(*range(10))
    with monkeypatch.context() as patch:
        patch.setattr(table_reader, "table_snapshot", losing)
        (outcome,) = step(ledger, database.source).refused
        (verdict,) = [verdict for verdict in outcome.verdicts if verdict.check == "reconciled"]
        assert "7 rows read, 10 counted" in verdict.message
        with pytest.raises(IntegrityError, match="10 rows"):
            step(ledger, replace(database.source, page_rows=20))
    assert ledger.find(ASSET) is None
    assert step(ledger, database.source).rows == 10


def test_a_table_or_database_that_is_not_there_is_told_and_is_never_nothing_new(
    ledger: Ledger, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        step(ledger, replace(database.source, table="nowhere"))
    if database.source.place.path is None:
        scheme = "mysql" if database.source.place.of_mysql else "postgresql"
        monkeypatch.setenv("SHOP_URL", f"{scheme}://u:hunter2canary@127.0.0.1:1/shop")
        with pytest.raises(TransientStorageError) as caught:
            step(ledger, database.source)
        assert "hunter2canary" not in str(caught.value)
        return
    scheme = database.source.url.partition("///")[0]
    with pytest.raises(StorageError, match="no such file"):
        step(ledger, replace(database.source, url=f"{scheme}///{tmp_path / 'gone'}"))
    assert not (tmp_path / "gone").exists()
