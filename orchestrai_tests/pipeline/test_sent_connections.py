"""What a run elsewhere is given of the connections: variables of secrets, a region for its logs, a URL that a cluster knows."""

from pathlib import Path

import pytest
import yaml

from orchestrai.errors import ConfigError
from orchestrai.ingest.spec import NotificationOptions
from orchestrai.pipeline.engines import cluster_url
from orchestrai.pipeline.instance.instance_options import InstanceOptions, instance_options
from orchestrai.settings import Settings
from orchestrai.storage.url import check_url

PROJECT = """
connections:
  here: {cloud: aws, region: eu-west-1, identity: {access_key: {id: env://LOGS_ID, secret: env://LOGS_SECRET}}, covers: ["s3://acme-logs"]}
  tele: {cloud: azure, account: acme, identity: {account_key: env://TELE_KEY}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "orchestrai.yaml"
    path.write_text(PROJECT, encoding="utf-8")
    monkeypatch.setenv("ORCHESTRAI_PROJECT", str(path))


@pytest.mark.usefixtures("project")
def test_a_container_of_a_run_is_given_the_variables_that_secrets_of_connections_lie_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOGS_ID", "id")
    monkeypatch.setenv("LOGS_SECRET", "s3cr3t")
    options = instance_options(Settings(run_launcher="docker:acme"))
    section = options.launcher_section()
    # Dagster ends a run for a variable that is named and not set
    assert (
        "LOGS_ID" in section and "LOGS_SECRET" in section and "ORCHESTRAI_PROJECT" in section and "TELE_KEY" not in section
    )
    assert "s3cr3t" not in section


@pytest.mark.usefixtures("project")
def test_logs_are_written_to_the_region_of_the_connection_that_covers_them() -> None:
    config = yaml.safe_load(InstanceOptions(compute_logs="s3://acme-logs/dagster").logs_section())["compute_logs"]["config"]
    assert config == {"bucket": "acme-logs", "prefix": "dagster", "region": "eu-west-1"}
    config = yaml.safe_load(InstanceOptions(compute_logs="s3://other").logs_section())["compute_logs"]["config"]
    assert config == {"bucket": "other", "prefix": "dagster"}


def test_a_cluster_is_told_of_a_store_without_the_name_of_a_connection() -> None:
    assert cluster_url("s3+here://acme/exchange") == "s3://acme/exchange"


def test_urls_that_name_a_connection_are_taken_where_urls_are_declared() -> None:
    check_url("s3+here://acme/x")
    check_url("abfss+tele://c1@acme.dfs.core.windows.net/x")
    for wrong in ("file+here:///tmp/x", "memory+here://x", "s3+Here://acme/x"):
        with pytest.raises(ConfigError):
            check_url(wrong)
    assert NotificationOptions(queue="sqs+here://sqs.eu-west-1.amazonaws.com/123456789012/arrivals").queue
