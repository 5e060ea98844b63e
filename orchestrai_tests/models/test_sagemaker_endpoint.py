"""Endpoints that follow the champion, against a SageMaker generated from botocore's model: pages of one, regions, states, throttling."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from orchestrai.errors import ModelError, StorageError, TransientStorageError
from orchestrai.models.registry.sagemaker_endpoint import Endpoint, ensure_model
from orchestrai.models.remote.sagemaker_requests import model_name
from orchestrai.models.remote.spec import SageMakerServing
from orchestrai.storage.cloud.job_wait import Clock, Waiting
from orchestrai_tests.clouds.aws_resources import Region
from orchestrai_tests.clouds.aws_server import AwsServer, aws_server

FIRST, SECOND = "sha256:" + "1a" * 32, "sha256:" + "2b" * 32
ARTIFACT = "s3://models/model.tar.gz"
WHERE: dict[str, Any] = {
    "role": "arn:aws:iam::123456789012:role/trainer",
    "image": "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.0-5",
    "output": "s3://models/jobs",
    "region": "us-east-1",
    "group": "churn-models",
    "endpoint": "churn",
}


@pytest.fixture
def server() -> Iterator[AwsServer]:
    with aws_server("sagemaker") as found:
        yield found
        assert found.faults == []


@pytest.fixture
def sagemaker(server: AwsServer) -> Region:
    """What SageMaker holds."""
    return server.region("sagemaker")


Point = Callable[..., bool]


@pytest.fixture
def point(server: AwsServer) -> Point:
    """Move the endpoint to a version, by a clock that runs a minute per look."""

    def move(version: str, limit: int = 60, **changes: Any) -> bool:
        now = [0.0]

        def sleep(_: float) -> None:
            now[0] += 60

        where = SageMakerServing.model_validate({**WHERE, **changes})
        waiting = Waiting(timedelta(minutes=limit), where.poll, "deploy again", Clock(sleep, lambda: now[0]), ModelError)
        assert where.endpoint is not None
        return Endpoint(server.client("sagemaker"), where, where.endpoint, waiting).point(version, ARTIFACT)

    return move


def serves(sagemaker: Region) -> str:
    """The artifact's version that the endpoint serves, by what SageMaker holds; "" without one in service."""
    (endpoint,) = sagemaker.made("Endpoint")
    if endpoint.made["EndpointStatus"] != "InService":
        return ""
    config = sagemaker.find("EndpointConfig", endpoint.made)
    (variant,) = config.made["ProductionVariants"]
    return str(variant["ModelName"]).split("-")[1]


def test_an_endpoint_counts_only_when_it_is_in_service(point: Point, sagemaker: Region, server: AwsServer) -> None:
    sagemaker.plan["Endpoint"] = ["Creating", "Creating", "Creating", "InService"]
    assert point(FIRST) and serves(sagemaker) == FIRST[7:19]
    assert server.calls["DescribeEndpoint"] == 4
    assert not point(FIRST), "what is served is not moved again"
    assert point(SECOND) and serves(sagemaker) == SECOND[7:19]
    assert server.calls["UpdateEndpoint"] == 1


def test_an_endpoint_that_failed_does_not_count_as_deployed_and_is_made_anew(
    point: Point, sagemaker: Region, server: AwsServer
) -> None:
    point(FIRST)
    sagemaker.made("Endpoint")[0].made["EndpointStatus"] = "Failed"
    assert point(FIRST) and serves(sagemaker) == FIRST[7:19]
    assert (server.calls["DeleteEndpoint"], server.calls["CreateEndpoint"]) == (1, 2)


def test_a_first_endpoint_that_fails_is_refused_and_deleted(point: Point, sagemaker: Region) -> None:
    sagemaker.plan["Endpoint"] = ["Creating", "Failed"]
    with pytest.raises(ModelError, match=r"in service with churn-1a1a.*found Failed .*: it was deleted"):
        point(FIRST)
    assert sagemaker.made("Endpoint") == []


@pytest.mark.parametrize(
    "states", [["Updating", "Failed"], ["Updating", "UpdateRollbackFailed"], ["Updating", "OutOfService"]]
)
def test_an_update_that_fails_is_refused_and_what_served_before_serves_again(
    point: Point, sagemaker: Region, states: list[str]
) -> None:
    point(FIRST)
    plans = iter([states, ["Updating", "InService"]])
    sagemaker.plan["UpdateEndpoint"] = next(plans)
    real = sagemaker.update

    def update(noun: str, given: Any) -> Any:
        # what did not come into service may be updated, but for one that failed
        held = sagemaker.find(noun, given)
        if held.made["EndpointStatus"] in ("UpdateRollbackFailed", "OutOfService"):
            held.made["EndpointStatus"] = "InService"
            sagemaker.plan["UpdateEndpoint"] = next(plans)
        return real(noun, given)

    sagemaker.update = update  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=f"found {states[-1]}.*: churn-{FIRST[7:19]}-[0-9a-f]+ serves again"):
        point(SECOND)
    assert serves(sagemaker) == FIRST[7:19]


