"""Batch predictions by a transform job of SageMaker as its model describes it; a stand-in scores the rows as the container does."""

import io
import tarfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestrai.errors import ModelError
from orchestrai.features.views.moment_partitions import PointInTime
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators.artifact import load_model
from orchestrai.models.estimators.boosting import xgboost
from orchestrai.models.inference import predict
from orchestrai.models.remote import sagemaker_batch
from orchestrai.models.remote.sagemaker_batch import BatchTransform
from orchestrai.models.spec import SageMakerServing
from orchestrai.storage.cloud.job_wait import Clock
from orchestrai_tests.clouds.aws_resources import Resource
from orchestrai_tests.clouds.aws_server import AwsServer, aws_server
from orchestrai_tests.models.conftest import CHAMPION, customers, publish, spec
from orchestrai_tests.models.test_sagemaker import WHERE
from orchestrai_tests.servers.s3 import S3Server

BUCKET, FEATURES, PREDICTIONS = "batches", "churn/customer_rfm/features", "churn/churn/predictions"
SERVING: dict[str, Any] = {
    **{name: WHERE[name] for name in ("role", "image", "region", "poll", "price_per_hour")},
    "output": f"s3://{BUCKET}/scores",
    "group": "churn-models",
    "batch": True,
}
NO_TEXT = ["channel"]


