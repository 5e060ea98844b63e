"""LightGBM where AWS serves it: its own container at SageMaker runs what lies beside the model, and a function runs it too."""

import http.client
import importlib.util
import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from orchestrai.errors import ModelError
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators.artifact import Scorer, load_model
from orchestrai.models.registry.functions.lambda_function import LambdaFunction
from orchestrai.models.registry.sagemaker_archive import archive
from orchestrai.models.registry.sagemaker_registry import deploy
from orchestrai.models.registry.target_port import open_champion
from orchestrai.models.remote.sagemaker_batch import BatchTransform
from orchestrai.models.remote.spec import LambdaServing, SageMakerServing
from orchestrai.storage.cloud.job_wait import Clock
from orchestrai_tests.clouds.aws_resources import Resource
from orchestrai_tests.clouds.aws_server import AwsServer, aws_server
from orchestrai_tests.clouds.lambda_functions import LambdaFunctions
from orchestrai_tests.models.conftest import CHAMPION, customers, plans, spec
from orchestrai_tests.servers.s3 import S3Server

Run = Callable[..., Any]
LIGHT = {"lightgbm": {"num_boost_round": 20, "num_leaves": 7}}
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/trees:4"
AMAZON = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.0-5"
SERVING: dict[str, Any] = {
    "role": "arn:aws:iam::123456789012:role/trainer", "image": IMAGE, "region": "us-east-1", "poll": "0s", "group": "churn-models",
}  # fmt: skip


