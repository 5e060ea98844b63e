"""Batch predictions by a SageMaker transform job on moto's server; a stand-in scores the rows as the container does."""

import io
import tarfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import boto3
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
    """moto's SageMaker, with the transform done as the built-in container does it."""

    def __init__(self, client: Any, s3: Any) -> None:
        self.client, self.s3 = client, s3
        self.requests: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        self.change: Callable[[Any], Any] = lambda scores: scores
        self.described: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def stop_transform_job(self, *, TransformJobName: str) -> None:
        self.stopped.append(TransformJobName)

    def describe_transform_job(self, **query: Any) -> Any:
        return {**self.client.describe_transform_job(**query), **self.described}

    def create_transform_job(self, **request: Any) -> Any:
        self.requests.append(request)
        bucket, prefix = request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"].removeprefix("s3://").split("/", 1)
        url = self.client.describe_model(ModelName=request["ModelName"])["PrimaryContainer"]["ModelDataUrl"]
        packed = self.s3.get_object(Bucket=bucket, Key=url.removeprefix(f"s3://{bucket}/"))["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            booster = xgboost().Booster(model_file=bytearray(archive.extractfile("xgboost-model").read()))  # type: ignore[union-attr]
        text = self.s3.get_object(Bucket=bucket, Key=f"{prefix}rows.csv")["Body"].read().decode()
        values = np.array([[float(v) if v else np.nan for v in line.split(",")] for line in text.splitlines()])
        scores = self.change(booster.predict(xgboost().DMatrix(values), validate_features=False))
        key = request["TransformOutput"]["S3OutputPath"].removeprefix(f"s3://{bucket}/") + "rows.csv.out"
        self.s3.put_object(Bucket=bucket, Key=key, Body="\n".join(str(float(score)) for score in scores).encode())
        return self.client.create_transform_job(**request)


@pytest.fixture
def container(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Container]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testkey")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testsecret")
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket=BUCKET)
    container = Container(boto3.client("sagemaker", region_name="us-east-1"), s3)
    clients = {"s3": s3, "sagemaker": container}
    monkeypatch.setattr(sagemaker_batch, "boto_clients", lambda _: clients.__getitem__)
    yield container
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
    container.described = {"TransformJobStatus": "InProgress"}
    now = [0.0]

    def sleep(_: float) -> None:
        now[0] += 60

    where = SageMakerServing.model_validate({**SERVING, "time_limit": timedelta(minutes=5)})
    scorer = load_model(ledger, CHAMPION)
    transform = BatchTransform(where, clock=Clock(sleep, lambda: now[0]))
    with pytest.raises(ModelError, match="to end within 0:05:00"):
        transform.score(scorer, scorer.rows(customers(seed=34, per_moment=10)))
    assert container.stopped == [container.requests[0]["TransformJobName"]]


def test_a_batch_without_a_role_is_told_when_it_is_declared() -> None:
    with pytest.raises(ValueError, match="role"):
        SageMakerServing.model_validate({name: value for name, value in SERVING.items() if name != "role"})