def test_an_update_that_aws_took_back_by_itself_is_refused(point: Point, sagemaker: Region, server: AwsServer) -> None:
    point(FIRST)
    sagemaker.plan["UpdateEndpoint"] = ["Updating", "RollingBack", "InService"]
    with pytest.raises(ModelError, match=r"AWS went back to churn-1a1a.*what served before still serves"):
        point(SECOND)
    assert serves(sagemaker) == FIRST[7:19] and server.calls["UpdateEndpoint"] == 1


def test_what_cannot_be_put_back_is_told(point: Point, sagemaker: Region) -> None:
    point(FIRST)
    sagemaker.plan.update(UpdateEndpoint=["Updating", "Failed"], Endpoint=["Creating", "Failed"])
    with pytest.raises(ModelError, match=r"could not be put back: Failed"):
        point(SECOND)


def test_a_change_that_takes_too_long_is_transient_and_taken_up_by_the_next_run(
    point: Point, sagemaker: Region, server: AwsServer
) -> None:
    sagemaker.plan["Endpoint"] = ["Creating"] * 8 + ["InService"]
    with pytest.raises(TransientStorageError, match="found it Creating: deploy again"):
        point(FIRST, limit=3)
    assert not point(FIRST) and serves(sagemaker) == FIRST[7:19]
    assert (server.calls["CreateEndpoint"], server.calls["UpdateEndpoint"]) == (1, 0)


def test_a_change_of_somebody_else_is_waited_for_before_ours(point: Point, sagemaker: Region) -> None:
    point(FIRST)
    held = sagemaker.made("Endpoint")[0]
    held.made["EndpointStatus"], held.states = "SystemUpdating", ["SystemUpdating", "InService"]
    assert point(SECOND) and serves(sagemaker) == SECOND[7:19]


def test_what_exists_is_found_on_a_later_page(point: Point, sagemaker: Region, server: AwsServer) -> None:
    for name in ("churn-a", "churn-b", "churn-c"):
        point(FIRST, endpoint=name)
    made = server.calls["CreateEndpoint"]
    point(FIRST)
    for name in ("churn-d", "churn-e"):
        point(FIRST, endpoint=name)
    assert not point(FIRST) and server.calls["CreateEndpoint"] == made + 3


def test_a_throttled_call_is_tried_again(point: Point, server: AwsServer, sagemaker: Region) -> None:
    server.throttled = 1
    assert point(FIRST) and serves(sagemaker) == FIRST[7:19]


def test_a_wrong_region_is_an_error_of_ours(server: AwsServer) -> None:
    where = SageMakerServing.model_validate(WHERE)
    with pytest.raises(StorageError, match="valid region"):
        Endpoint(server.client("sagemaker", "eu-west-1"), where, "churn", Waiting(timedelta(1), where.poll, "")).point(
            FIRST, ARTIFACT
        )


def test_network_key_and_tags_are_on_everything_that_is_made(point: Point, sagemaker: Region) -> None:
    network = {"subnets": ["subnet-1"], "security_groups": ["sg-1", "sg-2"]}
    point(FIRST, network=network, volume_kms_key="alias/volumes", tags={"team": "growth"})
    (model,), (config,), (endpoint,) = (sagemaker.made(noun) for noun in ("Model", "EndpointConfig", "Endpoint"))
    assert model.made["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1", "sg-2"]}
    assert config.made["KmsKeyId"] == "alias/volumes"
    for made in (model, config, endpoint):
        assert {"Key": "team", "Value": "growth"} in made.made["Tags"]
        assert {"Key": "made_by", "Value": "orchestrai"} in made.made["Tags"]


@pytest.mark.parametrize(
    "change", [{"instance_type": "ml.m5.2xlarge"}, {"image": WHERE["image"] + "1"}, {"instance_count": 2}]
)
def test_a_changed_declaration_reaches_the_endpoint_of_the_same_version(
    point: Point, sagemaker: Region, change: dict[str, Any]
) -> None:
    point(FIRST)
    assert point(FIRST, **change) and not point(FIRST, **change)
    config = sagemaker.find("EndpointConfig", sagemaker.made("Endpoint")[0].made)
    (variant,) = config.made["ProductionVariants"]
    model = sagemaker.find("Model", variant)
    shown = {
        "instance_type": variant["InstanceType"],
        "image": model.made["PrimaryContainer"]["Image"],
        "instance_count": variant["InitialInstanceCount"],
    }
    assert change.items() <= shown.items()


@pytest.mark.parametrize("group", ["a" * 63, "churn-" + "long-" * 10 + "x"])
def test_the_name_of_a_model_keeps_its_version_however_long_the_group(server: AwsServer, group: str) -> None:
    where = SageMakerServing.model_validate({**WHERE, "group": group, "endpoint": None})
    api = server.client("sagemaker")
    names = {ensure_model(api, where, group, version, ARTIFACT) for version in (FIRST, SECOND, FIRST)}
    assert len(names) == 2 and all(len(name) <= 63 for name in names)
    assert {FIRST[7:19], SECOND[7:19]} == {name.split("-")[-2] for name in names}
    assert model_name("a" * 62, FIRST, {}) != model_name("a" * 61 + "b", FIRST, {})
