"""How clients are made: one factory for boto3, one connection for PostgreSQL's driver and its tools."""

from pathlib import Path
from typing import Any

import pytest

from orchestrai.errors import ConfigError, StorageError, TransientStorageError
from orchestrai.storage.cloud.aws import ATTEMPTS, aws_client
from orchestrai.storage.cloud.connection import StoreOptions
from orchestrai.storage.postgres import tool_connection, tool_error

ALONE = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALONE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")


@pytest.mark.parametrize("service", ["s3", "kms", "sqs", "sns", "sagemaker", "emr", "emr-serverless", "backup"])
def test_every_client_of_aws_repeats_what_is_transient_and_says_who_calls(service: str) -> None:
    config = aws_client(service, region="eu-west-1").meta.config
    assert config.retries["mode"] == "standard" and config.retries["total_max_attempts"] == ATTEMPTS
    assert "orchestrai" in config.user_agent and config.region_name == "eu-west-1"


def test_keys_and_endpoint_of_the_options_reach_the_client() -> None:
    options = StoreOptions(
        endpoint_url="http://127.0.0.1:9", region="eu-west-3", access_key_id="AKIA", secret_access_key="secret"
    )
    client: Any = aws_client("s3", options=options, s3={"addressing_style": "path"})
    assert (client.meta.endpoint_url, client.meta.region_name) == ("http://127.0.0.1:9", "eu-west-3")
    assert client._request_signer._credentials.access_key == "AKIA"
    assert client.meta.config.s3["addressing_style"] == "path"


def test_a_client_without_a_region_is_a_matter_of_settings() -> None:
    with pytest.raises(ConfigError, match=r"client of AWS kms.*region"):
        aws_client("kms")


def test_a_profile_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'nobody'.*AWS_PROFILE"):
        aws_client("kms", region="eu-west-1", options=StoreOptions(profile="nobody"))


URL = "env://SHOP_DATABASE"


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv("SHOP_DATABASE", "postgresql://reader:s3cr3t@db.example/shop")


@pytest.mark.usefixtures("database")
def test_a_tool_gets_the_password_by_a_file_that_only_its_owner_reads() -> None:
    with tool_connection(URL) as (dbname, environment):
        (path,) = map(Path, environment.values())
        assert list(environment) == ["PGPASSFILE"] and "s3cr3t" not in dbname
        assert path.read_text() == "*:*:*:*:s3cr3t\n" and path.stat().st_mode & 0o077 == 0
        assert "host=db.example" in dbname and "connect_timeout=15" in dbname
    assert not path.exists()


def test_a_password_with_the_signs_of_a_password_file_stays_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv("SHOP_DATABASE", "host=db user=reader password='a:b\\\\c'")
    with tool_connection(URL) as (_, environment):
        assert Path(environment["PGPASSFILE"]).read_text() == "*:*:*:*:a\\:b\\\\c\n"


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (
            'pg_dump: error: connection to server at "db.example", port 5432 failed: Connection refused',
            TransientStorageError,
        ),
        ("pg_dump: error: server closed the connection unexpectedly", TransientStorageError),
        ("FATAL: terminating connection due to administrator command", TransientStorageError),
        ('connection to server at "db" failed: FATAL: password authentication failed for user "s3cr3t"', StorageError),
        ('pg_dump: error: no matching tables were found for "s3cr3t"', StorageError),
    ],
)
def test_what_a_tool_says_last_is_read_as_the_drivers_errors_are(said: str, kind: type) -> None:
    error = tool_error(said, "pg_dump to succeed", URL)
    assert type(error) is kind and "s3cr3t" not in error.message
