"""The champion in SageMaker: a model package of its group and, where declared, the endpoint that serves it."""

import gzip
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrai.errors import ModelError
from orchestrai.ledger.ledger import Ledger
from orchestrai.models.estimators.artifact import INFO_FILE
from orchestrai.models.estimators.boosting import BoostedTrees
from orchestrai.models.registry.target_port import RECEIPT_FILE, Champion, Registered, open_champion
from orchestrai.models.remote.sagemaker import MODEL_MEMBER, Clients, boto_clients, split_url
from orchestrai.models.spec import SageMakerServing
from orchestrai.storage.cloud.cloud_errors import aws_errors

VERSION_KEY = "orchestrai_version"


@dataclass(frozen=True)
class Deployment:
    """What SageMaker holds of a champion afterwards; `changed` is False when it all was there."""

    model_version: str
    model_package: str
    artifact: str
    endpoint: str | None
    changed: bool

    def as_json(self) -> dict[str, Any]:
        """For receipts and `--json`."""
        return dict(self.__dict__)


class SageMakerRegistry:
    """Registers champions as approved model packages of one group and moves the endpoint where one is declared."""

    def __init__(self, where: SageMakerServing, *, clients: Clients | None = None) -> None:
        self.where = where
        self.url = f"sagemaker://{where.group}"
        self._clients = clients

    def register(self, champion: Champion) -> Registered:
        """Upload, register and point the endpoint; idempotent per model version. Raises ModelError, StorageError."""
        where, scorer = self.where, champion.scorer
        if not isinstance(scorer.model, BoostedTrees):
            raise ModelError(
                f"expected an xgboost champion for SageMaker, found {scorer.info.kind}: serve it over HTTP instead"
            )
        make = self._clients or boto_clients(where)
        s3, api = make("s3"), make("sagemaker")
        artifact = _upload(s3, where, champion, scorer.model)
        earlier = _package(api, where, scorer.version)
        package = earlier or _register(api, where, champion, artifact)
        moved = where.endpoint is not None and _point(api, where, scorer.version, artifact)
        return Registered(
            self.url, where.group, package, "Approved", artifact, earlier is None or moved, where.endpoint or ""
        )


def deploy(ledger: Ledger, where: SageMakerServing, *, champion: str, clients: Clients | None = None) -> Deployment:
    """Register the champion as an approved model package and point the endpoint at it; idempotent per model version.

    The model is checked as on any load first. Raises ModelError for a model that the container cannot serve, StorageError
    for AWS itself. The package's properties carry the versions of model and training set and the receipt's digest.
    """
    opened = open_champion(ledger, champion)
    held = SageMakerRegistry(where, clients=clients).register(opened)
    return Deployment(opened.scorer.version, held.version, held.artifact, where.endpoint, held.changed)


def archive(model: BoostedTrees) -> bytes:
    """model.tar.gz as the container expects it; equal models give equal bytes."""
    data, sink = model.encode(), io.BytesIO()
    with gzip.GzipFile(fileobj=sink, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo(MODEL_MEMBER)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return sink.getvalue()


def _upload(s3: Any, where: SageMakerServing, champion: Champion, model: BoostedTrees) -> str:
    bucket, prefix = split_url(where.output)
    scorer = champion.scorer
    folder = f"{prefix}models/{scorer.version.removeprefix('sha256:')}/"
    with aws_errors(f"AWS to store the model in {bucket}"):
        # the key names the version, so writing it again writes the same bytes
        s3.put_object(Bucket=bucket, Key=f"{folder}model.tar.gz", Body=archive(model))
        s3.put_object(Bucket=bucket, Key=f"{folder}{INFO_FILE}", Body=scorer.info.encode())
        s3.put_object(Bucket=bucket, Key=f"{folder}{RECEIPT_FILE}", Body=champion.receipt)
    return f"s3://{bucket}/{folder}model.tar.gz"


def _package(api: Any, where: SageMakerServing, version: str) -> str | None:
    with aws_errors("AWS to list model packages"):
        groups = api.list_model_package_groups(NameContains=where.group)["ModelPackageGroupSummaryList"]
        if not any(one["ModelPackageGroupName"] == where.group for one in groups):
            api.create_model_package_group(ModelPackageGroupName=where.group)
            return None
        listed: dict[str, Any] = api.list_model_packages(ModelPackageGroupName=where.group)
        while True:
            for one in listed["ModelPackageSummaryList"]:
                described = api.describe_model_package(ModelPackageName=one["ModelPackageArn"])
                if described.get("CustomerMetadataProperties", {}).get(VERSION_KEY) == version:
                    return str(one["ModelPackageArn"])
            token = listed.get("NextToken")
            if not token:
                return None
            listed = api.list_model_packages(ModelPackageGroupName=where.group, NextToken=token)


def _register(api: Any, where: SageMakerServing, champion: Champion, artifact: str) -> str:
    scorer = champion.scorer
    properties = {**champion.labels(), "orchestrai_score_offset": repr(scorer.info.offset)}
    with aws_errors("AWS to register a model package"):
        answer: Mapping[str, Any] = api.create_model_package(
            ModelPackageGroupName=where.group,
            ModelPackageDescription=f"{scorer.info.recipe['name']} {scorer.version}",
            InferenceSpecification={
                "Containers": [{"Image": where.image, "ModelDataUrl": artifact}],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
            },
            ModelApprovalStatus="Approved",
            CustomerMetadataProperties=properties,
        )
    return str(answer["ModelPackageArn"])


def _point(api: Any, where: SageMakerServing, version: str, artifact: str) -> bool:
    """Give the endpoint this version; False when it has it already."""
    name = f"{where.endpoint}-{version.removeprefix('sha256:')[:20]}"
    with aws_errors(f"AWS to update endpoint {where.endpoint}"):
        known = api.list_endpoints(NameContains=where.endpoint)["Endpoints"]
        exists = any(one["EndpointName"] == where.endpoint for one in known)
        if exists and api.describe_endpoint(EndpointName=where.endpoint)["EndpointConfigName"] == name:
            return False
        ensure_model(api, where, name, artifact)
        configs = api.list_endpoint_configs(NameContains=name)["EndpointConfigs"]
        if not any(one["EndpointConfigName"] == name for one in configs):
            variant = {
                "VariantName": "champion",
                "ModelName": name,
                "InitialInstanceCount": where.instance_count,
                "InstanceType": where.instance_type,
                "InitialVariantWeight": 1.0,
            }
            api.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        change = api.update_endpoint if exists else api.create_endpoint
        change(EndpointName=where.endpoint, EndpointConfigName=name)
    return True


def ensure_model(api: Any, where: SageMakerServing, name: str, artifact: str) -> None:
    """The SageMaker model of an artifact, which endpoints and transform jobs run."""
    if not any(one["ModelName"] == name for one in api.list_models(NameContains=name)["Models"]):
        container = {"Image": where.image, "ModelDataUrl": artifact}
        api.create_model(
            ModelName=name, ExecutionRoleArn=where.role, PrimaryContainer=container, EnableNetworkIsolation=True
        )
