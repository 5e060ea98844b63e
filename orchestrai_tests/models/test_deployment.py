"""The champion in registries and endpoints besides the lake, and what is told of a candidate that was refused."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from orchestrai.errors import ConfigError, MissingExtra, ModelError, StorageError
from orchestrai.ledger.ledger import Ledger
from orchestrai.ledger.receipt import open_receipt
from orchestrai.models.registry.deployment import deploy_champion
from orchestrai.models.registry.notify import told_of_rejection
from orchestrai.models.registry.target_port import Champion, Registered
from orchestrai.models.registry.versions import rollback
from orchestrai.models.spec import ModelSpec
from orchestrai_tests.models.conftest import CHAMPION, customers, spec
from orchestrai_tests.servers.s3 import S3Server

DEPLOYMENT = "churn/churn/deployment"
Run = Callable[..., Any]


def _record(ledger: Ledger) -> dict[str, Any]:
    with ledger.open(DEPLOYMENT).fetched(["all"]) as files:
        found: dict[str, Any] = json.loads(files["all"][0].path.read_bytes())
    return found


class Place:
    """A target in memory."""

    def __init__(self, url: str, problem: str = "") -> None:
        self.url, self.problem = url, problem
        self.held: list[str] = []

    def register(self, champion: Champion) -> Registered:
        if self.problem:
            raise StorageError(self.problem)
        changed = champion.scorer.version not in self.held[-1:]
        self.held += [champion.scorer.version] if changed else []
        return Registered(self.url, champion.name, str(len(self.held)), "live", "artifact", changed)


@pytest.mark.emulator
def test_mlflow_holds_the_very_files_of_the_champion_under_an_alias_that_follows_it(
    ledger: Ledger, run: Run, mlflow_url: str, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    model = spec(registry=f"mlflow+{mlflow_url}?name=follows")
    first = run(model, customers())[0].version
    report = deploy_champion(ledger, model, champion=CHAMPION, asset=DEPLOYMENT)
    assert not report.refused and report.facts["changed"] == [f"mlflow+{mlflow_url}"]

    client = MlflowClient(mlflow_url)
    held = client.get_model_version_by_alias("follows", "champion")
    assert held.tags["orchestrai_version"] == first
    assert held.tags["orchestrai_training_set"] == ledger.open("churn/churn/training_set").version
    folder = Path(client.download_artifacts(held.run_id, "model", str(tmp_path)))
    for entry in ledger.open(CHAMPION).files("all").files:
        assert hashlib.sha256((folder / entry.path).read_bytes()).hexdigest() == entry.sha256
    receipt = open_receipt((folder / "receipt.dsse.json").read_bytes(), ledger.keyring)
    assert receipt.version == first and not [path for path in folder.iterdir() if path.suffix == ".pkl"]
    assert client.get_run(held.run_id).data.metrics["auc"] == report_auc(ledger)

    again = deploy_champion(ledger, model, champion=CHAMPION, asset=DEPLOYMENT)
    assert again.facts["changed"] == [] and again.version == report.version

    second = run(model, customers(seed=2))[0].version
    deploy_champion(ledger, model, champion=CHAMPION, asset=DEPLOYMENT)
    assert client.get_model_version_by_alias("follows", "champion").tags["orchestrai_version"] == second
    rollback(ledger, CHAMPION)
    deploy_champion(ledger, model, champion=CHAMPION, asset=DEPLOYMENT)
    back = client.get_model_version_by_alias("follows", "champion")
    assert back.tags["orchestrai_version"] == first and back.version == held.version
    assert len(client.search_model_versions("name='follows'")) == 2


def report_auc(ledger: Ledger) -> Any:
    metrics: Any = ledger.open(CHAMPION).receipt("all").facts["metrics"]
    return metrics["auc"]["value"]


def test_the_record_names_champion_receipt_and_places_and_its_receipt_the_champion(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    report = deploy_champion(ledger, spec(), champion=CHAMPION, asset=DEPLOYMENT, targets=[Place("a://"), Place("b://")])
    current = ledger.open(CHAMPION)
    record = _record(ledger)
    assert record["orchestrai_version"] == current.version
    assert record["orchestrai_receipt"] == current.partitions["all"].receipt
    assert [place["target"] for place in record["targets"]] == ["a://", "b://"]
    assert [ref.version for ref in ledger.open(DEPLOYMENT).receipt("all").inputs] == [current.version]
    assert report.facts["model_version"] == current.version


def test_one_place_that_fails_does_not_keep_the_champion_from_the_others_and_is_mended_by_the_next_run(
    ledger: Ledger, run: Run
) -> None:
    run(spec(), customers())
    down, up = Place("a://", "expected a to answer, found nothing"), Place("b://")
    report = deploy_champion(ledger, spec(), champion=CHAMPION, asset=DEPLOYMENT, targets=[down, up])
    assert "expected a to answer" in report.refused[0].verdicts[0].message
    assert len(up.held) == 1 and ledger.head(DEPLOYMENT) is None
    down.problem = ""
    assert not deploy_champion(ledger, spec(), champion=CHAMPION, asset=DEPLOYMENT, targets=[down, up]).refused
    assert len(up.held) == 1


def test_a_champion_that_fails_its_checks_is_deployed_nowhere(ledger: Ledger, run: Run) -> None:
    run(spec(), customers())
    entry = next(e for e in ledger.open(CHAMPION).files("all").files if e.path == "golden.parquet")
    ledger.lake.write(entry.key, b"other bytes")
    place = Place("a://")
    with pytest.raises(Exception, match="expected"):
        deploy_champion(ledger, spec(), champion=CHAMPION, asset=DEPLOYMENT, targets=[place])
    assert place.held == []


def test_without_a_champion_or_a_place_nothing_is_deployed(ledger: Ledger) -> None:
    with pytest.raises(ModelError, match="none that serves"):
        deploy_champion(ledger, spec(), champion=CHAMPION, asset=DEPLOYMENT, targets=[Place("a://")])
    with pytest.raises(ConfigError, match="registry or serve_on"):
        deploy_champion(ledger, spec(), champion=CHAMPION, asset=DEPLOYMENT)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mlflow+ftp://x", "expected a registry of"),
        ("mlflow+http://", "expected an address"),
        ("mlflow+http://me:secret@host", "without credentials"),
        ("mlflow+http://host?colour=red", "unknown colour"),
        ("sagemaker://group?image=x", "none named output"),
    ],
)
def test_a_registry_that_cannot_be_meant_is_told_when_it_is_declared(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec(registry=url)
    assert "secret" not in message


def test_an_unset_variable_means_no_registry() -> None:
    assert not spec(registry="").deployed and spec(registry=["mlflow+https://host", ""]).deployed


def test_without_mlflow_the_error_names_the_extra(ledger: Ledger, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run(spec(), customers())
    monkeypatch.setitem(sys.modules, "mlflow", None)
    model = spec(registry="mlflow+http://127.0.0.1:1")
    report = deploy_champion(ledger, model, champion=CHAMPION, asset=DEPLOYMENT)
    assert "orchestrai[mlflow]" in report.refused[0].verdicts[0].message
    assert issubclass(MissingExtra, ConfigError)


@pytest.fixture
def topic(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Callable[[], list[dict[str, Any]]]]:
    """An SNS topic with a queue behind it, and what arrived there."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testkey")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testsecret")
    sns, sqs = (boto3.client(name, region_name="us-east-1") for name in ("sns", "sqs"))
    arn = sns.create_topic(Name="models")["TopicArn"]
    queue = sqs.create_queue(QueueName="models")["QueueUrl"]
    target = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=target)

    def arrived() -> list[dict[str, Any]]:
        found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(json.loads(one["Body"])["Message"]) for one in found]

    return arn, arrived


