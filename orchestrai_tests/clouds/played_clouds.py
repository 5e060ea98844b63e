"""BigQuery and Redshift on loopback with DuckDB behind them, a folder for their bucket, and how they are reached."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrai.storage.cloud.job_wait import Clock
from orchestrai.storage.databases.cloud import bigquery_jobs, bucket_staging, redshift_data, snowflake_session
from orchestrai.storage.local import LocalStore
from orchestrai_tests.clouds.aws_server import AwsServer, aws_server
from orchestrai_tests.clouds.bigquery import BigQueryService
from orchestrai_tests.clouds.loopback import Reply, serving
from orchestrai_tests.clouds.redshift import RedshiftService
from orchestrai_tests.clouds.snowflake_driver import Error, SnowflakeDriver
from orchestrai_tests.clouds.warehouse_sql import PlayedWarehouse

ROLE = "arn:aws:iam::123456789012:role/copy"


@dataclass
class Cloud:
    """A warehouse that is played, what asks it, and what was outside its model."""

    url: str
    played: PlayedWarehouse
    faults: Callable[[], list[str]]
    service: Any
    throttle: Callable[[int], None]

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query of DuckDB's."""
        return self.played.run([query])

    @property
    def staged(self) -> list[Path]:
        """What lies in the bucket."""
        return [path for path in self.played.bucket.rglob("*") if path.is_file()]


@contextmanager
def played_bigquery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """BigQuery with the dataset marts."""
    played = PlayedWarehouse("bigquery", tmp_path / "bucket", "marts")
    service = BigQueryService("proj-1", "gs://bucket/stage", played)

    def ask(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        assert headers["Authorization"] == "Bearer tok"
        status, told = service.answer(method, url, json.loads(body) if body else None)
        return status, {}, told

    monkeypatch.setattr(bigquery_jobs, "google_token", lambda: "tok")
    with serving(ask) as url:
        place = f"bigquery://proj-1/marts?staging=gs://bucket/stage&location=EU&endpoint={url}"
        yield Cloud(place, played, lambda: service.faults, service, lambda times: setattr(service, "broken", times))
    played.database.close()


@contextmanager
def played_redshift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """Redshift with the schema marts."""
    played = PlayedWarehouse("redshift", tmp_path / "bucket", "marts")
    service = RedshiftService("wg-1", "s3://bucket/stage", played)
    for name, value in {"ID": "k", "SECRET": "s"}.items():
        monkeypatch.setenv(f"AWS_{'ACCESS_KEY_ID' if name == 'ID' else 'SECRET_ACCESS_KEY'}", value)
    server: AwsServer
    with aws_server("redshift-data") as server:
        server.answers["redshift-data"] = service.answer
        monkeypatch.setenv("AWS_ENDPOINT_URL_REDSHIFT_DATA", server.url)
        place = f"redshift-data://wg-1/dev?staging=s3://bucket/stage&role={ROLE}&region=us-east-1&schema=marts"
        yield Cloud(place, played, lambda: server.faults, service, lambda times: setattr(server, "throttled", times))
    played.database.close()


@contextmanager
def played_snowflake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """Snowflake with the schema marts, by a connector that is written by hand."""
    played = PlayedWarehouse("snowflake", tmp_path / "bucket", "marts")
    driver = SnowflakeDriver(played, "hunter2canary")
    monkeypatch.setenv("SNOWFLAKE_URL", "snowflake://ann:hunter2canary@org-acct/shop/marts?warehouse=wh&role=loader")
    monkeypatch.setattr(snowflake_session.Snowflake, "_named", lambda self: driver)

    def refuse(times: int) -> None:
        if times:
            driver.refused = Error("Failed to connect: connection reset", 250003, "08006")

    yield Cloud("env://SNOWFLAKE_URL", played, lambda: [], driver, refuse)
    assert driver.sessions == 0, "a session stayed open"
    played.database.close()


@contextmanager
def played_cloud(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """One of them, asked without pauses; its bucket is a folder, as what writes to real ones is tested with the stores."""
    playing = {"bigquery": played_bigquery, "redshift": played_redshift, "snowflake": played_snowflake}[name]
    with playing(tmp_path, monkeypatch) as found:
        monkeypatch.setattr(bucket_staging, "open_store", lambda url: LocalStore(found.played.bucket))
        for driver in (bigquery_jobs, redshift_data):
            monkeypatch.setattr(driver, "Clock", lambda: Clock(sleep=lambda seconds: None))
        yield found
