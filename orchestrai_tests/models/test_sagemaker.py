"""Training jobs against SageMaker as its model describes it; a stand-in does what the built-in container does with the channels."""

import io
import tarfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestrai.errors import ModelError, StorageError
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators.artifact import load_model
from orchestrai.models.estimators.boosting import xgboost
from orchestrai.models.registry import sagemaker_registry
from orchestrai.models.registry.sagemaker_registry import deploy
from orchestrai.models.registry.versions import rollback
from orchestrai.models.remote import sagemaker
from orchestrai.models.remote.sagemaker import SageMakerTrainer
from orchestrai.models.rows import Rows, encode, infer_columns
from orchestrai.models.spec import ModelSpec, SageMakerServing, SageMakerTraining
from orchestrai.models.training import train
from orchestrai.provenance.export.text_tree import trace_text
from orchestrai.provenance.trace import trace
from orchestrai.storage.cloud.job_wait import Clock
from orchestrai_tests.clouds.aws_resources import Resource
from orchestrai_tests.clouds.aws_server import AwsServer, aws_server
from orchestrai_tests.models.conftest import CANDIDATE, CHAMPION, TRAINING_SET, customers, plans, publish, spec
from orchestrai_tests.servers.s3 import S3Server

BUCKET = "training"
WHERE: dict[str, Any] = {
    "role": "arn:aws:iam::123456789012:role/trainer",
    "image": "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.0-5",
    "output": f"s3://{BUCKET}/jobs",
    "region": "us-east-1",
    "price_per_hour": 0.23,
    "poll": "0s",
}
TREES = {"num_boost_round": 25, "max_depth": 3, "subsample": 0.8, "lambda": 2}
# of the container's hyperparameter_validation: anything else ends the job
KNOWN = set(
    "num_round early_stopping_rounds booster verbosity nthread eta gamma max_depth min_child_weight max_delta_step subsample "
    "colsample_bytree colsample_bylevel colsample_bynode lambda alpha tree_method scale_pos_weight grow_policy max_leaves max_bin "
    "monotone_constraints objective base_score seed num_parallel_tree num_class".split()
)


class Container:
    """SageMaker by its model, with training done as the built-in container does it: label in the first column, no feature names."""

    def __init__(
        self, server: AwsServer, s3: Any, packed: bytes | None = None, status: str = "Completed", **shown: Any
    ) -> None:
        self.server, self.s3, self.packed, self.shown = server, s3, packed, shown
        self.sagemaker = server.region("sagemaker")
        self.sagemaker.effects["TrainingJob"] = self._trained
        self.sagemaker.plan["TrainingJob"] = ["InProgress", status]
        self.client = server.client("sagemaker")

    @property
    def requests(self) -> list[dict[str, Any]]:
        return [job.made for job in self.sagemaker.made("TrainingJob")]

    @property
    def stopped(self) -> int:
        return self.server.calls["StopTrainingJob"]

    def _trained(self, job: Resource) -> None:
        request = job.made
        artifact = f"{request['OutputDataConfig']['S3OutputPath']}/{job.name}/output/model.tar.gz"
        bucket, key = artifact.removeprefix("s3://").split("/", 1)
        self.s3.put_object(Bucket=bucket, Key=key, Body=self.packed if self.packed is not None else self._train(request))
        times = {"TrainingTimeInSeconds": 120, "BillableTimeInSeconds": 90}
        request.update(ModelArtifacts={"S3ModelArtifacts": artifact}, **times, **self.shown)

    def _train(self, request: dict[str, Any]) -> bytes:
        hyper = dict(request["HyperParameters"])
        assert set(hyper) <= KNOWN
        data = {c["ChannelName"]: self._channel(c) for c in request["InputDataConfig"]}
        rounds, stop = int(hyper.pop("num_round")), hyper.pop("early_stopping_rounds", None)
        watched = [(data["validation"], "validation")] if "validation" in data else []
        booster = xgboost().train(
            hyper, data["train"], rounds, evals=watched,
            early_stopping_rounds=int(stop) if stop else None, verbose_eval=False,
        )  # fmt: skip
        return packed({"xgboost-model": bytes(booster.save_raw(raw_format="ubj"))})

    def _channel(self, channel: dict[str, Any]) -> Any:
        assert channel["ContentType"] == "application/x-parquet"
        bucket, prefix = channel["DataSource"]["S3DataSource"]["S3Uri"].removeprefix("s3://").split("/", 1)
        keys = [one["Key"] for one in self.s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]]
        body = self.s3.get_object(Bucket=bucket, Key=keys[0])["Body"].read()
        values = pq.read_table(io.BytesIO(body)).to_pandas().to_numpy()
        return xgboost().DMatrix(values[:, 1:], label=values[:, 0])