@contextmanager
def started(packed: bytes, folder: Path) -> Iterator[http.client.HTTPConnection]:
    """A container of one's own, with an archive at its place: what its entry point starts, on a free port."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as members:
        members.extractall(folder, filter="data")
    described = importlib.util.spec_from_file_location(f"serve_{folder.name}", folder / "serve.py")
    assert described is not None and described.loader is not None
    module: Any = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    with module.server("127.0.0.1", 0) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
        try:
            yield connection
        finally:
            connection.close()
            server.shutdown()
            thread.join()


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: str = "", kind: str = "text/csv") -> Any:
    """Status and text of an answer."""
    connection.request(method, path, body, {"Content-Type": kind})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def lines(scorer: Scorer, table: pa.Table) -> str:
    """Rows as an endpoint takes them."""
    matrix = scorer.rows(table).matrix
    return "".join(",".join("" if np.isnan(v) else repr(float(v)) for v in row) + "\n" for row in matrix)


@pytest.fixture
def aws(moto: S3Server, tmp_path: Path) -> Iterator[tuple[AwsServer, Any, str]]:
    """SageMaker by its model, S3, and a bucket; a transform job starts the archive of its model and asks it for its rows."""
    s3, bucket = moto.client("s3"), moto.bucket()
    with aws_server("sagemaker") as server:
        region = server.region("sagemaker")

        def transformed(job: Resource) -> None:
            request = job.made
            container = region.find("Model", request).made["PrimaryContainer"]
            assert container["Image"] == IMAGE
            packed = s3.get_object(Bucket=bucket, Key=container["ModelDataUrl"].partition(f"{bucket}/")[2])["Body"].read()
            prefix = request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"].partition(f"{bucket}/")[2]
            rows = s3.get_object(Bucket=bucket, Key=f"{prefix}rows.csv")["Body"].read().decode()
            with started(packed, tmp_path / job.name) as connection:
                status, scores = ask(connection, "POST", "/invocations", rows, request["TransformInput"]["ContentType"])
            assert status == 200
            key = request["TransformOutput"]["S3OutputPath"].partition(f"{bucket}/")[2] + "rows.csv.out"
            s3.put_object(Bucket=bucket, Key=key, Body=scores.encode())
            request.update(TransformStartTime=job.created, TransformEndTime=job.created + timedelta(seconds=60))

        region.effects["TransformJob"] = transformed
        yield server, s3, bucket
    assert server.faults == []


def test_a_container_of_one_s_own_scores_as_the_champion_whatever_the_task(ledger: Ledger, run: Run, tmp_path: Path) -> None:
    run(spec(estimator=LIGHT), customers())
    scorer, fresh = load_model(ledger, CHAMPION), customers(seed=4, per_moment=20)
    with started(archive(scorer.model), tmp_path / "yes-or-no") as connection:  # type: ignore[arg-type]
        assert ask(connection, "GET", "/ping") == (200, "")
        status, told = ask(connection, "POST", "/invocations", lines(scorer, fresh))
    assert status == 200 and [float(line) for line in told.splitlines()] == scorer.score(fresh).tolist()
    run(spec(estimator=LIGHT, task="multiclass", promote_when={}, baseline=None), plans())
    scorer, fresh = load_model(ledger, CHAMPION), plans().drop_columns(["label"]).slice(0, 30)
    with started(archive(scorer.model), tmp_path / "classes") as connection:  # type: ignore[arg-type]
        told = ask(connection, "POST", "/invocations", lines(scorer, fresh))[1]
    assert [[float(one) for one in line.split(",")] for line in told.splitlines()] == scorer.score(fresh).tolist()


def test_a_container_refuses_what_is_no_row_of_the_model_and_goes_on(ledger: Ledger, run: Run, tmp_path: Path) -> None:
    run(spec(estimator=LIGHT), customers())
    scorer = load_model(ledger, CHAMPION)
    with started(archive(scorer.model), tmp_path / "refused") as connection:  # type: ignore[arg-type]
        assert ask(connection, "POST", "/invocations", "1,2\n") == (400, "expected 5 features in row 0, found 2")
        assert ask(connection, "POST", "/invocations", "1,2,x,4,5\n")[0] == 400
        assert ask(connection, "POST", "/invocations", "{}", "application/json")[0] == 415
        assert ask(connection, "POST", "/else", "1,2\n")[0] == ask(connection, "GET", "/else")[0] == 404
        assert ask(connection, "POST", "/invocations", "")[:2] == (200, "")
        assert ask(connection, "POST", "/invocations", "1,2,3,1,0\n")[0] == 200


def test_equal_models_are_equal_archives(ledger: Ledger, run: Run) -> None:
    run(spec(estimator=LIGHT), customers())
    model: Any = load_model(ledger, CHAMPION).model
    assert archive(model) == archive(model)


@pytest.mark.emulator
def test_the_endpoint_gets_the_own_image_and_the_archive_with_its_server(
    ledger: Ledger, run: Run, aws: tuple[AwsServer, Any, str]
) -> None:
    server, s3, bucket = aws
    run(spec(estimator=LIGHT), customers())
    where = SageMakerServing.model_validate({**SERVING, "output": f"s3://{bucket}/models", "endpoint": "churn"})
    clients = {"s3": s3, "sagemaker": server.client("sagemaker")}
    held = deploy(ledger, where, champion=CHAMPION, clients=clients.__getitem__)
    assert not deploy(ledger, where, champion=CHAMPION, clients=clients.__getitem__).changed
    (model,) = server.region("sagemaker").made("Model")
    assert model.made["PrimaryContainer"] == {"Image": IMAGE, "ModelDataUrl": held.artifact}
    packed = s3.get_object(Bucket=bucket, Key=held.artifact.partition(f"{bucket}/")[2])["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(packed)) as members:
        assert members.getnames() == ["model.txt", "serve.py"]
    with pytest.raises(ModelError, match=r"expected an image of your own with lightgbm .*found 683313688378"):
        deploy(ledger, where.model_copy(update={"image": AMAZON}), champion=CHAMPION, clients=clients.__getitem__)


@pytest.mark.emulator
def test_a_transform_job_scores_categories_and_missing_values_as_the_champion(
    ledger: Ledger, run: Run, aws: tuple[AwsServer, Any, str]
) -> None:
    server, s3, bucket = aws
    run(spec(estimator=LIGHT), customers())
    scorer = load_model(ledger, CHAMPION)
    where = SageMakerServing.model_validate({**SERVING, "output": f"s3://{bucket}/scores", "batch": True})
    clients = {"s3": s3, "sagemaker": server.client("sagemaker")}
    rows = scorer.rows(customers(seed=5, per_moment=20))
    scores, job = BatchTransform(where, clients=clients.__getitem__).score(scorer, rows)
    assert scores.tolist() == scorer.model.score(rows).tolist() and job.seconds == 60


def test_a_function_scores_lightgbm_before_its_alias_moves(ledger: Ledger, run: Run, tmp_path: Path) -> None:
    run(spec(estimator=LIGHT), customers())
    functions = LambdaFunctions(tmp_path / "loaded")
    where = LambdaServing.model_validate({"function": "churn-batch", "region": "us-east-1"})
    with aws_server("lambda") as server:
        server.answers["lambda"] = functions.answer
        target = LambdaFunction(where, client=server.client("lambda"), clock=Clock(lambda _: None, lambda: 0.0))
        assert target.register(open_champion(ledger, CHAMPION)).version == "1" and functions.aliases == ["1"]
        assert not target.register(open_champion(ledger, CHAMPION)).changed
    assert server.order.index("Invoke") < server.order.index("UpdateAlias") and server.faults == []
    scorer = load_model(ledger, CHAMPION)
    matrix = scorer.rows(customers(seed=4, per_moment=20)).matrix
    rows = [[None if np.isnan(value) else float(value) for value in row] for row in matrix]
    told = functions._loaded(functions.versions["1"]).handler({"rows": rows})
    assert told["scores"] == scorer.score(customers(seed=4, per_moment=20)).tolist()


@pytest.mark.parametrize(
    ("estimator", "image", "told"),
    [
        (LIGHT, AMAZON, "serve_on.sagemaker.image: expected an image of your own with lightgbm"),
        ({"xgboost": {}}, IMAGE, "serve_on.sagemaker.image: expected Amazon's container sagemaker-xgboost"),
    ],
)
def test_an_image_that_cannot_serve_the_estimator_is_told_when_it_is_declared(estimator: Any, image: str, told: str) -> None:
    where = {**SERVING, "output": "s3://b/models", "image": image}
    with pytest.raises(ValueError, match=told):
        spec(estimator=estimator, serve_on={"sagemaker": where})
    with pytest.raises(ValueError, match=told.replace("serve_on.sagemaker.image", "registry")):
        spec(estimator=estimator, registry=f"sagemaker://churn?image={image}&output=s3://b/models")
    where["image"] = IMAGE if image == AMAZON else AMAZON
    assert spec(estimator=estimator, serve_on={"sagemaker": where}).serve_on is not None