class Container:
    """SageMaker by its model, with the transform done as the built-in container does it."""

    def __init__(self, server: AwsServer, s3: Any) -> None:
        self.server, self.s3 = server, s3
        self.sagemaker = server.region("sagemaker")
        self.sagemaker.effects["TransformJob"] = self._transformed
        self.change: Callable[[Any], Any] = lambda scores: scores

    @property
    def requests(self) -> list[dict[str, Any]]:
        return [job.made for job in self.sagemaker.made("TransformJob")]

    def _transformed(self, job: Resource) -> None:
        request = job.made
        bucket, prefix = request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"].removeprefix("s3://").split("/", 1)
        url = self.sagemaker.find("Model", request).made["PrimaryContainer"]["ModelDataUrl"]
        packed = self.s3.get_object(Bucket=bucket, Key=url.removeprefix(f"s3://{bucket}/"))["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            booster = xgboost().Booster(model_file=bytearray(archive.extractfile("xgboost-model").read()))  # type: ignore[union-attr]
        text = self.s3.get_object(Bucket=bucket, Key=f"{prefix}rows.csv")["Body"].read().decode()
        values = np.array([[float(v) if v else np.nan for v in line.split(",")] for line in text.splitlines()])
        scores = self.change(booster.predict(xgboost().DMatrix(values), validate_features=False))
        key = request["TransformOutput"]["S3OutputPath"].removeprefix(f"s3://{bucket}/") + "rows.csv.out"
        self.s3.put_object(Bucket=bucket, Key=key, Body="\n".join(str(float(score)) for score in scores).encode())
        request.update(TransformStartTime=job.created, TransformEndTime=job.created + timedelta(seconds=90))


@pytest.fixture
def container(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    s3 = moto.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    with aws_server("sagemaker") as server:
        container = Container(server, s3)
        clients = {"s3": s3, "sagemaker": server.client("sagemaker")}
        monkeypatch.setattr(sagemaker_batch, "boto_clients", lambda _: clients.__getitem__)
        yield container
    assert server.faults == []
    for one in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        s3.delete_object(Bucket=BUCKET, Key=one["Key"])
    s3.delete_bucket(Bucket=BUCKET)


def _predict(ledger: Ledger, seed: int) -> Any:
    publish(ledger, FEATURES, customers(seed=seed, per_moment=40, moments=1).drop_columns(["label"]), "2026-07-01")
    model = spec(exclude=NO_TEXT, serve_on={"sagemaker": SERVING})
    known = PointInTime(ledger)
    return predict(ledger, model, champion=CHAMPION, features=[FEATURES], known=known, asset=PREDICTIONS)


@pytest.mark.emulator
def test_the_predictions_are_the_job_s_and_equal_the_champion_s_own(
    ledger: Ledger, run: Callable[..., Any], container: Container
) -> None:
    run(spec(exclude=NO_TEXT), customers())
    report = _predict(ledger, 31)
    job: Any = report.facts["job"]
    assert job["name"] == container.requests[0]["TransformJobName"] and job["usd"] is not None
    with ledger.open(PREDICTIONS).fetched(["2026-07-01"]) as files:
        found = pq.read_table(files["2026-07-01"][0].path)
    fresh = customers(seed=31, per_moment=40, moments=1)
    wanted = dict(zip(fresh.column("customer_id").to_pylist(), load_model(ledger, CHAMPION).score(fresh), strict=True))
    for who, score in zip(found.column("customer_id").to_pylist(), found.column("score").to_pylist(), strict=True):
        assert score == pytest.approx(wanted[who], abs=1e-6)
    _predict(ledger, 31)
    assert len(container.requests) == 1, "the finished job is taken up"


@pytest.mark.emulator
def test_a_container_that_scores_otherwise_is_found_and_nothing_is_published(
    ledger: Ledger, run: Callable[..., Any], container: Container
) -> None:
    run(spec(exclude=NO_TEXT), customers())
    for seed, change, message in (
        (32, lambda scores: scores + 0.01, "rows to differ"),
        (33, lambda scores: scores[:-1], "expected 40 scores"),
    ):
        container.change = change
        with pytest.raises(ModelError, match=message):
            _predict(ledger, seed)
    assert ledger.head(PREDICTIONS) is None


@pytest.mark.emulator
def test_a_transform_past_its_time_limit_is_stopped(ledger: Ledger, run: Callable[..., Any], container: Container) -> None:
    run(spec(exclude=NO_TEXT), customers())
    container.sagemaker.plan["TransformJob"] = ["InProgress"]
    now = [0.0]

    def sleep(_: float) -> None:
        now[0] += 60

    where = SageMakerServing.model_validate({**SERVING, "time_limit": timedelta(minutes=5)})
    scorer = load_model(ledger, CHAMPION)
    transform = BatchTransform(where, clock=Clock(sleep, lambda: now[0]))
    with pytest.raises(ModelError, match="to end within 0:05:00"):
        transform.score(scorer, scorer.rows(customers(seed=34, per_moment=10)))
    assert container.server.calls["StopTransformJob"] == 1


@pytest.mark.emulator
def test_a_transform_that_failed_is_tried_again_under_another_name_with_key_and_tags(
    ledger: Ledger, run: Callable[..., Any], container: Container
) -> None:
    run(spec(exclude=NO_TEXT), customers())
    scorer = load_model(ledger, CHAMPION)
    rows = scorer.rows(customers(seed=35, per_moment=10))
    given = {**SERVING, "volume_kms_key": "alias/volumes", "kms_key": "alias/scores", "tags": {"team": "growth"}}
    transform = BatchTransform(SageMakerServing.model_validate(given))
    container.sagemaker.plan["TransformJob"] = ["InProgress", "Failed"]
    with pytest.raises(ModelError, match="found Failed"):
        transform.score(scorer, rows)
    del container.sagemaker.plan["TransformJob"]
    _, job = transform.score(scorer, rows)
    assert job.name.endswith("-2") and (job.seconds, job.billable_seconds) == (90, 90)
    request = container.requests[-1]
    assert request["TransformResources"]["VolumeKmsKeyId"] == "alias/volumes"
    assert request["TransformOutput"]["KmsKeyId"] == "alias/scores" and {"Key": "team", "Value": "growth"} in request["Tags"]


def test_a_batch_without_a_role_is_told_when_it_is_declared() -> None:
    with pytest.raises(ValueError, match="role"):
        SageMakerServing.model_validate({name: value for name, value in SERVING.items() if name != "role"})