def _refused(model: ModelSpec, run: Run) -> Any:
    return run(model, customers())[2]


@pytest.mark.emulator
def test_a_refused_candidate_is_told_to_the_topic_with_the_reason(
    run: Run, topic: tuple[str, Callable[[], list[dict[str, Any]]]]
) -> None:
    arn, arrived = topic
    model = spec(promote_when={"metric": "auc", "at_least": 0.99}, notify=f"sns://{arn}")
    refused = _refused(model, run)
    assert told_of_rejection(model, refused) == refused
    (message,) = arrived()
    assert message["event"] == "candidate_rejected" and message["asset"] == CHAMPION
    assert "below at_least 0.99" in message["reasons"][0]
    assert message["candidate_version"] == refused.facts["model_version"]
    promoted = run(spec(notify=f"sns://{arn}"), customers(seed=3))[2]
    assert told_of_rejection(spec(notify=f"sns://{arn}"), promoted) == promoted and arrived() == []


@pytest.mark.emulator
def test_a_topic_that_is_not_there_is_told_beside_the_refusal_and_does_not_hide_it(
    run: Run, topic: tuple[str, Callable[[], list[dict[str, Any]]]]
) -> None:
    arn, _ = topic
    model = spec(promote_when={"metric": "auc", "at_least": 0.99}, notify=f"sns://{arn}-other")
    report = told_of_rejection(model, _refused(model, run))
    checks = {verdict.check: verdict.message for verdict in report.refused[0].verdicts if not verdict.passed}
    assert "below at_least 0.99" in checks["promotion"] and "NotFound" in checks["notified"]
