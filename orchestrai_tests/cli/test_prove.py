"""`doctor --prove` run against what stands in for each cloud: the plan first, everything that was made is gone afterwards."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrai.cli.app import app
from orchestrai.errors import ConfigError
from orchestrai.pipeline.accounts import warehouse_steps
from orchestrai.pipeline.accounts.account_proof import account_plan
from orchestrai_tests.clouds import loopback
from orchestrai_tests.clouds.aws_server import AwsServer, aws_server
from orchestrai_tests.clouds.azure_model import azure_machine_learning
from orchestrai_tests.clouds.azure_registry import ModelVersions
from orchestrai_tests.clouds.emr_serverless import APPLICATION, play
from orchestrai_tests.clouds.google_service import GoogleService
from orchestrai_tests.clouds.lambda_functions import LambdaFunctions
from orchestrai_tests.clouds.played_clouds import played_cloud
from orchestrai_tests.clouds.vertex_models import VertexModels
from orchestrai_tests.servers.aws_backup import Service
from orchestrai_tests.servers.s3 import S3Server

REGION = "us-east-1"
VAULT = f"arn:aws:backup:{REGION}:123456789012:backup-vault:main"


def run(*arguments: str) -> tuple[int, Any]:
    done = CliRunner().invoke(app, ["doctor", *arguments, "--json"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, json.loads(done.stdout)


@pytest.fixture
def aws(moto: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[AwsServer, list[str]]]:
    """An account, and what is given of it."""
    for name in ("S3", "KMS", "SQS", "SECRETS_MANAGER"):
        monkeypatch.setenv(f"AWS_ENDPOINT_URL_{name}", moto.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    s3, kms, sqs, store = (moto.client(name) for name in ("s3", "kms", "sqs", "secretsmanager"))
    s3.create_bucket(Bucket="proving")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    queue = sqs.create_queue(QueueName="proving")["QueueUrl"]
    secret = store.create_secret(Name="proving", SecretString="s3cret-text")["ARN"]
    service = Service()
    service.vaults[VAULT] = {"VaultType": "BACKUP_VAULT"}
    with (
        aws_server("sagemaker", "backup", "emr-serverless", "lambda") as server,
        played_cloud("redshift", tmp_path, monkeypatch) as redshift,
    ):
        play(server, lambda asked: [])
        server.answers["backup"] = service.answer
        server.answers["lambda"] = LambdaFunctions(tmp_path).answer
        for name in ("SAGEMAKER", "BACKUP", "EMR_SERVERLESS", "LAMBDA"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{name}", server.url)
        given = {
            "store": "s3://proving/here", "key": f"awskms://{key}", "queue": queue.replace("http://", "sqs://"),
            "secret": "awssm://proving", "region": REGION, "image": "1.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.0-5",
            "role": "arn:aws:iam::123456789012:role/trainer", "output": "s3://proving/jobs", "group": "churn-models",
            "backup_vault": "main", "resource": "arn:aws:dynamodb:us-east-1:123456789012:table/shop", "application": APPLICATION,
            "warehouse": redshift.url,
            "function": "churn-batch",
        }  # fmt: skip
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", moto.access_key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", moto.secret_key)
        yield server, [part for name, value in given.items() for part in ("--given", f"{name}={value}")]
        assert redshift.staged == [] and redshift.faults() == []
    left = s3.list_objects_v2(Bucket="proving").get("Contents", ())
    for one in left:
        s3.delete_object(Bucket="proving", Key=one["Key"])
    s3.delete_bucket(Bucket="proving")
    store.delete_secret(SecretId=secret, ForceDeleteWithoutRecovery=True)
    sqs.delete_queue(QueueUrl=queue)
    assert server.faults == [] and not left, "what was made is removed"


@pytest.mark.emulator
def test_every_step_of_aws_is_proven_and_what_was_made_is_gone(aws: tuple[AwsServer, list[str]]) -> None:
    server, given = aws
    code, found = run("--prove", "aws", *given, "--yes")
    states = {one["name"]: one["state"] for one in found["steps"]}
    assert code == 0 and found["proven"] and set(states.values()) == {"proven"}, found
    assert server.region("sagemaker").made("Model") == [] and server.calls["CreateModel"] == 1
    assert "s3cret" not in json.dumps(found)


@pytest.mark.emulator
def test_a_step_that_fails_is_told_keeps_no_other_from_being_tried_and_leaves_nothing(
    aws: tuple[AwsServer, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, given = aws
    monkeypatch.setattr(
        "orchestrai.models.registry.sagemaker_endpoint.network_of", lambda where: {"VpcConfig": {"Subnets": ["s"]}}
    )
    code, found = run("--prove", "aws", *[one.replace("churn-models", "churn") for one in given], "--yes")
    states = {one["name"]: one["state"] for one in found["steps"]}
    assert code == 1 and not found["proven"]
    assert {name for name, state in states.items() if state == "failed"} == {"sagemaker model"}
    assert server.region("sagemaker").made("Model") == []


def test_the_plan_is_printed_first_and_nothing_is_tried_without_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    code, found = run("--prove", "aws", "--given", "store=s3://bucket/x")
    lacks = {one["step"]: one["lacks"] for one in found["plan"]}
    assert code == 0 and lacks["store"] == "" and lacks["key"] == "key" and "role" in lacks["sagemaker model"]
    text = CliRunner().invoke(app, ["doctor", "--prove", "gcp"])
    assert text.exit_code == 0 and "Plan for gcp" in text.stdout and "Nothing was tried" in text.stdout


def test_nothing_given_proves_nothing() -> None:
    code, found = run("--prove", "azure", "--yes")
    assert code == 1 and {one["state"] for one in found["steps"]} == {"not given"}


@pytest.mark.parametrize(
    ("cloud", "given", "told"),
    [("ibm", [], "aws, azure or gcp"), ("aws", ["colour=red"], "with a name of"), ("aws", ["store"], "NAME=VALUE")],
)
def test_what_cannot_be_meant_is_refused(cloud: str, given: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        account_plan(cloud, given)


def test_google_is_asked_by_its_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = VertexModels(place="projects/my-project/locations/europe-west4")
    vertex, dataproc = (GoogleService(name, ("europe-west4",)) for name in ("aiplatform.v1", "dataproc.v1"))

    def ask(method: str, url: str, headers: Any, body: bytes) -> loopback.Reply:
        service = vertex if "customJobs" in url else models if "/models/" in url else dataproc
        status, told = service.answer(method, url, json.loads(body) if body else None)
        return status, {}, told

    monkeypatch.setattr("orchestrai.models.remote.vertex._token", lambda: "t")
    monkeypatch.setattr("orchestrai.models.registry.clouds.vertex_registry._token", lambda: "t")
    from orchestrai.features.jobs.dataproc import DataprocBatches

    monkeypatch.setattr(DataprocBatches.__init__, "__defaults__", (lambda: "t",))
    with loopback.serving(ask) as url:
        given = [f"store={tmp_path}", "project=my-project", "location=europe-west4", "model=churn", f"endpoint={url}"]
        states = {one.name: (one.state, one.detail) for one in account_plan("gcp", given).run()}
    assert [name for name, (state, _) in states.items() if state == "proven"] == [
        "store", "vertex", "vertex models", "dataproc",
    ], states  # fmt: skip
    assert vertex.faults == dataproc.faults == models.faults == [] and not [
        path for path in tmp_path.rglob("*") if path.is_file()
    ]


def test_azure_is_asked_by_its_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = ModelVersions()

    def ask(method: str, url: str, headers: Any, body: bytes) -> loopback.Reply:
        if "/models/" in url:
            status, told = versions.answer(method, url, None)
            return status, {}, told
        if "Microsoft" in url:
            assert azure_machine_learning().request(method, url, None)[0] == "jobs_get"
            return 404, {}, {"error": {"code": "UserError", "message": "not found"}}
        return 200, {}, {"from": 0, "total": 0, "sessions": []}

    monkeypatch.setattr("orchestrai.models.remote.azureml._token", lambda: "t")
    monkeypatch.setattr("orchestrai.models.registry.clouds.azureml_registry._token", lambda: "t")
    monkeypatch.setattr("orchestrai.features.jobs.synapse._token", lambda: "t")
    with loopback.serving(ask) as url:
        given = [
            f"store={tmp_path}", "subscription=00000000-1111-2222-3333-444444444444", "resource_group=rg", "workspace=wks",
            "model=churn", "synapse_workspace=wks", "pool=features", f"endpoint={url}",
        ]  # fmt: skip
        states = {one.name: one.state for one in account_plan("azure", given).run()}
    assert [name for name, state in states.items() if state == "proven"] == [
        "store", "azure ml", "azure ml models", "synapse",
    ]  # fmt: skip
    assert versions.faults == []


@pytest.mark.parametrize("cloud", ["bigquery", "redshift", "snowflake"])
def test_a_warehouse_is_proven_by_rows_that_come_back_and_its_tables_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cloud: str
) -> None:
    with played_cloud(cloud, tmp_path, monkeypatch) as found:
        plan = account_plan("gcp", [f"warehouse={found.url}"])
        (proven,) = [one for one in plan.run() if one.name == "warehouse"]
        assert proven.state == "proven" and "merged twice" in proven.detail, proven
        assert found.ask("SELECT table_name FROM duckdb_tables() WHERE table_name ILIKE '%prove%'") == []
        assert found.ask("SELECT count(*) FROM marts.orchestrai_loads") == [(0,)]
        # a value that is another one when it comes back
        whole = warehouse_steps._compare

        def spoiled(url: str, table: str) -> None:
            found.ask(f"UPDATE marts.{table} SET c1 = 5 WHERE c0 = 1")
            whole(url, table)

        monkeypatch.setattr(warehouse_steps, "_compare", spoiled)
        (failed,) = [one for one in plan.run() if one.name == "warehouse"]
        assert failed.state == "failed" and "look at its types" in failed.detail
        assert found.ask("SELECT table_name FROM duckdb_tables() WHERE table_name ILIKE '%prove%'") == []
        assert found.staged == [] and found.faults() == []
