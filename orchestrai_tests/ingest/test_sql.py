"""PostgreSQL as a source and as a target, on a real server; DuckDB as a target."""

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestrai.contracts.contract import Column, Contract
from orchestrai.errors import ConfigError, OrchestraiError, StorageError, TransientStorageError, UnreadableObject
from orchestrai.ingest.sources.table_batch import SqlSource, published_position
from orchestrai.ingest.sources.table_reader import TableReader
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.report import StageReport
from orchestrai.secrets.reference import resolve_secret, scrubbed
from orchestrai.storage.postgres import address, connection
from orchestrai.warehouse.merge import DuckdbTarget, LoadReport, MysqlTarget, PostgresTarget, load_table
from orchestrai_tests.producers import producer
from orchestrai_tests.running import ingest_table
from orchestrai_tests.servers.postgres import PostgresServer

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ASSET = "shop/orders/raw_events"
CONTRACT = Contract(
    "orders",
    "1.0.0",
    (
        Column("order_id", "BIGINT", "id", required=True, key=1),
        Column("customer", "STRING", "customer"),
        Column("amount", "DECIMAL(12,2)", "amount"),
        Column("ordered_at", "TIMESTAMP", "ordered_at", required=True),
        Column("updated_at", "TIMESTAMP", "updated_at", required=True),
    ),
    event_time="ordered_at",
)
SOURCE = SqlSource("env://SHOP_URL", "public.orders", "updated_at", overlap=timedelta(minutes=5), page_rows=7, retries=0)
CANARY = "hunter2canary"


