"""BigQuery and Redshift by their published interfaces: files staged, loaded and put in place by one transaction that counts."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import ConfigError, IntegrityError, StorageError
from orchestrai.storage.cloud.job_wait import Clock
from orchestrai.storage.local import LocalStore
from orchestrai.warehouse import targets
from orchestrai.warehouse.cloud import bigquery_jobs, redshift_data
from orchestrai_tests.clouds.aws_server import AwsServer, aws_server
from orchestrai_tests.clouds.bigquery import BigQueryService
from orchestrai_tests.clouds.loopback import Reply, serving
from orchestrai_tests.clouds.redshift import RedshiftService
from orchestrai_tests.clouds.warehouse_sql import PlayedWarehouse
from orchestrai_tests.ingest.declaring import hour, opened, reading, run
from orchestrai_tests.warehouse.test_warehouse import declared, fill, load

ROLE = "arn:aws:iam::123456789012:role/copy"


@dataclass
class Cloud:
    """A warehouse that is played, what asks it, and what was outside its model."""

    url: str
    played: PlayedWarehouse
    faults: Callable[[], list[str]]
    service: Any

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        return self.played.run([query])

    @property
    def staged(self) -> list[Path]:
        """What lies in the bucket."""
        return [path for path in self.played.bucket.rglob("*") if path.is_file()]


@pytest.fixture
def bigquery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    played = PlayedWarehouse("bigquery", tmp_path / "bucket", "marts")
    service = BigQueryService("proj-1", "gs://bucket/stage", played)

    def ask(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        assert headers["Authorization"] == "Bearer tok"
        status, told = service.answer(method, url, json.loads(body) if body else None)
        return status, {}, told

    monkeypatch.setattr(bigquery_jobs, "google_token", lambda: "tok")
    with serving(ask) as url:
        place = f"bigquery://proj-1/marts?staging=gs://bucket/stage&location=EU&endpoint={url}"
        yield Cloud(place, played, lambda: service.faults, service)
    played.database.close()


@pytest.fixture
def redshift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    played = PlayedWarehouse("redshift", tmp_path / "bucket", "marts")
    service = RedshiftService("wg-1", "s3://bucket/stage", played)
    for name, value in {"ID": "k", "SECRET": "s"}.items():
        monkeypatch.setenv(f"AWS_{'ACCESS_KEY_ID' if name == 'ID' else 'SECRET_ACCESS_KEY'}", value)
    server: AwsServer
    with aws_server("redshift-data") as server:
        server.answers["redshift-data"] = service.answer
        monkeypatch.setenv("AWS_ENDPOINT_URL_REDSHIFT_DATA", server.url)
        place = f"redshift-data://wg-1/dev?staging=s3://bucket/stage&role={ROLE}&region=us-east-1&schema=marts"
        yield Cloud(place, played, lambda: server.faults, service)
    played.database.close()


@pytest.fixture(params=["bigquery", "redshift"])
def cloud(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    found: Cloud = request.getfixturevalue(request.param)
    (tmp_path / "home").mkdir()
    # the bucket is a folder; what writes to real ones is tested with the stores
    monkeypatch.setattr(targets, "open_store", lambda url: LocalStore(found.played.bucket))
    for module in (bigquery_jobs, redshift_data):
        monkeypatch.setattr(module, "Clock", lambda: Clock(sleep=lambda seconds: None))
    return found


def test_partitions_are_replaced_counted_and_noted_there(tmp_path: Path, cloud: Cloud) -> None:
    folder, home = declared(tmp_path / "plant", cloud.url), tmp_path / "home"
    fill(home, *(reading(n, value=n / 2) for n in range(20)), reading(30, at=11))
    runtime = opened(folder, home)
    run(runtime, [hour(10), hour(11)])
    first = load(runtime, hour(10), hour(11))
    assert not first.refused and first.facts["partitions_loaded"] == 2 and first.rows == 21
    rows = cloud.ask('SELECT id, value, epoch("at")::bigint % 3600 FROM marts.readings WHERE id < 30 ORDER BY id')
    assert rows == [(n, n / 2, n) for n in range(20)]
    again = load(runtime, hour(10), hour(11))
    assert again.facts["partitions_loaded"] == 0 and again.version == first.version
    fill(home, reading(31, at=11))
    run(runtime, [hour(11)])
    assert load(runtime, hour(11)).facts["partitions_loaded"] == 1
    assert cloud.ask("SELECT count(*) FROM marts.readings") == [(22,)]
    restored = runtime.ledger.open("plant/readings/restored")
    noted = cloud.ask("SELECT part, root, row_count FROM marts.orchestrai_partition_loads ORDER BY part")
    assert noted == [(key, restored.partitions[key].root, restored.partitions[key].rows) for key in (hour(10), hour(11))]
    assert cloud.ask("SELECT table_name FROM duckdb_tables() WHERE table_name LIKE '%staged%'") == []
    assert cloud.staged == [] and cloud.faults() == []


def test_a_column_that_the_contract_got_since_is_added(tmp_path: Path, cloud: Cloud) -> None:
    folder, home = declared(tmp_path / "plant", cloud.url), tmp_path / "home"
    fill(home, reading(1))
    run(opened(folder, home), [hour(10)])
    load(opened(folder, home), hour(10))
    path = folder / "readings.contract.yaml"
    note = "      - {name: note, physicalType: STRING}\ncustomProperties"
    path.write_text(path.read_text().replace("customProperties", note, 1))
    fill(home, json.dumps({"id": 2, "at": "2026-11-22T11:00:00+00:00", "value": 1.0, "note": 'it\'s "so"'}).encode())
    run(opened(folder, home), [hour(10), hour(11)])
    load(opened(folder, home), hour(10), hour(11))
    assert cloud.ask("SELECT id, note FROM marts.readings ORDER BY id") == [(1, None), (2, 'it\'s "so"')]
    assert cloud.faults() == []


def test_a_table_that_does_not_count_up_is_left_as_it_was(tmp_path: Path, cloud: Cloud) -> None:
    folder, home = declared(tmp_path / "plant", cloud.url), tmp_path / "home"
    fill(home, reading(1), reading(2))
    runtime = opened(folder, home)
    run(runtime, [hour(10)])
    load(runtime, hour(10))
    fill(home, reading(3))
    run(runtime, [hour(10)])
    whole = cloud.played.said

    def doubled(text: str) -> list[str]:
        found = whole(text)
        return [
            again for one in found for again in ([one, one] if one.startswith('INSERT INTO "marts"."readings"') else [one])
        ]

    cloud.played.said = doubled  # type: ignore[method-assign]
    if cloud.played.dialect == "redshift":
        one = cloud.service._one
        cloud.service._one = lambda sql: one(sql) if "COPY" not in sql else [one(sql), one(sql)][1]
        cloud.played.said = whole  # type: ignore[method-assign]
    with pytest.raises(IntegrityError, match="expected 3 rows"):
        load(runtime, hour(10))
    assert cloud.ask("SELECT id FROM marts.readings ORDER BY id") == [(1,), (2,)]
    assert cloud.staged == [] and cloud.faults() == []


@pytest.mark.parametrize("cloud", ["bigquery"], indirect=True)
def test_a_job_that_fails_is_told_with_the_reason_and_tried_again_from_the_start(tmp_path: Path, cloud: Cloud) -> None:
    folder, home = declared(tmp_path / "plant", cloud.url), tmp_path / "home"
    fill(home, reading(1))
    runtime = opened(folder, home)
    run(runtime, [hour(10)])
    for kind in ("load", "query"):
        cloud.service.fail = {kind: "no slots left"}
        with pytest.raises(StorageError, match="resourcesExceeded: no slots left"):
            load(runtime, hour(10))
        assert cloud.staged == []
    # the answer to the first request is lost: the job is there, and asked for by its name
    cloud.service.lost = 1
    with pytest.raises(StorageError):
        load(runtime, hour(10))
    assert load(runtime, hour(10)).facts["partitions_loaded"] == 1
    assert cloud.ask("SELECT count(*) FROM marts.readings") == [(1,)] and cloud.faults() == []


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("bigquery://p/d?staging=s3://b", "gs://"),
        ("bigquery://p/d?staging=gs://b&colour=1", "unknown colour"),
        ("bigquery://p?staging=gs://b", "another path"),
        ("redshift-data://wg/db?staging=s3://b", "no role"),
        ("redshift-data://wg/db?staging=s3://b&role=x&region=us-east-1", "ARN"),
    ],
)
def test_a_wrong_url_of_a_cloud_is_told(tmp_path: Path, url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        targets.open_target(url, "t", tmp_path)
