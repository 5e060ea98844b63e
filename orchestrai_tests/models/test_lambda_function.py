"""The champion in a Lambda function generated from botocore's model: new code, a version, the golden rows, the alias, and back."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrai.errors import ConfigError, ModelError, StorageError, TransientStorageError
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators.artifact import load_model
from orchestrai.models.registry.deployment import targets_of
from orchestrai.models.registry.functions.lambda_function import LambdaFunction
from orchestrai.models.registry.target_port import Registered, open_champion
from orchestrai.models.registry.versions import rollback
from orchestrai.models.remote.spec import LambdaServing, ServeOn
from orchestrai.storage.cloud.job_wait import Clock
from orchestrai_tests.clouds.aws_server import AwsServer, aws_server
from orchestrai_tests.clouds.lambda_functions import LATEST, LambdaFunctions
from orchestrai_tests.models.conftest import CHAMPION, customers, plans, spec
from orchestrai_tests.servers.s3 import S3Server

Run = Callable[..., Any]
WHERE = LambdaServing.model_validate({"function": "churn-batch", "region": "us-east-1"})


@pytest.fixture
def server() -> Iterator[AwsServer]:
    with aws_server("lambda") as found:
        yield found
    assert found.faults == []


@pytest.fixture
def functions(server: AwsServer, tmp_path: Path) -> LambdaFunctions:
    """The service, with one function whose alias serves what was there before."""
    played = LambdaFunctions(tmp_path / "loaded")
    server.answers["lambda"] = played.answer
    return played


@pytest.fixture
def register(ledger: Ledger, server: AwsServer, functions: LambdaFunctions) -> Callable[..., Registered]:
    """Bring the champion to the function, by a clock that runs a minute per look."""

    def bring(where: LambdaServing = WHERE) -> Registered:
        now = [0.0]

        def sleep(_: float) -> None:
            now[0] += 60

        target = LambdaFunction(where, client=server.client("lambda"), clock=Clock(sleep, lambda: now[0]))
        return target.register(open_champion(ledger, CHAMPION))

    return bring


Register = Callable[..., Registered]


def test_the_alias_follows_promotion_and_rollback_by_versions_that_scored_as_the_champion(
    ledger: Ledger, run: Run, register: Register, functions: LambdaFunctions, server: AwsServer
) -> None:
    run(spec(), customers())
    held = register()
    assert (held.version, held.endpoint, held.changed, functions.aliases) == ("1", "live", True, ["1"])
    assert server.order.index("Invoke") < server.order.index("UpdateAlias")
    assert server.calls["Invoke"] == 2
    again = register()
    assert not again.changed and again.as_json() == held.as_json()
    assert (server.calls["UpdateFunctionCode"], server.calls["UpdateAlias"]) == (1, 1)
    run(spec(), customers(seed=2))
    assert register().version == "2"
    rollback(ledger, CHAMPION)
    # what comes back has the receipt of its coming back, so that it is a version of its own
    assert register().version == "3" and functions.alias["FunctionVersion"] == "3"


def test_what_the_function_scores_is_what_the_champion_scores(
    ledger: Ledger, run: Run, register: Register, server: AwsServer
) -> None:
    run(spec(), customers())
    register()
    scorer = load_model(ledger, CHAMPION)
    matrix = scorer.rows(customers(seed=4)).matrix
    rows = [[None if np.isnan(value) else float(value) for value in row] for row in matrix]
    payload = json.dumps({"rows": rows}).encode()
    answer = server.client("lambda").invoke(FunctionName="churn-batch", Qualifier="live", Payload=payload)
    told = json.loads(answer["Payload"].read())
    assert told["version"] == scorer.version and answer["ExecutedVersion"] == "1"
    assert told["scores"] == pytest.approx(scorer.score(customers(seed=4)).tolist(), abs=1e-6)


@pytest.mark.emulator
def test_rows_in_s3_are_scored_into_s3(
    ledger: Ledger, run: Run, register: Register, functions: LambdaFunctions, moto: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in moto.environment().items():
        monkeypatch.setenv(variable, value)
    run(spec(estimator={"xgboost": {"num_boost_round": 10}}, task="multiclass", promote_when={}, baseline=None), plans())
    register()
    bucket, s3 = moto.bucket(), moto.client()
    scorer = load_model(ledger, CHAMPION)
    matrix = scorer.rows(plans().drop_columns(["label"]).slice(0, 20)).matrix
    lines = "".join(",".join("" if np.isnan(v) else repr(float(v)) for v in row) + "\n" for row in matrix)
    s3.put_object(Bucket=bucket, Key="rows.csv", Body=lines.encode())
    handler = functions._loaded(functions.versions["1"]).handler
    told = handler({"input": f"s3://{bucket}/rows.csv", "output": f"s3://{bucket}/scores.csv"})
    assert told == {"version": scorer.version, "rows": 20, "output": f"s3://{bucket}/scores.csv"}
    body = s3.get_object(Bucket=bucket, Key="scores.csv")["Body"].read().decode()
    found = [[float(one) for one in line.split(",")] for line in body.splitlines()]
    assert np.array(found) == pytest.approx(scorer.score(plans().drop_columns(["label"]).slice(0, 20)), abs=1e-6)


def test_equal_champions_are_equal_packages(
    ledger: Ledger, run: Run, register: Register, functions: LambdaFunctions
) -> None:
    run(spec(), customers())
    register()
    first = functions.versions["1"].digest
    functions.versions = {LATEST: functions.versions[LATEST]}
    functions.alias = {"FunctionVersion": LATEST}
    register()
    assert functions.versions["1"].digest == first


def test_code_that_is_not_taken_and_a_version_that_fails_leave_the_alias(
    run: Run, register: Register, functions: LambdaFunctions
) -> None:
    run(spec(), customers())
    functions.updates = ["InProgress", "Failed"]
    functions.versions[LATEST].reason = "the layers are too large"
    with pytest.raises(ModelError, match=r"found Failed: the layers are too large: the alias live serves what it served"):
        register()
    assert functions.aliases == []
    functions.updates, functions.versions[LATEST].update = ["InProgress", "Successful"], "Successful"
    functions.states = ["Pending", "Failed"]
    with pytest.raises(ModelError, match=r"version 1 of churn-batch to complete, found Failed"):
        register()
    assert functions.aliases == []


def test_an_update_that_takes_longer_is_taken_up(
    run: Run, register: Register, functions: LambdaFunctions, server: AwsServer
) -> None:
    run(spec(), customers())
    functions.updates = ["InProgress"] * 30 + ["Successful"]
    with pytest.raises(TransientStorageError, match="deploy again, it is taken up"):
        register()
    functions.versions[LATEST].updates = ["Successful"]
    assert register().version == "1" and server.calls["UpdateFunctionCode"] == 1


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b'{"version": "sha256:0", "scores": []}', "version 0"),
        (b'{"errorMessage": "x"}', "no answer of its handler"),
        (b"[]", "no answer of its handler"),
    ],
)
def test_a_version_that_answers_otherwise_is_never_pointed_at(
    run: Run, register: Register, functions: LambdaFunctions, answer: bytes, found: str
) -> None:
    run(spec(), customers())
    functions.spoiled["1"] = answer
    with pytest.raises(ModelError, match=rf"expected 1 of churn-batch to score .*found {found}.*serves what it served"):
        register()
    assert functions.aliases == []


def test_scores_that_differ_are_counted(ledger: Ledger, run: Run, register: Register, functions: LambdaFunctions) -> None:
    run(spec(), customers())
    version = open_champion(ledger, CHAMPION).scorer.version
    functions.spoiled["1"] = json.dumps({"version": version, "scores": [0.5] * 3}).encode()
    with pytest.raises(ModelError, match=r"scores of shape \(3,\)"):
        register()
    from orchestrai.models.registry.functions.lambda_package import golden

    rows, expected = golden(open_champion(ledger, CHAMPION))
    scores = [*expected[:-1].tolist(), expected[-1] + 0.01]
    functions.spoiled["1"] = json.dumps({"version": version, "scores": scores}).encode()
    with pytest.raises(ModelError, match=f"1 of {len(rows)} golden scores to differ"):
        register()


def test_an_alias_that_answers_otherwise_after_it_moved_is_put_back(
    run: Run, register: Register, functions: LambdaFunctions
) -> None:
    run(spec(), customers())
    register()
    run(spec(), customers(seed=2))
    functions.spoiled["live"] = b"[]"
    with pytest.raises(ModelError, match=r"expected the alias live .* it was put back to 1"):
        register()
    assert functions.aliases == ["1", "2", "1"] and functions.alias["FunctionVersion"] == "1"


def test_weights_that_somebody_set_are_taken_away_with_the_move(
    run: Run, register: Register, functions: LambdaFunctions
) -> None:
    run(spec(), customers())
    register()
    functions.alias["RoutingConfig"] = {"AdditionalVersionWeights": {"1": 0.5}}
    assert register().changed and functions.alias["RoutingConfig"] == {"AdditionalVersionWeights": {}}


def test_an_alias_that_somebody_else_moved_meanwhile_is_left(
    run: Run, register: Register, functions: LambdaFunctions, server: AwsServer
) -> None:
    run(spec(), customers())
    play = functions.answer

    def meddled(name: str, region: str, given: dict[str, Any]) -> dict[str, Any]:
        if name == "Invoke":
            functions.revisions["alias"] += 1
        return play(name, region, given)

    server.answers["lambda"] = meddled
    with pytest.raises(StorageError, match="the revision is another: somebody else changed it, deploy again"):
        register()
    assert functions.aliases == []


@pytest.mark.parametrize(
    ("changes", "found"), [({"handler": "own.main"}, "found Zip with own.main"), ({"kind": "Image"}, "found Image")]
)
def test_a_function_of_another_kind_is_told(
    run: Run, register: Register, functions: LambdaFunctions, changes: dict[str, Any], found: str
) -> None:
    run(spec(), customers())
    for name, value in changes.items():
        setattr(functions, name, value)
    with pytest.raises(ConfigError, match=found):
        register()


def test_a_function_or_an_alias_that_is_not_there_is_told(run: Run, register: Register) -> None:
    run(spec(), customers())
    with pytest.raises(StorageError, match="find its alias other: churn-batch"):
        register(WHERE.model_copy(update={"alias": "other"}))


def test_only_boosted_trees_go_to_a_function(run: Run, register: Register) -> None:
    run(spec(estimator={"logistic": {}}), customers())
    with pytest.raises(ModelError, match="expected a champion of xgboost or lightgbm"):
        register()


def test_the_declaration_names_the_place(ledger: Ledger, run: Run) -> None:
    model = spec(serve_on={"lambda": {"function": "churn-batch"}})
    assert [one.url for one in targets_of(model)] == ["lambda://churn-batch"]
    with pytest.raises(ValueError, match="expected sagemaker or lambda"):
        ServeOn.model_validate({})


def test_a_row_of_another_length_is_told(run: Run, register: Register, server: AwsServer) -> None:
    run(spec(), customers())
    register()
    answer = server.client("lambda").invoke(FunctionName="churn-batch", Qualifier="live", Payload=b'{"rows": [[1.0]]}')
    assert answer["FunctionError"] == "Unhandled"
    assert "features in row 0, found 1" in json.loads(answer["Payload"].read())["errorMessage"]
