"""Connections as Dagster's own resources, and Dagster's own resources in the place of connections."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
from dagster_aws.s3 import S3Resource
from dagster_azure.blob import AzureBlobStorageKeyCredential, AzureBlobStorageResource

from orchestrai.defs.build import build_definitions
from orchestrai.defs.connection_resources.from_resources import adopt_resources
from orchestrai.errors import ConfigError
from orchestrai.pipeline.load import Project
from orchestrai.pipeline.runtime import Runtime
from orchestrai.project import in_force
from orchestrai.settings import load_settings
from orchestrai.storage.cloud.access import own_secrets
from orchestrai.storage.spread.spark_executors import SparkExecutors
from orchestrai.storage.url import open_store
from orchestrai_tests.servers.azurite import KEY
from orchestrai_tests.servers.s3 import S3Server


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project whose file a test writes; what it replaced ends with it."""
    for name in (
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "ORCHESTRAI_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "orchestrai.yaml"
    monkeypatch.setenv("ORCHESTRAI_PROJECT", str(path))
    yield path
    in_force._REPLACED.clear()
    own_secrets._PROVIDERS.clear()


def definitions(resources: dict[str, object] | None = None) -> dg.Definitions:
    return build_definitions(Runtime(load_settings(), Project(())), resources)


@pytest.mark.emulator
def test_an_asset_of_a_user_asks_for_a_connection_as_a_resource_of_dagster_aws(
    project: Path, moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ID", moto.access_key)
    monkeypatch.setenv("SECRET", moto.secret_key)
    project.write_text(
        f"connections: {{acme-replica: {{cloud: aws, region: us-east-1, endpoint: '{moto.endpoint}', "
        "identity: {access_key: {id: env://ID, secret: env://SECRET}}}}\n"
    )
    bucket = moto.bucket()

    @dg.asset
    def landed(acme_replica: S3Resource) -> dg.MaterializeResult[None]:
        acme_replica.get_client().put_object(Bucket=bucket, Key="k", Body=b"v")
        return dg.MaterializeResult()

    ours = definitions()
    done = dg.materialize([landed], resources=dict(ours.resources or {}), instance=dg.DagsterInstance.ephemeral())
    assert done.success and open_store(f"s3+acme-replica://{bucket}").read("k") == b"v"


@pytest.mark.emulator
def test_a_resource_that_a_user_configures_stands_for_the_connection_of_its_name(
    project: Path, moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = moto.bucket()
    project.write_text(
        f"connections: {{acme: {{cloud: aws, region: eu-west-1, endpoint: 'http://127.0.0.1:1', covers: ['s3://{bucket}']}}}}\n"
    )
    monkeypatch.setenv("REPLICA_ENDPOINT", moto.endpoint)
    own = S3Resource(
        region_name="us-east-1",
        endpoint_url=dg.EnvVar("REPLICA_ENDPOINT"),
        aws_access_key_id="testkey",
        aws_secret_access_key="testsecret",
    )
    ours = definitions({"acme": own})
    assert ours.resources is not None and ours.resources["acme"] is own
    store = open_store(f"s3://{bucket}/x")
    store.write("k", b"v")
    assert store.read("k") == b"v"
    # the secret that was given in code is in no connection, and so in nothing that is shown or sent
    assert "testsecret" not in in_force.connections().text() and "testsecret" not in repr(in_force.connections())


def test_resources_of_azure_and_google_stand_for_connections_too(project: Path) -> None:
    project.write_text(
        "connections:\n"
        "  tele: {cloud: azure, account: acme, covers: ['abfss://acme.dfs.core.windows.net']}\n"
        "  items: {cloud: gcp, default: true}\n"
    )
    tele = AzureBlobStorageResource(
        account_url="https://acme.blob.core.windows.net", credential=AzureBlobStorageKeyCredential(key=KEY)
    )
    text = base64.b64encode(
        json.dumps({"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}).encode()
    )

    class Stand:
        """What dagster-gcp's BigQueryResource has, without its import."""

        project, location, gcp_credentials = "acme-items", "EU", text.decode()

    Stand.__module__ = "dagster_gcp.bigquery.resources"
    adopt_resources(in_force.connections(), {"tele": tele, "items": Stand()})
    options: Any = open_store("abfss://c1@acme.dfs.core.windows.net/x").base.backend.options  # type: ignore[attr-defined]
    assert options.reveal("account_key") == KEY and options.endpoint_url == "https://acme.blob.core.windows.net"
    backend: Any = open_store("gs://bucket/x").base.backend  # type: ignore[attr-defined]
    assert (backend.client.project, backend.client._credentials.refresh_token) == ("acme-items", "r")


def test_a_resource_of_another_cloud_or_one_that_is_not_configured_is_told(project: Path) -> None:
    project.write_text("connections: {tele: {cloud: azure, account: acme}}\n")
    with pytest.raises(ConfigError, match="of azure, found one of aws"):
        definitions({"tele": S3Resource(region_name="eu-west-1")})
    with pytest.raises(ConfigError, match="dagster-aws, dagster-azure or dagster-gcp"):
        definitions({"tele": object()})
    project.write_text("connections: {there: {cloud: aws}}\n")
    with pytest.raises(ConfigError, match="NOT_SET"):
        definitions({"there": S3Resource(region_name=dg.EnvVar("NOT_SET"))})


@pytest.mark.parametrize("variable", ["ORCHESTRAI_ENGINE=spark", "ORCHESTRAI_SPARK_THRESHOLD_BYTES=1"])
def test_a_resource_that_holds_its_keys_is_refused_where_sparks_workers_would_call_by_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    project.write_text("connections: {acme: {cloud: aws, region: us-east-1}}\n")
    own = S3Resource(region_name="us-east-1", aws_access_key_id="testkey", aws_secret_access_key="testsecret")
    definitions({"acme": own})
    monkeypatch.setenv(*variable.split("="))
    with pytest.raises(ConfigError, match=r"acme.*by reference .* or by role") as told:
        definitions({"acme": own})
    assert "testsecret" not in str(told.value)
    # whoever sends work is stopped before a session is opened
    with pytest.raises(ConfigError, match="Spark's workers"):
        SparkExecutors(lambda: pytest.fail("opened")).answers(cast("Any", None), ["task"])
    # a service that takes jobs reads the exchange as itself
    monkeypatch.setenv("ORCHESTRAI_SPARK_URL", "subprocess:")
    definitions({"acme": own})


def test_a_resource_that_names_a_profile_goes_along_to_sparks_workers(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write_text("connections: {acme: {cloud: aws, region: us-east-1}}\n")
    monkeypatch.setenv("ORCHESTRAI_ENGINE", "spark")
    assert definitions({"acme": S3Resource(region_name="us-east-1", profile_name="acme")}).resources
    assert "profile" in in_force.connections().text()


@pytest.mark.thorough("the resources beside it, which are made when an asset asks")
def test_no_package_of_a_cloud_is_imported_until_an_asset_asks(project: Path) -> None:
    project.write_text("connections: {a: {cloud: aws}, b: {cloud: azure, account: acme}, c: {cloud: gcp}}\n")
    script = (
        "import sys\n"
        "from orchestrai.defs.build import build_definitions\n"
        "from orchestrai.pipeline.load import Project\n"
        "from orchestrai.pipeline.runtime import Runtime\n"
        "from orchestrai.settings import load_settings\n"
        "defs = build_definitions(Runtime(load_settings(), Project(())))\n"
        "clouds = ('dagster_aws', 'dagster_azure', 'dagster_gcp', 'boto')\n"
        "print(sorted(defs.resources), [name for name in sys.modules if name.startswith(clouds)])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True)
    names = ["a", "a_parameters", "a_secrets", "b", "b_data_lake", "c", "c_bigquery", "orchestrai_runtime"]
    assert done.stdout.strip() == f"{names} []"
