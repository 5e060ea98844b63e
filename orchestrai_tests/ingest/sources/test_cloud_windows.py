"""Tables of BigQuery, Redshift and Snowflake read on behind a watermark: rows by files, counted in the moment that they are of."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from orchestrai.errors import (
    AccessRefused,
    ConfigError,
    IntegrityError,
    StorageError,
    TransientStorageError,
    UnreadableObject,
)
from orchestrai.ingest.sources.table_source import SqlSource
from orchestrai.ledger.ledger import Ledger
from orchestrai_tests.clouds.played_clouds import Cloud, played_cloud
from orchestrai_tests.clouds.snowflake_driver import Error
from orchestrai_tests.clouds.warehouse_sql import PlayedWarehouse
from orchestrai_tests.ingest.declaring import RAW, RESTORED, declare, hour, opened, run
from orchestrai_tests.ingest.declaring import ids as declared_ids
from orchestrai_tests.ingest.sources.test_table_windows import ASSET, AT, ids, rows, step


@pytest.fixture(params=["bigquery", "redshift", "snowflake"])
def cloud(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    with played_cloud(request.param, tmp_path, monkeypatch) as found:
        found.ask(
            "CREATE TABLE marts.orders (id bigint, customer varchar, amount decimal(12,2), paid boolean, seen_at timestamptz)"
        )
        yield found


def source(cloud: Cloud) -> SqlSource:
    return SqlSource(cloud.url, "orders", "at", overlap=timedelta(minutes=5), page_rows=7, retries=0, reconcile=True)


def add(cloud: Cloud, *numbers: int, at: datetime = AT) -> None:
    for number in numbers:
        moment = (at + timedelta(seconds=number)).isoformat()
        cloud.ask(
            f"INSERT INTO marts.orders VALUES ({number}, 'it''s {number}', {number}.50, {number % 2 == 1}, '{moment}')"
        )


def test_rows_arrive_once_typed_as_declared_counted_there_and_nothing_stays_in_the_bucket(
    ledger: Ledger, cloud: Cloud
) -> None:
    add(cloud, *range(20))
    add(cloud, 20, 21, at=AT + timedelta(days=1))
    report = step(ledger, source(cloud))
    assert {o.partition: o.rows for o in report.outcomes} == {"2026-11-20": 20, "2026-11-21": 2}
    assert report.facts["counted"] == report.facts["read"] == 22
    assert all(v.passed for o in report.outcomes for v in o.verdicts)
    first = min(rows(ledger), key=lambda row: row["order_id"])
    assert first == {"order_id": 0, "customer": "it's 0", "amount": Decimal("0.50"), "paid": False, "at": AT}
    again = step(ledger, source(cloud))
    assert again.version == report.version and again.facts["rows"] == 0
    # a row whose transaction was late, within the overlap
    add(cloud, 99, at=AT + timedelta(days=1) - timedelta(seconds=90))
    assert step(ledger, source(cloud)).facts["rows"] == 1
    assert ids(ledger) == [*range(22), 99]
    assert cloud.staged == [] and cloud.faults() == []


def test_the_receipt_names_the_place_without_options_and_the_transaction(ledger: Ledger, cloud: Cloud) -> None:
    add(cloud, 1)
    step(ledger, source(cloud))
    (material,) = ledger.open(ASSET).receipt("2026-11-20").materials
    place, _, mark = material.uri.partition("#")
    plain = "snowflake://org-acct/shop/marts" if cloud.played.dialect == "snowflake" else cloud.url.partition("?")[0]
    assert place == f"{plain}/orders" and "staging" not in material.uri
    named = {
        "bigquery": lambda: list(cloud.service.jobs),
        "redshift": lambda: [one.given.get("StatementName", "") for one in cloud.service.asked],
        "snowflake": lambda: [
            text.split('"')[1].replace("_", "-").lower() for text in cloud.service.asked if "AS counted" in text
        ],
    }[cloud.played.dialect]()
    assert mark.startswith("orchestrai-") and mark in named


@pytest.mark.parametrize("total", [20])
def test_slices_end_and_begin_between_rows_of_one_moment(ledger: Ledger, cloud: Cloud, total: int) -> None:
    for number in range(total):
        cloud.ask(f"INSERT INTO marts.orders VALUES ({number}, 'c', 1, false, '2026-11-20 10:00:{number // 4:02d}+00')")
    cut = replace(source(cloud), limit_rows=10)
    for _ in range(total // 10 + 1):
        report = step(ledger, cut)
        assert report.facts["counted"] == report.facts["read"]
    assert ids(ledger) == list(range(total)) and cloud.staged == [] and cloud.faults() == []


def test_a_row_that_is_there_twice_at_the_end_of_a_slice_is_counted_and_nothing_is_published(
    ledger: Ledger, cloud: Cloud
) -> None:
    add(cloud, *range(10))
    add(cloud, 4)
    (outcome,) = step(ledger, replace(source(cloud), limit_rows=5)).refused
    (verdict,) = [verdict for verdict in outcome.verdicts if verdict.check == "reconciled"]
    assert "5 rows read, 6 counted" in verdict.message or "found 5 rows read" in verdict.message


def test_files_that_do_not_arrive_are_found_and_nothing_is_published(ledger: Ledger, cloud: Cloud) -> None:
    add(cloud, *range(10))
    cloud.played.files = 1
    # the first file has the last rows: their numbers begin too late
    with pytest.raises(IntegrityError, match="numbered from 1 on"):
        step(ledger, source(cloud))
    cloud.played.files = 0
    with pytest.raises(IntegrityError, match="10 rows"):
        step(ledger, source(cloud))
    assert ledger.find(ASSET) is None and cloud.staged == []
    cloud.played.files = 2
    assert step(ledger, source(cloud)).rows == 10 and cloud.faults() == []


@pytest.mark.parametrize("cloud", ["redshift"], indirect=True)
def test_a_file_that_is_no_parquet_is_told_and_nothing_is_published(
    ledger: Ledger, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(cloud, *range(3))
    whole = PlayedWarehouse.written

    def torn(self: PlayedWarehouse, *asked: str) -> None:
        whole(self, *asked)
        for path in self.bucket.rglob("*.parquet"):
            path.write_bytes(path.read_bytes()[:-20])

    monkeypatch.setattr(PlayedWarehouse, "written", torn)
    with pytest.raises(UnreadableObject, match="as the warehouse wrote it"):
        step(ledger, source(cloud))
    assert ledger.find(ASSET) is None and cloud.staged == []


def test_a_query_is_read_like_a_table(ledger: Ledger, cloud: Cloud) -> None:
    add(cloud, *range(10))
    query = "SELECT id, customer, amount, paid, seen_at FROM marts.orders WHERE customer <> 'it''s 3' AND id < 6"
    if cloud.played.dialect == "bigquery":
        query = query.replace("'it''s 3'", r"'it\'s 3'")
    step(ledger, replace(source(cloud), query=query))
    assert ids(ledger) == [0, 1, 2, 4, 5] and cloud.faults() == []


def test_a_missing_table_a_missing_right_and_a_full_queue_are_told_apart(ledger: Ledger, cloud: Cloud) -> None:
    with pytest.raises(ConfigError, match=r"(?i)nowhere") as missing:
        step(ledger, replace(source(cloud), table="nowhere"))
    assert "correct the name" in str(missing.value)
    cases: dict[str, type[Exception]]
    if cloud.played.dialect == "redshift":
        cloud.service.refused = ("AccessDeniedException", "not authorized to perform redshift-data:ExecuteStatement")
        with pytest.raises(AccessRefused, match="redshift-data:ExecuteStatement"):
            step(ledger, source(cloud))
        return
    cases = {
        "accessDenied: User does not have bigquery.tables.getData": AccessRefused,
        "rateLimitExceeded: too many jobs": TransientStorageError,
        "resourcesExceeded: no slots": StorageError,
    }
    if cloud.played.dialect == "snowflake":
        cases = {
            "3001: Insufficient privileges to operate on table 'ORDERS'": AccessRefused,
            "604: Statement reached its statement or warehouse timeout and was cancelled, timed out": TransientStorageError,
            "90073: Warehouse 'WH' cannot be used": StorageError,
        }
    for told, kind in cases.items():
        reason, _, message = told.partition(": ")
        if cloud.played.dialect == "snowflake":
            cloud.service.refused = Error(message, int(reason), "42501")
        else:
            cloud.service.fail, cloud.service.reason = {"query": message}, reason
        with pytest.raises(kind, match=message) as caught:
            step(ledger, source(cloud))
        assert type(caught.value) is kind


def test_a_busy_service_is_asked_again(ledger: Ledger, cloud: Cloud) -> None:
    add(cloud, 1, 2)
    patient = replace(source(cloud), retries=2)
    cloud.throttle(1)
    assert step(ledger, patient, sleep=lambda seconds: None).rows == 2
    assert cloud.staged == [] and ids(ledger) == [1, 2]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("bigquery://p/d", "no staging"),
        ("snowflake://ann@acct/shop", "DATABASE/SCHEMA"),
        ("snowflake://ann@acct/shop/marts?warehouse=w&token=canary", "without a password"),
        ("snowflake://ann:canary@acct/shop/marts?warehouse=w", "without a password"),
        ("redshift-data://wg/db?staging=s3://b&role=x", "ARN"),
        ("redshift-data://wg/db?staging=gs://b&role=arn:aws:iam::123456789012:role/r", "s3://"),
    ],
)
def test_a_wrong_url_is_told_when_it_is_declared(url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        SqlSource(url, "orders", "at")
    assert "canary" not in str(caught.value)


def test_times_of_the_watermark_keep_their_zone(ledger: Ledger, cloud: Cloud) -> None:
    add(cloud, 1, at=datetime(2026, 11, 20, 23, 59, 58, 250_000, UTC))
    step(ledger, source(cloud))
    add(cloud, 2, at=datetime(2026, 11, 20, 23, 59, 58, 500_000, UTC))
    step(ledger, source(cloud))
    assert {row["order_id"]: row["at"].microsecond for row in rows(ledger)} == {1: 250_000, 2: 500_000}


@pytest.mark.parametrize("cloud", ["snowflake"], indirect=True)
def test_a_wrong_password_is_told_without_it(ledger: Ledger, cloud: Cloud) -> None:
    cloud.service.password = "another"
    with pytest.raises(AccessRefused, match="Incorrect username or password") as caught:
        step(ledger, source(cloud))
    assert "hunter2canary" not in str(caught.value)


def test_a_declared_table_of_a_warehouse_is_backed_up_restored_and_read_on(tmp_path: Path, cloud: Cloud) -> None:
    cloud.ask('CREATE TABLE marts.readings (id bigint, "at" timestamptz, value double)')
    cloud.ask("INSERT INTO marts.readings VALUES (1, '2026-11-22 10:00:01+00', 1.5), (2, '2026-11-22 10:00:02+00', NULL)")
    url = f"{{url: '{cloud.url}', format: sql, sql: {{table: marts.readings, overlap: 5m, key: [id], reconcile: true}}}}"
    folder = declare(tmp_path / "plant", url)
    assert not run(opened(folder, tmp_path / "home"), [hour(10)]).refused
    cloud.ask("INSERT INTO marts.readings VALUES (3, '2026-11-22 11:00:00+00', 2)")
    assert not run(opened(folder, tmp_path / "home"), [hour(10), hour(11)]).refused
    runtime = opened(folder, tmp_path / "home")
    assert declared_ids(runtime) == [1, 2, 3]
    assert runtime.ledger.open(RESTORED).version == runtime.ledger.open(RAW).version
    assert cloud.staged == [] and cloud.faults() == []
