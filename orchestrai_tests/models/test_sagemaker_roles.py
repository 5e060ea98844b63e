"""Training, registry, endpoint and batch predictions with each request judged by the policy of the role that it is the work of."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrai.errors import AccessRefused
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators.artifact import load_model
from orchestrai.models.registry import sagemaker_registry
from orchestrai.models.registry.sagemaker_registry import deploy
from orchestrai.models.remote import sagemaker
from orchestrai.models.remote.sagemaker_batch import BatchTransform
from orchestrai.models.spec import SageMakerServing
from orchestrai.models.training import train
from orchestrai_tests.clouds.aws_server import AwsServer, aws_server
from orchestrai_tests.deploy.judged import judged, judged_s3
from orchestrai_tests.deploy.test_service_policies import GIVEN
from orchestrai_tests.models.conftest import CANDIDATE, CHAMPION, TRAINING_SET, customers, publish, spec
from orchestrai_tests.models.test_batch_transform import Container as Scoring
from orchestrai_tests.models.test_sagemaker import WHERE
from orchestrai_tests.models.test_sagemaker import Container as Training
from orchestrai_tests.servers.s3 import S3Server

BUCKET, _, FOLDER = GIVEN["output"].partition("/")
PLACE: dict[str, Any] = {
    **WHERE,
    "role": GIVEN["role"],
    "region": GIVEN["region"],
    "output": f"s3://{BUCKET}/{FOLDER}",
}
SERVING = SageMakerServing.model_validate({**PLACE, "group": "churn-models", "endpoint": "churn", "batch": True})


@pytest.fixture
def server(moto: S3Server) -> Iterator[AwsServer]:
    s3 = moto.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    with aws_server("sagemaker", regions=(GIVEN["region"],)) as found:
        yield found
    assert found.faults == []
    for one in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        s3.delete_object(Bucket=BUCKET, Key=one["Key"])
    s3.delete_bucket(Bucket=BUCKET)


@pytest.fixture
def refused() -> list[str]:
    return []


@pytest.fixture
def take(
    server: AwsServer, moto: S3Server, monkeypatch: pytest.MonkeyPatch, refused: list[str]
) -> Callable[[str], Callable[[str], Any]]:
    """Let a role do what follows; returns its clients."""

    def taken(role: str) -> Callable[[str], Any]:
        judged(server, "sagemaker", role)
        clients = {"s3": judged_s3(moto.client("s3"), role, refused), "sagemaker": server.client("sagemaker")}
        for module in (sagemaker, sagemaker_registry):
            monkeypatch.setattr(module, "boto_clients", lambda _: clients.__getitem__)
        return clients.__getitem__

    return taken


@pytest.mark.emulator
def test_a_trainer_s_policy_lets_a_training_job_through_and_a_deployer_s_does_not(
    ledger: Ledger, server: AwsServer, moto: S3Server, take: Callable[[str], Any], refused: list[str]
) -> None:
    Training(server, moto.client("s3"))
    publish(ledger, TRAINING_SET, customers())
    model = spec(
        estimator={"xgboost": {"num_boost_round": 3, "max_depth": 2}},
        train_on={"sagemaker": PLACE},
    )
    take("deployer")
    with pytest.raises(AccessRefused, match="sagemaker:ListTrainingJobs"):
        train(ledger, model, training_set=TRAINING_SET, asset=CANDIDATE)
    server.answers.clear()
    take("trainer")
    train(ledger, model, training_set=TRAINING_SET, asset=CANDIDATE)
    assert {"ListTrainingJobs", "CreateTrainingJob", "DescribeTrainingJob"} <= {*server.calls} and refused == []


@pytest.mark.emulator
def test_a_deployer_s_policy_lets_registry_endpoint_and_batch_through_and_a_trainer_s_does_not(
    ledger: Ledger,
    server: AwsServer,
    moto: S3Server,
    run: Callable[..., Any],
    take: Callable[[str], Callable[[str], Any]],
    refused: list[str],
) -> None:
    Scoring(server, moto.client("s3"))
    run(spec(exclude=["channel"]), customers())
    take("trainer")
    with pytest.raises(AccessRefused, match="sagemaker:ListModelPackageGroups"):
        deploy(ledger, SERVING, champion=CHAMPION)
    server.answers.clear()
    clients = take("deployer")
    assert deploy(ledger, SERVING, champion=CHAMPION).changed
    scorer = load_model(ledger, CHAMPION)
    rows = scorer.rows(customers(seed=4, per_moment=10, moments=1))
    scores, _ = BatchTransform(SERVING, clients=clients).score(scorer, rows)
    assert len(scores) == len(rows) and refused == []
    run(spec(exclude=["channel"]), customers(seed=2))
    server.region("sagemaker").plan["Endpoint"] = ["Updating", "InService"]
    assert deploy(ledger, SERVING, champion=CHAMPION).changed
    asked = {
        "CreateModelPackageGroup",
        "CreateModelPackage",
        "CreateModel",
        "CreateEndpoint",
        "UpdateEndpoint",
        "CreateTransformJob",
    }
    assert asked <= {*server.calls} and refused == []