def packed(files: dict[str, bytes]) -> bytes:
    """A model.tar.gz."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return sink.getvalue()


@pytest.fixture
def aws(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Container]]:
    s3 = moto.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    with aws_server("sagemaker") as server:

        def make(body: bytes | None = None, **described: Any) -> Container:
            container = Container(server, s3, body, **described)
            clients = {"s3": s3, "sagemaker": container.client}
            for module in (sagemaker, sagemaker_registry):
                monkeypatch.setattr(module, "boto_clients", lambda _: clients.__getitem__)
            return container

        yield make
    assert server.faults == []
    for one in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        s3.delete_object(Bucket=BUCKET, Key=one["Key"])
    s3.delete_bucket(Bucket=BUCKET)


def _spec(trees: dict[str, Any] = TREES, **where: Any) -> ModelSpec:
    return spec(estimator={"xgboost": trees}, train_on={"sagemaker": {**WHERE, **where}})


def _rows(model: ModelSpec) -> Rows:
    table = customers()
    return encode(table, infer_columns(table, model), model.entity)


@pytest.mark.emulator
def test_the_same_declaration_trains_remotely_and_registers_a_candidate_with_its_cost(
    ledger: Ledger, aws: Callable[..., Container]
) -> None:
    container = aws()
    publish(ledger, TRAINING_SET, customers())
    report = train(ledger, _spec(spot=True, time_limit="30m"), training_set=TRAINING_SET, asset=CANDIDATE)
    job: Any = report.facts["job"]
    assert job["billable_seconds"] == 90 and job["usd"] == round(0.23 * 90 / 3600, 6) and job["spot"]
    assert (job["place"], job["limit_seconds"], job["per_hour"]) == ("sagemaker", 1800, 0.23)
    request = container.requests[0]
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 1800, "MaxWaitTimeInSeconds": 5400}
    assert request["EnableManagedSpotTraining"] and request["CheckpointConfig"] and request["EnableNetworkIsolation"]
    scorer = load_model(ledger, CANDIDATE)
    table = customers(seed=5)
    from sklearn.metrics import roc_auc_score

    assert roc_auc_score(table.column("label").to_numpy(), scorer.score(table)) > 0.8
    assert ledger.open(CANDIDATE).receipt("all").facts["job"] == job
    told = trace_text(trace(ledger, CANDIDATE))
    assert f"ran on sagemaker ml.m5.xlarge spot, {job['seconds']} s (90 s billed) of at most 1,800 s, USD 0.00575 at" in told


@pytest.mark.emulator
def test_nothing_that_names_a_person_leaves_for_the_job(ledger: Ledger, aws: Callable[..., Container]) -> None:
    container = aws()
    publish(ledger, TRAINING_SET, customers(seed=6))
    train(ledger, _spec(), training_set=TRAINING_SET, asset=CANDIDATE)
    key = f"jobs/{container.requests[0]['TrainingJobName']}/train/part-0.parquet"
    table = pq.read_table(io.BytesIO(container.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()))
    assert table.column_names == ["label", "recency_days", "spend_90d", "orders", "is_member", "channel"]
    assert table.column("spend_90d").null_count > 0


@pytest.mark.emulator
def test_the_same_training_again_takes_up_the_finished_job(aws: Callable[..., Container]) -> None:
    model = _spec({**TREES, "seed": 3})
    container = aws()
    where, params = SageMakerTraining.model_validate(WHERE), model.estimator.xgboost
    assert params is not None
    for _ in range(2):
        SageMakerTrainer(where).train("churn", params, "binary", _rows(model))
    assert len(container.requests) == 1


@pytest.mark.emulator
def test_a_job_that_failed_is_tried_again_under_another_number_however_many_went_before(
    aws: Callable[..., Container],
) -> None:
    model, where = _spec({**TREES, "seed": 4}), SageMakerTraining.model_validate(WHERE)
    params = model.estimator.xgboost
    assert params is not None
    aws(status="Failed")
    for _ in range(10):
        with pytest.raises(ModelError, match="found Failed"):
            SageMakerTrainer(where).train("churn", params, "binary", _rows(model))
    container = aws()
    network = {"subnets": ["subnet-1"], "security_groups": ["sg-1"], "encrypt_between": True}
    given = {**WHERE, "network": network, "volume_kms_key": "alias/volumes", "tags": {"team": "growth"}}
    _, job = SageMakerTrainer(SageMakerTraining.model_validate(given)).train("churn", params, "binary", _rows(model))
    assert job.name.endswith("-11") and len(container.requests) == 11
    request = container.requests[-1]
    assert request["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert (
        request["ResourceConfig"]["VolumeKmsKeyId"] == "alias/volumes" and request["EnableInterContainerTrafficEncryption"]
    )
    assert {"Key": "team", "Value": "growth"} in request["Tags"]
    _, again = SageMakerTrainer(where).train("churn", params, "binary", _rows(model))
    assert again.name == job.name and len(container.requests) == 11


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"no archive", "unreadable archive"),
        (packed({"other": b"x"}), "expected a file xgboost-model"),
        (packed({"xgboost-model": b"binf...."}), r"3\.0 or newer"),
        (packed({"xgboost-model": b"\x80\x04."}), r"3\.0 or newer"),
        (packed({"xgboost-model": b"{L"}), "expected an XGBoost model"),
    ],
    # an archive holds the second it was packed in: as an id it would differ between two workers
    ids=["no archive", "no model inside", "another format", "a pickle", "broken JSON"],
)
def test_an_artifact_that_is_no_model_is_refused(
    ledger: Ledger, aws: Callable[..., Container], body: bytes, message: str
) -> None:
    aws(body)
    publish(ledger, TRAINING_SET, customers(seed=len(body)))
    with pytest.raises(ModelError, match=message):
        train(ledger, _spec({"seed": len(body)}), training_set=TRAINING_SET, asset=CANDIDATE)
    assert ledger.head(CANDIDATE) is None


@pytest.mark.emulator
def test_a_failed_job_is_told_with_its_reason(ledger: Ledger, aws: Callable[..., Container]) -> None:
    aws(status="Failed", FailureReason="ClientError: no rows")
    publish(ledger, TRAINING_SET, customers(seed=21))
    with pytest.raises(ModelError, match="found Failed: ClientError: no rows"):
        train(ledger, _spec({"seed": 21}), training_set=TRAINING_SET, asset=CANDIDATE)


@pytest.mark.emulator
def test_a_job_past_its_time_limit_is_stopped(aws: Callable[..., Container]) -> None:
    container = aws(status="InProgress")
    model = _spec({"seed": 22})
    params = model.estimator.xgboost
    assert params is not None
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += 60

    where = SageMakerTraining.model_validate({**WHERE, "time_limit": timedelta(minutes=10)})
    trainer = SageMakerTrainer(where, clock=Clock(sleep, lambda: now[0]))
    with pytest.raises(ModelError, match=r"within 0:10:00, found it InProgress: it was stopped"):
        trainer.train("churn", params, "binary", _rows(model))
    assert container.stopped == 1 and now[0] <= 720


@pytest.mark.emulator
def test_an_error_of_aws_is_one_of_ours(aws: Callable[..., Container]) -> None:
    aws()
    params = _spec().estimator.xgboost
    assert params is not None
    where = SageMakerTraining.model_validate({**WHERE, "output": "s3://no-such-bucket/jobs"})
    with pytest.raises(StorageError, match="NoSuchBucket"):
        SageMakerTrainer(where).train("churn", params.model_copy(update={"seed": 23}), "binary", _rows(_spec()))


def test_an_error_of_aws_where_jobs_are_listed_is_one_of_ours() -> None:
    params = _spec().estimator.xgboost
    assert params is not None
    with aws_server("sagemaker") as server:
        elsewhere = {"s3": None, "sagemaker": server.client("sagemaker", "eu-west-1")}
        trainer = SageMakerTrainer(SageMakerTraining.model_validate(WHERE), clients=elsewhere.__getitem__)
        with pytest.raises(StorageError, match=r"AWS to list training jobs.*valid region"):
            trainer.train("churn", params, "binary", _rows(_spec()))


@pytest.mark.emulator
def test_a_regression_is_centred_so_that_any_reader_scores_it_alike(ledger: Ledger, aws: Callable[..., Container]) -> None:
    aws()
    table = customers(noise=0.1)
    target = 1000 + 5 * table.column("recency_days").to_numpy()
    table = table.set_column(table.column_names.index("label"), "label", [target])
    model = spec(task="regression", promote_when={"metric": "rmse"}, train_on={"sagemaker": WHERE})
    publish(ledger, TRAINING_SET, table)
    train(ledger, model, training_set=TRAINING_SET, asset=CANDIDATE)
    assert np.abs(load_model(ledger, CANDIDATE).score(table) - target).mean() < 10


@pytest.mark.emulator
def test_classes_are_trained_there_as_here(ledger: Ledger, aws: Callable[..., Container]) -> None:
    container = aws()
    model = spec(
        task="multiclass",
        promote_when={},
        baseline=None,
        estimator={"xgboost": TREES},
        train_on={"sagemaker": WHERE},
        exclude=["channel"],
    )
    publish(ledger, TRAINING_SET, plans())
    train(ledger, model, training_set=TRAINING_SET, asset=CANDIDATE)
    assert container.requests[0]["HyperParameters"]["num_class"] == "3"
    there = load_model(ledger, CANDIDATE).score(plans().drop_columns(["label"]))
    train(ledger, model.model_copy(update={"train_on": None}), training_set=TRAINING_SET, asset=CANDIDATE)
    assert there.shape == (plans().num_rows, 3)
    assert there == pytest.approx(load_model(ledger, CANDIDATE).score(plans().drop_columns(["label"])), abs=0.05)


SERVING = SageMakerServing.model_validate(
    {
        **{name: WHERE[name] for name in ("role", "image", "output", "region", "poll")},
        "group": "churn-models",
        "endpoint": "churn",
    }
)


@pytest.mark.emulator
def test_the_champion_is_registered_once_and_the_endpoint_follows_promotion_and_rollback(
    ledger: Ledger, aws: Callable[..., Container], run: Callable[..., Any]
) -> None:
    container = aws()
    first = str(run(spec(), customers())[0].version)
    deployed = deploy(ledger, SERVING, champion=CHAMPION)
    assert deployed.changed and deployed.model_version == first
    assert not deploy(ledger, SERVING, champion=CHAMPION).changed
    package = container.client.describe_model_package(ModelPackageName=deployed.model_package)
    assert package["ModelApprovalStatus"] == "Approved"
    assert package["CustomerMetadataProperties"]["orchestrai_training_set"] == ledger.open(TRAINING_SET).version

    second = str(run(spec(), customers(seed=2))[0].version)
    assert deploy(ledger, SERVING, champion=CHAMPION).model_version == second
    assert _served(container) == second[7:19]
    rollback(ledger, CHAMPION)
    assert deploy(ledger, SERVING, champion=CHAMPION).model_package == deployed.model_package
    assert _served(container) == first[7:19]
    assert len(container.sagemaker.made("ModelPackage")) == 2


@pytest.mark.emulator
def test_the_registry_is_asked_before_a_model_is_stored_and_one_that_was_removed_is_stored_again(
    ledger: Ledger, aws: Callable[..., Container], run: Callable[..., Any]
) -> None:
    container = aws()
    run(spec(), customers())
    stored: list[str] = []
    container.s3.meta.events.register("before-call.s3.PutObject", lambda params, **_: stored.append(params["url_path"]))
    artifact = deploy(ledger, SERVING, champion=CHAMPION).artifact
    models = [path for path in stored if "/models/" in path]
    assert len(models) == 3
    assert deploy(ledger, SERVING, champion=CHAMPION).artifact == artifact and len(stored) == len(models)
    container.s3.delete_object(Bucket=BUCKET, Key=artifact.removeprefix(f"s3://{BUCKET}/"))
    assert deploy(ledger, SERVING, champion=CHAMPION).artifact == artifact and len(stored) == 2 * len(models)


@pytest.mark.emulator
def test_a_package_that_failed_is_not_one_of_the_champion(
    ledger: Ledger, aws: Callable[..., Container], run: Callable[..., Any]
) -> None:
    container = aws()
    run(spec(), customers())
    container.sagemaker.plan["ModelPackage"] = ["InProgress", "Failed"]
    with pytest.raises(ModelError, match=r"model package .*found Failed"):
        deploy(ledger, SERVING, champion=CHAMPION)
    assert container.sagemaker.made("Endpoint") == []
    del container.sagemaker.plan["ModelPackage"]
    assert deploy(ledger, SERVING, champion=CHAMPION).model_package.endswith("/2")


def _served(container: Container) -> str:
    config = container.client.describe_endpoint(EndpointName="churn")["EndpointConfigName"]
    variant = container.client.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"][0]
    return str(variant["ModelName"]).split("-")[1]


@pytest.mark.emulator
def test_the_registered_artifact_scores_as_the_champion_does(
    ledger: Ledger, aws: Callable[..., Container], run: Callable[..., Any]
) -> None:
    container = aws()
    run(spec(exclude=["channel"]), customers())
    url = deploy(ledger, SERVING, champion=CHAMPION).artifact
    bucket, key = url.removeprefix("s3://").split("/", 1)
    body = container.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        stream = archive.extractfile("xgboost-model")
        assert stream is not None
        booster = xgboost().Booster(model_file=bytearray(stream.read()))
    scorer = load_model(ledger, CHAMPION)
    rows = scorer.rows(customers(seed=4))
    found = booster.predict(xgboost().DMatrix(rows.matrix), validate_features=False)
    assert found.tolist() == pytest.approx(scorer.model.score(rows).tolist())


@pytest.mark.emulator
def test_only_boosted_trees_go_to_sagemaker(ledger: Ledger, aws: Callable[..., Container], run: Callable[..., Any]) -> None:
    aws()
    run(spec(estimator={"logistic": {}}), customers())
    with pytest.raises(ModelError, match="expected a champion of xgboost or lightgbm"):
        deploy(ledger, SERVING, champion=CHAMPION)