class Shop:
    """A database with an orders table."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.run(
            "CREATE TABLE orders (id bigint PRIMARY KEY, customer text, amount numeric, "
            "ordered_at timestamptz NOT NULL, updated_at timestamptz)"
        )

    def run(self, statement: str, *values: Any) -> list[Any]:
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as opened:
            answer = opened.execute(statement, values or None)
            return answer.fetchall() if answer.description else []

    def add(self, ids: range, *, day: int = 20, minute: int = 0, amount: str = "1.50") -> None:
        for number in ids:
            at = datetime(2026, 11, day, 10, minute, number % 60, tzinfo=UTC)
            self.run("INSERT INTO orders VALUES (%s, %s, %s, %s, %s)", number, f"c{number}", Decimal(amount), at, at)


@pytest.fixture
def shop(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Shop:
    url = postgres.database()
    monkeypatch.setenv("SHOP_URL", url)
    return Shop(url)


def step(ledger: Ledger, source: SqlSource = SOURCE, contract: Contract = CONTRACT, **options: Any) -> StageReport:
    return ingest_table(ledger, asset=ASSET, source=source, contract=contract, grain="day", now=NOW, **options)


def rows(ledger: Ledger, asset: str = ASSET) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    dataset = ledger.open(asset)
    with dataset.fetched(sorted(dataset.partitions)) as files:
        return [row for part in files.values() for f in part for row in pq.read_table(f.path).to_pylist()]


def ids(ledger: Ledger) -> list[int]:
    return sorted(row["order_id"] for row in rows(ledger))


pytestmark = pytest.mark.emulator


def test_rows_arrive_once_by_partition_with_declared_types(ledger: Ledger, shop: Shop) -> None:
    shop.add(range(20))
    shop.add(range(20, 25), day=21)
    report = step(ledger)
    assert {o.partition: o.rows for o in report.outcomes} == {"2026-11-20": 20, "2026-11-21": 5}
    first = min(rows(ledger), key=lambda row: row["order_id"])
    at = datetime(2026, 11, 20, 10, tzinfo=UTC)
    expected = {"order_id": 0, "customer": "c0", "amount": Decimal("1.50"), "ordered_at": at, "updated_at": at}
    assert first == expected
    again = step(ledger)
    assert again.version == report.version and again.facts["rows"] == 0 and len(list(ledger.history(ASSET))) == 1


def test_only_changes_are_published_and_a_changed_row_is_a_second_event(ledger: Ledger, shop: Shop) -> None:
    shop.add(range(5))
    step(ledger)
    shop.add(range(5, 8), minute=30)
    shop.run("UPDATE orders SET amount = 9, updated_at = %s WHERE id = 2", datetime(2026, 11, 20, 11, tzinfo=UTC))
    report = step(ledger)
    assert report.facts["rows"] == 4
    assert ids(ledger) == [0, 1, 2, 2, 3, 4, 5, 6, 7]
    position = published_position(ledger.find(ASSET), "public.orders")
    assert position is not None and position.as_json() == {"watermark": "2026-11-20 11:00:00+00", "key": None}


def test_a_late_commit_inside_the_overlap_is_found_and_nothing_twice(ledger: Ledger, shop: Shop) -> None:
    import psycopg

    at = datetime(2026, 11, 20, 10, 0, 30, tzinfo=UTC)
    with psycopg.connect(shop.url) as late:
        late.execute("INSERT INTO orders VALUES (100, 'late', 1, %s, %s)", (at, at))
        shop.add(range(50))
        step(ledger)
        assert 100 not in ids(ledger)
        late.commit()
    report = step(ledger)
    assert report.facts["rows"] == 1 and sorted(ids(ledger)) == [*range(50), 100]


@pytest.mark.parametrize("total", [9, 10, 11, 20, 25])
def test_slices_reach_every_row_and_the_overlap_comes_back_after_them(ledger: Ledger, shop: Shop, total: int) -> None:
    shop.run(
        "INSERT INTO orders SELECT n, 'c', 1, t, t FROM generate_series(1, %s) n, "
        "LATERAL (SELECT timestamptz '2026-11-20 10:00:00Z' + (n / 3) * interval '1 s' AS t) AS moments",
        total,
    )
    source = replace(SOURCE, limit_rows=10)
    for _ in range(total // 10 + 1):
        step(ledger, source)
    assert ids(ledger) == list(range(1, total + 1))
    # a row whose transaction was late by a second, after the last slice ended
    shop.run("INSERT INTO orders VALUES (999, 'late', 1, '2026-11-20 10:00:01Z', '2026-11-20 10:00:01Z')")
    step(ledger, source)
    assert ids(ledger) == [*range(1, total + 1), 999]


def test_one_extract_is_one_snapshot_though_rows_change_under_it(ledger: Ledger, shop: Shop, tmp_path: Path) -> None:
    shop.add(range(30))
    reader = TableReader(SOURCE, CONTRACT, "day")
    taken = reader._take
    done: list[int] = []

    def disturbed(*arguments: Any) -> None:
        if not done:
            shop.run("UPDATE orders SET amount = 777")
            shop.add(range(30, 40))
        done.append(1)
        taken(*arguments)

    reader._take = disturbed  # type: ignore[method-assign]
    found = reader.extract(tmp_path / "x", None, None)
    assert found.read == 30 and len(done) == 5
    import pyarrow.parquet as pq

    (writer,) = found.rows.values()
    assert set(pq.read_table(writer.path).column("amount").to_pylist()) == {Decimal("1.50")}


def test_values_that_do_not_fit_go_to_the_dead_letters(ledger: Ledger, shop: Shop) -> None:
    shop.add(range(3))
    shop.add(range(3, 4), amount="1.23456")
    shop.run("UPDATE orders SET amount = 'NaN' WHERE id = 1")
    report = step(ledger)
    assert report.facts["dead_letters"] == 2 and ids(ledger) == [0, 2]
    letters = ledger.open("shop/orders/dead_letters")
    assert letters.rows == 2
    step(ledger)
    assert ledger.open("shop/orders/dead_letters").rows == 2


def test_a_time_beyond_the_calendar_is_told_with_its_remedy(ledger: Ledger, shop: Shop) -> None:
    shop.add(range(1))
    shop.run("UPDATE orders SET ordered_at = 'infinity'")
    with pytest.raises(UnreadableObject, match="declare the column as STRING"):
        step(ledger)


def test_rows_without_a_watermark_are_warned_about(ledger: Ledger, shop: Shop) -> None:
    shop.add(range(3))
    shop.run("UPDATE orders SET updated_at = NULL WHERE id = 1")
    (outcome,) = step(ledger).outcomes
    (warning,) = [verdict for verdict in outcome.verdicts if verdict.check == "watermark"]
    assert outcome.published and not warning.passed and "1" in warning.message


def test_an_integer_watermark_is_read_with_its_own_overlap(ledger: Ledger, shop: Shop) -> None:
    shop.add(range(10))
    source = replace(SOURCE, watermark="order_id", overlap_ids=3)
    step(ledger, source)
    shop.run("DELETE FROM orders WHERE id = 8")
    shop.add(range(10, 13))
    report = step(ledger, source)
    assert report.facts["read"] == 6 and report.facts["repeated"] == 3 and ids(ledger) == list(range(13))


def test_a_lost_connection_is_retried_from_a_new_snapshot(
    ledger: Ledger, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add(range(20))
    taken, waits, broken = TableReader._take, [], []

    def cut(self: Any, page: Any, found: Any, seen: Any) -> None:
        taken(self, page, found, seen)
        if not broken:
            broken.append(1)
            shop.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'orchestrai'")

    monkeypatch.setattr(TableReader, "_take", cut)
    with pytest.raises(TransientStorageError):
        step(ledger)
    assert ledger.find(ASSET) is None
    broken.clear()
    report = step(ledger, replace(SOURCE, retries=2), sleep=waits.append)
    assert waits == [1.0] and report.rows == 20


def test_a_crash_before_the_commit_costs_nothing(ledger: Ledger, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    import orchestrai.ledger.publishing as publishing

    shop.add(range(5))

    def crash(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "append_head", crash)
        with pytest.raises(KeyboardInterrupt):
            step(ledger)
    assert ledger.find(ASSET) is None
    step(ledger)
    assert ids(ledger) == list(range(5))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"table": "public.no_such"}, "no_such"),
        ({"watermark": "customer"}, "TIMESTAMP or BIGINT"),
        ({"table": 'orders"; DROP TABLE orders; --'}, "correct the name"),
    ],
)
def test_a_wrong_declaration_is_told_and_runs_nothing(ledger: Ledger, shop: Shop, change: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        step(ledger, replace(SOURCE, **change))
    assert shop.run("SELECT count(*) FROM orders") == [(0,)]


# -- secrets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://user:{CANARY}@127.0.0.1:1/db",
        f"postgresql://user:{CANARY}%zz@h/db",
        f"{CANARY} is no url",
        f"host=127.0.0.1 port=1 user=u password={CANARY} dbname=d",
        f"postgresql://user:{CANARY}@no-such-host.invalid/db",
    ],
)
def test_a_password_is_in_no_error_cause_or_log(
    text: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    import traceback

    monkeypatch.setenv("SHOP_URL", text)
    caplog.set_level(0)
    with pytest.raises(OrchestraiError) as caught, connection("env://SHOP_URL"):
        pass
    shown = io.StringIO()
    traceback.print_exception(caught.value, file=shown)
    out = capfd.readouterr()
    seen = shown.getvalue() + caplog.text + out.out + out.err + repr(caught.value.fields)
    assert CANARY not in seen


def test_a_wrong_password_is_refused_without_showing_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg.conninfo

    given = psycopg.conninfo.conninfo_to_dict(shop.url)
    monkeypatch.setenv("SHOP_URL", psycopg.conninfo.make_conninfo("", **{**given, "user": "nobody", "password": CANARY}))
    with pytest.raises(StorageError) as caught, connection("env://SHOP_URL"):
        pass
    assert CANARY not in str(caught.value) and not caught.value.retryable


def test_secrets_come_from_files_and_literal_urls_are_refused_unshown(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_text("postgresql://u:p@h/d\n")
    assert resolve_secret(f"file://{path}") == "postgresql://u:p@h/d"
    assert address(f"file://{path}") == "postgresql://h:5432/d"
    for wrong in (f"postgresql://u:{CANARY}@h/d", "env://", "file://relative", CANARY):
        with pytest.raises(ConfigError) as caught:
            SqlSource(wrong, "t", "w")
        assert CANARY not in str(caught.value)
    assert scrubbed("a p%40ss b p@ss", "p@ss") == "a *** b ***"


def test_what_is_published_names_no_user_and_no_password(ledger: Ledger, shop: Shop) -> None:
    shop.add(range(1))
    step(ledger)
    receipt = ledger.open(ASSET).receipt("2026-11-20")
    assert receipt.materials[0].uri.startswith("postgresql://") and "postgres@" not in receipt.materials[0].uri


# -- loading tables ----------------------------------------------------------------------------------------------


def publish(ledger: Ledger, values: dict[str, list[tuple[str, float | None]]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    session = ledger.session("shop/rfm/features", producer("features"))
    for key, found in values.items():
        at = pa.array([NOW] * len(found), pa.timestamp("us", tz="UTC"))
        names, scores = pa.array([n for n, _ in found], pa.string()), pa.array([s for _, s in found], pa.float64())
        sink = io.BytesIO()
        pq.write_table(pa.table({"customer": names, "score": scores, "at": at}), sink)
        session.add_bytes(key, "part.parquet", sink.getvalue(), rows=len(found))
    session.commit()


Load = Callable[..., LoadReport]


@pytest.fixture(params=["postgres", "duckdb", "mariadb"])
def warehouse(request: pytest.FixtureRequest, ledger: Ledger, tmp_path: Path) -> tuple[Load, Callable[[], Any]]:
    target: Any
    query = 'SELECT customer, score FROM "rfm" ORDER BY customer'
    if request.param == "postgres":
        shop = request.getfixturevalue("shop")
        target = PostgresTarget("env://SHOP_URL", "rfm")
        read: Callable[[], Any] = lambda: shop.run(query)  # noqa: E731
    elif request.param == "mariadb":
        server = request.getfixturevalue("mariadb")
        url = server.database()
        request.getfixturevalue("monkeypatch").setenv("MARTS_URL", url)
        target = MysqlTarget("env://MARTS_URL", "rfm")
        read = lambda: server.run(url.rpartition("/")[2], query)  # noqa: E731
    else:
        import duckdb

        target = DuckdbTarget(tmp_path / "w.duckdb", "rfm")

        def read() -> Any:
            with duckdb.connect(str(target.path)) as opened:
                return opened.execute(query).fetchall()

    def load(**options: Any) -> LoadReport:
        return load_table(ledger, target, asset="shop/rfm/features", key=options.pop("key", ["customer"]), **options)

    return load, read


def counts(report: LoadReport) -> tuple[int, int, int, int]:
    return report.rows, report.inserted, report.updated, report.deleted


def test_a_load_is_idempotent_and_touches_only_what_changed(ledger: Ledger, warehouse: Any) -> None:
    load, read = warehouse
    publish(ledger, {"p1": [("a", 1.0), ("b", None)], "p2": [("c", 3.0)]})
    assert counts(load()) == (3, 3, 0, 0)
    assert counts(load()) == (3, 0, 0, 0)
    publish(ledger, {"p1": [("a", 1.0), ("b", 2.0), ("d", 4.0)]})
    assert counts(load()) == (4, 1, 1, 0)
    assert read() == [("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 4.0)]


def test_replace_takes_out_what_the_version_does_not_hold(ledger: Ledger, warehouse: Any) -> None:
    load, read = warehouse
    publish(ledger, {"p1": [("a", 1.0), ("b", 2.0)]})
    load()
    publish(ledger, {"p1": [("b", 5.0)]})
    assert counts(load()) == (1, 0, 1, 0) and len(read()) == 2
    assert counts(load(mode="replace")) == (1, 0, 0, 1)
    assert read() == [("b", 5.0)]


def test_an_older_version_never_overwrites_a_newer_one(ledger: Ledger, warehouse: Any, tmp_path: Path) -> None:
    load, read = warehouse
    publish(ledger, {"p1": [("a", 1.0)]})
    publish(ledger, {"p1": [("a", 2.0)]})
    load()
    old = next(head for head in ledger.history("shop/rfm/features") if head.seq == 1)
    ledger.open = lambda asset, version=None: ledger.dataset(old)  # type: ignore[method-assign,assignment]
    assert load().skipped
    assert read() == [("a", 2.0)]


def test_a_key_that_is_none_is_refused_and_leaves_the_table_as_it_was(ledger: Ledger, warehouse: Any) -> None:
    load, read = warehouse
    publish(ledger, {"p1": [("a", 1.0)]})
    load()
    publish(ledger, {"p1": [("a", 2.0), ("a", 3.0)]})
    with pytest.raises(ConfigError, match="1 values twice"):
        load()
    with pytest.raises(ConfigError, match="key"):
        load(key=["nobody"])
    assert read() == [("a", 1.0)]
